//! What can be wrong with a file, grouped by whose fault it is.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong with a model, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The place, as in `node 'conv1' (Conv)` or `initializer 'w'`.
    pub place: String,
    /// What is wrong there.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

/// Why a model was not read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be opened or mapped.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The bytes are no protobuf message of the expected kind.
    #[error("not an ONNX model, or a damaged one: {0}")]
    Decode(String),
    /// The format or operator set version is outside what is supported.
    #[error("{what} {found} is not supported (supported: {lowest} to {highest}); {remedy}")]
    Version {
        /// Which version.
        what: String,
        /// The model's.
        found: i64,
        /// Lowest supported.
        lowest: i64,
        /// Highest supported.
        highest: i64,
        /// What to do.
        remedy: String,
    },
    /// The message is readable, but the model it describes is not well formed.
    #[error("the model is not well formed{}", Problems(.0))]
    Invalid(Vec<Problem>),
}

impl LoadError {
    /// True when the model may be right but is of a version that is not supported.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, LoadError::Version { .. })
    }
}

/// Lists the first problems, then how many more there are.
struct Problems<'a>(&'a [Problem]);

impl fmt::Display for Problems<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        for p in self.0.iter().take(SHOWN) {
            write!(f, "\n  {p}")?;
        }
        if self.0.len() > SHOWN {
            write!(f, "\n  … and {} more", self.0.len() - SHOWN)?;
        }
        Ok(())
    }
}
