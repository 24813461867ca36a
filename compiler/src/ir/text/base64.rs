//! Base64 (RFC 4648, with padding) for the bytes of large constants.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends the text for `bytes`: without a copy beside it, since weights are large.
pub(super) fn encode_into(out: &mut String, bytes: &[u8]) {
    out.reserve(bytes.len().div_ceil(3) * 4);
    let digits = |three: &[u8]| {
        let bits = three.iter().fold(0u32, |n, &b| n << 8 | u32::from(b)) << (8 * (3 - three.len()));
        [18, 12, 6, 0].map(|shift| ALPHABET[(bits >> shift & 63) as usize])
    };
    // Blocks through a buffer on the stack: one check of the text a block, not one a digit.
    let mut block = [0u8; 4 * 256];
    let mut blocks = bytes.chunks_exact(3 * 256);
    for bytes in &mut blocks {
        for (four, three) in block.chunks_exact_mut(4).zip(bytes.chunks_exact(3)) {
            four.copy_from_slice(&digits(three));
        }
        out.push_str(std::str::from_utf8(&block).unwrap_or_default());
    }
    for three in blocks.remainder().chunks(3) {
        for (i, d) in digits(three).into_iter().enumerate() {
            out.push(if i <= three.len() { char::from(d) } else { '=' });
        }
    }
}

/// The bytes that `text` stands for, or `None` when it is not canonical base64.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for (i, four) in text.chunks_exact(4).enumerate() {
        let pad = four.iter().rev().take_while(|&&c| c == b'=').count();
        let last = (i + 1) * 4 == text.len();
        if pad > 2 || pad > 0 && !last {
            return None;
        }
        let mut bits = 0u32;
        for &c in &four[..4 - pad] {
            let value = match c {
                b'A'..=b'Z' => c - b'A',
                b'a'..=b'z' => c - b'a' + 26,
                b'0'..=b'9' => c - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * pad;
        let bytes = bits.to_be_bytes();
        // Bits beyond the last byte must be zero, so that one byte string has one text.
        if bytes[4 - pad..].iter().any(|&b| b != 0) {
            return None;
        }
        out.extend(&bytes[1..4 - pad]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_pairs() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            let mut encoded = String::new();
            encode_into(&mut encoded, bytes.as_bytes());
            assert_eq!(encoded, text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        for bad in ["Zg", "Zh==", "=m9v", "Zg==Zg==", "Z===", "Zm9\u{e9}"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn blocks_and_their_rest_come_back() {
        for n in [766, 767, 768, 769, 1536, 2000] {
            let bytes: Vec<u8> = (0..n).map(|i| (i * 37 % 251) as u8).collect();
            let mut text = String::from("x");
            encode_into(&mut text, &bytes);
            assert_eq!(decode(&text[1..]).unwrap(), bytes);
        }
    }
}
