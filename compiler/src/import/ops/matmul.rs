//! `MatMul`, with numpy's treatment of vectors.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{DType, Reduce, ValueId};

pub(super) const OPS: &[OpDef] = &[onnx("MatMul", 1, matmul)];

fn matmul(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(2)?;
    let (a, b) = (c.x(0)?, c.x(1)?);
    one(numpy_matmul(c, a, b)?)
}

/// numpy's `matmul`: a vector gets an axis for the product and loses it again.
pub(super) fn numpy_matmul(c: &mut Call<'_, '_>, a: ValueId, b: ValueId) -> Result<ValueId, Fail> {
    let (sa, sb) = (c.shape(a), c.shape(b));
    if sa.is_empty() || sb.is_empty() {
        return Err(Fail::invalid("scalars have no matrix product"));
    }
    if c.dtype(a) != c.dtype(b) {
        return Err(Fail::invalid(format!("operand types differ: {} and {}", c.ty(a), c.ty(b))));
    }
    let a2 = if sa.len() == 1 { c.reshape(a, &[1, sa[0]])? } else { a };
    let b2 = if sb.len() == 1 { c.reshape(b, &[sb[0], 1])? } else { b };
    let y = same_type_product(c, a2, b2)?;
    let mut shape = c.shape(y);
    if sb.len() == 1 {
        shape.pop();
    }
    if sa.len() == 1 {
        shape.remove(shape.len() - 1 - usize::from(sb.len() != 1));
    }
    c.reshape(y, &shape)
}

/// The product in the operands' type. Integers wider than the primitive's `i32` are multiplied
/// and summed one by one, which is exact.
fn same_type_product(c: &mut Call<'_, '_>, a: ValueId, b: ValueId) -> Result<ValueId, Fail> {
    let dtype = c.dtype(a);
    if dtype.is_float() {
        return c.matmul(a, b);
    }
    if !matches!(dtype, DType::I64 | DType::U64 | DType::U32) {
        let y = c.matmul(a, b)?;
        return c.cast(y, dtype);
    }
    let (sa, sb) = (c.shape(a), c.shape(b));
    let mut left = sa.clone();
    left.push(1);
    let mut right = sb[..sb.len() - 2].to_vec();
    right.extend([1, sb[sb.len() - 2], sb[sb.len() - 1]]);
    let (a, b) = (c.reshape(a, &left)?, c.reshape(b, &right)?);
    let products = c.mul(a, b)?;
    let k = c.rank(products) - 2;
    c.reduce(Reduce::Sum, products, &[k], false)
}
