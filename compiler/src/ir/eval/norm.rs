//! Normalisation: the chain of primitives that it stands for, step by step, so that both have the same bits in f32
//! and f64. Narrower floats are widened for the whole of it and rounded once.

use super::buffer::{narrow, widen};
use super::{Order, eval_typed};
use crate::ir::builder::scalar;
use crate::ir::{Binary, Op, Reduce, Tensor, TensorType, Unary};

pub(super) fn eval(order: Order, x: &Tensor, axes: &[usize], centered: bool, epsilon: f32) -> Result<Tensor, String> {
    let wide = widen(x);
    let step = |op: Op, inputs: &[&Tensor]| -> Result<Tensor, String> {
        let types: Vec<TensorType> = inputs.iter().map(|t| TensorType::new(t.dtype, t.shape.clone())).collect();
        let ty = op.result_type(&types.iter().collect::<Vec<_>>()).map_err(|e| e.reason)?;
        eval_typed(order, &op, inputs, &ty)
    };
    let mean = || Op::Reduce { kind: Reduce::Mean, axes: axes.to_vec(), keep: true };
    let d = if centered {
        let m = step(mean(), &[&wide])?;
        step(Op::Binary(Binary::Sub), &[&wide, &m])?
    } else {
        wide
    };
    let square = step(Op::Binary(Binary::Mul), &[&d, &d])?;
    let v = step(mean(), &[&square])?;
    let v = step(Op::Binary(Binary::Add), &[&v, &scalar(v.dtype, f64::from(epsilon))])?;
    let r = step(Op::Unary(Unary::Rsqrt), &[&v])?;
    Ok(narrow(step(Op::Binary(Binary::Mul), &[&d, &r])?, x.dtype))
}
