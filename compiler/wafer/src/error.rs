//! Why a graph cannot run on the mesh.

use std::fmt;

/// A node that the compiler cannot map yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeProblem {
    /// Name of the user's node.
    pub node: String,
    /// Operation.
    pub op: String,
    /// Types of the operands and the result.
    pub shape: String,
    /// What is in the way.
    pub reason: String,
    /// What the user can do.
    pub remedy: String,
}

impl fmt::Display for NodeProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node `{}` ({} {}): {}; {}", self.node, self.op, self.shape, self.reason, self.remedy)
    }
}

/// Why there is no program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// A node that the compiler cannot map yet (the first; [`super::check`] lists them all).
    #[error("not supported on the wafer: node `{node}` ({op} {shape}): {reason}; {remedy}")]
    #[allow(missing_docs)]
    Unsupported { node: String, op: String, shape: String, reason: String, remedy: String },
    /// Something is larger than the machine.
    #[error("does not fit the wafer: {what} needs {need}, available {have}: {reason}; {remedy}")]
    #[allow(missing_docs)]
    DoesNotFit { what: String, need: u64, have: u64, reason: String, remedy: String },
}

impl From<NodeProblem> for CompileError {
    fn from(p: NodeProblem) -> CompileError {
        CompileError::Unsupported { node: p.node, op: p.op, shape: p.shape, reason: p.reason, remedy: p.remedy }
    }
}
