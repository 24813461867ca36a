//! The narrow element types: integers of 2 and 4 bits, floats of 4 and 8.
//!
//! Knows what each code means, which code a number rounds to, and how elements below a byte are
//! packed in files. In a [`Tensor`](crate::Tensor) every element takes a byte of its own: signed
//! integers with their sign extended, all else with zeros above. Nothing is computed in these types;
//! they are moved, and cast from and to wider ones.
//!
//! The floats are those of the OCP specifications (E4M3, E5M2, E2M1, E8M0) and the variants without
//! infinities and negative zero of Noune et al., <https://arxiv.org/abs/2206.02915>.

use crate::tensor::DType;

/// What lies beyond the largest finite value of a small float.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beyond {
    /// Infinity, then NaN, as in the IEEE formats.
    Infinity,
    /// Only NaN: the code above the largest finite one, with either sign.
    Nan,
    /// Only NaN, in the place of negative zero.
    NanForMinusZero,
    /// Nothing: all codes are finite, and too large numbers become the largest.
    Nothing,
}

/// Sign, exponent and mantissa bits in that order, as in the IEEE formats.
struct Small {
    exponent_bits: u32,
    mantissa_bits: u32,
    bias: i32,
    /// Code of the largest finite value.
    largest: u8,
    beyond: Beyond,
}

fn small(dtype: DType) -> Option<Small> {
    let of = |exponent_bits, mantissa_bits, bias, largest, beyond| {
        Some(Small { exponent_bits, mantissa_bits, bias, largest, beyond })
    };
    match dtype {
        DType::F8E4M3FN => of(4, 3, 7, 0x7E, Beyond::Nan),
        DType::F8E4M3FNUZ => of(4, 3, 8, 0x7F, Beyond::NanForMinusZero),
        DType::F8E5M2 => of(5, 2, 15, 0x7B, Beyond::Infinity),
        DType::F8E5M2FNUZ => of(5, 2, 16, 0x7F, Beyond::NanForMinusZero),
        DType::F4E2M1 => of(2, 1, 1, 0x7, Beyond::Nothing),
        _ => None,
    }
}

fn power_of_two(k: i32) -> f64 {
    debug_assert!((-1022..1024).contains(&k));
    f64::from_bits(((k + 1023) as u64) << 52)
}

/// The number that a code of a narrow type stands for, exactly. Other types: the byte as it is.
pub fn decode(dtype: DType, code: u8) -> f64 {
    match dtype {
        DType::I2 | DType::I4 => return f64::from(code as i8),
        DType::F8E8M0 if code == 0xFF => return f64::NAN,
        DType::F8E8M0 => return power_of_two(i32::from(code) - 127),
        _ => {}
    }
    let Some(s) = small(dtype) else { return f64::from(code) };
    let sign_bit = 1u8 << (s.exponent_bits + s.mantissa_bits);
    let magnitude = code & (sign_bit - 1);
    let sign = if code & sign_bit != 0 { -1.0 } else { 1.0 };
    if s.beyond == Beyond::NanForMinusZero && code == sign_bit {
        return f64::NAN;
    }
    if magnitude > s.largest {
        let infinite = s.beyond == Beyond::Infinity && magnitude == s.largest + 1;
        return if infinite { sign * f64::INFINITY } else { f64::NAN };
    }
    let mantissa = i32::from(magnitude & ((1 << s.mantissa_bits) - 1));
    let exponent = i32::from(magnitude >> s.mantissa_bits);
    // Exponent 0 has no hidden bit and the quantum of exponent 1.
    let whole = if exponent == 0 { mantissa } else { mantissa + (1 << s.mantissa_bits) };
    sign * f64::from(whole) * power_of_two(exponent.max(1) - s.bias - s.mantissa_bits as i32)
}

