//! The protobuf metadata of both targets: names, tensors and layouts.

use super::ContainerError;
use super::section::META;
use crate::shape;
use crate::tensor::DType;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Meta {
    #[prost(string, tag = "1")]
    pub(super) machine: String,
    #[prost(string, tag = "2")]
    pub(super) machine_hash: String,
    #[prost(string, tag = "3")]
    pub(super) model: String,
    #[prost(string, repeated, tag = "4")]
    pub(super) nodes: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    pub(super) values: Vec<Value>,
    #[prost(message, repeated, tag = "6")]
    pub(super) inputs: Vec<Tensor>,
    #[prost(message, repeated, tag = "7")]
    pub(super) outputs: Vec<Tensor>,
}

/// An SRAM value (tsp).
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Value {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(uint32, tag = "2")]
    pub(super) node: u32,
}

/// An input or output; the place in SRAM is tsp's.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Tensor {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) dtype: String,
    #[prost(uint64, repeated, tag = "3")]
    pub(super) shape: Vec<u64>,
    #[prost(uint32, tag = "4")]
    pub(super) device_bytes: u32,
    #[prost(message, repeated, tag = "5")]
    pub(super) placements: Vec<Placement>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Placement {
    #[prost(uint32, tag = "1")]
    pub(super) value: u32,
    /// 0 west, 1 east.
    #[prost(uint32, tag = "2")]
    pub(super) hemisphere: u32,
    #[prost(uint32, tag = "3")]
    pub(super) slice: u32,
    #[prost(uint32, tag = "4")]
    pub(super) addr0: u32,
    #[prost(uint32, tag = "5")]
    pub(super) lane0: u32,
    #[prost(uint32, tag = "6")]
    pub(super) byte: u32,
    #[prost(uint64, tag = "7")]
    pub(super) elem0: u64,
    #[prost(message, repeated, tag = "8")]
    pub(super) loops: Vec<Loop>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Loop {
    #[prost(uint32, tag = "1")]
    pub(super) count: u32,
    #[prost(sint32, tag = "2")]
    pub(super) addr_step: i32,
    #[prost(sint32, tag = "3")]
    pub(super) lane_step: i32,
    #[prost(sint64, tag = "4")]
    pub(super) elem_step: i64,
}

impl Tensor {
    pub(super) fn new(name: &str, dtype: DType, shape: &[usize]) -> Tensor {
        Tensor {
            name: name.to_string(),
            dtype: dtype.name().to_string(),
            shape: shape.iter().map(|&d| d as u64).collect(),
            ..Tensor::default()
        }
    }

    /// Element type and shape, if such a tensor can exist.
    pub(super) fn shape(&self) -> Result<(DType, Vec<usize>), ContainerError> {
        let bad = |what: &str| META.bad(format!("tensor `{}`: {what}", self.name));
        let dtype = DType::parse(&self.dtype).ok_or_else(|| bad("no such element type"))?;
        let shape: Option<Vec<usize>> = self.shape.iter().map(|&d| usize::try_from(d).ok()).collect();
        let shape = shape.filter(|s| shape::possible(dtype, s)).ok_or_else(|| bad("its size overflows"))?;
        Ok((dtype, shape))
    }
}

/// Puts a metadata number into the range of its field.
pub(super) fn narrow<T: TryFrom<u32>>(v: u32, what: &str) -> Result<T, ContainerError> {
    T::try_from(v).map_err(|_| META.bad(format!("{what} {v} is out of range")))
}
