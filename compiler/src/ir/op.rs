//! The primitives, their attributes and the type of their result.
//!
//! Everything of ONNX is lowered to these at import. Elementwise primitives broadcast like
//! numpy, so that an import needs no explicit expansion. Names print as in the text form.

use super::graph::{TensorType, TypeError};
use quadrille_isa::DType;

/// Elementwise operations of one operand; result type = operand type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Unary {
    Neg,
    Abs,
    Sign,
    /// Logical for `bool`, bitwise for integers.
    Not,
    Exp,
    Log,
    Sqrt,
    Rsqrt,
    Recip,
    Tanh,
    Sigmoid,
    Erf,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Asinh,
    Acosh,
    Atanh,
    Floor,
    Ceil,
    /// Ties to even.
    Round,
    Relu,
    /// To `bool`.
    IsNan,
    /// To `bool`.
    IsInf,
}

/// Elementwise operations of two operands of one type, with broadcasting.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    /// Truncates for integers.
    Div,
    /// Sign of the divisor (Python's `%`).
    Mod,
    /// Sign of the dividend (C's `fmod`).
    Rem,
    Pow,
    Max,
    Min,
    And,
    Or,
    Xor,
    Shl,
    Shr,
    /// x where x >= 0, else x * slope: second operand is the slope.
    Prelu,
    /// Compares give `bool`.
    Eq,
    Lt,
    Le,
    Gt,
    Ge,
}

/// Reductions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Reduce {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
}

/// Pooling.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Pool {
    Max,
    /// Divides by the window's cells inside the unpadded input.
    AverageExcludePad,
    /// Divides by the window's cells, padding included (cells that `ceil_mode` adds beyond the
    /// padding do not count).
    AverageIncludePad,
}

/// Filling of a pad.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum PadMode {
    Constant,
    Reflect,
    Edge,
    Wrap,
}

/// How scattered elements join what is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum ScatterMode {
    Replace,
    Add,
    Mul,
    Max,
    Min,
}

/// A window over the spatial axes (those after batch and channel). All vectors have one entry
/// a spatial axis.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub struct Window {
    pub kernel: Vec<usize>,
    pub stride: Vec<usize>,
    pub dilation: Vec<usize>,
    /// Cells added before and after; `after` includes what `ceil_mode` needs.
    pub before: Vec<usize>,
    pub after: Vec<usize>,
}

/// A step after the sum of a convolution or a matrix product, before its result is rounded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum EpilogueStep {
    /// Add the next extra operand (it broadcasts against the result).
    Add,
    /// Multiply by the next extra operand.
    Mul,
    Relu,
    /// Leaky relu with this slope (f32 bits).
    LeakyRelu(u32),
    /// Parametric relu; the slope is the next extra operand.
    Prelu,
    /// Maximum with a constant (f32 bits).
    MaxConst(u32),
    /// Minimum with a constant (f32 bits).
    MinConst(u32),
    Sigmoid,
    Tanh,
    /// Gelu with erf.
    Gelu,
}

/// A primitive operation.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Op {
    Unary(Unary),
    Binary(Binary),
    /// cond (`bool`) ? b : c, with broadcasting.
    Select,
    Cast(DType),
    /// `[..., M, K] x [..., K, N] -> [..., M, N]`, batch axes broadcast; both operands have rank >= 2.
    /// Operands after the first two belong to the epilogue. Integer operands give `i32`.
    MatMul {
        epilogue: Vec<EpilogueStep>,
    },
    /// Input `[N, C, spatial...]`, weights `[M, C/groups, kernel...]` -> `[N, M, spatial...]`; further
    /// operands belong to the epilogue (a bias is `[M, 1, ...]` or broadcastable).
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
    /// Index (`i64`) of the largest or smallest along an axis.
    ArgReduce {
        max: bool,
        axis: usize,
        keep: bool,
        last: bool,
    },
    CumSum {
        axis: usize,
        exclusive: bool,
        reverse: bool,
    },
    /// Normalised exponentials along an axis.
    Softmax {
        axis: usize,
    },
    Reshape {
        shape: Vec<usize>,
    },
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
    GatherElements {
        axis: usize,
    },
    GatherNd {
        batch_dims: usize,
    },
    ScatterElements {
        axis: usize,
        mode: ScatterMode,
    },
    ScatterNd {
        mode: ScatterMode,
    },
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