/// The code of the nearest number, ties to the even code.
///
/// Too large a number becomes infinity where the type has one, NaN where it has not, and the
/// largest number where it has neither; there NaN becomes -0. In `f8e8m0`, of two equally near powers
/// the larger is taken, and what is no power of two at all (zero, negative numbers) is NaN.
/// Integers truncate, then keep their low bits; what is not finite gives 0.
pub fn encode(dtype: DType, v: f64) -> u8 {
    if dtype == DType::F8E8M0 {
        return encode_power(v);
    }
    let Some(s) = small(dtype) else {
        let low = if v.is_finite() { v.trunc() % 256.0 } else { 0.0 };
        return wrap(dtype, low as i64);
    };
    let sign_bit = 1u8 << (s.exponent_bits + s.mantissa_bits);
    if v.is_nan() {
        return match s.beyond {
            Beyond::Infinity => s.largest + 3,
            Beyond::Nan => s.largest + 1,
            Beyond::NanForMinusZero | Beyond::Nothing => sign_bit,
        };
    }
    let sign = if v.is_sign_negative() { sign_bit } else { 0 };
    let magnitude = v.abs();
    let exponent = ((magnitude.to_bits() >> 52) as i32 - 1023).max(1 - s.bias);
    let largest = decode(dtype, s.largest);
    // Up to twice the largest the code below fits a byte.
    let code = if magnitude >= 2.0 * largest {
        u32::from(s.largest) + 1
    } else {
        let quanta = (magnitude * power_of_two(s.mantissa_bits as i32 - exponent)).round_ties_even();
        // A mantissa that rounds up to the next power of two carries into the exponent by itself.
        (((exponent + s.bias - 1) as u32) << s.mantissa_bits) + quanta as u32
    };
    let code = match (code > u32::from(s.largest), s.beyond) {
        (false, _) => code as u8,
        (true, Beyond::Nothing) => s.largest,
        (true, Beyond::NanForMinusZero) => return sign_bit,
        (true, _) => s.largest + 1,
    };
    if code == 0 && s.beyond == Beyond::NanForMinusZero { 0 } else { sign | code }
}

fn encode_power(v: f64) -> u8 {
    if !(v > 0.0 && v.is_finite()) {
        return 0xFF;
    }
    // Halfway between 1 and 2 in units of the lower power is 1.5, where the fraction's top bit is set.
    let exponent = (v.to_bits() >> 52) as i64 - 1023 + (v.to_bits() >> 51 & 1) as i64;
    match exponent + 127 {
        e @ 0..=254 => e as u8,
        e if e < 0 => 0,
        _ => 0xFF,
    }
}

/// The code of an integer: its low bits, as wide as the type.
pub fn wrap(dtype: DType, v: i64) -> u8 {
    match dtype {
        DType::I2 => ((v << 62) >> 62) as u8,
        DType::I4 => ((v << 60) >> 60) as u8,
        DType::U2 => (v & 3) as u8,
        DType::U4 => (v & 15) as u8,
        _ => v as u8,
    }
}

/// True when a byte is an element of the type as a tensor holds it.
pub fn is_code(dtype: DType, byte: u8) -> bool {
    match dtype {
        DType::Bool => byte <= 1,
        DType::I2 | DType::I4 | DType::U2 | DType::U4 => wrap(dtype, i64::from(byte)) == byte,
        DType::F4E2M1 => byte < 16,
        _ => true,
    }
}

/// True for a type of one byte that has bytes which are no element of it.
pub fn has_other_bytes(dtype: DType) -> bool {
    dtype.size() == 1 && (0..=u8::MAX).any(|b| !is_code(dtype, b))
}

/// `count` elements out of packed bytes, the first element in the lowest bits; types of a byte and
/// more come back as they are. `packed` must be long enough.
pub fn unpack(dtype: DType, packed: &[u8], count: usize) -> Vec<u8> {
    let bits = dtype.bits();
    if bits >= 8 {
        return packed.to_vec();
    }
    let each = 8 / bits;
    let element = |i: usize| {
        let low = packed[i / each] >> (i % each * bits) & ((1 << bits) - 1);
        if dtype.is_signed_narrow() { wrap(dtype, i64::from(low)) } else { low }
    };
    (0..count).map(element).collect()
}

