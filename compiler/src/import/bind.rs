//! Types of the graph's inputs: symbolic extents are replaced by numbers.

use super::build::is_moderate;
use super::error::{Fail, ImportError, ImportErrorKind, Place};
use super::{ImportOptions, tensor};
use crate::ir::TensorType;
use quadrille_onnx::{Dim, ValueInfo, ValueType};
use std::collections::{BTreeMap, BTreeSet};

/// The type of each input, in order, or everything that is missing or contradictory.
pub(crate) fn bind(inputs: &[&ValueInfo], options: &ImportOptions) -> Result<Vec<TensorType>, Vec<ImportError>> {
    let mut errors = Vec::new();
    let mut symbols: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    for (name, &n) in &options.dims {
        symbols.insert(name, (n, format!("--dim {name}={n}")));
    }
    // Given shapes bind the symbols they meet.
    for v in inputs {
        let (ValueType::Tensor { shape: Some(dims), .. }, Some(given)) = (&v.ty, options.input_shapes.get(&v.name))
        else {
            continue;
        };
        if dims.len() != given.len() {
            errors.push(problem(
                &v.name,
                ImportErrorKind::Invalid,
                format!("has {} axes in the model, but a value of shape {given:?} is given", dims.len()),
                "",
            ));
            continue;
        }
        for (i, (d, &n)) in dims.iter().zip(given).enumerate() {
            let clash = match d {
                Dim::Fixed(m) if *m != n => Some(format!("the model says {m}")),
                Dim::Symbol(s) => match symbols.get(s.as_str()) {
                    Some((m, who)) if *m != n => Some(format!("'{s}' is {m} by {who}")),
                    _ => {
                        symbols.insert(s, (n, format!("the shape of '{}'", v.name)));
                        None
                    }
                },
                _ => None,
            };
            if let Some(clash) = clash {
                errors.push(problem(
                    &v.name,
                    ImportErrorKind::Invalid,
                    format!("axis {i} is {n} by the given value, but {clash}"),
                    "",
                ));
            }
        }
    }
    let mut used: BTreeSet<String> = BTreeSet::new();
    let mut types = Vec::new();
    for v in inputs {
        match input_type(v, options, &symbols, &mut used) {
            Ok(t) => types.push(t),
            Err(mut e) => errors.append(&mut e),
        }
    }
    for name in options.dims.keys().filter(|n| !used.contains(*n)) {
        let known: BTreeSet<&str> = inputs.iter().flat_map(|v| symbols_of(v)).collect();
        let listed = known.into_iter().map(|s| format!("'{s}'")).collect::<Vec<_>>().join(", ");
        let remedy = if listed.is_empty() { String::new() } else { format!("the model has {listed}") };
        let mut fail = Fail::invalid("no input has a dim of that name");
        fail.remedy = remedy;
        errors.push(ImportError::outside(Place::Dim, name, fail));
    }
    for name in options.input_shapes.keys().filter(|n| !inputs.iter().any(|v| v.name == **n)) {
        if !options.values.contains_key(name) {
            errors.push(problem(name, ImportErrorKind::Invalid, "the model has no such input".to_string(), ""));
        }
    }
    if errors.is_empty() { Ok(types) } else { Err(errors) }
}

fn symbols_of(v: &ValueInfo) -> Vec<&str> {
    let ValueType::Tensor { shape: Some(dims), .. } = &v.ty else { return Vec::new() };
    dims.iter()
        .filter_map(|d| match d {
            Dim::Symbol(s) => Some(s.as_str()),
            _ => None,
        })
        .collect()
}

fn input_type(
    v: &ValueInfo,
    options: &ImportOptions,
    symbols: &BTreeMap<&str, (usize, String)>,
    used: &mut BTreeSet<String>,
) -> Result<TensorType, Vec<ImportError>> {
    let fail = |kind, reason: String, remedy: &str| Err(vec![problem(&v.name, kind, reason, remedy)]);
    let (element, dims) = match &v.ty {
        ValueType::Tensor { element, shape } => (*element, shape),
        ValueType::Sequence(_) => {
            return fail(ImportErrorKind::Unsupported, "is a sequence; inputs must be tensors".into(), "");
        }
        ValueType::Optional(_) => {
            return fail(ImportErrorKind::Unsupported, "is optional; inputs must be tensors".into(), "");
        }
        ValueType::Other(kind) => {
            return fail(ImportErrorKind::Unsupported, format!("is a {kind}; inputs must be tensors"), "");
        }
        ValueType::Unknown => return fail(ImportErrorKind::Invalid, "has no type".into(), "give it one in the model"),
    };
    let dtype = match tensor::dtype_of(element) {
        Ok(d) => d,
        Err(f) => return fail(f.kind, f.reason, &f.remedy),
    };
    let given = options.input_shapes.get(&v.name);
    let Some(dims) = dims else {
        return match given {
            Some(shape) if is_moderate(shape) => Ok(TensorType::new(dtype, shape.clone())),
            Some(shape) => fail(ImportErrorKind::Invalid, format!("shape {shape:?} is too large"), ""),
            None => {
                fail(ImportErrorKind::NeedsDim, "has no shape in the model".into(), "give the input a value or a shape")
            }
        };
    };
    let mut shape = Vec::new();
    let mut missing = Vec::new();
    for (i, d) in dims.iter().enumerate() {
        // An axis without a name can be bound by its place.
        let place = format!("{}.{i}", v.name);
        let key = if let Dim::Symbol(s) = d { s.as_str() } else { place.as_str() };
        let by_option = symbols.get(key).map(|(n, _)| *n);
        if options.dims.contains_key(key) && !matches!(d, Dim::Fixed(_)) {
            used.insert(key.to_string());
        }
        let by_value = given.and_then(|g| g.get(i)).copied();
        match (d, by_value.or(by_option)) {
            (Dim::Fixed(n), _) => shape.push(*n),
            (_, Some(n)) => shape.push(n),
            (_, None) => {
                let what = match d {
                    Dim::Symbol(s) => format!("axis {i} is the dim '{s}', which has no value"),
                    _ => format!("axis {i} has neither a value nor a name"),
                };
                missing.push(problem(&v.name, ImportErrorKind::NeedsDim, what, &format!("give --dim {key}=n")));
            }
        }
    }
    if !missing.is_empty() {
        return Err(missing);
    }
    if !is_moderate(&shape) {
        return fail(ImportErrorKind::Invalid, format!("shape {shape:?} is too large"), "");
    }
    Ok(TensorType::new(dtype, shape))
}

fn problem(name: &str, kind: ImportErrorKind, reason: String, remedy: &str) -> ImportError {
    let fail = Fail { kind, reason, remedy: remedy.to_string(), needs: Vec::new() };
    ImportError::outside(Place::Input, name, fail)
}