fn fail<T>(op: &Op, reason: impl Into<String>) -> Result<T, TypeError> {
    Err(TypeError { op: op.name().to_string(), reason: reason.into() })
}

/// Result of numpy broadcasting, or `None` when the shapes do not agree.
pub fn broadcast_shapes(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let dim = |s: &[usize], i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
    (0..rank)
        .map(|i| match (dim(a, i), dim(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

impl Window {
    /// Extent of the result along spatial axis `i` for an input extent, `None` when the window
    /// does not fit.
    pub fn out_extent(&self, i: usize, input: usize) -> Option<usize> {
        let span = self.dilation[i].checked_mul(self.kernel[i].checked_sub(1)?)?.checked_add(1)?;
        let padded = input.checked_add(self.before[i])?.checked_add(self.after[i])?;
        Some(padded.checked_sub(span)? / self.stride[i].max(1) + 1)
    }

    fn is_consistent(&self, spatial: usize) -> bool {
        [&self.kernel, &self.stride, &self.dilation, &self.before, &self.after].iter().all(|v| v.len() == spatial)
            && self.kernel.iter().chain(&self.stride).chain(&self.dilation).all(|&x| x > 0)
    }
}

impl EpilogueStep {
    /// True when the step takes an operand.
    pub fn takes_operand(self) -> bool {
        matches!(self, EpilogueStep::Add | EpilogueStep::Mul | EpilogueStep::Prelu)
    }
}

impl Op {
    /// Name in the text form, without attributes.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Unary(u) => u.name(),
            Op::Binary(b) => b.name(),
            Op::Select => "select",
            Op::Cast(_) => "cast",
            Op::MatMul { .. } => "matmul",
            Op::Conv { .. } => "conv",
            Op::ConvTranspose { .. } => "conv_transpose",
            Op::Pool { kind: Pool::Max, .. } => "max_pool",
            Op::Pool { .. } => "average_pool",
            Op::Reduce { kind, .. } => kind.name(),
            Op::ArgReduce { .. } => "arg_reduce",
            Op::CumSum { .. } => "cumsum",
            Op::Softmax { .. } => "softmax",
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

    /// Type of the result for operand types, or why they do not fit.
    pub fn result_type(&self, inputs: &[&TensorType]) -> Result<TensorType, TypeError> {
        let arity = |n: usize| {
            if inputs.len() == n { Ok(()) } else { fail(self, format!("takes {n} operands, got {}", inputs.len())) }
        };
        let axis_ok = |axis: usize, t: &TensorType| {
            if axis < t.rank() { Ok(()) } else { fail(self, format!("axis {axis} is out of range for {t}")) }
        };
        match self {
            Op::Unary(u) => {
                arity(1)?;
                let t = inputs[0];
                let dtype = if matches!(u, Unary::IsNan | Unary::IsInf) { DType::Bool } else { t.dtype };
                Ok(TensorType::new(dtype, t.shape.clone()))
            }
            Op::Binary(b) => {
                arity(2)?;
                if inputs[0].dtype != inputs[1].dtype {
                    return fail(self, format!("operand types differ: {} and {}", inputs[0], inputs[1]));
                }
                let Some(shape) = broadcast_shapes(&inputs[0].shape, &inputs[1].shape) else {
                    return fail(self, format!("{} and {} do not broadcast", inputs[0], inputs[1]));
                };
                Ok(TensorType::new(if b.is_compare() { DType::Bool } else { inputs[0].dtype }, shape))
            }
            Op::Select => {
                arity(3)?;
                if inputs[0].dtype != DType::Bool || inputs[1].dtype != inputs[2].dtype {
                    return fail(self, format!("wants bool, T, T; got {}, {}, {}", inputs[0], inputs[1], inputs[2]));
                }
                let shape = broadcast_shapes(&inputs[0].shape, &inputs[1].shape)
                    .and_then(|s| broadcast_shapes(&s, &inputs[2].shape));
                match shape {
                    Some(shape) => Ok(TensorType::new(inputs[1].dtype, shape)),
                    None => fail(self, format!("{}, {} and {} do not broadcast", inputs[0], inputs[1], inputs[2])),
                }
            }
            Op::Cast(d) => {
                arity(1)?;
                Ok(TensorType::new(*d, inputs[0].shape.clone()))
            }
            Op::MatMul { epilogue } => {
                self.epilogue_arity(2, epilogue, inputs)?;
                let (a, b) = (inputs[0], inputs[1]);
                if a.rank() < 2 || b.rank() < 2 {
                    return fail(self, format!("operands need at least two axes: {a} and {b}"));
                }
                if a.dtype.is_float() && a.dtype != b.dtype {
                    return fail(self, format!("operand types differ: {a} and {b}"));
                }
                let (m, k) = (a.shape[a.rank() - 2], a.shape[a.rank() - 1]);
                let (k2, n) = (b.shape[b.rank() - 2], b.shape[b.rank() - 1]);
                if k != k2 {
                    return fail(self, format!("inner extents differ: {a} and {b}"));
                }
                let Some(mut shape) = broadcast_shapes(&a.shape[..a.rank() - 2], &b.shape[..b.rank() - 2]) else {
                    return fail(self, format!("batch axes of {a} and {b} do not broadcast"));
                };
                shape.extend([m, n]);
                let dtype = if a.dtype.is_float() { a.dtype } else { DType::I32 };
                self.epilogue_type(TensorType::new(dtype, shape), epilogue, &inputs[2..])
            }
            Op::Conv { window, groups, epilogue } => {
                self.epilogue_arity(2, epilogue, inputs)?;
                let (x, w) = (inputs[0], inputs[1]);
                if x.rank() < 2 || w.rank() != x.rank() || !window.is_consistent(x.rank() - 2) {
                    return fail(self, format!("{x} and weights {w} do not fit the window {window:?}"));
                }
                if *groups == 0
                    || !x.shape[1].is_multiple_of(*groups)
                    || !w.shape[0].is_multiple_of(*groups)
                    || w.shape[1] != x.shape[1] / groups
                    || w.shape[2..] != window.kernel[..]
                {
                    return fail(
                        self,
                        format!("weights {w} do not fit {x} in {groups} groups with kernel {:?}", window.kernel),
                    );
                }
                let mut shape = vec![x.shape[0], w.shape[0]];
                for i in 0..x.rank() - 2 {
                    match window.out_extent(i, x.shape[i + 2]) {
                        Some(e) => shape.push(e),
                        None => return fail(self, format!("the window is larger than the padded input {x}")),
                    }
                }
                let dtype = if x.dtype.is_float() { x.dtype } else { DType::I32 };
                self.epilogue_type(TensorType::new(dtype, shape), epilogue, &inputs[2..])
            }
            Op::ConvTranspose { window, groups, extra } => {
                arity(2)?;
                let (x, w) = (inputs[0], inputs[1]);
                let spatial = x.rank().saturating_sub(2);
                if x.rank() < 2
                    || w.rank() != x.rank()
                    || !window.is_consistent(spatial)
                    || extra.len() != spatial
                    || *groups == 0
                    || w.shape[0] != x.shape[1]
                    || !x.shape[1].is_multiple_of(*groups)
                    || w.shape[2..] != window.kernel[..]
                {
                    return fail(self, format!("weights {w} do not fit {x} in {groups} groups"));
                }
                let mut shape = vec![x.shape[0], w.shape[1] * groups];
                for i in 0..spatial {
                    let full =
                        x.shape[i + 2].checked_sub(1).and_then(|n| n.checked_mul(window.stride[i])).and_then(|n| {
                            (n + window.dilation[i] * (window.kernel[i] - 1) + 1 + extra[i])
                                .checked_sub(window.before[i] + window.after[i])
                        });
                    match full {
                        Some(e) => shape.push(e),
                        None => return fail(self, format!("padding is larger than the result of {x}")),
                    }
                }
                Ok(TensorType::new(x.dtype, shape))
            }
            Op::Pool { window, .. } => {
                arity(1)?;
                let x = inputs[0];
                if x.rank() < 2 || !window.is_consistent(x.rank() - 2) {
                    return fail(self, format!("{x} does not fit the window {window:?}"));
                }
                let mut shape = x.shape[..2].to_vec();
                for i in 0..x.rank() - 2 {
                    match window.out_extent(i, x.shape[i + 2]) {
                        Some(e) => shape.push(e),
                        None => return fail(self, format!("the window is larger than the padded input {x}")),
                    }
                }
                Ok(TensorType::new(x.dtype, shape))
            }
            Op::Reduce { axes, keep, .. } => {
                arity(1)?;
                let x = inputs[0];
                if axes.iter().any(|&a| a >= x.rank()) || axes.windows(2).any(|w| w[0] >= w[1]) {
                    return fail(self, format!("axes {axes:?} are not sorted, unique axes of {x}"));
                }
                Ok(TensorType::new(x.dtype, reduced_shape(&x.shape, axes, *keep)))
            }
            Op::ArgReduce { axis, keep, .. } => {
                arity(1)?;
                axis_ok(*axis, inputs[0])?;
                Ok(TensorType::new(DType::I64, reduced_shape(&inputs[0].shape, &[*axis], *keep)))
            }
            Op::CumSum { axis, .. } | Op::Softmax { axis } => {
                arity(1)?;
                axis_ok(*axis, inputs[0])?;
                Ok(inputs[0].clone())
            }
            Op::Reshape { shape } => {
                arity(1)?;
                if quadrille_isa::tensor::element_count(shape) != Some(inputs[0].elements()) {
                    return fail(self, format!("{} does not have as many elements as {shape:?}", inputs[0]));
                }
                Ok(TensorType::new(inputs[0].dtype, shape.clone()))
            }
            Op::Transpose { perm } => {
                arity(1)?;
                let x = inputs[0];
                let mut seen = perm.clone();
                seen.sort_unstable();
                if seen != (0..x.rank()).collect::<Vec<_>>() {
                    return fail(self, format!("{perm:?} is no permutation of the axes of {x}"));
                }
                Ok(TensorType::new(x.dtype, perm.iter().map(|&p| x.shape[p]).collect::<Vec<_>>()))
            }
            Op::Broadcast { shape } => {
                arity(1)?;
                if broadcast_shapes(&inputs[0].shape, shape).as_deref() != Some(shape) {
                    return fail(self, format!("{} does not broadcast to {shape:?}", inputs[0]));
                }
                Ok(TensorType::new(inputs[0].dtype, shape.clone()))
            }
            Op::Slice { start, step, shape } => {
                arity(1)?;
                let x = inputs[0];
                let inside = |i: usize| {
                    let last = start[i] as i128 + step[i] as i128 * (shape[i] as i128 - 1);
                    shape[i] == 0 || (start[i] < x.shape[i] && last >= 0 && last < x.shape[i] as i128)
                };
                if [start.len(), step.len(), shape.len()].iter().any(|&n| n != x.rank()) || !(0..x.rank()).all(inside) {
                    return fail(self, format!("start {start:?}, step {step:?}, shape {shape:?} leave {x}"));
                }
                Ok(TensorType::new(x.dtype, shape.clone()))
            }
            Op::Concat { axis } => {
                let Some(first) = inputs.first() else { return fail(self, "takes at least one operand") };
                axis_ok(*axis, first)?;
                let mut shape = first.shape.clone();
                shape[*axis] = 0;
                for t in inputs {
                    let same =
                        t.rank() == first.rank() && (0..t.rank()).all(|i| i == *axis || t.shape[i] == first.shape[i]);
                    if !same || t.dtype != first.dtype {
                        return fail(self, format!("{first} and {t} do not join along axis {axis}"));
                    }
                    shape[*axis] += t.shape[*axis];
                }
                Ok(TensorType::new(first.dtype, shape))
            }
            Op::Pad { mode, before, after } => {
                arity(if *mode == PadMode::Constant { 2 } else { 1 })?;
                let x = inputs[0];
                if before.len() != x.rank() || after.len() != x.rank() {
                    return fail(self, format!("pads {before:?}, {after:?} do not fit {x}"));
                }
                let mut shape = Vec::with_capacity(x.rank());
                for (i, &extent) in x.shape.iter().enumerate() {
                    let e = extent as i128 + before[i] as i128 + after[i] as i128;
                    match usize::try_from(e) {
                        Ok(e) if e < 1 << 48 => shape.push(e),
                        _ => return fail(self, format!("pads {before:?}, {after:?} leave no extent of {x}")),
                    }
                }
                Ok(TensorType::new(x.dtype, shape))
            }
            Op::Gather { axis } => {
                arity(2)?;
                axis_ok(*axis, inputs[0])?;
                let mut shape = inputs[0].shape[..*axis].to_vec();
                shape.extend(&inputs[1].shape);
                shape.extend(&inputs[0].shape[axis + 1..]);
                Ok(TensorType::new(inputs[0].dtype, shape))
            }
            Op::GatherElements { axis } => {
                arity(2)?;
                axis_ok(*axis, inputs[0])?;
                if inputs[0].rank() != inputs[1].rank() {
                    return fail(self, format!("{} and indices {} differ in rank", inputs[0], inputs[1]));
                }
                Ok(TensorType::new(inputs[0].dtype, inputs[1].shape.clone()))
            }
            Op::GatherNd { batch_dims } => {
                arity(2)?;
                let (x, ix) = (inputs[0], inputs[1]);
                let depth = ix.shape.last().copied().unwrap_or(0);
                if ix.rank() == 0 || *batch_dims >= ix.rank() || batch_dims + depth > x.rank() {
                    return fail(self, format!("indices {ix} do not fit {x}"));
                }
                let mut shape = ix.shape[..ix.rank() - 1].to_vec();
                shape.extend(&x.shape[batch_dims + depth..]);
                Ok(TensorType::new(x.dtype, shape))
            }
            Op::ScatterElements { axis, .. } => {
                arity(3)?;
                axis_ok(*axis, inputs[0])?;
                if inputs[1].shape != inputs[2].shape || inputs[1].rank() != inputs[0].rank() {
                    return fail(
                        self,
                        format!("indices {} and updates {} do not fit {}", inputs[1], inputs[2], inputs[0]),
                    );
                }
                Ok(inputs[0].clone())
            }
            Op::ScatterNd { .. } => {
                arity(3)?;
                Ok(inputs[0].clone())
            }
            Op::TopKValues { k, axis, .. } | Op::TopKIndices { k, axis, .. } => {
                arity(1)?;
                axis_ok(*axis, inputs[0])?;
                let mut t = inputs[0].clone();
                if *k > t.shape[*axis] {
                    return fail(self, format!("k = {k} is more than axis {axis} of {t}"));
                }
                t.shape[*axis] = *k;
                if matches!(self, Op::TopKIndices { .. }) {
                    t.dtype = DType::I64;
                }
                Ok(t)
            }
        }
    }

    fn epilogue_arity(&self, base: usize, steps: &[EpilogueStep], inputs: &[&TensorType]) -> Result<(), TypeError> {
        let want = base + steps.iter().filter(|s| s.takes_operand()).count();
        if inputs.len() == want { Ok(()) } else { fail(self, format!("takes {want} operands, got {}", inputs.len())) }
    }

    fn epilogue_type(
        &self,
        t: TensorType,
        steps: &[EpilogueStep],
        extra: &[&TensorType],
    ) -> Result<TensorType, TypeError> {
        let _ = steps;
        for e in extra {
            if broadcast_shapes(&t.shape, &e.shape).as_ref() != Some(&t.shape) || e.dtype != t.dtype {
                return fail(self, format!("epilogue operand {e} does not fit the result {t}"));
            }
        }
        Ok(t)
    }
}

fn reduced_shape(shape: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    shape
        .iter()
        .enumerate()
        .filter_map(|(i, &d)| match (axes.contains(&i), keep) {
            (true, true) => Some(1),
            (true, false) => None,
            (false, _) => Some(d),
        })
        .collect()
}

impl Unary {
    /// Every operation.
    pub const ALL: [Unary; 29] = {
        use Unary::*;
        [
            Neg, Abs, Sign, Not, Exp, Log, Sqrt, Rsqrt, Recip, Tanh, Sigmoid, Erf, Sin, Cos, Tan, Asin, Acos, Atan,
            Sinh, Cosh, Asinh, Acosh, Atanh, Floor, Ceil, Round, Relu, IsNan, IsInf,
        ]
    };

    /// Name in the text form.
    pub fn name(self) -> &'static str {
        use Unary::*;
        match self {
            Neg => "neg",
            Abs => "abs",
            Sign => "sign",
            Not => "not",
            Exp => "exp",
            Log => "log",
            Sqrt => "sqrt",
            Rsqrt => "rsqrt",
            Recip => "recip",
            Tanh => "tanh",
            Sigmoid => "sigmoid",
            Erf => "erf",
            Sin => "sin",
            Cos => "cos",
            Tan => "tan",
            Asin => "asin",
            Acos => "acos",
            Atan => "atan",
            Sinh => "sinh",
            Cosh => "cosh",
            Asinh => "asinh",
            Acosh => "acosh",
            Atanh => "atanh",
            Floor => "floor",
            Ceil => "ceil",
            Round => "round",
            Relu => "relu",
            IsNan => "is_nan",
            IsInf => "is_inf",
        }
    }
}

impl Binary {
    /// Every operation.
    pub const ALL: [Binary; 20] = {
        use Binary::*;
        [Add, Sub, Mul, Div, Mod, Rem, Pow, Max, Min, And, Or, Xor, Shl, Shr, Prelu, Eq, Lt, Le, Gt, Ge]
    };

    /// True when the result is `bool`.
    pub fn is_compare(self) -> bool {
        matches!(self, Binary::Eq | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge)
    }

    /// Name in the text form.
    pub fn name(self) -> &'static str {
        use Binary::*;
        match self {
            Add => "add",
            Sub => "sub",
            Mul => "mul",
            Div => "div",
            Mod => "mod",
            Rem => "rem",
            Pow => "pow",
            Max => "max",
            Min => "min",
            And => "and",
            Or => "or",
            Xor => "xor",
            Shl => "shl",
            Shr => "shr",
            Prelu => "prelu",
            Eq => "eq",
            Lt => "lt",
            Le => "le",
            Gt => "gt",
            Ge => "ge",
        }
    }
}

impl Reduce {
    /// Name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Reduce::Sum => "reduce_sum",
            Reduce::Mean => "reduce_mean",
            Reduce::Max => "reduce_max",
            Reduce::Min => "reduce_min",
            Reduce::Prod => "reduce_prod",
        }
    }
}
