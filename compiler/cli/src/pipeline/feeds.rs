//! The tensors that go into a run and those that are expected to come out.

use crate::data::{self, DataSet, Named};
use crate::failure::Failure;
use quadrille_compiler::ir::{Graph, TensorType};
use quadrille_isa::Tensor;
use quadrille_onnx::Model;
use std::collections::BTreeMap;
use std::path::Path;

/// Inputs and expected outputs, by name.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Feeds {
    pub inputs: BTreeMap<String, Tensor>,
    pub expected: BTreeMap<String, Tensor>,
}

/// Names of a model's inputs, in order, without those that are constants.
pub fn input_names(model: &Model) -> Vec<String> {
    let constant = |n: &str| model.graph.initializers.iter().any(|(i, _)| i == n);
    model.graph.inputs.iter().map(|v| v.name.clone()).filter(|n| !constant(n)).collect()
}

/// Names of a model's outputs, in order.
pub fn output_names(model: &Model) -> Vec<String> {
    model.graph.outputs.iter().map(|v| v.name.clone()).collect()
}

impl Feeds {
    /// Reads the files of a command. `inputs` and `outputs` are the names of the model's or the
    /// program's; `others` are further values that may be expected.
    pub fn read(
        folder: Option<&Path>,
        input_files: &[Named],
        expect_files: &[Named],
        inputs: &[String],
        outputs: &[String],
        others: &[String],
    ) -> Result<Feeds, Failure> {
        let mut feeds = Feeds::default();
        if let Some(folder) = folder {
            let set = DataSet::read(folder)?;
            for (what, tensors, names) in [("input", &set.inputs, inputs), ("output", &set.outputs, outputs)] {
                if tensors.len() > names.len() {
                    return Err(Failure::wrong(format!(
                        "{}: {} {what} tensors, but the model has {} {what}s",
                        folder.display(),
                        tensors.len(),
                        names.len()
                    )));
                }
            }
            feeds.inputs.extend(inputs.iter().cloned().zip(set.inputs));
            feeds.expected.extend(outputs.iter().cloned().zip(set.outputs));
        }
        feeds.inputs.extend(data::assign(input_files, "input", inputs)?);
        let expectable: Vec<String> = outputs.iter().chain(others).cloned().collect();
        feeds.expected.extend(data::assign(expect_files, "output", &expectable)?);
        Ok(feeds)
    }

    /// The inputs of a graph, in order: those given, seeded ones for the others.
    pub fn for_graph(&self, graph: &Graph, seed: u64) -> Result<Vec<Tensor>, Failure> {
        let declared: Vec<(String, TensorType)> =
            graph.inputs.iter().map(|&v| (graph.value(v).name.clone(), graph.ty(v).clone())).collect();
        self.for_types(&declared, seed)
    }

    /// The inputs of a list of names and types, in order.
    pub fn for_types(&self, declared: &[(String, TensorType)], seed: u64) -> Result<Vec<Tensor>, Failure> {
        let one = |(i, (name, ty)): (usize, &(String, TensorType))| match self.inputs.get(name) {
            Some(t) if (t.dtype, &t.shape) == (ty.dtype, &ty.shape) => Ok(t.clone()),
            Some(t) => Err(Failure::wrong(format!(
                "input `{name}` is {ty}, but the data given is {}",
                TensorType::new(t.dtype, t.shape.clone())
            ))),
            None => data::seeded(seed, i, ty.dtype, &ty.shape)
                .ok_or_else(|| Failure::wrong(format!("input `{name}` is {ty}: its size overflows"))),
        };
        declared.iter().enumerate().map(one).collect()
    }
}
