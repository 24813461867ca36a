//! What stands between a model and its tensor graph.
//!
//! All problems of a model are collected, each with the user's node; nodes that only suffer
//! from another's failure are not reported.

use std::fmt;

/// Whose fault a problem is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ImportErrorKind {
    /// The model contradicts the operator's definition.
    Invalid,
    /// The model may be right, but Quadrille does not do this.
    Unsupported,
    /// An extent of an input must be given.
    NeedsDim,
    /// The value (not just the shape) of an input must be given.
    NeedsValue,
}

/// What a problem is attached to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs)]
pub enum Place {
    Node,
    Input,
    Output,
    Dim,
}

/// One problem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportError {
    /// What `node` names.
    pub place: Place,
    /// Name of the user's node; of the input, output or dim where the problem is with one.
    pub node: String,
    /// Operator; empty when the problem is not with a node.
    pub op: String,
    /// Its domain; the standard domain is the empty string.
    pub domain: String,
    /// Version of the domain's operator set that the model uses.
    pub opset: i64,
    /// Types of the operands, as in `f32[1x3x8x8]`.
    pub operands: Vec<String>,
    /// The attribute that the reason is about, as in `axis = 7`; may be empty.
    pub attribute: String,
    /// What is wrong.
    pub reason: String,
    /// What to do about it; may be empty.
    pub remedy: String,
    /// Whose fault it is.
    pub kind: ImportErrorKind,
    /// Graph inputs whose values must be known ([`ImportErrorKind::NeedsValue`]).
    pub needs: Vec<String>,
}

/// All problems of a model, never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportErrors {
    /// In the model's order.
    pub errors: Vec<ImportError>,
}

impl ImportErrors {
    /// True when nothing but missing support stands in the way.
    pub fn is_unsupported(&self) -> bool {
        self.errors.iter().all(|e| e.kind == ImportErrorKind::Unsupported)
    }

    /// Problems that read the same, with the first of them and the names of all their nodes.
    pub fn grouped(&self) -> Vec<(&ImportError, Vec<&str>)> {
        let mut groups: Vec<(&ImportError, Vec<&str>)> = Vec::new();
        let mut index = std::collections::HashMap::new();
        for e in &self.errors {
            let i = *index.entry((e.place, &e.op, &e.domain, &e.reason, &e.remedy)).or_insert_with(|| {
                groups.push((e, Vec::new()));
                groups.len() - 1
            });
            groups[i].1.push(&e.node);
        }
        groups
    }
}

impl std::error::Error for ImportErrors {}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_problem(f, self, &format!("'{}'", self.node))
    }
}

fn write_problem(f: &mut fmt::Formatter<'_>, e: &ImportError, nodes: &str) -> fmt::Result {
    if e.place != Place::Node {
        let place = match e.place {
            Place::Output => "output",
            Place::Dim => "dim",
            _ => "input",
        };
        write!(f, "{place} {nodes}: {}", e.reason)?;
    } else {
        let domain = if e.domain.is_empty() { "ai.onnx" } else { &e.domain };
        write!(f, "node {nodes} ({}, {domain} {}", e.op, e.opset)?;
        if !e.operands.is_empty() {
            write!(f, ", on {}", e.operands.join(", "))?;
        }
        if !e.attribute.is_empty() {
            write!(f, ", {}", e.attribute)?;
        }
        write!(f, "): {}", e.reason)?;
    }
    if !e.remedy.is_empty() {
        write!(f, "; {}", e.remedy)?;
    }
    Ok(())
}

impl fmt::Display for ImportErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NODES: usize = 4;
        for (i, (e, nodes)) in self.grouped().into_iter().enumerate() {
            let mut names: Vec<String> = nodes.iter().take(NODES).map(|n| format!("'{n}'")).collect();
            if nodes.len() > NODES {
                names.push(format!("… {} more", nodes.len() - NODES));
            }
            if i > 0 {
                f.write_str("\n")?;
            }
            write_problem(f, e, &names.join(", "))?;
        }
        Ok(())
    }
}

/// Why one node could not be imported; the importer adds which.
#[derive(Clone, Debug)]
pub(crate) struct Fail {
    pub(crate) kind: ImportErrorKind,
    pub(crate) reason: String,
    pub(crate) remedy: String,
    pub(crate) needs: Vec<String>,
}

impl ImportError {
    /// A problem that is not with a node.
    pub(crate) fn outside(place: Place, name: &str, fail: Fail) -> ImportError {
        ImportError {
            place,
            node: name.to_string(),
            op: String::new(),
            domain: String::new(),
            opset: 0,
            operands: Vec::new(),
            attribute: String::new(),
            reason: fail.reason,
            remedy: fail.remedy,
            kind: fail.kind,
            needs: fail.needs,
        }
    }
}

impl Fail {
    /// The model contradicts the operator's definition.
    pub(crate) fn invalid(reason: impl Into<String>) -> Fail {
        Fail { kind: ImportErrorKind::Invalid, reason: reason.into(), remedy: String::new(), needs: Vec::new() }
    }

    /// Not done here.
    pub(crate) fn unsupported(reason: impl Into<String>, remedy: impl Into<String>) -> Fail {
        Fail { kind: ImportErrorKind::Unsupported, reason: reason.into(), remedy: remedy.into(), needs: Vec::new() }
    }
}

impl From<crate::ir::TypeError> for Fail {
    fn from(e: crate::ir::TypeError) -> Fail {
        Fail::invalid(e.reason)
    }
}
