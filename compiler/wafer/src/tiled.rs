//! The tiled graph: the model as it was cut up, with the precision of every stream and the
//! order of every sum. Its `eval` is, bit for bit, what the program computes.

use super::kernels;
use super::lane::{beyond_lane, raw_bits, tensor_of_raw};
use super::layout::{Layout, Part};
use super::streams::{Producer, StreamId, WaferGraph};
use quadrille_compiler::ir::{DType, Tensor};
use quadrille_isa::numerics::{f16_to_f32, f32_to_f16};
use quadrille_isa::wafer::{ElemType, Pe};
use std::fmt;

/// Name and type of an input or output.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
}

/// The model as kernels and streams, placed.
#[derive(Debug)]
pub struct TiledGraph {
    pub(crate) name: String,
    pub(crate) graph: WaferGraph,
    pub(crate) inputs: Vec<Named>,
    pub(crate) outputs: Vec<Named>,
    /// Chains of PEs, by kernel.
    pub(crate) chains: Vec<Vec<Pe>>,
}

/// Inputs that do not fit the model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("input `{input}`: {reason}")]
pub struct TiledEvalError {
    /// Name or number of the input.
    pub input: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A tensor's elements, known by the indices of one order, put at the indices of another that
/// names them in the same sequence.
fn seen(values: &[u32], from: &Layout, to: &Layout) -> Vec<u32> {
    if from == to {
        return values.to_vec();
    }
    let mut out = vec![0u32; values.len()];
    for (f, t) in from.indices().into_iter().zip(to.indices()) {
        out[t] = values[f];
    }
    out
}

/// The elements of a part of a tensor, at the indices that the part has as a tensor of its own.
fn picked(values: &[u32], part: &Part, own: &Layout) -> Vec<u32> {
    let mut out = vec![0u32; own.elements()];
    for (f, t) in part.indices().into_iter().zip(own.indices()) {
        out[t] = values[f];
    }
    out
}

impl TiledGraph {
    /// Number of kernels.
    pub fn kernels(&self) -> usize {
        self.graph.kernels.len()
    }

