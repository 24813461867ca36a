//! Quantised values whose zero point is -128 become bytes from 0: one saturating cast then makes them, padding is with zeros,
//! and a product needs no correction for the zero point.
//!
//! `q + 128` of `i8` stands for `q`. Sums of products take the difference into their bias; casts to `f32` lose the addition
//! that is behind most of them. Exact: both graphs have the same results for all inputs. Knows the tensor graph alone.

use quadrille_compiler::ir::builder::{Rebuild, rebuild, scalar};
use quadrille_compiler::ir::{
    Binary, DType, EpilogueStep, Graph, Node, Op, PadMode, Pool, Tensor, TypeError, Unary, ValueDef, ValueId,
};

/// What `i8` and `u8` of a value differ by.
pub(crate) const SHIFT: i32 = 128;

/// Magnitude below which no sum or product of `f32` overflows, so that nothing is infinite or not a number.
const FINITE: f64 = 1e38;

/// The graph with such values shifted.
pub(crate) fn unsigned(graph: &Graph) -> Result<Graph, TypeError> {
    let shifted = shifted(graph);
    if !shifted.contains(&true) {
        return Ok(graph.clone());
    }
    rebuild(graph, |r, node| Shifter { graph, shifted: &shifted }.node(r, node))
}

fn is_scalar(graph: &Graph, v: ValueId, value: f64) -> bool {
    graph.constant(v).is_some_and(|t| t.len() == 1 && t.data == scalar(t.dtype, value).data)
}

/// True for operations that move elements or choose among them.
fn keeps_bytes(graph: &Graph, node: &Node) -> bool {
    match &node.op {
        Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Pool { kind: Pool::Max, .. } => true,
        Op::Pad { mode: PadMode::Constant, .. } => is_scalar(graph, node.inputs[1], -f64::from(SHIFT)),
        _ => false,
    }
}

/// True for a product that can take the operand shifted.
fn sums(graph: &Graph, node: &Node, v: ValueId) -> bool {
    let inner = match &node.op {
        Op::Conv { window, .. } => window.before.iter().chain(&window.after).all(|&p| p == 0),
        Op::MatMul { .. } => graph.shape(node.inputs[1]).len() == 2,
        _ => false,
    };
    let (Op::Conv { epilogue, .. } | Op::MatMul { epilogue }) = &node.op else { return false };
    let bias = match &epilogue[..] {
        [] => true,
        [EpilogueStep::Add] => bias_of(graph, node).is_some(),
        _ => false,
    };
    let weights = graph.constant(node.inputs[1]).is_some_and(|w| w.dtype == DType::I8);
    inner && bias && weights && node.inputs[0] == v && !node.inputs[1..].contains(&v)
}

/// The bias of a product, one number an output channel.
fn bias_of(graph: &Graph, node: &Node) -> Option<Tensor> {
    let t = graph.constant(*node.inputs.get(2)?)?;
    (t.dtype == DType::I32 && t.shape == bias_shape(graph, node)).then(|| t.clone())
}

fn bias_shape(graph: &Graph, node: &Node) -> Vec<usize> {
    let out = graph.shape(node.output);
    match &node.op {
        Op::Conv { .. } => std::iter::once(out[1]).chain(out[2..].iter().map(|_| 1)).collect(),
        _ => vec![out[out.len() - 1]],
    }
}

/// A bound of the magnitude of a value of `f32`, where one can be told from a few nodes.
fn magnitude(graph: &Graph, v: ValueId, depth: usize) -> Option<f64> {
    let bound = match &graph.value(v).def {
        ValueDef::Const(t) => {
            let x = t.as_f32()?;
            let most = x.iter().map(|x| f64::from(x.abs())).fold(0.0, f64::max);
            x.iter().all(|x| x.is_finite()).then_some(most)?
        }
        ValueDef::Input(_) => return None,
        ValueDef::Node(n) => {
            let node = graph.node(*n);
            let of = |k: usize| magnitude(graph, node.inputs[k], depth.checked_sub(1)?);
            match &node.op {
                Op::Cast(DType::F32) if graph.ty(node.inputs[0]).dtype.is_int() => 2f64.powi(63),
                Op::Binary(Binary::Mul) => of(0)? * of(1)?,
                Op::Binary(Binary::Add) => of(0)? + of(1)?,
                Op::Fma => of(0)? * of(1)? + of(2)?,
                Op::Softmax { .. } => 1.0,
                Op::Binary(Binary::Div) => {
                    let by = graph.constant(node.inputs[1])?.as_f32()?;
                    of(0)? / by.iter().map(|x| f64::from(x.abs())).fold(f64::INFINITY, f64::min)
                }
                _ => return None,
            }
        }
    };
    (bound < FINITE).then_some(bound)
}

/// What a value with a zero point of -128 is before it is rounded.
fn unrounded(graph: &Graph, node: &Node) -> Option<ValueId> {
    if node.op != Op::Cast(DType::I8) {
        return None;
    }
    let mut add = graph.producer(node.inputs[0])?;
    // The cast saturates by itself.
    let bounds = |n: &Node| match n.op {
        Op::Binary(Binary::Max) => is_scalar(graph, n.inputs[1], -f64::from(SHIFT)),
        Op::Binary(Binary::Min) => is_scalar(graph, n.inputs[1], f64::from(SHIFT - 1)),
        _ => false,
    };
    while bounds(add) {
        add = graph.producer(add.inputs[0])?;
    }
    let round = graph.producer(*add.inputs.first()?)?;
    let moved = add.op == Op::Binary(Binary::Add) && is_scalar(graph, add.inputs[1], -f64::from(SHIFT));
    let known = moved && round.op == Op::Unary(Unary::Round) && magnitude(graph, round.inputs[0], 4).is_some();
    known.then_some(round.inputs[0])
}

