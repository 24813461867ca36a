//! Values of primitives on constants: shape arithmetic above all.

use crate::ir::{Op, Tensor, TensorType, eval};

/// True when computing the result now costs little.
pub(crate) fn is_worthwhile(op: &Op, inputs: &[&TensorType], result: &TensorType) -> bool {
    let elements = |t: &TensorType| quadrille_isa::tensor::element_count(&t.shape).unwrap_or(usize::MAX);
    let work: usize = inputs.iter().map(|t| elements(t)).fold(elements(result), usize::saturating_add);
    // Shape arithmetic is in integers and masks; large float constants are weights, whose
    // treatment is the business of passes.
    let limit = if result.dtype.is_float() { 1 << 12 } else { 1 << 20 };
    match op {
        Op::MatMul { .. } | Op::Conv { .. } | Op::ConvTranspose { .. } | Op::Pool { .. } => false,
        // The same bytes under another shape.
        Op::Reshape { .. } => true,
        _ => work <= limit,
    }
}

/// The value, or `None` when it cannot be computed here. The oracle computes it, so folding
/// changes no result.
pub(crate) fn fold(op: &Op, inputs: &[&Tensor], result: &TensorType) -> Option<Tensor> {
    match op {
        // Shares the bytes.
        Op::Reshape { .. } => Tensor::new(result.dtype, result.shape.clone(), inputs[0].data.clone()).ok(),
        _ => eval::eval_op(op, inputs).ok(),
    }
}
