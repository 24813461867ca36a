//! File tests: a text graph, commands, and what they print, in one file; one test a file.
//!
//! ```text
//! ; what the file shows
//! ; run: opt --passes=fold-constants
//! ; run: eval
//! graph "g" { … }
//!
//! ; ==== opt --passes=fold-constants
//! graph "g" { … }
//! ; ==== eval
//! y = [3.0] : f32[1]
//! ```
//!
//! | command | prints |
//! |---|---|
//! | `print` | the graph as it is read |
//! | `verify` | `ok`, or the broken rules |
//! | `opt --passes=a,b [--target=tsp]` | the graph after the passes; the oracle must give the same (or fail the same way) before and after |
//! | `eval [--seed=n]` | inputs (seeded) and outputs |
//!
//! A file may instead hold one line that ends in `; error: part of the message`: reading it must fail
//! there, so. `QUADRILLE_BLESS=1` writes the sections anew; read the diff before you commit it.

use libtest_mimic::{Arguments, Failed, Trial};
use quadrille::machine::{Machine, Target};
use quadrille::pipeline::{REWRITE, run_passes};
use quadrille_compiler::ir::arbitrary::{Rng, inputs};
use quadrille_compiler::ir::{Graph, Tensor, eval::eval, text, verify::verify};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Error allowed after a rewrite, which reorders sums, relative to the largest element.
const REWRITE_TOLERANCE: f64 = 1e-5;

const SECTION: &str = "; ==== ";

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests");
    let mut files = Vec::new();
    if let Err(e) = collect(&root, &mut files) {
        eprintln!("{}: {e}", root.display());
        return ExitCode::FAILURE;
    }
    files.sort();
    let trials = files
        .into_iter()
        .map(|file| {
            let name = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
            Trial::test(name, move || run_file(&file).map_err(Failed::from))
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "qir") {
            files.push(path);
        }
    }
    Ok(())
}

fn run_file(file: &Path) -> Result<(), String> {
    let whole = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    let source_end =
        if whole.starts_with(SECTION) { 0 } else { whole.find(&format!("\n{SECTION}")).map_or(whole.len(), |i| i + 1) };
    let source = &whole[..source_end];
    let commands: Vec<&str> = source.lines().filter_map(|l| l.strip_prefix("; run: ")).map(str::trim).collect();
    let errors: Vec<(usize, &str)> =
        source.lines().enumerate().filter_map(|(i, l)| Some((i + 1, l.split_once("; error: ")?.1.trim()))).collect();
    if let [(line, message)] = errors[..] {
        return match text::parse(source) {
            Ok(_) => Err(format!("line {line} should be an error, but the text was read")),
            Err(e) if e.line == line && e.message.contains(message) => Ok(()),
            Err(e) => Err(format!("expected an error in line {line} with {message:?}, got {e}")),
        };
    }
    if commands.is_empty() || !errors.is_empty() {
        return Err("a file has `; run:` lines, or one `; error:`".to_string());
    }
    let graph = text::parse(source).map_err(|e| e.to_string())?;
    let mut new = source.trim_end().to_string() + "\n";
    for command in commands {
        let _ = write!(new, "\n{SECTION}{command}\n{}\n", run(&graph, command)?.trim_end());
    }
    if new == whole {
        return Ok(());
    }
    if std::env::var_os("QUADRILLE_BLESS").is_some() {
        return std::fs::write(file, new).map_err(|e| e.to_string());
    }
    let first = new.lines().zip(whole.lines()).position(|(a, b)| a != b);
    let first = first.unwrap_or(new.lines().count().min(whole.lines().count()));
    Err(format!("line {} differs (QUADRILLE_BLESS=1 accepts what follows):\n{new}", first + 1))
}

fn run(graph: &Graph, command: &str) -> Result<String, String> {
    let mut words = command.split_whitespace();
    let name = words.next().unwrap_or_default();
    let options: Vec<(&str, &str)> = words
        .map(|w| w.strip_prefix("--").and_then(|w| w.split_once('=')).ok_or(format!("{w:?} is not --option=value")))
        .collect::<Result<_, _>>()?;
    let option = |name: &str| options.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    match name {
        "print" => Ok(text::print(graph)),
        "verify" => Ok(match verify(graph) {
            Ok(()) => "ok".to_string(),
            Err(errors) => errors.iter().map(|e| format!("{e}\n")).collect(),
        }),
        "eval" => {
            let seed = option("seed").map_or(Ok(0), str::parse).map_err(|_| "--seed is a number")?;
            let given = inputs(&mut Rng::new(seed), graph);
            let got = eval(graph, &given).map_err(|e| e.to_string())?;
            let ins = graph.inputs.iter().map(|&v| graph.value(v).name.as_str());
            let outs = graph.outputs.iter().map(|o| o.name.as_str());
            Ok(ins.zip(&given).chain(outs.zip(&got)).map(|(n, t)| format!("{n} = {}\n", literal(t))).collect())
        }
        "opt" => {
            let passes: Vec<String> =
                option("passes").ok_or("`opt` needs --passes=")?.split(',').map(str::to_string).collect();
            let target = match option("target") {
                None => None,
                Some("tsp") => Some(Target::Tsp),
                Some("wafer") => Some(Target::Wafer),
                Some(other) => return Err(format!("no target {other:?}")),
            };
            let machine = target.map(Machine::full_size);
            let new = run_passes(graph, machine.as_ref(), &passes).map_err(|e| format!("{e:?}"))?;
            let tolerance = if passes.iter().any(|p| p == REWRITE) { REWRITE_TOLERANCE } else { 0.0 };
            same_values(graph, &new, tolerance)?;
            Ok(text::print(&new))
        }
        _ => Err(format!("there is no command {name:?}")),
    }
}

/// The oracle on both graphs, with the same inputs.
fn same_values(old: &Graph, new: &Graph, tolerance: f64) -> Result<(), String> {
    for seed in 0..4 {
        let given = inputs(&mut Rng::new(seed), old);
        let (want, got) = match (eval(old, &given), eval(new, &given)) {
            (Ok(want), Ok(got)) => (want, got),
            (Err(want), Err(got)) if want == got => continue,
            (want, got) => return Err(format!("before: {want:?}, afterwards: {got:?}")),
        };
        if want.len() != got.len() || want.iter().zip(&got).any(|(w, g)| !close(w, g, tolerance)) {
            return Err(format!("the graph gives {got:?} instead of {want:?} for seed {seed}:\n{}", text::print(new)));
        }
    }
    Ok(())
}

fn close(want: &Tensor, got: &Tensor, tolerance: f64) -> bool {
    if want == got {
        return true;
    }
    let (Some(w), Some(g)) = (want.as_f32(), got.as_f32()) else { return false };
    let scale = w.iter().fold(0f64, |m, v| m.max(f64::from(v.abs())));
    let near = |a: f32, b: f32| a == b || a.is_nan() && b.is_nan() || f64::from((a - b).abs()) <= tolerance * scale;
    want.shape == got.shape && w.iter().zip(&g).all(|(&a, &b)| near(a, b))
}

/// A tensor as a constant is printed.
fn literal(t: &Tensor) -> String {
    let mut g = Graph::new("");
    g.add_const("", t.clone());
    let printed = text::print(&g);
    let line = printed.lines().nth(1).unwrap_or_default().trim();
    line.strip_prefix("%0 = const ").unwrap_or(line).to_string()
}
