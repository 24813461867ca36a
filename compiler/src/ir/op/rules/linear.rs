//! Rules of the matrix product and of everything with a sliding window.

use super::{Operands, broadcast_shapes};
use crate::ir::{DType, EpilogueStep, Op, Pool, TensorType, TypeError, Window};

pub(super) fn rule(o: &Operands<'_>) -> Result<TensorType, TypeError> {
    match o.op {
        Op::MatMul { epilogue } => matmul(o, epilogue),
        Op::Conv { window, groups, epilogue } => conv(o, window, *groups, epilogue),
        Op::ConvTranspose { window, groups, extra } => conv_transpose(o, window, *groups, extra),
        Op::Pool { kind, window } => pool(o, *kind, window),
        _ => o.fail("has no window"),
    }
}

/// The type that products of `a` and `b` sum in.
fn sum_dtype(o: &Operands<'_>, a: &TensorType, b: &TensorType) -> Result<DType, TypeError> {
    o.numeric(a)?;
    o.numeric(b)?;
    let narrow = |t: &TensorType| t.dtype.is_int() && t.dtype.size() <= 2;
    if narrow(a) && narrow(b) {
        return Ok(DType::I32);
    }
    o.same_dtype(a, b)?;
    Ok(a.dtype)
}

fn matmul(o: &Operands<'_>, epilogue: &[EpilogueStep]) -> Result<TensorType, TypeError> {
    epilogue_arity(o, epilogue)?;
    let (a, b) = (o.types[0], o.types[1]);
    let ([batch_a @ .., m, k], [batch_b @ .., k2, n]) = (&a.shape[..], &b.shape[..]) else {
        return o.fail(format!("operands need at least two axes: {a} and {b}"));
    };
    let dtype = sum_dtype(o, a, b)?;
    if k != k2 {
        return o.fail(format!("inner extents differ: {a} and {b}"));
    }
    let Some(mut shape) = broadcast_shapes(batch_a, batch_b) else {
        return o.fail(format!("batch axes of {a} and {b} do not broadcast"));
    };
    shape.extend([m, n]);
    with_epilogue(o, TensorType::new(dtype, shape), epilogue)
}

fn conv(o: &Operands<'_>, window: &Window, groups: usize, epilogue: &[EpilogueStep]) -> Result<TensorType, TypeError> {
    epilogue_arity(o, epilogue)?;
    let (x, w) = (o.types[0], o.types[1]);
    if x.rank() < 2 || w.rank() != x.rank() || !window.is_consistent(x.rank() - 2) {
        return o.fail(format!("{x} and weights {w} do not fit the window {window:?}"));
    }
    let dtype = sum_dtype(o, x, w)?;
    if groups == 0
        || !x.shape[1].is_multiple_of(groups)
        || !w.shape[0].is_multiple_of(groups)
        || w.shape[1] != x.shape[1] / groups
        || w.shape[2..] != window.kernel[..]
    {
        return o.fail(format!("weights {w} do not fit {x} in {groups} groups with kernel {:?}", window.kernel));
    }
    let shape = slide(o, window, x, w.shape[0])?;
    with_epilogue(o, TensorType::new(dtype, shape), epilogue)
}

/// Result shape of a window that slides over `x` and gives `channels` channels.
fn slide(o: &Operands<'_>, window: &Window, x: &TensorType, channels: usize) -> Result<Vec<usize>, TypeError> {
    let mut shape = vec![x.shape[0], channels];
    for i in 0..x.rank() - 2 {
        match window.out_extent(i, x.shape[i + 2]) {
            Some(e) => shape.push(e),
            None => return o.fail(format!("the window {window:?} is larger than the padded input {x}")),
        }
    }
    Ok(shape)
}

fn conv_transpose(o: &Operands<'_>, window: &Window, groups: usize, extra: &[usize]) -> Result<TensorType, TypeError> {
    let [x, w] = o.take()?;
    o.float(x)?;
    o.same_dtype(x, w)?;
    let spatial = x.rank().saturating_sub(2);
    if x.rank() < 2
        || w.rank() != x.rank()
        || !window.is_consistent(spatial)
        || extra.len() != spatial
        || groups == 0
        || w.shape[0] != x.shape[1]
        || !x.shape[1].is_multiple_of(groups)
        || w.shape[2..] != window.kernel[..]
    {
        return o.fail(format!("weights {w} do not fit {x} in {groups} groups"));
    }
    let Some(channels) = w.shape[1].checked_mul(groups) else { return o.fail(format!("weights {w} are too many")) };
    let mut shape = vec![x.shape[0], channels];
    for (i, &extent) in x.shape[2..].iter().enumerate() {
        // In 128 bits, where nothing here overflows.
        let big = |v: usize| v as i128;
        let full = (big(extent) - 1) * big(window.stride[i])
            + big(window.dilation[i]) * big(window.kernel[i] - 1)
            + 1
            + big(extra[i]);
        match usize::try_from(full - big(window.before[i]) - big(window.after[i])) {
            Ok(e) if extent > 0 => shape.push(e),
            _ => return o.fail(format!("padding is larger than the result of {x}")),
        }
    }
    Ok(TensorType::new(x.dtype, shape))
}

fn pool(o: &Operands<'_>, kind: Pool, window: &Window) -> Result<TensorType, TypeError> {
    let [x] = o.take()?;
    match kind {
        Pool::Max => o.numeric(x)?,
        Pool::AverageExcludePad | Pool::AverageIncludePad => o.float(x)?,
    }
    if x.rank() < 2 || !window.is_consistent(x.rank() - 2) {
        return o.fail(format!("{x} does not fit the window {window:?}"));
    }
    Ok(TensorType::new(x.dtype, slide(o, window, x, x.shape[1])?))
}

fn epilogue_arity(o: &Operands<'_>, steps: &[EpilogueStep]) -> Result<(), TypeError> {
    let want = 2 + steps.iter().filter(|s| s.takes_operand()).count();
    if o.types.len() == want { Ok(()) } else { o.fail(format!("takes {want} operands, got {}", o.types.len())) }
}

fn with_epilogue(o: &Operands<'_>, t: TensorType, steps: &[EpilogueStep]) -> Result<TensorType, TypeError> {
    let allowed = |s: &EpilogueStep| match t.dtype {
        DType::I32 => matches!(s, EpilogueStep::Add | EpilogueStep::Mul | EpilogueStep::Relu),
        d => d.is_float(),
    };
    if let Some(step) = steps.iter().find(|s| !allowed(s)) {
        return o.fail(format!("the epilogue step {step:?} is not defined for {t}"));
    }
    for e in &o.types[2..] {
        if broadcast_shapes(&t.shape, &e.shape).as_ref() != Some(&t.shape) || e.dtype != t.dtype {
            return o.fail(format!("epilogue operand {e} does not fit the result {t}"));
        }
    }
    Ok(t)
}
