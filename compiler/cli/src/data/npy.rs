//! NumPy's `.npy`, versions 1 to 3: a Python dict literal as header, then the elements.

use quadrille_isa::{DType, Tensor};

const MAGIC: &[u8] = b"\x93NUMPY";

/// NumPy's type codes, without byte order. `bf16` and the narrow types have none.
const TYPES: [(&str, DType); 12] = [
    ("f2", DType::F16),
    ("f4", DType::F32),
    ("f8", DType::F64),
    ("i1", DType::I8),
    ("i2", DType::I16),
    ("i4", DType::I32),
    ("i8", DType::I64),
    ("u1", DType::U8),
    ("u2", DType::U16),
    ("u4", DType::U32),
    ("u8", DType::U64),
    ("b1", DType::Bool),
];

/// Reads an array. The error says what is wrong with the bytes.
pub fn decode(bytes: &[u8]) -> Result<Tensor, String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("not a .npy file: it does not start with \\x93NUMPY")?;
    let (header, data) = match rest {
        [1, _, a, b, rest @ ..] => rest.split_at_checked(u16::from_le_bytes([*a, *b]).into()),
        [2 | 3, _, a, b, c, d, rest @ ..] => rest.split_at_checked(u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        _ => return Err("not a .npy file of version 1, 2 or 3".into()),
    }
    .ok_or("the header is cut off")?;
    let header = std::str::from_utf8(header).map_err(|_| "the header is not text")?;
    let descr = field(header, "descr")?.trim_matches(['\'', '"']);
    let (order, code) = descr.split_at_checked(1).ok_or("the header has no type")?;
    let dtype = TYPES.iter().find(|t| t.0 == code).map(|t| t.1);
    let dtype = dtype.ok_or_else(|| {
        format!("element type '{descr}' is not supported; for types that NumPy lacks, give a .pb file")
    })?;
    let shape = field(header, "shape")?.trim().trim_start_matches('(').trim_end_matches(')');
    let shape: Result<Vec<usize>, _> =
        shape.split(',').map(str::trim).filter(|d| !d.is_empty()).map(str::parse::<usize>).collect();
    let shape = shape.map_err(|_| "the header's shape is not a tuple of numbers")?;
    let mut elements = match order {
        "<" | "|" => data.to_vec(),
        ">" => data.chunks_exact(dtype.size()).flat_map(|e| e.iter().rev().copied()).collect(),
        "=" => return Err("byte order '=' is not portable".into()),
        _ => return Err(format!("byte order '{order}' is not known")),
    };
    if dtype == DType::Bool {
        elements.iter_mut().for_each(|b| *b = u8::from(*b != 0));
    }
    let fortran = match field(header, "fortran_order")?.trim() {
        "True" => true,
        "False" => false,
        _ => return Err("fortran_order is neither True nor False".into()),
    };
    let stored: Vec<usize> = if fortran { shape.iter().rev().copied().collect() } else { shape.clone() };
    let t = Tensor::new(dtype, stored, elements).map_err(|e| e.to_string())?;
    Ok(if fortran { reverse_axes(&t) } else { t })
}

/// Value of a key in the header: up to the comma, or the closing parenthesis of a tuple.
fn field<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let missing = || format!("the header has no `{key}`");
    let at = header.find(&format!("'{key}'")).ok_or_else(missing)?;
    let value = header[at + key.len() + 2..].trim_start().strip_prefix(':').ok_or_else(missing)?.trim_start();
    let end = if value.starts_with('(') { value.find(')').map(|i| i + 1) } else { value.find([',', '}']) };
    Ok(value[..end.ok_or_else(missing)?].trim())
}

/// The tensor with its axes in reverse order, elements moved accordingly.
fn reverse_axes(t: &Tensor) -> Tensor {
    let shape: Vec<usize> = t.shape.iter().rev().copied().collect();
    // Stride, in elements of the source, of each axis of the result.
    let strides: Vec<usize> = (0..shape.len()).map(|i| shape[..i].iter().product()).collect();
    let size = t.dtype.size();
    let mut data = Vec::with_capacity(t.data.len());
    let mut index = vec![0usize; shape.len()];
    for _ in 0..t.len() {
        let at: usize = index.iter().zip(&strides).map(|(i, s)| i * s).sum();
        data.extend_from_slice(&t.data[at * size..(at + 1) * size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Tensor::new(t.dtype, shape, data).expect("as many elements as before")
}

/// Writes an array, version 1.
pub fn encode(t: &Tensor) -> Result<Vec<u8>, String> {
    let code = TYPES.iter().find(|r| r.1 == t.dtype).map(|r| r.0);
    let code = code.ok_or_else(|| format!("NumPy has no element type {}; write a .pb file", t.dtype))?;
    let order = if t.dtype.size() == 1 { '|' } else { '<' };
    let mut shape: String = t.shape.iter().map(|d| format!("{d}, ")).collect();
    // A tuple of one needs its comma, longer ones do not.
    shape.truncate(shape.len().saturating_sub(if t.shape.len() == 1 { 1 } else { 2 }));
    let mut header = format!("{{'descr': '{order}{code}', 'fortran_order': False, 'shape': ({shape}), }}");
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let mut out = MAGIC.to_vec();
    out.extend([1, 0]);
    out.extend(u16::try_from(header.len()).map_err(|_| "the shape is too long")?.to_le_bytes());
    out.extend(header.as_bytes());
    out.extend_from_slice(&t.data);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_every_type() {
        for (_, dtype) in TYPES {
            for shape in [vec![], vec![3], vec![2, 3], vec![0, 4]] {
                let n: usize = shape.iter().product();
                let data: Vec<u8> =
                    (0..n * dtype.size()).map(|i| if dtype == DType::Bool { 1 } else { i as u8 }).collect();
                let t = Tensor::new(dtype, shape, data).unwrap();
                let bytes = encode(&t).unwrap();
                assert_eq!(decode(&bytes).unwrap(), t);
                assert_eq!((bytes.len() - t.data.len()) % 64, 0, "NumPy aligns the data");
            }
        }
    }

    #[test]
    fn reads_fortran_order_and_big_endian() {
        let header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n";
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        // Column by column: a[0][0], a[1][0], a[0][1], …
        for v in [1i16, 4, 2, 5, 3, 6] {
            bytes.extend(v.to_be_bytes());
        }
        let t = decode(&bytes).unwrap();
        let values: Vec<i16> = t.data.chunks(2).map(|c| i16::from_le_bytes([c[0], c[1]])).collect();
        assert_eq!((t.shape, values), (vec![2, 3], vec![1, 2, 3, 4, 5, 6]));
    }

    #[test]
    fn refuses_damaged_files() {
        let good = encode(&Tensor::from_f32(&[2, 2], &[1.0; 4])).unwrap();
        for n in 0..good.len() {
            assert!(decode(&good[..n]).is_err(), "{n} bytes");
        }
        for (from, to) in
            [("<f4", "<c8"), ("<f4", "?f4"), ("(2, 2)", "(2, x)"), ("(2, 2)", "(9, 9)"), ("False", "Maybe")]
        {
            let text = good.iter().map(|&b| b as char).collect::<String>().replacen(from, to, 1);
            assert!(decode(&text.chars().map(|c| c as u8).collect::<Vec<_>>()).is_err(), "{to}");
        }
        let huge = good.iter().map(|&b| b as char).collect::<String>();
        let huge = huge.replacen("(2, 2), }            ", "(4294967295, 9999999999), }", 1);
        assert!(decode(&huge.chars().map(|c| c as u8).collect::<Vec<_>>()).is_err());
    }
}
