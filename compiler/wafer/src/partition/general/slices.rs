//! How a node can be cut into rounds: which leading axes of its result are independent, and
//! which part of each operand a round needs.

use super::{Given, Source};
use quadrille_compiler::ir::Op;

/// The part of an operand that a round needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Slice {
    /// Extents, with ones for the axes that rounds run over.
    pub(super) dims: Vec<usize>,
    /// The same in every round.
    pub(super) once: bool,
}

/// One way to cut.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    pub(super) rounds: usize,
    pub(super) operands: Vec<Slice>,
    pub(super) out: Vec<usize>,
}

/// Elements a round of a flat elementwise node.
const CHUNK: usize = 512;

/// Smaller ones take longer to launch than to work on.
const LEAST_CHUNK: usize = 64;

/// True when only the low words of operand `i` matter: it is moved, or an index.
pub(super) fn takes_low_words(op: &Op, i: usize) -> bool {
    match op {
        Op::Gather { .. } | Op::GatherElements { .. } | Op::GatherNd { .. } => true,
        Op::ScatterElements { .. } | Op::ScatterNd { .. } => i == 1,
        Op::Slice { .. } | Op::Broadcast { .. } | Op::Concat { .. } | Op::Pad { .. } => true,
        Op::Select => i > 0,
        _ => false,
    }
}

/// Number of leading axes of the result along which it can be cut.
fn leading(op: &Op, given: &[Given], out: &[usize]) -> usize {
    let rank = out.len();
    match op {
        Op::Unary(_) | Op::Binary(_) | Op::Fma | Op::Select | Op::Cast(_) | Op::Broadcast { .. } => rank,
        Op::MatMul { .. } => rank - 1,
        Op::Conv { .. } | Op::ConvTranspose { .. } => 1,
        Op::Pool { .. } => 2,
        Op::Reduce { axes, .. } => axes.first().copied().unwrap_or(rank),
        Op::Softmax { axis }
        | Op::ArgReduce { axis, .. }
        | Op::CumSum { axis, .. }
        | Op::Concat { axis }
        | Op::Gather { axis }
        | Op::GatherElements { axis }
        | Op::ScatterElements { axis, .. }
        | Op::TopKValues { axis, .. }
        | Op::TopKIndices { axis, .. } => *axis,
        Op::GatherNd { batch_dims } => *batch_dims,
        Op::Slice { start, step, shape } => {
            let whole = |a: &usize| start[*a] == 0 && step[*a] == 1 && shape[*a] == given[0].shape[*a];
            (0..rank).take_while(whole).count()
        }
        Op::Pad { before, after, .. } => (0..rank).take_while(|&a| before[a] == 0 && after[a] == 0).count(),
        _ => 0,
    }
}

/// The part of operand `i` for rounds over the first `k` axes of the result; `None` when it
/// cannot be told apart.
fn slice(op: &Op, given: &[Given], i: usize, k: usize, out: &[usize]) -> Option<Slice> {
    let shape = &given[i].shape;
    if k == 0 {
        return Some(Slice { dims: shape.clone(), once: true });
    }
    let whole = Slice { dims: shape.clone(), once: true };
    let aligned = |shape: &[usize]| {
        let mut dims = vec![1; out.len().saturating_sub(shape.len())];
        dims.extend(shape);
        let lead = &dims[..k];
        if lead.iter().all(|&d| d == 1) {
            return Some(whole.clone());
        }
        if lead != &out[..k] {
            return None;
        }
        dims[..k].fill(1);
        Some(Slice { dims, once: false })
    };
    let own = || {
        (shape.len() >= k && shape[..k] == out[..k]).then(|| {
            let mut dims = shape.clone();
            dims[..k].fill(1);
            Slice { dims, once: false }
        })
    };
    match op {
        Op::MatMul { .. } if i == 1 && k + 1 == out.len() => {
            let batches = &shape[..shape.len() - 2];
            batches.iter().all(|&d| d == 1).then_some(whole)
        }
        Op::Conv { .. } | Op::ConvTranspose { .. } if i == 1 => Some(whole),
        Op::Conv { .. } | Op::ConvTranspose { .. } | Op::Pool { .. } if i == 0 => own(),
        Op::Gather { .. } if i == 1 => Some(whole),
        Op::Pad { .. } if i == 1 => Some(whole),
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Fma
        | Op::Select
        | Op::Cast(_)
        | Op::Broadcast { .. }
        | Op::MatMul { .. }
        | Op::Conv { .. } => aligned(shape),
        _ => own(),
    }
}

/// The ways to cut a node, from one round to many.
pub(super) fn cuts(op: &Op, given: &[Given], out: &[usize]) -> Vec<Cut> {
    let mut found = Vec::new();
    for k in 0..=leading(op, given, out).min(out.len()) {
        let rounds: usize = out[..k].iter().product();
        if k > 0 && (rounds == 1 || out[k - 1] == 1) {
            continue;
        }
        let operands: Option<Vec<Slice>> = (0..given.len()).map(|i| slice(op, given, i, k, out)).collect();
        let Some(operands) = operands else { continue };
        let mut dims = out.to_vec();
        dims[..k].fill(1);
        found.push(Cut { rounds, operands, out: dims });
    }
    found.extend(flat(op, given, out));
    found
}

/// An elementwise node of operands of one shape, or of one element, by chunks of any size.
fn flat(op: &Op, given: &[Given], out: &[usize]) -> Option<Cut> {
    if !matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Fma | Op::Select | Op::Cast(_)) {
        return None;
    }
    let n: usize = out.iter().product();
    let single = |g: &Given| g.shape.iter().all(|&d| d == 1);
    if n <= CHUNK || given.iter().any(|g| g.shape != out && !single(g)) {
        return None;
    }
    if given.iter().any(|g| single(g) && matches!(g.source, Source::Stream { .. })) {
        return None;
    }
    // Chunks of whole rows, or within one, keep the axes apart for whoever reads them.
    let aligned = |c: usize| {
        let mut within = 1;
        out.iter().rev().any(|&d| {
            let here = c.is_multiple_of(within) && d.is_multiple_of(c / within);
            within *= d;
            here
        })
    };
    let chunks = || (1..=CHUNK).rev().filter(|c| n.is_multiple_of(*c));
    let chunk = chunks().find(|&c| c >= LEAST_CHUNK && aligned(c)).or_else(|| chunks().next())?;
    let operands = given.iter().map(|g| {
        let once = single(g);
        Slice { dims: if once { Vec::new() } else { vec![chunk] }, once }
    });
    Some(Cut { rounds: n / chunk, operands: operands.collect(), out: vec![chunk] })
}
