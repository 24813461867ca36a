//! Reads ONNX models: bytes to a checked, typed [`Model`].
//!
//! Knows the protobuf encoding, external data and the rules that make a model well formed
//! (names, order, types of attributes, sizes of tensors). It must not know what an operator
//! means, nor anything of Quadrille's own types: a compiler imports the [`Model`].
//!
//! Tensor data is never copied when the file carries it raw: the bytes are shared with the
//! mapped file.

mod check;
mod convert;
mod error;
mod external;
mod load;
mod model;
pub mod proto;

pub use error::{LoadError, Problem};
pub use load::{
    IR_VERSIONS, OPSETS, decode_optional, decode_sequence, decode_tensor, from_bytes, load, load_optional,
    load_sequence, load_tensor,
};
pub use model::*;
