//! Shrinks a model while it still fails in the same way.
//!
//! Works on the file's own messages, so what comes out is what went in, less of it. Any set of nodes
//! makes a model (`cut`): values that come from nodes left out become inputs of the type that
//! they had, or initializers where import knew their elements. So nodes can be bisected, without
//! regard to the graph's ends. Afterwards extents are made smaller. Knows nothing of how a model
//! fails: the caller's [`Trial`] says whether it still does. The same model and trial give the same
//! result.

mod cut;
mod dims;
mod names;
mod nodes;
mod trial;

pub use trial::{Kind, Runner, Signature};

use crate::failure::Failure;
use prost::Message;
use quadrille_compiler::ir::{Tensor, TensorType};
use quadrille_onnx::proto::{ModelProto, TensorProto};
use quadrille_onnx::{Model, TensorData};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Says of a model's bytes whether they fail as the original does.
pub trait Trial {
    /// True when it fails in the same way.
    fn fails(&mut self, model: &[u8]) -> Result<bool, Failure>;
}

/// Type of values by name, and their elements where they are known.
pub type Values = BTreeMap<String, (TensorType, Option<Tensor>)>;

/// What is reduced.
pub struct Subject {
    model: ModelProto,
    values: Values,
}

/// A smaller model.
#[derive(Clone, PartialEq, Debug)]
pub struct Reduced {
    /// The model.
    pub model: ModelProto,
    /// Nodes before.
    pub nodes_before: usize,
    /// Models tried.
    pub trials: usize,
    /// The limit of trials ended the search.
    pub stopped: bool,
}

impl Subject {
    /// Reads the messages of a file that was loaded as `model`. External data come into the file.
    pub fn read(path: &Path, model: &Model, values: Values) -> Result<Subject, Failure> {
        let bytes = crate::file::read(path)?;
        let mut proto = ModelProto::decode(bytes)
            .map_err(|e| Failure::wrong(format!("{}: not an ONNX model: {e}", path.display())))?;
        let graph = proto.graph.get_or_insert_default();
        for (i, n) in graph.node.iter_mut().enumerate() {
            if n.name.is_empty() {
                // The name that the loader gives; it must not change when nodes before it go.
                n.name = format!("{}_{i}", n.op_type);
            }
        }
        let loaded: HashMap<&str, &quadrille_onnx::Tensor> =
            model.graph.initializers.iter().map(|(n, t)| (n.as_str(), t)).collect();
        for t in &mut graph.initializer {
            if let Some(l) = loaded.get(t.name.as_str())
                && let TensorData::Bytes(data) = &l.data
            {
                *t = TensorProto {
                    dims: l.shape.iter().map(|&d| d as i64).collect(),
                    data_type: l.element as i32,
                    name: t.name.clone(),
                    raw_data: Some(data.clone()),
                    ..TensorProto::default()
                };
            }
        }
        Ok(Subject { model: proto, values })
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.model.graph.as_ref().map_or(0, |g| g.node.len())
    }

    /// Reduces. `suspects` are names of nodes that the failure names: they are tried first. At most
    /// `limit` models are tried.
    pub fn reduce(self, trial: &mut dyn Trial, suspects: &[String], limit: usize) -> Result<Reduced, Failure> {
        let nodes_before = self.nodes();
        let mut counted = Counted { trial, left: limit, failure: None };
        let whole: Vec<usize> = (0..nodes_before).collect();
        let cutter = cut::Cutter::new(&self.model, &self.values);
        let mut fails = |kept: &[usize]| cutter.cut(kept).is_some_and(|m| counted.fails(&m));
        if !fails(&whole) {
            counted.check()?;
            return Err(Failure::usage(
                "with its dims fixed and the given data left out, the model no longer fails this way",
            ));
        }
        let named = cutter.named(suspects);
        let start = if !named.is_empty() && fails(&named) { named } else { nodes::bisect(whole, &mut fails) };
        let kept = nodes::minimise(start, &mut fails);
        let mut model = cutter.cut(&kept).expect("it was made before");
        dims::shrink(&mut model, &mut |m| counted.fails(m));
        counted.check()?;
        let stopped = counted.left == 0;
        Ok(Reduced { model, nodes_before, trials: limit - counted.left, stopped })
    }
}

/// A trial with a limit; once something goes wrong with it, nothing fails any more.
struct Counted<'a> {
    trial: &'a mut dyn Trial,
    left: usize,
    failure: Option<Failure>,
}

impl Counted<'_> {
    fn fails(&mut self, m: &ModelProto) -> bool {
        if self.left == 0 || self.failure.is_some() {
            return false;
        }
        self.left -= 1;
        self.trial.fails(&m.encode_to_vec()).unwrap_or_else(|e| {
            self.failure = Some(e);
            false
        })
    }

    fn check(&mut self) -> Result<(), Failure> {
        self.failure.take().map_or(Ok(()), Err)
    }
}
