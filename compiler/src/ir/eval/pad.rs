//! Padding and cropping.

use super::buffer::{tensor, view, with_bits};
use super::strided::row_major;
use crate::ir::{PadMode, Tensor, TensorType};

pub(super) fn eval(x: &Tensor, fill: Option<&Tensor>, mode: PadMode, before: &[isize], ty: &TensorType) -> Tensor {
    // Where each coordinate of the result reads along each axis; `None` is the fill.
    let maps: Vec<Vec<Option<usize>>> = (0..ty.shape.len())
        .map(|i| (0..ty.shape[i]).map(|o| source(o as isize - before[i], x.shape[i], mode)).collect())
        .collect();
    with_bits!(ty.dtype, T => {
        let fill = fill.map_or(0, |f| view::<T>(f)[0]);
        tensor(ty.dtype, &ty.shape, copy::<T>(&view::<T>(x), &x.shape, &maps, fill))
    })
}

fn source(at: isize, extent: usize, mode: PadMode) -> Option<usize> {
    let n = extent as isize;
    if (0..n).contains(&at) {
        return Some(at as usize);
    }
    if n == 0 {
        return None;
    }
    match mode {
        PadMode::Constant => None,
        PadMode::Edge => Some(at.clamp(0, n - 1) as usize),
        PadMode::Wrap => Some(at.rem_euclid(n) as usize),
        PadMode::Reflect if n == 1 => Some(0),
        PadMode::Reflect => {
            let period = 2 * (n - 1);
            let at = at.rem_euclid(period);
            Some(at.min(period - at) as usize)
        }
    }
}

fn copy<T: Copy>(x: &[T], shape: &[usize], maps: &[Vec<Option<usize>>], fill: T) -> Vec<T> {
    let total: usize = maps.iter().map(Vec::len).product();
    let mut out = Vec::with_capacity(total);
    if total == 0 {
        return out;
    }
    let Some((inner, outer)) = maps.split_last() else { return x.to_vec() };
    let strides = row_major(shape);
    let mut index = vec![0usize; outer.len()];
    loop {
        let base = outer.iter().zip(&index).zip(&strides).try_fold(0, |at, ((m, &i), s)| Some(at + m[i]? * s));
        match base {
            Some(base) => out.extend(inner.iter().map(|i| i.map_or(fill, |i| x[base + i]))),
            None => out.extend(std::iter::repeat_n(fill, inner.len())),
        }
        let mut axis = outer.len();
        loop {
            if axis == 0 {
                return out;
            }
            axis -= 1;
            index[axis] += 1;
            if index[axis] < outer[axis].len() {
                break;
            }
            index[axis] = 0;
        }
    }
}
