//! Model to tensor graph: shapes bound, constants folded, every operator lowered to primitives.
//!
//! Knows the ONNX operators: one file of `ops` for each, or for a close family. Must not know
//! what becomes of the graph: no target, no precision, no fusion.

mod bind;
mod build;
mod call;
mod error;
mod fold;
mod importer;
mod ops;
mod prune;
mod registry;
mod tensor;

pub use error::{ImportError, ImportErrorKind, ImportErrors, Place};
pub use registry::{OpInfo, supported_ops};
pub use tensor::tensor;

use crate::ir::{Graph, Tensor};
use call::Val;
use error::Fail;
use importer::Importer;
use std::collections::BTreeMap;

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
}

/// Lowers a model to a tensor graph of primitives.
///
/// The graph has an input for every input of the model that has no initializer and no value in
/// `options`, in the model's order. On failure every problem found is reported.
pub fn import(model: &quadrille_onnx::Model, options: &ImportOptions) -> Result<Graph, ImportErrors> {
    let g = &model.graph;
    let constants: std::collections::HashSet<&str> = g.initializers.iter().map(|(n, _)| n.as_str()).collect();
    let inputs: Vec<_> = g
        .inputs
        .iter()
        .filter(|v| !constants.contains(v.name.as_str()) && !options.values.contains_key(&v.name))
        .collect();
    let types = bind::bind(&inputs, options).map_err(|errors| ImportErrors { errors })?;
    let mut importer = Importer::new(model);
    importer.push_frame(true);
    for (v, ty) in inputs.iter().zip(types) {
        let id = importer.builder.graph.add_input(v.name.clone(), ty);
        importer.define(&v.name, Val::Tensor(id));
    }
    for v in &g.inputs {
        if let Some(t) = options.values.get(&v.name)
            && !constants.contains(v.name.as_str())
        {
            let id = importer.builder.graph.add_const(v.name.clone(), t.clone());
            importer.define(&v.name, Val::Tensor(id));
        }
    }
    let results = importer.graph(g);
    for (i, v) in g.outputs.iter().enumerate() {
        match results.as_ref().map(|r| &r[i]) {
            Ok(Val::Tensor(id)) => {
                let id = *id;
                importer.builder.graph.add_output(v.name.clone(), id);
            }
            Ok(Val::Failed) => {}
            Ok(_) => {
                importer.report_output(&v.name, Fail::unsupported("is no tensor; only tensors can be results", ""))
            }
            Err(e) => importer.report_output(&v.name, e.clone()),
        }
    }
    let (builder, errors) = importer.into_parts();
    if errors.is_empty() { Ok(prune::prune(&builder.graph)) } else { Err(ImportErrors { errors }) }
}
