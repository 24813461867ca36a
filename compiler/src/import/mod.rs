//! Model to tensor graph: shapes bound, constants folded, every operator lowered to primitives.
//!
//! Knows the ONNX operators: one file of `ops` for each, or for a close family. Must not know
//! what becomes of the graph: no target, no precision, no fusion.

mod bind;
mod boundary;
mod build;
mod call;
mod error;
mod fold;
mod importer;
mod ops;
mod prune;
mod registry;
mod survey;
mod tensor;

pub use error::{ImportError, ImportErrorKind, ImportErrors, Place};
pub use registry::{OpInfo, supported_ops};
pub use survey::{Blocked, Survey, survey, survey_guessing};
pub use tensor::tensor;

use crate::ir::{Graph, Tensor};
use std::collections::{BTreeMap, BTreeSet};

/// What the model leaves open.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Extents of named dims. An axis without a name is called `INPUT.AXIS`, as in `x.0`.
    pub dims: BTreeMap<String, usize>,
    /// Shapes of inputs, by name; they bind the dims they meet.
    pub input_shapes: BTreeMap<String, Vec<usize>>,
    /// Inputs that become constants. What decides about shapes (the second operand of
    /// `Reshape`, the `k` of `TopK`) must be known at import.
    pub values: BTreeMap<String, Tensor>,
    /// Inputs that are sequences: the shape of each element.
    pub sequences: BTreeMap<String, Vec<Vec<usize>>>,
    /// Optional inputs that hold nothing.
    pub empty: BTreeSet<String>,
}

/// Lowers a model to a tensor graph of primitives.
///
/// The graph has an input for every input of the model that has no initializer and no value in
/// `options`, in the model's order, and an output for each of the model's. Sequences stand there element
/// by element, as `NAME.0`, `NAME.1`, …. On failure every problem found is reported.
pub fn import(model: &quadrille_onnx::Model, options: &ImportOptions) -> Result<Graph, ImportErrors> {
    let inputs = boundary::bind(model, options)?;
    let (graph, errors, _) = survey::lower(model, options, &inputs, None);
    if errors.is_empty() { Ok(prune::prune(&graph)) } else { Err(ImportErrors { errors }) }
}
