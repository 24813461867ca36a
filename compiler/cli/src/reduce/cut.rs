//! A model of some nodes of another.

use super::{Values, names};
use crate::data::pb;
use quadrille_compiler::ir::TensorType;
use quadrille_onnx::proto::{
    Dimension, FunctionProto, ModelProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use std::collections::{BTreeSet, HashMap, HashSet};

/// What is known of a model, for any number of cuts.
pub(super) struct Cutter<'a> {
    model: &'a ModelProto,
    values: &'a Values,
    /// Names that each node uses.
    uses: Vec<Vec<String>>,
    initializers: HashMap<&'a str, &'a TensorProto>,
    /// Types that the file states.
    stated: HashMap<&'a str, &'a ValueInfoProto>,
    outputs: HashSet<&'a str>,
    /// Names that any node uses.
    used: HashSet<String>,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(model: &'a ModelProto, values: &'a Values) -> Cutter<'a> {
        let g = model.graph.as_ref();
        let nodes = g.map_or(&[][..], |g| &g.node);
        let uses: Vec<Vec<String>> = nodes.iter().map(names::uses).collect();
        let infos = g.into_iter().flat_map(|g| g.value_info.iter().chain(&g.output).chain(&g.input));
        Cutter {
            model,
            values,
            used: uses.iter().flatten().cloned().collect(),
            uses,
            initializers: g.into_iter().flat_map(|g| &g.initializer).map(|t| (t.name.as_str(), t)).collect(),
            stated: infos.map(|v| (v.name.as_str(), v)).collect(),
            outputs: g.into_iter().flat_map(|g| &g.output).map(|v| v.name.as_str()).collect(),
        }
    }

    /// Numbers of the nodes that a failure names: `a`, `a + b` (fused), `a/part`.
    pub(super) fn named(&self, suspects: &[String]) -> Vec<usize> {
        let parts: Vec<&str> = suspects.iter().flat_map(|s| s.split(" + ")).collect();
        let is_named = |name: &str| {
            parts.iter().any(|p| p.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        };
        let nodes = self.model.graph.iter().flat_map(|g| g.node.iter().enumerate());
        nodes.filter(|(_, n)| is_named(&n.name)).map(|(i, _)| i).collect()
    }

    /// The model of the nodes `kept`, ascending; `None` where the type of a value that becomes an
    /// input is not known.
    pub(super) fn cut(&self, kept: &[usize]) -> Option<ModelProto> {
        let g = self.model.graph.as_ref()?;
        let made: HashSet<&str> = kept.iter().flat_map(|&i| g.node[i].output.iter().map(String::as_str)).collect();
        let read: HashSet<&str> = kept.iter().flat_map(|&i| self.uses[i].iter().map(String::as_str)).collect();
        let mut out = quadrille_onnx::proto::GraphProto { name: g.name.clone(), ..Default::default() };
        let mut defined = BTreeSet::new();
        for name in kept.iter().flat_map(|&i| &self.uses[i]).map(String::as_str) {
            if made.contains(name) || !defined.insert(name) {
                continue;
            }
            match (self.initializers.get(name), self.values.get(name)) {
                (Some(t), _) => out.initializer.push((*t).clone()),
                (None, Some((_, Some(t)))) => out.initializer.push(pb::proto(name, t)),
                (None, Some((ty, None))) => out.input.push(info(name, ty)),
                (None, None) => out.input.push((*self.stated.get(name)?).clone()),
            }
        }
        for &i in kept {
            let n = &g.node[i];
            for o in n.output.iter().filter(|o| !o.is_empty() && !read.contains(o.as_str())) {
                // A result that nobody ever asked for stays so.
                if self.outputs.contains(o.as_str()) || self.used.contains(o) {
                    out.output.push(match (self.values.get(o), self.stated.get(o.as_str())) {
                        (Some((ty, _)), _) => info(o, ty),
                        (None, Some(v)) => (*v).clone(),
                        (None, None) => ValueInfoProto { name: o.clone(), r#type: None },
                    });
                }
            }
            out.node.push(n.clone());
        }
        if out.output.is_empty() {
            return None;
        }
        Some(ModelProto {
            functions: self.functions(&out.node),
            graph: Some(out),
            metadata_props: Vec::new(),
            ..ModelProto {
                ir_version: self.model.ir_version,
                opset_import: self.model.opset_import.clone(),
                producer_name: self.model.producer_name.clone(),
                producer_version: self.model.producer_version.clone(),
                ..Default::default()
            }
        })
    }

    /// The functions that nodes call, directly or through others.
    fn functions(&self, nodes: &[quadrille_onnx::proto::NodeProto]) -> Vec<FunctionProto> {
        if self.model.functions.is_empty() {
            return Vec::new();
        }
        let id = |f: &FunctionProto| {
            let domain = if f.domain == "ai.onnx" { String::new() } else { f.domain.clone() };
            (domain, f.name.clone(), f.overload.clone())
        };
        let mut called = HashSet::new();
        nodes.iter().for_each(|n| names::calls(n, &mut called));
        loop {
            let before = called.len();
            for f in self.model.functions.iter().filter(|f| called.contains(&id(f))).cloned().collect::<Vec<_>>() {
                f.node.iter().for_each(|n| names::calls(n, &mut called));
            }
            if called.len() == before {
                break;
            }
        }
        self.model.functions.iter().filter(|f| called.contains(&id(f))).cloned().collect()
    }
}

fn info(name: &str, ty: &TensorType) -> ValueInfoProto {
    let dim = |&d: &usize| Dimension { dim_value: Some(d as i64), dim_param: None };
    let tensor = TensorTypeProto {
        elem_type: pb::element(ty.dtype) as i32,
        shape: Some(TensorShapeProto { dim: ty.shape.iter().map(dim).collect() }),
    };
    ValueInfoProto {
        name: name.to_string(),
        r#type: Some(TypeProto { tensor_type: Some(tensor), ..Default::default() }),
    }
}
