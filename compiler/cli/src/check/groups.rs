//! Problems that read the same, put together: one line for a reason, not one for each node.

use crate::failure::{Failure, Problem};
use crate::machine::Target;
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// Problems with one reason.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ProblemGroup {
    /// Targets that have it; both for a problem of import.
    pub targets: Vec<Target>,
    /// Operators, as the problems name them.
    pub ops: Vec<String>,
    /// Version of the operator set, of the first problem.
    pub opset: Option<i64>,
    /// The attribute at fault, of the first problem.
    pub attribute: Option<String>,
    /// Types of the first problem.
    pub shape: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// Nodes (inputs, dims) that have it, in the model's order.
    pub nodes: Vec<String>,
}

/// Groups the problems of all targets, in the order in which they were met.
pub fn grouped(failures: &[(Target, Failure)]) -> Vec<ProblemGroup> {
    of(failures.iter().flat_map(|(t, f)| f.problems.iter().map(move |p| (Some(*t), p))))
}

/// Groups problems, in the order in which they come.
pub(crate) fn of<'a>(problems: impl Iterator<Item = (Option<Target>, &'a Problem)>) -> Vec<ProblemGroup> {
    let mut groups: Vec<ProblemGroup> = Vec::new();
    let mut index: HashMap<(&str, Option<&str>), usize> = HashMap::new();
    let mut listed: HashSet<(usize, &str)> = HashSet::new();
    for (target, p) in problems {
        let key = (p.reason.as_str(), p.remedy.as_deref());
        let i = *index.entry(key).or_insert_with(|| {
            groups.push(ProblemGroup {
                targets: Vec::new(),
                ops: Vec::new(),
                opset: p.opset,
                attribute: p.attribute.clone(),
                shape: p.shape.clone(),
                reason: p.reason.clone(),
                remedy: p.remedy.clone(),
                nodes: Vec::new(),
            });
            groups.len() - 1
        });
        if let Some(t) = target.filter(|t| !groups[i].targets.contains(t)) {
            groups[i].targets.push(t);
        }
        if let Some(op) = p.op.as_ref().filter(|op| !groups[i].ops.contains(op)) {
            groups[i].ops.push(op.clone());
        }
        if let Some(n) = p.node.as_deref().filter(|n| listed.insert((i, n))) {
            groups[i].nodes.push(n.to_string());
        }
    }
    groups
}

/// Every problem once, in the order in which they were met.
pub(super) fn distinct(failures: &[(Target, Failure)]) -> Vec<Problem> {
    let mut seen = HashSet::new();
    failures.iter().flat_map(|(_, f)| &f.problems).filter(|p| seen.insert(*p)).cloned().collect()
}

/// The first few of many names.
pub(crate) fn few(names: &[String], quote: &str) -> String {
    const SHOWN: usize = 4;
    let mut list: Vec<String> = names.iter().take(SHOWN).map(|n| format!("{quote}{n}{quote}")).collect();
    if names.len() > SHOWN {
        list.push(format!("… {} more", names.len() - SHOWN));
    }
    list.join(", ")
}
