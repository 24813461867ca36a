//! The shape of the house: which crate may depend on which, and tidiness of the tree.

use quadrille_tests::corpus::repository;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Crates of the workspace and all that each may depend on (normal dependencies).
const ALLOWED: [(&str, &[&str]); 9] = [
    ("quadrille-isa", &[]),
    ("quadrille-onnx", &[]),
    ("quadrille-runtime", &["quadrille-isa"]),
    ("quadrille-compiler", &["quadrille-isa", "quadrille-onnx"]),
    ("quadrille-tsp", &["quadrille-isa", "quadrille-onnx", "quadrille-compiler"]),
    ("quadrille-wafer", &["quadrille-isa", "quadrille-onnx", "quadrille-compiler"]),
    ("quadrille", BELOW_THE_COMMAND_LINE),
    ("quadrille-examples", EVERYTHING),
    ("quadrille-tests", EVERYTHING),
];

const BELOW_THE_COMMAND_LINE: &[&str] =
    &["quadrille-isa", "quadrille-onnx", "quadrille-runtime", "quadrille-compiler", "quadrille-tsp", "quadrille-wafer"];

const EVERYTHING: &[&str] = &[
    "quadrille",
    "quadrille-isa",
    "quadrille-onnx",
    "quadrille-runtime",
    "quadrille-compiler",
    "quadrille-tsp",
    "quadrille-wafer",
];

/// Workspace crates that `cargo tree` shows below a crate, itself left out.
fn dependencies(krate: &str) -> Vec<String> {
    let out = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}", "-p", krate])
        .current_dir(repository())
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let mut names: Vec<String> = String::from_utf8(out.stdout)
        .expect("cargo prints UTF-8")
        .lines()
        .filter_map(|l| l.split(' ').next())
        .filter(|n| n.starts_with("quadrille") && *n != krate)
        .map(str::to_string)
        .collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn dependencies_run_one_way() {
    let mut wrong = Vec::new();
    for (krate, allowed) in ALLOWED {
        for d in dependencies(krate) {
            if !allowed.contains(&d.as_str()) {
                wrong.push(format!("{krate} -> {d}"));
            }
        }
    }
    assert!(wrong.is_empty(), "edges that the architecture forbids: {wrong:?}");
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).expect("a folder of the repository").flatten().collect();
    entries.sort_by_key(|e| e.file_name());
    for e in entries {
        let path = e.path();
        if path.is_dir() {
            if !["target", ".git"].iter().any(|n| path.ends_with(n)) {
                sources(&path, into);
            }
        } else if path.extension().is_some_and(|x| x == "rs") {
            into.push(path);
        }
    }
}

/// Every source file says what it knows, and none has grown past what a reader can hold.
#[test]
fn sources_are_tidy() {
    let mut files = Vec::new();
    sources(repository(), &mut files);
    assert!(files.len() > 20, "the tree was walked");
    let mut wrong: BTreeMap<String, &str> = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("sources are UTF-8");
        let name = file.strip_prefix(repository()).expect("below the root").display().to_string();
        if !text.starts_with("//!") {
            wrong.insert(name.clone(), "has no module documentation in its first line");
        }
        if text.lines().count() > 1200 {
            wrong.insert(name, "has more than 1,200 lines: split it by what it knows");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Nothing that is compiled, checked or simulated depends on the time that it takes.
#[test]
fn no_decision_looks_at_a_clock() {
    let mut files = Vec::new();
    for folder in ["compiler/src", "compiler/tsp/src", "compiler/wafer/src", "compiler/cli/src/pipeline", "runtime"] {
        sources(&repository().join(folder), &mut files);
    }
    assert!(files.len() > 200, "the tree was walked");
    let clock = ["Instant", "SystemTime", ".elapsed("];
    let wrong: Vec<_> = files
        .iter()
        .filter(|f| !f.components().any(|c| ["tests", "benches", "examples"].iter().any(|t| c.as_os_str() == *t)))
        .filter(|f| {
            let text = fs::read_to_string(f).expect("sources are UTF-8");
            clock.iter().any(|c| text.contains(c))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
