//! ONNX Runtime's `MatMulNBits`: weights of 2, 4 or 8 bits, a scale and zero point for each block of a column.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, microsoft};
use crate::ir::{Binary, DType, Op, ValueId};

pub(super) const OPS: &[OpDef] = &[microsoft("MatMulNBits", matmul_nbits)];

/// Rows, columns and block size; no product of them overflows.
const MAX: usize = 1 << 20;

/// Operands: a, b `[N, blocks, bytes of a block]`, scales `[N * blocks]`, zero points (packed like b), group indices
/// (not supported), bias.
fn matmul_nbits(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(6)?;
    // How exact the accumulation has to be at least.
    c.ignore(&["accuracy_level", "weight_prepacked"]);
    let size = |c: &mut Call<'_, '_>, name: &str| -> Result<usize, Fail> {
        let v = c.int_opt(name)?.and_then(|v| usize::try_from(v).ok()).filter(|&v| v > 0 && v <= MAX);
        v.ok_or_else(|| Fail::invalid(format!("attribute '{name}' must be there, positive and at most {MAX}")))
    };
    let (k, n, block) = (size(c, "K")?, size(c, "N")?, size(c, "block_size")?);
    let bits = match c.int("bits", 4)? {
        b @ (2 | 4 | 8) => b as usize,
        b => return Err(Fail::unsupported(format!("weights of {b} bits are not supported"), "use 2, 4 or 8 bits")),
    };
    if c.opt(4)?.is_some() {
        return Err(Fail::unsupported("group indices are not supported", "export weights in their own order"));
    }
    let (a, packed, scales, zeros, bias) = (c.x(0)?, c.x(1)?, c.x(2)?, c.opt(3)?, c.opt(5)?);
    let blocks = k.div_ceil(block);
    let dtype = c.dtype(a);
    if c.ty(packed).elements() != n * blocks * (block * bits).div_ceil(8) || c.ty(scales).elements() != n * blocks {
        return Err(Fail::invalid(format!("{} and {} do not fit {n} x {k}", c.ty(packed), c.ty(scales))));
    }
    let packed = c.reshape(packed, &[n * blocks, (block * bits).div_ceil(8)])?;
    let w = unpack(c, packed, bits, block)?;
    let w = c.op_unfolded(Op::Cast(dtype), &[w])?;
    let zero = match zeros {
        Some(z) if c.dtype(z) == DType::U8 => {
            let bytes = (blocks * bits).div_ceil(8);
            if c.ty(z).elements() != n * bytes {
                return Err(Fail::invalid(format!("zero points {} do not fit {n} x {blocks} blocks", c.ty(z))));
            }
            let z = c.reshape(z, &[n, bytes])?;
            let z = unpack(c, z, bits, blocks)?;
            let z = c.cast(z, dtype)?;
            c.reshape(z, &[n * blocks, 1])?
        }
        Some(z) => {
            let z = c.reshape(z, &[n * blocks, 1])?;
            c.cast(z, dtype)?
        }
        None => c.scalar(dtype, f64::from(1u32 << (bits - 1))),
    };
    let scales = c.reshape(scales, &[n * blocks, 1])?;
    let scales = c.cast(scales, dtype)?;
    let w = c.op_unfolded(Op::Binary(Binary::Sub), &[w, zero])?;
    let w = c.op_unfolded(Op::Binary(Binary::Mul), &[w, scales])?;
    let w = c.reshape(w, &[n, blocks * block])?;
    let w = c.slice_axis(w, 1, 0, k)?;
    let w = c.transpose(w, &[1, 0])?;
    let y = super::matmul::numpy_matmul(c, a, w)?;
    one(match bias {
        Some(b) => c.add(y, b)?,
        None => y,
    })
}

/// `[rows, bytes]` to `[rows, count]` numbers of `bits` bits, the lowest bits first.
fn unpack(c: &mut Call<'_, '_>, packed: ValueId, bits: usize, count: usize) -> Result<ValueId, Fail> {
    if bits == 8 {
        return Ok(packed);
    }
    let s = c.shape(packed);
    let mask = c.scalar(DType::U8, f64::from((1u32 << bits) - 1));
    let mut parts = Vec::new();
    for shift in (0..8).step_by(bits) {
        let by = c.scalar(DType::U8, f64::from(shift as u32));
        let v = c.binary(Binary::Shr, packed, by)?;
        let v = c.binary(Binary::And, v, mask)?;
        parts.push(c.reshape(v, &[s[0], s[1], 1])?);
    }
    let y = c.concat(2, &parts)?;
    let y = c.reshape(y, &[s[0], s[1] * parts.len()])?;
    c.slice_axis(y, 1, 0, count)
}
