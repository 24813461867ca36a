//! Why a graph does not become a program of the `tsp` machine.

use std::fmt;

/// A node that the target cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Unsupported {
    pub node: String,
    pub op: String,
    pub shape: String,
    pub reason: String,
    pub remedy: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unsupported { node, op, shape, reason, remedy } = self;
        write!(f, "node `{node}` ({op} {shape}) cannot run on this machine: {reason}; {remedy}")
    }
}

/// Why compilation stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum CompileError {
    /// An operation, element type or layout that the target has no way to do.
    #[error("node `{node}` ({op} {shape}) cannot run on this machine: {reason}; {remedy}")]
    Unsupported { node: String, op: String, shape: String, reason: String, remedy: String },
    /// More of something than the machine has.
    #[error("{what} does not fit: needs {need}, available {have}: {reason}; {remedy}")]
    DoesNotFit { what: String, need: u64, have: u64, reason: String, remedy: String },
}

impl From<Unsupported> for CompileError {
    fn from(u: Unsupported) -> CompileError {
        let Unsupported { node, op, shape, reason, remedy } = u;
        CompileError::Unsupported { node, op, shape, reason, remedy }
    }
}
