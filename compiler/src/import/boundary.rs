//! Inputs and outputs of the model that are sequences or optionals: the graph has tensors only.
//!
//! Element `i` of an input or output `s` that is a sequence is called `s.i`. How long an input's
//! sequence is, and whether an optional input holds anything, must be given.

use super::ImportOptions;
use super::call::Val;
use super::error::{Fail, ImportError, ImportErrorKind, ImportErrors, Place};
use super::importer::Importer;
use crate::ir::TensorType;
use quadrille_onnx::{Model, ValueInfo, ValueType};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

/// The inputs of the model that have no initializer, with the types of the tensors they consist of.
pub(super) struct Inputs<'a> {
    list: Vec<(&'a str, Input)>,
    /// Of those that are no constants.
    types: HashMap<String, TensorType>,
}

/// An input of the model, by the tensors it consists of.
enum Input {
    /// A tensor, possibly out of an optional.
    Tensor(ValueInfo),
    /// The elements of a sequence.
    Sequence(Vec<ValueInfo>),
    /// An optional without anything in it.
    Nothing,
}

impl Input {
    fn tensors(&self) -> &[ValueInfo] {
        match self {
            Input::Tensor(v) => std::slice::from_ref(v),
            Input::Sequence(list) => list,
            Input::Nothing => &[],
        }
    }
}

/// The inputs with their extents bound, or everything that is missing.
pub(super) fn bind<'a>(model: &'a Model, options: &ImportOptions) -> Result<Inputs<'a>, ImportErrors> {
    let g = &model.graph;
    let constants: HashSet<&str> = g.initializers.iter().map(|(n, _)| n.as_str()).collect();
    let given: Vec<_> = g.inputs.iter().filter(|v| !constants.contains(v.name.as_str())).collect();
    let list = inputs(&given, options).map_err(|errors| ImportErrors { errors })?;
    let mut shapes = options.clone();
    for (name, input) in &list {
        let elements = options.sequences.get(*name).into_iter().flatten();
        shapes.input_shapes.extend(input.tensors().iter().map(|v| v.name.clone()).zip(elements.cloned()));
    }
    let tensors = list.iter().flat_map(|(_, i)| i.tensors());
    let free: Vec<&ValueInfo> = tensors.filter(|v| !options.values.contains_key(&v.name)).collect();
    let types = super::bind::bind(&free, &shapes).map_err(|errors| ImportErrors { errors })?;
    let types = free.iter().map(|v| v.name.clone()).zip(types).collect();
    Ok(Inputs { list, types })
}

impl<'a> Inputs<'a> {
    /// The tensors that become inputs of the graph, in order.
    pub(super) fn typed(&self) -> impl Iterator<Item = (&ValueInfo, &TensorType)> {
        let tensors = self.list.iter().flat_map(|(_, i)| i.tensors());
        tensors.filter_map(|v| self.types.get(&v.name).map(|t| (v, t)))
    }

    /// Adds the inputs to the graph, constants for those that have a value, and defines their names.
    pub(super) fn define(&self, importer: &mut Importer<'a>, options: &ImportOptions) {
        for (name, input) in &self.list {
            let mut tensors = Vec::new();
            for v in input.tensors() {
                tensors.extend(match (self.types.get(&v.name), options.values.get(&v.name)) {
                    (Some(ty), _) => Some(importer.builder.graph.add_input(v.name.clone(), ty.clone())),
                    (None, Some(t)) => Some(importer.builder.graph.add_const(v.name.clone(), t.clone())),
                    // An input without a value was given a type.
                    (None, None) => None,
                });
            }
            let value = match (input, &tensors[..]) {
                (Input::Tensor(_), [v]) => Val::Tensor(*v),
                (Input::Sequence(_), _) => Val::Sequence(Rc::new(tensors)),
                _ => Val::Nothing,
            };
            importer.define(name, value);
        }
    }
}

/// The inputs as tensors, or everything that is missing.
fn inputs<'a>(list: &[&'a ValueInfo], options: &ImportOptions) -> Result<Vec<(&'a str, Input)>, Vec<ImportError>> {
    let mut errors = Vec::new();
    let mut found = Vec::new();
    for &v in list {
        match input(v, options) {
            Ok(i) => found.push((v.name.as_str(), i)),
            Err(fail) => errors.push(ImportError::outside(Place::Input, &v.name, fail)),
        }
    }
    let known: BTreeSet<&str> = list.iter().map(|v| v.name.as_str()).collect();
    for name in options.sequences.keys().chain(&options.empty).filter(|n| !known.contains(n.as_str())) {
        errors.push(ImportError::outside(Place::Input, name, Fail::invalid("the model has no such input")));
    }
    let mut names = BTreeSet::new();
    for (name, i) in &found {
        if name.is_empty() {
            errors.push(ImportError::outside(Place::Input, name, Fail::invalid("an input of the model has no name")));
        }
        if let Some(v) = i.tensors().iter().find(|v| !names.insert(v.name.clone())) {
            let reason = format!("two inputs are called '{}'; elements of sequences are named like that", v.name);
            errors.push(ImportError::outside(Place::Input, name, Fail::invalid(reason)));
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

fn input(v: &ValueInfo, options: &ImportOptions) -> Result<Input, Fail> {
    let ty = match &v.ty {
        ValueType::Optional(_) if options.empty.contains(&v.name) => return Ok(Input::Nothing),
        ValueType::Optional(inner) => inner,
        _ if options.empty.contains(&v.name) => return Err(Fail::invalid("is no optional and cannot be empty")),
        ty => ty,
    };
    let ValueType::Sequence(element) = ty else {
        return match options.sequences.get(&v.name) {
            Some(_) => Err(Fail::invalid("is no sequence, but shapes of elements are given")),
            None => Ok(Input::Tensor(ValueInfo { name: v.name.clone(), ty: ty.clone() })),
        };
    };
    if !matches!(**element, ValueType::Tensor { .. }) {
        return Err(Fail::unsupported("is a sequence of something else than tensors", ""));
    }
    let Some(shapes) = options.sequences.get(&v.name) else {
        return Err(Fail {
            kind: ImportErrorKind::NeedsDim,
            reason: "is a sequence, whose length and shapes are not known".to_string(),
            remedy: "give the shapes of its elements".to_string(),
            needs: Vec::new(),
        });
    };
    let element = |i: usize| ValueInfo { name: format!("{}.{i}", v.name), ty: (**element).clone() };
    Ok(Input::Sequence((0..shapes.len()).map(element).collect()))
}

/// Adds what an output of the model consists of to the graph's outputs.
pub(super) fn output(importer: &mut Importer<'_>, taken: &mut BTreeSet<String>, name: &str, value: &Val) {
    let tensors = match value {
        Val::Tensor(v) => vec![(name.to_string(), *v)],
        Val::Sequence(list) => list.iter().enumerate().map(|(i, &v)| (format!("{name}.{i}"), v)).collect(),
        Val::Nothing | Val::Failed => Vec::new(),
    };
    for (part, v) in tensors {
        if !taken.insert(part.clone()) {
            let reason = format!("two outputs are called '{part}'; elements of sequences are named like that");
            return importer.report_output(name, Fail::invalid(reason));
        }
        importer.builder.graph.add_output(part, v);
    }
}
