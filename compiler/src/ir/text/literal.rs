//! Elements of constants as text.

use crate::ir::{DType, Tensor};
use half::{bf16, f16};
use quadrille_isa::narrow;

/// A float that reads back to the same bits; `bits` is its own pattern, for what digits cannot say.
fn float(value: f64, shortest: String, bits: u64, canonical_nan: u64) -> String {
    if value.is_nan() && bits != canonical_nan {
        format!("0x{bits:x}")
    } else if value.is_nan() {
        "nan".to_string()
    } else {
        shortest
    }
}

/// An `f32` (of an attribute) that reads back to the same bits.
pub(super) fn f32_text(v: f32) -> String {
    float(f64::from(v), format!("{v:?}"), u64::from(v.to_bits()), 0x7FC0_0000)
}

/// Inverse of [`f32_text`].
pub(super) fn f32_parse(word: &str) -> Option<f32> {
    element(DType::F32, word).map(|b| f32::from_le_bytes(b[..4].try_into().expect("four bytes")))
}

/// The elements of a tensor, one text each.
pub(super) fn elements(t: &Tensor) -> impl Iterator<Item = String> + '_ {
    t.data.chunks_exact(t.dtype.size()).map(|b| {
        let mut wide = [0u8; 8];
        wide[..b.len()].copy_from_slice(b);
        let bits = u64::from_le_bytes(wide);
        match t.dtype {
            DType::F16 => {
                let v = f16::from_bits(bits as u16).to_f32();
                float(v.into(), format!("{v:?}"), bits, 0x7E00)
            }
            DType::BF16 => {
                let v = bf16::from_bits(bits as u16).to_f32();
                float(v.into(), format!("{v:?}"), bits, 0x7FC0)
            }
            DType::F32 => f32_text(f32::from_bits(bits as u32)),
            DType::F64 => {
                let v = f64::from_bits(bits);
                float(v, format!("{v:?}"), bits, 0x7FF8_0000_0000_0000)
            }
            DType::I8 => (bits as i8).to_string(),
            DType::I16 => (bits as i16).to_string(),
            DType::I32 => (bits as i32).to_string(),
            DType::I64 => (bits as i64).to_string(),
            DType::Bool if bits == 0 => "false".to_string(),
            DType::Bool if bits == 1 => "true".to_string(),
            d if d.is_narrow_float() => {
                let v = narrow::decode(d, b[0]);
                float(v, format!("{v:?}"), bits, narrow::encode(d, f64::NAN).into())
            }
            d if d.is_narrow() => narrow::decode(d, b[0]).to_string(),
            // A bool that is neither (verification refuses it) and the unsigned integers.
            _ => bits.to_string(),
        }
    })
}

/// The bytes of one element, or `None` when `word` is no value of the type. The first
/// `dtype.size()` of the eight bytes count.
pub(super) fn element(dtype: DType, word: &str) -> Option<[u8; 8]> {
    let bits = match (dtype, word.strip_prefix("0x")) {
        (DType::Bool, _) => match word {
            "true" => 1,
            "false" => 0,
            _ => return None,
        },
        (_, Some(hex)) if dtype.is_float() || dtype.is_narrow_float() => {
            let bits = u64::from_str_radix(hex, 16).ok()?;
            if dtype.bits() < 64 && bits >> dtype.bits() != 0 {
                return None;
            }
            bits
        }
        (DType::F16, _) => u64::from(f16::from_f64(word.parse().ok()?).to_bits()),
        (DType::BF16, _) => u64::from(bf16::from_f64(word.parse().ok()?).to_bits()),
        (DType::F32, _) => u64::from(canonical(word.parse::<f32>().ok()?).to_bits()),
        (DType::F64, _) => {
            let v: f64 = word.parse().ok()?;
            if v.is_nan() { 0x7FF8_0000_0000_0000 } else { v.to_bits() }
        }
        (DType::I8, _) => word.parse::<i8>().ok()? as u64,
        (DType::I16, _) => word.parse::<i16>().ok()? as u64,
        (DType::I32, _) => word.parse::<i32>().ok()? as u64,
        (DType::I64, _) => word.parse::<i64>().ok()? as u64,
        (DType::U8, _) => word.parse::<u8>().ok()?.into(),
        (DType::U16, _) => word.parse::<u16>().ok()?.into(),
        (DType::U32, _) => word.parse::<u32>().ok()?.into(),
        (DType::U64, _) => word.parse().ok()?,
        (d, _) if d.is_narrow_float() => narrow::encode(d, word.parse().ok()?).into(),
        (d, _) => {
            let v: i64 = word.parse().ok()?;
            let code = narrow::wrap(d, v);
            if narrow::decode(d, code) != v as f64 {
                return None;
            }
            code.into()
        }
    };
    // A half's `nan` comes out as the canonical one, whatever the conversion makes of it.
    let bits = match dtype {
        DType::F16 if word == "nan" => 0x7E00,
        DType::BF16 if word == "nan" => 0x7FC0,
        _ => bits,
    };
    Some(bits.to_le_bytes())
}

fn canonical(v: f32) -> f32 {
    if v.is_nan() { f32::from_bits(0x7FC0_0000) } else { v }
}
