//! Examples for constants that fold into weights.

use super::{Gen, either};
use crate::ir::{Binary, DType, EpilogueStep::*, Graph, Op};

pub(crate) fn scale_into_weights(g: &mut Gen) -> Option<Graph> {
    let dtype = g.float();
    let p = g.product(dtype)?;
    let steps = g.pick(&[vec![Mul], vec![Mul, Add], vec![Mul, Add, Relu], vec![Add, Mul], vec![Mul, Prelu]]);
    let r = g.with_epilogue(p, &steps)?;
    g.done(r)
}

pub(crate) fn scale_first(g: &mut Gen) -> Option<Graph> {
    let dtype = g.pick(&[DType::F32, DType::F64, DType::F16, DType::I8]);
    let p = g.product(dtype)?;
    let steps = g.pick(&[vec![Add, Mul], vec![Relu, Add, Mul], vec![Mul, Add, Mul], vec![Add, Relu, Mul]]);
    let r = g.with_epilogue(p, &steps)?;
    g.done(r)
}

pub(crate) fn epilogue_constants(g: &mut Gen) -> Option<Graph> {
    let dtype = g.pick(&[DType::F32, DType::F64, DType::F16, DType::I8]);
    let p = g.product(dtype)?;
    let steps = g.pick(&[vec![Add, Add], vec![Mul, Mul, Relu], vec![Relu, Add, Add, Mul], vec![Add, Relu, Add]]);
    let r = g.with_epilogue(p, &steps)?;
    g.done(r)
}

pub(crate) fn input_scale(g: &mut Gen) -> Option<Graph> {
    let dtype = g.float();
    let mut conv = g.conv(dtype)?;
    // The same convolution, of a scaled input.
    let node = g.producer(conv)?;
    let x = node.inputs[0];
    let shape = g.shape_of(x);
    let mut narrow = vec![1; shape.len()];
    narrow[if g.one_in(8) { 0 } else { 1 }] = if g.one_in(4) { 1 } else { shape[1] };
    let c = g.constant(dtype, &narrow);
    let scaled = either(g, Binary::Mul, x, c)?;
    let Op::Conv { .. } = node.op else { return None };
    conv = g.node(node.op.clone(), &[scaled, node.inputs[1]])?;
    g.done(conv)
}