/// Values that can be shifted: what makes them and all that reads them can.
fn shifted(graph: &Graph) -> Vec<bool> {
    let mut can = vec![false; graph.values().len()];
    for node in graph.nodes() {
        let of_shifted = keeps_bytes(graph, node) && can[node.inputs[0].0 as usize];
        can[node.output.0 as usize] =
            graph.ty(node.output).dtype == DType::I8 && (of_shifted || unrounded(graph, node).is_some());
    }
    graph.outputs.iter().for_each(|o| can[o.value.0 as usize] = false);
    loop {
        let before = can.clone();
        for node in graph.nodes().iter().rev() {
            let moves = keeps_bytes(graph, node);
            for (k, &v) in node.inputs.iter().enumerate() {
                let taken = match &node.op {
                    Op::Cast(DType::F32) => true,
                    _ if moves => k == 0 && can[node.output.0 as usize],
                    _ => sums(graph, node, v),
                };
                can[v.0 as usize] &= taken;
            }
            // What only moves bytes is shifted with them.
            if moves && !can[node.inputs[0].0 as usize] {
                can[node.output.0 as usize] = false;
            }
        }
        if can == before {
            return can;
        }
    }
}

struct Shifter<'g> {
    graph: &'g Graph,
    shifted: &'g [bool],
}

impl Shifter<'_> {
    fn is(&self, v: ValueId) -> bool {
        self.shifted[v.0 as usize]
    }

    fn node(&self, r: &mut Rebuild<'_>, node: &Node) -> Result<Option<ValueId>, TypeError> {
        let graph = self.graph;
        if self.is(node.output) {
            if let Some(x) = unrounded(graph, node) {
                let x = r.value(x);
                let x = r.add(Op::Unary(Unary::Round), &[x], node)?;
                return r.add(Op::Cast(DType::U8), &[x], node).map(Some);
            }
            let mut inputs = vec![r.value(node.inputs[0])];
            if matches!(node.op, Op::Pad { .. }) {
                inputs.push(r.constant("", scalar(DType::U8, 0.0)));
            }
            return r.add(node.op.clone(), &inputs, node).map(Some);
        }
        match &node.op {
            // q + 128 is the byte itself.
            Op::Binary(Binary::Add) if is_scalar(graph, node.inputs[1], f64::from(SHIFT)) => {
                let Some(cast) = graph.producer(node.inputs[0]) else { return Ok(None) };
                if cast.op != Op::Cast(DType::F32) || !self.is(cast.inputs[0]) {
                    return Ok(None);
                }
                let x = r.value(cast.inputs[0]);
                r.add(cast.op.clone(), &[x], node).map(Some)
            }
            Op::Cast(DType::F32) if self.is(node.inputs[0]) => {
                let x = r.value(node.inputs[0]);
                let x = r.add(node.op.clone(), &[x], node)?;
                let shift = r.constant("", scalar(DType::F32, -f64::from(SHIFT)));
                r.add(Op::Binary(Binary::Add), &[x, shift], node).map(Some)
            }
            Op::Conv { .. } | Op::MatMul { .. } if self.is(node.inputs[0]) => self.sum(r, node).map(Some),
            _ => Ok(None),
        }
    }

    /// A product of a shifted operand: each sum has 128 of every weight too much.
    fn sum(&self, r: &mut Rebuild<'_>, node: &Node) -> Result<ValueId, TypeError> {
        let graph = self.graph;
        let mut inputs = vec![r.value(node.inputs[0]), r.value(node.inputs[1])];
        let weights = graph.constant(node.inputs[1]).map(|t| t.data.clone()).unwrap_or_default();
        let shape = bias_shape(graph, node);
        let channels = shape[0];
        let mut sums = vec![0i32; channels];
        let run = weights.len() / channels.max(1);
        for (i, w) in weights.iter().enumerate() {
            // Filters come whole; columns of a matrix are apart.
            let channel = if matches!(node.op, Op::Conv { .. }) { i / run.max(1) } else { i % channels };
            sums[channel] = sums[channel].wrapping_add(i32::from(*w as i8));
        }
        let bias = bias_of(graph, node).map_or_else(|| vec![0; channels * 4], |t| t.data.to_vec());
        let mut data = Vec::with_capacity(bias.len());
        for (b, s) in bias.chunks_exact(4).zip(&sums) {
            let b = i32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            data.extend(b.wrapping_sub(s.wrapping_mul(SHIFT)).to_le_bytes());
        }
        let none = data.iter().all(|&b| b == 0);
        let epilogue = if none { Vec::new() } else { vec![EpilogueStep::Add] };
        let op = match &node.op {
            Op::Conv { window, groups, .. } => Op::Conv { window: window.clone(), groups: *groups, epilogue },
            _ => Op::MatMul { epilogue },
        };
        if !none && let Ok(t) = Tensor::new(DType::I32, shape, data) {
            inputs.push(r.constant("", t));
        }
        r.add(op, &inputs, node)
    }
}
