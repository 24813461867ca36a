//! The operators, one file for each or for a close family.

use super::registry::OpDef;

mod activation;
mod attention;
mod binary;
mod cast;
mod clip;
mod concat;
mod constant;
mod control;
mod conv;
mod conv_transpose;
mod cumulative;
mod depth_space;
mod dropout;
mod expand;
mod flatten;
mod gather;
mod gelu;
mod gemm;
mod global_pool;
mod identity;
mod layer_norm;
mod loss;
mod lp_pool;
mod matmul;
mod max_pool_indices;
mod norm;
mod one_hot;
mod pad;
mod pool;
mod quantize;
mod quantized;
mod range;
mod reduce;
mod reshape;
mod rotary;
mod scatter;
mod sequence;
mod shape;
mod slice;
mod softmax;
mod split;
mod squeeze;
mod top_k;
mod transpose;
mod triangle;
mod unary;
mod variadic;
mod where_op;
mod window;

/// Every operator's definition, file by file.
pub(super) const TABLES: &[&[OpDef]] = &[
    activation::OPS,
    attention::OPS,
    binary::OPS,
    cast::OPS,
    clip::OPS,
    concat::OPS,
    constant::OPS,
    control::OPS,
    conv::OPS,
    conv_transpose::OPS,
    cumulative::OPS,
    depth_space::OPS,
    dropout::OPS,
    expand::OPS,
    flatten::OPS,
    gather::OPS,
    gelu::OPS,
    gemm::OPS,
    global_pool::OPS,
    identity::OPS,
    layer_norm::OPS,
    loss::OPS,
    lp_pool::OPS,
    matmul::OPS,
    norm::OPS,
    one_hot::OPS,
    pad::OPS,
    pool::OPS,
    quantize::OPS,
    quantized::OPS,
    range::OPS,
    reduce::OPS,
    reshape::OPS,
    rotary::OPS,
    scatter::OPS,
    sequence::OPS,
    shape::OPS,
    slice::OPS,
    softmax::OPS,
    split::OPS,
    squeeze::OPS,
    top_k::OPS,
    transpose::OPS,
    triangle::OPS,
    unary::OPS,
    variadic::OPS,
    where_op::OPS,
];
