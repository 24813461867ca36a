//! The page about passes, made from the table so that it cannot be out of date.

use super::{PIPELINES, TABLE};
use std::fmt::Write;

/// The text of `docs/passes.md`.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Passes\n\n\
         <!-- Made from compiler/src/passes by its tests (QUADRILLE_BLESS=1 writes it anew). Do not edit. -->\n\n\
         Each pass makes a new tensor graph from an old one; the graph is verified after every pass. Run any of\n\
         them by name: `quadrille opt GRAPH --passes=fold-constants,dead-code`. A pipeline's name stands for its\n\
         passes.\n\n\
         | pass | what it does |\n|---|---|\n",
    );
    for p in TABLE {
        let _ = writeln!(out, "| [`{0}`](#{0}) | {1} |", p.name, p.summary);
    }
    out.push_str("\n## Pipelines\n\n| pipeline | for | passes |\n|---|---|---|\n");
    for p in PIPELINES {
        let passes: Vec<String> = p.passes.iter().map(|n| format!("`{n}`")).collect();
        let _ = writeln!(out, "| `{}` | {} | {} |", p.name, p.summary, passes.join(", "));
    }
    for p in TABLE {
        let _ = write!(out, "\n## {}\n\n{}\n\n{}\n", p.name, p.summary, p.details);
    }
    out
}