    /// Results in the model's order, with the bits that the program computes.
    pub fn eval(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, TiledEvalError> {
        if inputs.len() != self.inputs.len() {
            let reason = format!("the model has {} inputs, {} were given", self.inputs.len(), inputs.len());
            return Err(TiledEvalError { input: "count".to_string(), reason });
        }
        let mut given = Vec::new();
        for (t, n) in inputs.iter().zip(&self.inputs) {
            if let Some(i) = beyond_lane(t) {
                let reason = format!("element {i} does not fit the 32 bits in which the mesh holds {}", n.dtype);
                return Err(TiledEvalError { input: n.name.clone(), reason });
            }
            match t.dtype == n.dtype && t.shape == n.shape {
                true => given.push(raw_bits(t)),
                false => {
                    let reason = format!("it is {}{:?}, not {}{:?}", n.dtype, n.shape, t.dtype, t.shape);
                    return Err(TiledEvalError { input: n.name.clone(), reason });
                }
            }
        }
        let mut values: Vec<Option<Vec<u32>>> = vec![None; self.graph.streams.len()];
        for (s, v) in self.graph.streams.iter().zip(&mut values) {
            if let Producer::Input(i) = s.producer {
                *v = given.get(i).map(|x| match (&s.part, &s.layout) {
                    (Some(part), Some(l)) => picked(x, part, l),
                    _ => x.clone(),
                });
            }
        }
        for k in self.graph.order() {
            let kernel = &self.graph.kernels[k.0];
            let operands: Vec<Vec<u32>> =
                kernel.inputs.iter().map(|o| self.see(&values, o.stream, &o.layout)).collect();
            let operands: Vec<&[u32]> = operands.iter().map(Vec::as_slice).collect();
            let mut v = kernels::eval(kernel.core.as_ref(), &kernel.steps, &operands);
            let stream = self.graph.stream(kernel.output);
            if stream.format.elem == ElemType::F16 && stream.fixed.is_none() {
                v.iter_mut().for_each(|x| *x = f16_to_f32(f32_to_f16(f32::from_bits(*x))).to_bits());
            }
            values[kernel.output.0] = Some(v);
        }
        let mut raw: Vec<Vec<u32>> = self.outputs.iter().map(|n| vec![0; n.shape.iter().product()]).collect();
        for (s, v) in self.graph.streams.iter().zip(&values) {
            for exit in &s.outputs {
                if let (Some(v), Some(l)) = (v, &s.layout) {
                    for (f, t) in l.indices().into_iter().zip(exit.part.indices()) {
                        raw[exit.output][t] = v[f];
                    }
                }
            }
        }
        let nothing = || Tensor::from_f32(&[0], &[]);
        let named = self.outputs.iter().zip(&raw);
        let out = named.map(|(n, v)| tensor_of_raw(n.dtype, &n.shape, v).unwrap_or_else(nothing)).collect();
        Ok(out)
    }

    fn see(&self, values: &[Option<Vec<u32>>], s: StreamId, layout: &Layout) -> Vec<u32> {
        let stream = self.graph.stream(s);
        match (&values[s.0], &stream.layout) {
            (Some(v), Some(l)) => seen(v, l, layout),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for TiledGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loops = |l: &Layout| -> String {
            l.loops.iter().filter(|l| l.count > 1).map(|l| format!("[{}*{}]", l.count, l.step)).collect()
        };
        // Where a part begins, and its order.
        let place = |p: &Part| -> (String, String) {
            let from = if p.first > 0 { format!(" from {}", p.first) } else { String::new() };
            let up = if p.upward { " rows upward" } else { "" };
            (from, format!("{}{up}", loops(&p.layout)))
        };
        writeln!(f, "wafer graph {}", self.name)?;
        for (i, s) in self.graph.streams.iter().enumerate() {
            if let (Producer::Input(k), Some(l)) = (s.producer, &s.layout)
                && let Some(n) = self.inputs.get(k)
            {
                let (from, order) = s.part.as_ref().map_or_else(|| (String::new(), loops(l)), place);
                writeln!(f, "  s{i} = input `{}` {:?}{from} {} {order}", n.name, n.shape, n.dtype)?;
            }
        }
        for k in self.graph.order() {
            let kernel = &self.graph.kernels[k.0];
            let s = self.graph.stream(kernel.output);
            let operands: Vec<String> = kernel.inputs.iter().map(|o| format!("s{}", o.stream.0)).collect();
            let elem = s.format.elem.name();
            let order = s.layout.as_ref().map(&loops).unwrap_or_default();
            writeln!(
                f,
                "  s{} = {} {} {:?} {elem} {order}",
                kernel.output.0,
                kernel.core.op(),
                operands.join(" "),
                s.shape
            )?;
            let about = kernel.core.describe();
            let steps: Vec<&str> = kernel.steps.iter().map(|s| s.name.as_str()).collect();
            write!(f, "      node {}; ", kernel.names.join(" + "))?;
            if !about.is_empty() {
                write!(f, "{about}; ")?;
            }
            if !steps.is_empty() {
                write!(f, "then {}; ", steps.join(", "))?;
            }
            write!(f, "{} PEs", kernel.pes())?;
            if kernel.core.units() > 1 {
                write!(f, " of {} {}", kernel.cut.per, kernel.core.unit_name())?;
            }
            if kernel.cut.parts > 1 {
                write!(f, ", {} a row", kernel.cut.parts)?;
            }
            match self.chains.get(k.0).map(Vec::as_slice) {
                Some([first, .., last]) => writeln!(f, ", ({}, {}) to ({}, {})", first.x, first.y, last.x, last.y)?,
                Some([one]) => writeln!(f, ", ({}, {})", one.x, one.y)?,
                _ => writeln!(f)?,
            }
        }
        for (i, s) in self.graph.streams.iter().enumerate() {
            for e in &s.outputs {
                let n = &self.outputs[e.output];
                let (from, order) = place(&e.part);
                writeln!(f, "  output `{}` {:?}{from} = s{i} {} {order}", n.name, n.shape, n.dtype)?;
            }
        }
        Ok(())
    }
}