/// Inverse of [`unpack`]; unused bits of the last byte are 0.
pub fn pack(dtype: DType, elements: &[u8]) -> Vec<u8> {
    let bits = dtype.bits();
    if bits >= 8 {
        return elements.to_vec();
    }
    let mask = (1u8 << bits) - 1;
    let byte = |chunk: &[u8]| chunk.iter().enumerate().fold(0, |b, (i, &e)| b | (e & mask) << (i * bits));
    elements.chunks(8 / bits).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOATS: [DType; 5] = [DType::F8E4M3FN, DType::F8E4M3FNUZ, DType::F8E5M2, DType::F8E5M2FNUZ, DType::F4E2M1];

    #[test]
    fn every_number_is_its_own_code() {
        for dtype in DType::ALL.into_iter().filter(|d| d.is_narrow()) {
            for code in (0..=255).filter(|&c| is_code(dtype, c)) {
                let v = decode(dtype, code);
                if !v.is_nan() {
                    assert_eq!(encode(dtype, v), code, "{dtype} {code:#x} {v}");
                    assert_eq!(v.is_sign_negative(), decode(dtype, encode(dtype, v)).is_sign_negative());
                } else if dtype != DType::F4E2M1 {
                    assert!(decode(dtype, encode(dtype, v)).is_nan(), "{dtype}");
                }
            }
        }
    }

    /// Largest values and overflow as the ONNX operator `Cast` tabulates them.
    #[test]
    fn the_ends_of_the_ranges() {
        let top = |d| decode(d, small(d).unwrap().largest);
        assert_eq!(FLOATS.map(top), [448.0, 240.0, 57344.0, 57344.0, 6.0]);
        let inf = f64::INFINITY;
        assert_eq!(FLOATS.map(|d| encode(d, inf)), [0x7F, 0x80, 0x7C, 0x80, 0x07]);
        assert_eq!(FLOATS.map(|d| encode(d, -inf)), [0xFF, 0x80, 0xFC, 0x80, 0x0F]);
        assert_eq!(FLOATS.map(|d| encode(d, -0.0)), [0x80, 0, 0x80, 0, 0x08]);
        assert_eq!(FLOATS.map(|d| encode(d, f64::NAN)), [0x7F, 0x80, 0x7E, 0x80, 0x08]);
        assert_eq!(FLOATS.map(|d| encode(d, 1e-40)), [0; 5]);
    }

    /// Every midpoint between neighbours goes to the even code, and what is a little beside it to
    /// the nearer one: rounding is compared with a search through all values.
    #[test]
    fn rounds_to_the_nearest_and_to_even() {
        for dtype in FLOATS {
            let largest = small(dtype).unwrap().largest;
            for code in 0..largest {
                let (a, b) = (decode(dtype, code), decode(dtype, code + 1));
                let middle = (a + b) / 2.0;
                let even = if code % 2 == 0 { code } else { code + 1 };
                assert_eq!(encode(dtype, middle), even, "{dtype} {middle}");
                assert_eq!(encode(dtype, middle * (1.0 - 1e-9)), code, "{dtype} {middle}");
                assert_eq!(encode(dtype, middle * (1.0 + 1e-9)), code + 1, "{dtype} {middle}");
            }
        }
        let e8 = |v| encode(DType::F8E8M0, v);
        assert_eq!([e8(1.0), e8(1.49), e8(1.5), e8(3.0), e8(0.0), e8(-1.0)], [127, 127, 128, 129, 255, 255]);
    }

    #[test]
    fn integers_wrap() {
        assert_eq!([-9.0, 8.0, 7.9, -8.9].map(|v| decode(DType::I4, encode(DType::I4, v))), [7.0, -8.0, 7.0, -8.0]);
        assert_eq!([-1.0, 16.0, 300.0].map(|v| decode(DType::U4, encode(DType::U4, v))), [15.0, 0.0, 12.0]);
        assert_eq!([2.0, -3.0, 1.0].map(|v| decode(DType::I2, encode(DType::I2, v))), [-2.0, 1.0, 1.0]);
    }

    #[test]
    fn packing_goes_from_the_low_bits_up() {
        assert_eq!(unpack(DType::I4, &[0x8F, 0x07], 3), [0xFF, 0xF8, 0x07]);
        assert_eq!(unpack(DType::U2, &[0b11_10_01_00, 0b01], 5), [0, 1, 2, 3, 1]);
        for dtype in [DType::I2, DType::U2, DType::I4, DType::U4, DType::F4E2M1, DType::F8E5M2] {
            let elements: Vec<u8> = (0..7).map(|i| wrap(dtype, i * 5)).filter(|&b| is_code(dtype, b)).collect();
            assert_eq!(unpack(dtype, &pack(dtype, &elements), elements.len()), elements, "{dtype}");
        }
    }
}
