//! The model tests that the onnx wheel carries beside its node tests: `simple`, `pytorch-converted`,
//! `pytorch-operator`, and the nine architectures of `light`.
//!
//! A case is named `SUITE::CASE` and passes as a node test does. The weights of `light` are constant, so
//! those show that an architecture is imported and evaluated in full, not that a layout is right.

use crate::corpus;
use crate::node_cases::{NodeCase, ONNX_VERSION, once};

/// Number of cases in that version.
pub const CASES: usize = 23 + 82 + 35 + 9;

/// All cases by name, copied out of the wheel first if need be.
pub fn suite_cases() -> Result<Vec<NodeCase>, String> {
    let out = corpus::cache().join(format!("suites-{ONNX_VERSION}"));
    once(&out, "dump_suites.py")?;
    let list = |dir: &std::path::Path| -> Result<Vec<(String, std::path::PathBuf)>, String> {
        let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        Ok(entries.filter_map(|e| e.ok()).map(|e| (e.file_name().to_string_lossy().into_owned(), e.path())).collect())
    };
    let mut cases = Vec::new();
    for (suite, dir) in list(&out)? {
        for (case, dir) in list(&dir)? {
            cases.push(NodeCase::new(format!("{suite}::{case}"), dir));
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    if cases.len() != CASES {
        let text = format!("{} has {} cases, expected {CASES}; delete it to copy it again", out.display(), cases.len());
        return Err(text);
    }
    Ok(cases)
}
