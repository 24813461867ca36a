//! Operators that the official node tests leave out, with ONNX Runtime's results; `corpus/operators.py` makes them.

use crate::corpus;
use crate::node_cases::NodeCase;

/// What the cases are made from.
const SOURCES: &[&str] = &[
    "cases.py",
    "fetch.py",
    "operators_attention.py",
    "operators_control.py",
    "operators_float.py",
    "operators_quantised.py",
    "operators_recurrent.py",
];

/// All cases by name, generated first if need be.
pub fn operator_cases() -> Result<Vec<NodeCase>, String> {
    let folder = corpus::made_by("operators.py", SOURCES);
    let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut cases: Vec<NodeCase> = entries.filter_map(|e| e.ok()).map(|e| NodeCase::at(e.path())).collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}
