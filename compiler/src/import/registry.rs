//! The table of operators.

use super::call::ImportFn;
use super::error::Fail;
use super::ops;
use std::collections::HashMap;
use std::sync::LazyLock;

/// An operator of the model's world.
pub(crate) struct OpDef {
    pub(crate) domain: &'static str,
    pub(crate) name: &'static str,
    /// First version of the domain's operator set that has it.
    pub(crate) since: i64,
    pub(crate) import: ImportFn,
}

/// An operator that is imported.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub struct OpInfo {
    pub domain: &'static str,
    pub name: &'static str,
    /// First operator set version that has it.
    pub since: i64,
}

/// Shorthand for the tables: an operator of the standard domain.
pub(crate) const fn onnx(name: &'static str, since: i64, import: ImportFn) -> OpDef {
    OpDef { domain: "", name, since, import }
}

/// Shorthand for the tables: an operator of ONNX Runtime's domain.
pub(crate) const fn microsoft(name: &'static str, import: ImportFn) -> OpDef {
    OpDef { domain: "com.microsoft", name, since: 1, import }
}

/// Shorthand for the tables: an operator of the domain of classical machine learning.
pub(crate) const fn ml(name: &'static str, since: i64, import: ImportFn) -> OpDef {
    OpDef { domain: "ai.onnx.ml", name, since, import }
}

/// Shorthand for the tables: an operator of the training domain.
pub(crate) const fn training(name: &'static str, import: ImportFn) -> OpDef {
    OpDef { domain: "ai.onnx.preview.training", name, since: 1, import }
}

/// Shorthand for the tables: an operator of the preview domain.
pub(crate) const fn preview(name: &'static str, import: ImportFn) -> OpDef {
    OpDef { domain: "ai.onnx.preview", name, since: 1, import }
}

static INDEX: LazyLock<HashMap<(&str, &str), &OpDef>> =
    LazyLock::new(|| ops::TABLES.iter().flat_map(|t| t.iter()).map(|d| ((d.domain, d.name), d)).collect());

/// The operator of a name.
pub(crate) fn find(domain: &str, name: &str) -> Option<&'static OpDef> {
    INDEX.get(&(domain, name)).copied()
}

/// The operator of a name in a version of its domain, or why there is none.
pub(crate) fn find_in_opset(domain: &str, name: &str, opset: i64) -> Result<&'static OpDef, Fail> {
    let Some(def) = find(domain, name) else {
        return Err(Fail::unsupported(
            "the operator is not supported",
            "define it as a function of the model, or replace it before the export",
        ));
    };
    if opset < def.since {
        return Err(Fail::invalid(format!(
            "the operator exists since version {}, but the model uses version {opset}",
            def.since
        )));
    }
    Ok(def)
}

/// Every operator that is imported, sorted.
pub fn supported_ops() -> Vec<OpInfo> {
    let mut list: Vec<OpInfo> = ops::TABLES
        .iter()
        .flat_map(|t| t.iter())
        .map(|d| OpInfo { domain: d.domain, name: d.name, since: d.since })
        .collect();
    list.sort_unstable();
    list
}
