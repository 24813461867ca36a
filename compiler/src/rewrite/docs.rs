//! docs/rules.md, made from the table of rules.

use super::rule::{Rounding, Theme};
use super::rules::TABLE;
use std::fmt::Write;

/// The page, as it must stand in docs/rules.md.
pub fn rules_page() -> String {
    let mut s = String::from(
        "# Rewrite rules\n\n\
         Generated from `compiler/src/rewrite/rules/`; a test compares (run it with `QUADRILLE_BLESS=1` to write\n\
         this page). docs/rewriting.md tells how rules are used. In the pictures `x`, `y` are any values, `c`\n\
         constants, `C` operations on constants that are evaluated at compile time.\n\n\
         | rule | theme | bits | what it does |\n|---|---|---|---|\n",
    );
    for r in TABLE {
        let bits = if r.rounding == Rounding::Exact { "same" } else { "may round" };
        let _ = writeln!(s, "| [`{0}`](#{0}) | {1} | {2} | {3} |", r.name, r.theme, bits, r.summary);
    }
    for theme in Theme::ALL {
        let _ = write!(s, "\n## {theme}\n");
        for r in TABLE.iter().filter(|r| r.theme == theme) {
            let _ =
                write!(s, "\n### {}\n\n{}\n\n```text\n{}\n```\n\n", r.name, r.summary, r.picture.trim_matches('\n'));
            let _ = writeln!(s, "- **When**: {}", r.when);
            match r.rounding {
                Rounding::Exact => s.push_str("- **Bits**: the same.\n"),
                Rounding::Rounds(how) => {
                    let _ = writeln!(
                        s,
                        "- **Bits**: {how} Only where bits stay: with `--strict-float`, and before a rounding to integers."
                    );
                }
            }
        }
    }
    s
}
