//! Inputs for a model that comes without data: the same for the same seed, everywhere.

use half::{bf16, f16};
use quadrille_isa::{DType, Tensor, narrow};

/// A tensor of a type and shape. Floats are uniform in [-1, 1), integers and bools 0 or 1, which
/// is right for masks and within every vocabulary. `index` tells the inputs of a model apart.
/// `None` when the shape's size overflows.
pub fn seeded(seed: u64, index: usize, dtype: DType, shape: &[usize]) -> Option<Tensor> {
    let n = quadrille_isa::tensor::element_count(shape)?;
    n.checked_mul(dtype.size())?;
    let mut state = seed ^ (index as u64).wrapping_mul(0xD1B5_4A32_D192_ED03);
    let mut data = Vec::with_capacity(n * dtype.size());
    for _ in 0..n {
        let bits = splitmix(&mut state);
        let float = (bits >> 40) as f64 / f64::from(1u32 << 23) - 1.0;
        let bit = bits >> 63;
        match dtype {
            DType::F16 => data.extend(f16::from_f64(float).to_le_bytes()),
            DType::BF16 => data.extend(bf16::from_f64(float).to_le_bytes()),
            DType::F32 => data.extend((float as f32).to_le_bytes()),
            DType::F64 => data.extend(float.to_le_bytes()),
            d if d.is_narrow_float() => data.push(narrow::encode(d, float)),
            _ => data.extend(&bit.to_le_bytes()[..dtype.size()]),
        }
    }
    Tensor::new(dtype, shape.to_vec(), data).ok()
}

/// Vigna's SplitMix64.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_spread_and_repeatable() {
        let t = seeded(0, 0, DType::F32, &[1000]).unwrap();
        let v = t.as_f32().unwrap();
        assert!(v.iter().all(|x| (-1.0..1.0).contains(x)));
        assert!(v.iter().sum::<f32>().abs() < 60.0 && v.iter().any(|x| *x > 0.9) && v.iter().any(|x| *x < -0.9));
        assert_eq!(t, seeded(0, 0, DType::F32, &[1000]).unwrap());
        assert_ne!(t, seeded(0, 1, DType::F32, &[1000]).unwrap());
        assert!(seeded(0, 0, DType::I64, &[100]).unwrap().as_i64().unwrap().iter().all(|x| (0..2).contains(x)));
        assert_eq!(seeded(0, 0, DType::F32, &[usize::MAX, 2]), None);
    }
}
