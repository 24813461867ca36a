//! NumPy's `.npz`: a zip file of `.npy` members.

use super::npy;
use quadrille_isa::Tensor;
use std::io::{Cursor, Read, Write};
use zip::write::SimpleFileOptions;

/// More bytes than any member may unpack to: a zip file of a few bytes can claim anything.
const MAX_MEMBER_BYTES: u64 = 16 << 30;

/// Reads all arrays, in the order of the archive.
pub fn decode(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, String> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| format!("not a .npz file: {e}"))?;
    let mut out = Vec::new();
    for i in 0..zip.len() {
        let member = zip.by_index(i).map_err(|e| e.to_string())?;
        let name = member.name().to_string();
        let Some(array) = name.strip_suffix(".npy") else {
            return Err(format!("member '{name}' is not a .npy file"));
        };
        let mut data = Vec::new();
        let read = member.take(MAX_MEMBER_BYTES).read_to_end(&mut data);
        read.map_err(|e| format!("member '{name}': {e}"))?;
        out.push((array.to_string(), npy::decode(&data).map_err(|e| format!("member '{name}': {e}"))?));
    }
    Ok(out)
}

/// Writes arrays, uncompressed as NumPy's `savez` does.
pub fn encode(arrays: &[(&str, &Tensor)]) -> Result<Vec<u8>, String> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    // A fixed time, so that the same arrays give the same bytes.
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .large_file(true);
    for (name, t) in arrays {
        zip.start_file(format!("{name}.npy"), options).map_err(|e| e.to_string())?;
        zip.write_all(&npy::encode(t)?).map_err(|e| e.to_string())?;
    }
    Ok(zip.finish().map_err(|e| e.to_string())?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let (a, b) = (Tensor::from_f32(&[2], &[1.0, 2.0]), Tensor::from_i64(&[], &[7]));
        let bytes = encode(&[("a/b", &a), ("c", &b)]).unwrap();
        assert_eq!(decode(&bytes).unwrap(), [("a/b".to_string(), a.clone()), ("c".to_string(), b.clone())]);
        assert_eq!(bytes, encode(&[("a/b", &a), ("c", &b)]).unwrap());
        for n in (0..bytes.len()).step_by(7) {
            assert!(decode(&bytes[..n]).is_err());
        }
    }
}
