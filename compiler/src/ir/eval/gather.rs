//! Reading at indices that are data.
//!
//! Negative indices count from the end; an index outside is an error, never a wild read.

use super::buffer::{tensor, view, with_bits};
use super::cast;
use super::strided::row_major;
use crate::ir::{DType, Tensor, TensorType};

/// The indices as offsets into an axis of the given extent.
fn resolve(index: i64, extent: usize) -> Result<usize, String> {
    let at = if index < 0 { index + extent as i64 } else { index };
    if at >= 0 && (at as u64) < extent as u64 {
        Ok(at as usize)
    } else {
        Err(format!("index {index} is outside an axis of extent {extent}"))
    }
}

/// The indices of any integer type as `i64`.
fn indices(t: &Tensor) -> Vec<i64> {
    view::<i64>(&cast::eval(t, DType::I64)).into_owned()
}

/// Whole slices along an axis.
pub(super) fn gather(x: &Tensor, index: &Tensor, axis: usize, ty: &TensorType) -> Result<Tensor, String> {
    let outer: usize = x.shape[..axis].iter().product();
    let run = x.shape[axis + 1..].iter().product::<usize>() * x.dtype.size();
    let extent = x.shape[axis];
    let at: Vec<usize> = indices(index).into_iter().map(|i| resolve(i, extent)).collect::<Result<_, _>>()?;
    let mut data = Vec::with_capacity(ty.elements() * ty.dtype.size());
    for o in 0..outer {
        for &i in &at {
            data.extend_from_slice(&x.data[(o * extent + i) * run..][..run]);
        }
    }
    Ok(Tensor { dtype: ty.dtype, shape: ty.shape.clone(), data: data.into() })
}

/// Offsets into a tensor of `shape` of elements addressed like `index` except along `axis`, where
/// the index itself says.
pub(super) fn element_offsets(shape: &[usize], index: &Tensor, axis: usize) -> Result<Vec<usize>, String> {
    let strides = row_major(shape);
    let own = row_major(&index.shape);
    let offset = |(i, v): (usize, i64)| {
        let mut at = 0;
        for d in 0..shape.len() {
            let c = if d == axis { resolve(v, shape[d])? } else { i / own[d] % index.shape[d] };
            at += c * strides[d];
        }
        Ok(at)
    };
    indices(index).into_iter().enumerate().map(offset).collect()
}

/// One element per index along an axis.
pub(super) fn elements(x: &Tensor, index: &Tensor, axis: usize, ty: &TensorType) -> Result<Tensor, String> {
    let offsets = element_offsets(&x.shape, index, axis)?;
    Ok(with_bits!(x.dtype, T => {
        let x = view::<T>(x);
        tensor(ty.dtype, &ty.shape, offsets.into_iter().map(|o| x[o]).collect::<Vec<T>>())
    }))
}

/// Offsets, in slices, that the last axis of `index` addresses in axes `from..` of `shape`; also the
/// elements of such a slice. Leading axes up to `from` are batch axes shared with `index`.
pub(super) fn slice_offsets(shape: &[usize], index: &Tensor, from: usize) -> Result<(Vec<usize>, usize), String> {
    let depth = index.shape[index.shape.len() - 1];
    let addressed = &shape[from..from + depth];
    let slices: usize = addressed.iter().product();
    let run: usize = shape[from + depth..].iter().product();
    let tuples: usize = index.shape[..index.shape.len() - 1].iter().product();
    let batches: usize = shape[..from].iter().product();
    let values = indices(index);
    let mut offsets = Vec::with_capacity(tuples);
    for t in 0..tuples {
        let mut at = 0;
        for (&v, &extent) in values[t * depth..][..depth].iter().zip(addressed) {
            at = at * extent + resolve(v, extent)?;
        }
        offsets.push(t / (tuples / batches.max(1)).max(1) * slices + at);
    }
    Ok((offsets, run))
}

/// One slice per index tuple.
pub(super) fn nd(x: &Tensor, index: &Tensor, batch_dims: usize, ty: &TensorType) -> Result<Tensor, String> {
    let (offsets, run) = slice_offsets(&x.shape, index, batch_dims)?;
    let run = run * x.dtype.size();
    let mut data = Vec::with_capacity(ty.elements() * ty.dtype.size());
    for o in offsets {
        data.extend_from_slice(&x.data[o * run..][..run]);
    }
    Ok(Tensor { dtype: ty.dtype, shape: ty.shape.clone(), data: data.into() })
}
