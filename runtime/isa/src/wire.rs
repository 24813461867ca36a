//! Bytes in, numbers out: the little-endian and variable-length fields of the containers.
//!
//! Every read is checked, and no count is believed: a list grows as its elements are read, so
//! what is allocated is bounded by the bytes that are there.

/// Writes fields.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn u8(&mut self, v: u8) {
        self.0.push(v);
    }

    pub(crate) fn u16(&mut self, v: u16) {
        self.0.extend(v.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, v: u32) {
        self.0.extend(v.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, v: u64) {
        self.0.extend(v.to_le_bytes());
    }

    /// Seven bits a byte, low first.
    pub(crate) fn var(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.0.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.0.push(v as u8);
    }

    /// Zigzag, so that small negative numbers are short.
    pub(crate) fn signed(&mut self, v: i64) {
        self.var((v << 1 ^ v >> 63) as u64);
    }

    pub(crate) fn string(&mut self, s: &str) {
        self.var(s.len() as u64);
        self.0.extend(s.as_bytes());
    }

    pub(crate) fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Writer, &T)) {
        self.var(items.len() as u64);
        for i in items {
            item(self, i);
        }
    }
}

/// What a field should have been.
pub(crate) type Bad = &'static str;

/// Reads fields.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    pub(crate) fn at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Bad> {
        let bytes = self.bytes.get(self.at..).and_then(|b| b.first_chunk::<N>()).ok_or("the bytes end here")?;
        self.at += N;
        Ok(*bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Bad> {
        Ok(self.take::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Bad> {
        Ok(u16::from_le_bytes(self.take()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Bad> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Bad> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    pub(crate) fn var(&mut self) -> Result<u64, Bad> {
        let mut v = 0u64;
        for shift in (0..64).step_by(7) {
            let b = self.u8()?;
            let part = u64::from(b & 0x7F);
            if part << shift >> shift != part {
                return Err("a number of more than 64 bits");
            }
            v |= part << shift;
            if b < 0x80 {
                return Ok(v);
            }
        }
        Err("a number of more than 64 bits")
    }

    /// A variable-length number in the range of `T`.
    pub(crate) fn unsigned<T: TryFrom<u64>>(&mut self) -> Result<T, Bad> {
        T::try_from(self.var()?).map_err(|_| "a number out of range")
    }

    /// A zigzag number in the range of `T`.
    pub(crate) fn signed<T: TryFrom<i64>>(&mut self) -> Result<T, Bad> {
        let v = self.var()?;
        T::try_from((v >> 1) as i64 ^ -((v & 1) as i64)).map_err(|_| "a number out of range")
    }

    pub(crate) fn string(&mut self) -> Result<String, Bad> {
        let len: usize = self.unsigned()?;
        let end =
            self.at.checked_add(len).filter(|&e| e <= self.bytes.len()).ok_or("a string longer than the bytes")?;
        let text = std::str::from_utf8(&self.bytes[self.at..end]).map_err(|_| "a string that is not UTF-8")?;
        self.at = end;
        Ok(text.to_string())
    }

    /// A list of elements that take at least one byte each.
    pub(crate) fn list<T>(&mut self, mut item: impl FnMut(&mut Reader<'a>) -> Result<T, Bad>) -> Result<Vec<T>, Bad> {
        let n: usize = self.unsigned()?;
        if n > self.bytes.len() - self.at {
            return Err("a list longer than the bytes");
        }
        let mut out = Vec::new();
        for _ in 0..n {
            let before = self.at;
            out.push(item(self)?);
            debug_assert!(self.at > before, "elements take bytes, else a count could not be bounded by them");
        }
        Ok(out)
    }
}
