//! The primitives and their attributes, one family a file; [`rules`] gives the type of a result.
//!
//! Everything of ONNX is lowered to these at import. Elementwise primitives broadcast like
//! numpy, so that an import needs no explicit expansion. Names print as in the text form.

mod axes;
mod elementwise;
mod epilogue;
mod rules;
mod window;

pub use axes::*;
pub use elementwise::*;
pub use epilogue::*;
pub use rules::{MAX_BYTES, broadcast_shapes};
pub use window::*;

use super::DType;

/// A primitive operation.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Op {
    Unary(Unary),
    Binary(Binary),
    /// cond (`bool`) ? b : c, with broadcasting.
    Select,
    /// x * y + z in `f32`, rounded once, with broadcasting.
    Fma,
    /// Float to integer truncates and saturates (NaN gives 0), integer to integer wraps, anything but
    /// zero is `true`, to a narrower float rounds to nearest even.
    ///
    /// [Narrow](quadrille_isa::narrow) types: to a float rounds to nearest even, to an integer truncates
    /// and keeps the low bits.
    Cast(DType),
    /// The same bits as another element type of the same width; not to `bool` from other types.
    BitCast(DType),
    /// `[..., M, K] x [..., K, N] -> [..., M, N]`, batch axes broadcast; both operands have rank >= 2.
    /// Operands after the first two belong to the epilogue. Integers of 8 and 16 bits may mix and give
    /// `i32`; wider ones keep their type.
    MatMul {
        epilogue: Vec<EpilogueStep>,
    },
    /// Input `[N, C, spatial...]`, weights `[M, C/groups, kernel...]` -> `[N, M, spatial...]`; further
    /// operands belong to the epilogue (a bias is `[M, 1, ...]` or broadcastable). Integers as in `MatMul`.
    Conv {
        window: Window,
        groups: usize,
        epilogue: Vec<EpilogueStep>,
    },
    /// Input `[N, C, spatial...]`, weights `[C, M/groups, kernel...]`; `before`/`after` are cells cut
    /// from the full result, `extra` cells added at its end.
    ConvTranspose {
        window: Window,
        groups: usize,
        extra: Vec<usize>,
    },
    /// Input `[N, C, spatial...]`.
    Pool {
        kind: Pool,
        window: Window,
    },
    /// Over `axes` (sorted, unique); kept as extent 1 when `keep`.
    Reduce {
        kind: Reduce,
        axes: Vec<usize>,
        keep: bool,
    },
    /// Index (`i64`) of the largest or smallest along an axis; the first of equals, or with `last` the
    /// last.
    ArgReduce {
        max: bool,
        axis: usize,
        keep: bool,
        last: bool,
    },
    /// Running sum; `exclusive` leaves out the element itself, `reverse` runs from the end.
    CumSum {
        axis: usize,
        exclusive: bool,
        reverse: bool,
    },
    /// Normalised exponentials along an axis.
    Softmax {
        axis: usize,
    },
    /// `(x - mean) * rsqrt(mean square + epsilon)` over `axes` (sorted, unique), of a float; `mean` is zero
    /// unless `centered`. `epsilon` holds the bits of an f32.
    Norm {
        axes: Vec<usize>,
        centered: bool,
        epsilon: u32,
    },
    /// The same elements in row-major order under another shape.
    Reshape {
        shape: Vec<usize>,
    },
    /// Axis `i` of the result is axis `perm[i]` of the operand.
    Transpose {
        perm: Vec<usize>,
    },
    /// Numpy-style expansion to a shape.
    Broadcast {
        shape: Vec<usize>,
    },
    /// One entry an axis; steps may be negative (`start` is then the first element taken).
    Slice {
        start: Vec<usize>,
        step: Vec<isize>,
        shape: Vec<usize>,
    },
    /// Any number of operands, at least one.
    Concat {
        axis: usize,
    },
    /// Second operand (scalar of the same type) fills when `mode` is `Constant`. Negative entries crop.
    Pad {
        mode: PadMode,
        before: Vec<isize>,
        after: Vec<isize>,
    },
    /// Indices (i32/i64, may be negative) select along `axis`: data, indices.
    Gather {
        axis: usize,
    },
    /// One element per index: data, indices of the same rank.
    GatherElements {
        axis: usize,
    },
    /// Slices at index tuples (the last axis of the indices): data, indices.
    GatherNd {
        batch_dims: usize,
    },
    /// data, indices, updates (both of one shape). Repeated indices apply in order.
    ScatterElements {
        axis: usize,
        mode: ScatterMode,
    },
    /// data, index tuples, slices to write there. Repeated indices apply in order.
    ScatterNd {
        mode: ScatterMode,
    },
    /// In order; the lower index first among equals. NaN counts as the largest.
    TopKValues {
        k: usize,
        axis: usize,
        largest: bool,
    },
    TopKIndices {
        k: usize,
        axis: usize,
        largest: bool,
    },
}

impl Op {
    /// Name in the text form, without attributes.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Unary(u) => u.name(),
            Op::Binary(b) => b.name(),
            Op::Select => "select",
            Op::Fma => "fma",
            Op::Cast(_) => "cast",
            Op::BitCast(_) => "bitcast",
            Op::MatMul { .. } => "matmul",
            Op::Conv { .. } => "conv",
            Op::ConvTranspose { .. } => "conv_transpose",
            Op::Pool { kind: Pool::Max, .. } => "max_pool",
            Op::Pool { .. } => "average_pool",
            Op::Reduce { kind, .. } => kind.name(),
            Op::ArgReduce { max: true, .. } => "arg_max",
            Op::ArgReduce { max: false, .. } => "arg_min",
            Op::CumSum { .. } => "cumsum",
            Op::Softmax { .. } => "softmax",
            Op::Norm { .. } => "norm",
            Op::Reshape { .. } => "reshape",
            Op::Transpose { .. } => "transpose",
            Op::Broadcast { .. } => "broadcast",
            Op::Slice { .. } => "slice",
            Op::Concat { .. } => "concat",
            Op::Pad { .. } => "pad",
            Op::Gather { .. } => "gather",
            Op::GatherElements { .. } => "gather_elements",
            Op::GatherNd { .. } => "gather_nd",
            Op::ScatterElements { .. } => "scatter_elements",
            Op::ScatterNd { .. } => "scatter_nd",
            Op::TopKValues { .. } => "top_k_values",
            Op::TopKIndices { .. } => "top_k_indices",
        }
    }
}
