//! Tells the tests by a number which sources of the compiler and of the judges they were built from, so that figures
//! which are kept (`src/kept.rs`) never outlive them.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::Path;

/// What decides about the program of a graph, and about how long programs run. Import and rewriting decide about the graph only.
const PARTS: [(&str, &[&str]); 2] = [
    (
        "COMPILER_SOURCES",
        &[
            "Cargo.lock",
            "compiler/src/ir",
            "compiler/src/legalize",
            "compiler/src/passes",
            "compiler/src/rewrite/cost.rs",
            "compiler/tsp/src",
            "compiler/wafer/src",
            "compiler/cli/src/pipeline",
            "runtime/isa/src",
            "runtime/isa/machines",
        ],
    ),
    ("RUNTIME_SOURCES", &["Cargo.lock", "runtime/src", "runtime/isa/src", "runtime/isa/machines"]),
];

fn main() {
    for (name, paths) in PARTS {
        let mut hash = DefaultHasher::new();
        for path in paths {
            println!("cargo::rerun-if-changed=../{path}");
            add(&Path::new("..").join(path), &mut hash);
        }
        println!("cargo::rustc-env={name}={:016x}", hash.finish());
    }
}

fn add(path: &Path, hash: &mut DefaultHasher) {
    path.hash(hash);
    if path.is_dir() {
        let mut inside: Vec<_> = fs::read_dir(path)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
            .map(|e| e.expect("an entry of a folder of this repository").path())
            .collect();
        inside.sort();
        inside.iter().for_each(|p| add(p, hash));
    } else {
        fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).hash(hash);
    }
}
