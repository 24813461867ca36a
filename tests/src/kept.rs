//! Figures that take long to find, kept under `target/` so that a page of them can be made in pieces.
//!
//! Whoever keeps a figure names all that it follows from; with the sources of the compiler and of the judges, which
//! the build counts in (`build.rs`), that is the name of a file, so a figure is found only while it is true. Several processes
//! may find figures at once.

use crate::corpus::repository;
use quadrille::machine::Target;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::PathBuf;

/// What a kept figure follows from.
#[derive(Clone)]
pub struct Key(Sha256);

impl Key {
    /// A target's compiler as it was built.
    pub fn of_compiler(target: Target) -> Key {
        let sources = match target {
            Target::Tsp => env!("TSP_SOURCES"),
            Target::Wafer => env!("WAFER_SOURCES"),
        };
        Key(Sha256::new_with_prefix(sources))
    }

    /// And import, passes and rewriting as they were built: for figures of a model's file rather than of a graph.
    pub fn and_graph_sources(self) -> Key {
        self.and(env!("GRAPH_SOURCES"))
    }

    /// Checkers and simulators as they were built.
    pub fn of_runtime() -> Key {
        Key(Sha256::new_with_prefix(env!("RUNTIME_SOURCES")))
    }

    /// And these bytes.
    pub fn and(mut self, bytes: impl AsRef<[u8]>) -> Key {
        let bytes = bytes.as_ref();
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    fn file(self) -> PathBuf {
        let name: String = self.0.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect();
        repository().join("target/kept").join(name)
    }
}

/// True when nothing is to be found that is not kept: `QUADRILLE_KEPT` is set.
pub fn only_kept() -> bool {
    std::env::var_os("QUADRILLE_KEPT").is_some()
}

/// What stands in the place of a figure that is not kept, where only kept ones are wanted.
pub const UNKNOWN: &str = "not run since the compiler last changed";

/// The figure of a key: the one kept, else the one found, which is kept.
pub fn figure(key: Key, find: impl FnOnce() -> String) -> String {
    let path = key.file();
    if let Ok(known) = fs::read_to_string(&path) {
        return known;
    }
    if only_kept() {
        return UNKNOWN.to_string();
    }
    let found = find();
    // Written beside its place and renamed: nobody reads half a figure, and two may find the same one at once.
    let folder = path.parent().expect("it lies in a folder");
    fs::create_dir_all(folder).expect("`target` is writable");
    let mut partial = tempfile::NamedTempFile::new_in(folder).expect("`target` is writable");
    partial.write_all(found.as_bytes()).expect("`target` is writable");
    partial.persist(&path).expect("`target` is writable");
    found
}

#[test]
fn a_figure_is_found_once_for_all_that_it_follows_from() {
    let unique = format!("{:?} {}", std::time::SystemTime::now(), std::process::id());
    let key = |of: &str| Key::of_compiler(Target::Tsp).and(&unique).and(of);
    assert_eq!(figure(key("a"), || "1".into()), "1");
    assert_eq!(figure(key("a"), || panic!("it is known")), "1");
    assert_eq!(figure(key("b"), || "2".into()), "2");
    // Where one part ends and the next begins counts, too.
    assert_ne!(key("ab").and("c").file(), key("a").and("bc").file());
    assert_ne!(key("a").file(), Key::of_runtime().and(&unique).and("a").file());
    for of in ["a", "b"] {
        fs::remove_file(key(of).file()).expect("it was kept");
    }
}
