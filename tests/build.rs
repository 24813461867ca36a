//! Tells the tests by a number which sources of the compiler and of the judges they were built from, so that figures
//! which are kept (`src/kept.rs`) never outlive them.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::Path;

/// What all programs depend on.
const COMMON: [&str; 3] = ["Cargo.lock", "runtime/isa/src", "runtime/isa/machines"];

/// What decides about the program of a graph. Import and rewriting decide about the graph only.
const COMPILER: [&str; 5] = [
    "compiler/src/ir",
    "compiler/src/legalize",
    "compiler/src/passes",
    "compiler/src/rewrite/cost.rs",
    "compiler/cli/src/pipeline",
];

fn main() {
    let with = |own: &'static str| COMPILER.into_iter().chain([own]);
    write("TSP_SOURCES", with("compiler/tsp/src"));
    write("WAFER_SOURCES", with("compiler/wafer/src"));
    // What decides about the graph of a model.
    write("GRAPH_SOURCES", ["onnx/src", "compiler/src"].into_iter());
    // What decides about how long a program runs.
    write("RUNTIME_SOURCES", ["runtime/src"].into_iter());
}

fn write(name: &str, paths: impl Iterator<Item = &'static str>) {
    let mut hash = DefaultHasher::new();
    for path in COMMON.into_iter().chain(paths) {
        println!("cargo::rerun-if-changed=../{path}");
        add(&Path::new("..").join(path), &mut hash);
    }
    println!("cargo::rustc-env={name}={:016x}", hash.finish());
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
