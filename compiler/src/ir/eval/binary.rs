//! Elementwise operations of two operands, and the choice between two.

use super::broadcast::map2;
use super::buffer::{narrow, tensor, view, widen, with_bits, with_num};
use super::num::Num;
use super::strided;
use crate::ir::{Binary, DType, Tensor, TensorType};
use quadrille_isa::numerics;

pub(super) fn eval(op: Binary, a: &Tensor, b: &Tensor, ty: &TensorType) -> Tensor {
    let (a, b) = (widen(a), widen(b));
    if op.is_compare() {
        return with_num!(a.dtype, T => map::<T, u8>(&a, &b, ty, compare::<T>(op)));
    }
    let wide = TensorType::new(a.dtype, ty.shape.clone());
    let y = match (a.dtype, op) {
        // The frequent ones of f32 get a loop of their own, which vectorises.
        (DType::F32, Binary::Add) => map::<f32, f32>(&a, &b, &wide, |x, y| x + y),
        (DType::F32, Binary::Sub) => map::<f32, f32>(&a, &b, &wide, |x, y| x - y),
        (DType::F32, Binary::Mul) => map::<f32, f32>(&a, &b, &wide, |x, y| x * y),
        (DType::F32, Binary::Div) => map::<f32, f32>(&a, &b, &wide, |x, y| x / y),
        (DType::F32, Binary::Max) => map::<f32, f32>(&a, &b, &wide, Num::maximum),
        (DType::F32, Binary::Min) => map::<f32, f32>(&a, &b, &wide, Num::minimum),
        (DType::F32, Binary::Prelu) => map::<f32, f32>(&a, &b, &wide, Num::prelu),
        _ => with_num!(a.dtype, T => map::<T, T>(&a, &b, &wide, arithmetic::<T>(op))),
    };
    narrow(y, ty.dtype)
}

/// `cond ? b : c`.
pub(super) fn select(cond: &Tensor, b: &Tensor, c: &Tensor, ty: &TensorType) -> Tensor {
    let cond = strided::broadcast(cond, &ty.shape);
    let (b, c) = (strided::broadcast(b, &ty.shape), strided::broadcast(c, &ty.shape));
    with_bits!(ty.dtype, T => {
        let (x, y) = (view::<T>(&b), view::<T>(&c));
        let picked = cond.data.iter().zip(x.iter().zip(y.iter())).map(|(&k, (&x, &y))| if k != 0 { x } else { y });
        tensor(ty.dtype, &ty.shape, picked.collect::<Vec<T>>())
    })
}

/// `a * b + c`, rounded once.
pub(super) fn fma(a: &Tensor, b: &Tensor, c: &Tensor, ty: &TensorType) -> Tensor {
    let (a, b, c) =
        (strided::broadcast(a, &ty.shape), strided::broadcast(b, &ty.shape), strided::broadcast(c, &ty.shape));
    let (a, b, c) = (view::<f32>(&a), view::<f32>(&b), view::<f32>(&c));
    let values = a.iter().zip(b.iter().zip(c.iter())).map(|(&a, (&b, &c))| numerics::fma_f32(a, b, c));
    tensor(ty.dtype, &ty.shape, values.collect::<Vec<f32>>())
}

fn map<T: Num, R>(a: &Tensor, b: &Tensor, ty: &TensorType, f: impl Fn(T, T) -> R) -> Tensor
where
    R: bytemuck::NoUninit + bytemuck::Zeroable + Send + 'static,
{
    let (x, y) = (view::<T>(a), view::<T>(b));
    tensor(ty.dtype, &ty.shape, map2((&x, &a.shape), (&y, &b.shape), &ty.shape, R::zeroed(), f))
}

fn arithmetic<T: Num>(op: Binary) -> fn(T, T) -> T {
    match op {
        Binary::Add => T::add,
        Binary::Sub => T::sub,
        Binary::Mul => T::mul,
        Binary::Div => T::div,
        Binary::Mod => T::modulo,
        Binary::Rem => T::rem,
        Binary::Pow => T::pow,
        Binary::Max => T::maximum,
        Binary::Min => T::minimum,
        Binary::And => T::and,
        Binary::Or => T::or,
        Binary::Xor => T::xor,
        Binary::Shl => T::shl,
        Binary::Shr => T::shr,
        Binary::Prelu => T::prelu,
        Binary::Eq | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge => |x, _| x,
    }
}

fn compare<T: Num>(op: Binary) -> fn(T, T) -> u8 {
    match op {
        Binary::Lt => |x, y| u8::from(x < y),
        Binary::Le => |x, y| u8::from(x <= y),
        Binary::Gt => |x, y| u8::from(x > y),
        Binary::Ge => |x, y| u8::from(x >= y),
        _ => |x, y| u8::from(x == y),
    }
}
