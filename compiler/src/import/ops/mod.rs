//! The operators, one file for each or for a close family.

use super::registry::OpDef;

mod activation;
mod attention;
mod attention_core;
mod binary;
mod cast;
mod clip;
mod col2im;
mod concat;
mod constant;
mod control;
mod conv;
mod conv_transpose;
mod cumulative;
mod deform_conv;
mod depth_space;
mod det;
mod dropout;
mod dynamic_matmul;
mod einsum;
mod embed_layer_norm;
mod expand;
mod flatten;
mod flex_attention;
mod fused;
mod gather;
mod gelu;
mod gemm;
mod global_pool;
mod gradient;
mod grid_sample;
mod group_query_attention;
mod identity;
mod known_only;
mod layer_norm;
mod linear_attention;
mod loss;
mod lp_pool;
mod matmul;
mod matmul_nbits;
mod max_pool_indices;
mod max_unpool;
mod ml_feature;
mod multi_head_attention;
mod non_max_suppression;
mod norm;
mod one_hot;
mod optimizer;
mod pad;
mod pool;
mod qlinear;
mod quantize;
mod quantized;
mod quantized_attention;
mod range;
mod reduce;
mod resample;
mod reshape;
mod resize;
mod reverse_sequence;
mod rnn;
mod rnn_activation;
mod rnn_weights;
mod roi_align;
mod rotary;
mod scatter;
mod sequence;
mod shape;
mod signal;
mod slice;
mod softmax;
mod split;
mod squeeze;
mod tf_idf;
mod top_k;
mod transpose;
mod tree_ensemble;
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
    col2im::OPS,
    concat::OPS,
    constant::OPS,
    control::OPS,
    conv::OPS,
    conv_transpose::OPS,
    cumulative::OPS,
    deform_conv::OPS,
    depth_space::OPS,
    det::OPS,
    dropout::OPS,
    dynamic_matmul::OPS,
    einsum::OPS,
    embed_layer_norm::OPS,
    expand::OPS,
    flatten::OPS,
    flex_attention::OPS,
    fused::OPS,
    gather::OPS,
    gelu::OPS,
    gemm::OPS,
    global_pool::OPS,
    gradient::OPS,
    grid_sample::OPS,
    group_query_attention::OPS,
    identity::OPS,
    known_only::OPS,
    layer_norm::OPS,
    linear_attention::OPS,
    loss::OPS,
    lp_pool::OPS,
    matmul::OPS,
    matmul_nbits::OPS,
    max_unpool::OPS,
    ml_feature::OPS,
    multi_head_attention::OPS,
    non_max_suppression::OPS,
    norm::OPS,
    one_hot::OPS,
    optimizer::OPS,
    pad::OPS,
    pool::OPS,
    qlinear::OPS,
    quantize::OPS,
    quantized::OPS,
    quantized_attention::OPS,
    range::OPS,
    reduce::OPS,
    reshape::OPS,
    resize::OPS,
    reverse_sequence::OPS,
    rnn::OPS,
    roi_align::OPS,
    rotary::OPS,
    scatter::OPS,
    sequence::OPS,
    shape::OPS,
    signal::OPS,
    slice::OPS,
    softmax::OPS,
    split::OPS,
    squeeze::OPS,
    tf_idf::OPS,
    top_k::OPS,
    transpose::OPS,
    tree_ensemble::OPS,
    triangle::OPS,
    unary::OPS,
    variadic::OPS,
    where_op::OPS,
];
