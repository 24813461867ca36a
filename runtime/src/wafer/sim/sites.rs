//! A set of sites or cores, taken out in ascending order: work on neighbours in memory goes together.

/// Indices below a bound.
#[derive(Clone, Debug, Default)]
pub(super) struct Sites {
    words: Vec<u64>,
    /// One bit for each word that is not zero.
    top: Vec<u64>,
}

impl Sites {
    pub(super) fn new(bound: usize) -> Sites {
        let words = bound.div_ceil(64);
        Sites { words: vec![0; words], top: vec![0; words.div_ceil(64)] }
    }

    #[inline]
    pub(super) fn insert(&mut self, ix: u32) {
        let word = ix as usize / 64;
        self.words[word] |= 1 << (ix % 64);
        self.top[word / 64] |= 1 << (word % 64);
    }

    /// Makes room for indices below a larger bound.
    pub(super) fn grow(&mut self, bound: usize) {
        let words = bound.div_ceil(64);
        if words > self.words.len() {
            self.words.resize(words, 0);
            self.top.resize(words.div_ceil(64), 0);
        }
    }

    pub(super) fn contains(&self, ix: u32) -> bool {
        self.words[ix as usize / 64] >> (ix % 64) & 1 == 1
    }

    pub(super) fn remove(&mut self, ix: u32) {
        let word = ix as usize / 64;
        self.words[word] &= !(1 << (ix % 64));
        if self.words[word] == 0 {
            self.top[word / 64] &= !(1 << (word % 64));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.top.iter().all(|&t| t == 0)
    }

    /// Moves all to the end of `out`.
    pub(super) fn drain(&mut self, out: &mut Vec<u32>) {
        for (t, top) in self.top.iter_mut().enumerate() {
            let mut rest = std::mem::take(top);
            while rest != 0 {
                let word = t * 64 + rest.trailing_zeros() as usize;
                rest &= rest - 1;
                let mut bits = std::mem::take(&mut self.words[word]);
                while bits != 0 {
                    out.push((word * 64) as u32 + bits.trailing_zeros());
                    bits &= bits - 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sites;

    #[test]
    fn what_goes_in_comes_out_once_and_in_order() {
        let mut s = Sites::new(70_000);
        let members = [69_999, 0, 63, 64, 4095, 4096, 4097, 63, 0];
        assert!(s.is_empty());
        members.iter().for_each(|&m| s.insert(m));
        assert!(!s.is_empty());
        let mut out = Vec::new();
        s.drain(&mut out);
        assert_eq!(out, [0, 63, 64, 4095, 4096, 4097, 69_999]);
        assert!(s.is_empty());
        s.drain(&mut out);
        assert_eq!(out.len(), 7);
    }

    #[test]
    fn a_set_grows_and_loses_members() {
        let mut s = Sites::new(10);
        s.insert(3);
        s.grow(5000);
        s.insert(4999);
        assert!(s.contains(3) && s.contains(4999) && !s.contains(64));
        s.remove(3);
        assert!(!s.contains(3) && !s.is_empty());
        s.remove(4999);
        assert!(s.is_empty());
    }
}
