//! The operators, one file for each or for a close family.

use super::registry::OpDef;

mod activation;
mod attention;
mod binary;
mod cast;
mod clip;
mod concat;
mod constant;
mod conv;
mod dropout;
mod expand;
mod flatten;
mod gather;
mod gelu;
mod gemm;
mod global_pool;
mod identity;
mod layer_norm;
mod matmul;
mod max_pool_indices;
mod norm;
mod pool;
mod range;
mod reduce;
mod reshape;
mod shape;
mod slice;
mod softmax;
mod split;
mod squeeze;
mod transpose;
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
    conv::OPS,
    dropout::OPS,
    expand::OPS,
    flatten::OPS,
    gather::OPS,
    gelu::OPS,
    gemm::OPS,
    global_pool::OPS,
    identity::OPS,
    layer_norm::OPS,
    matmul::OPS,
    norm::OPS,
    pool::OPS,
    range::OPS,
    reduce::OPS,
    reshape::OPS,
    shape::OPS,
    slice::OPS,
    softmax::OPS,
    split::OPS,
    squeeze::OPS,
    transpose::OPS,
    unary::OPS,
    variadic::OPS,
    where_op::OPS,
];
