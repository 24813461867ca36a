//! The contest's kernels: what a block of convolutions with execution parameters takes.
//!
//! `conv(H, W, R, S, C, K, T; h', w', c', k')`: height h'·w'·(c' + 1), width 3·k', time
//! ceil(H/h')·ceil(W/w')·ceil(C/c')·ceil(K/k')·R·S/T², memory C/c'·K/k'·R·S +
//! (W+S-1)/w'·(H+R-1)/h'·K/k' words. A block shares h' and w'; its height, time and memory are the
//! largest of its convolutions', its width their sum.

use quadrille_wafer::floorplan::Shapes;

/// One convolution.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub(crate) struct Conv {
    pub(crate) h: u64,
    pub(crate) w: u64,
    pub(crate) r: u64,
    pub(crate) s: u64,
    pub(crate) c: u64,
    pub(crate) k: u64,
    pub(crate) t: u64,
}

/// A kernel: convolutions that share h' and w'.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub(crate) struct Kernel {
    pub(crate) convs: Vec<Conv>,
    /// Words of memory a PE has.
    pub(crate) memory: u64,
}

/// Execution parameters of a kernel: h', w' and a (c', k') for each convolution.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub(crate) struct Execution {
    pub(crate) h: u64,
    pub(crate) w: u64,
    pub(crate) ck: Vec<(u64, u64)>,
}

impl Conv {
    /// Cycles, rounded up.
    pub(crate) fn time(&self, h: u64, w: u64, c: u64, k: u64) -> u64 {
        let steps = self.h.div_ceil(h) * self.w.div_ceil(w) * self.c.div_ceil(c) * self.k.div_ceil(k);
        (steps * self.r * self.s).div_ceil(self.t * self.t)
    }

    /// True when a PE's memory holds it; compared without rounding.
    pub(crate) fn fits(&self, h: u64, w: u64, c: u64, k: u64, memory: u64) -> bool {
        // C/c'·K/k'·RS + X·Y·K/(w'h'k') <= M, times c'·k'·h'·w'.
        let weights = u128::from(self.c * self.k * self.r * self.s) * u128::from(h * w);
        let image = u128::from((self.w + self.s - 1) * (self.h + self.r - 1) * self.k) * u128::from(c);
        weights + image <= u128::from(memory) * u128::from(c * k) * u128::from(h * w)
    }

    /// The least k' with which it takes at most `limit` cycles and fits.
    fn least_k(&self, h: u64, w: u64, c: u64, limit: u64, memory: u64) -> Option<u64> {
        let rest = self.h.div_ceil(h) * self.w.div_ceil(w) * self.c.div_ceil(c) * self.r * self.s;
        let turns = (u128::from(limit) * u128::from(self.t * self.t) / u128::from(rest)) as u64;
        if turns == 0 {
            return None;
        }
        let by_time = self.k.div_ceil(turns);
        let need = u128::from(self.c * self.k * self.r * self.s) * u128::from(h * w)
            + u128::from((self.w + self.s - 1) * (self.h + self.r - 1) * self.k) * u128::from(c);
        let by_memory = need.div_ceil(u128::from(memory) * u128::from(c) * u128::from(h * w)) as u64;
        let k = by_time.max(by_memory).max(1);
        (k <= self.k).then_some(k)
    }
}

impl Execution {
    /// `(width, height)` in PEs, not turned.
    pub(crate) fn shape(&self) -> (u64, u64) {
        let height = self.ck.iter().map(|&(c, _)| self.h * self.w * (c + 1)).max().unwrap_or(0);
        (self.ck.iter().map(|&(_, k)| 3 * k).sum(), height)
    }
}

impl Kernel {
    /// Cycles under these parameters.
    pub(crate) fn time(&self, e: &Execution) -> u64 {
        self.convs.iter().zip(&e.ck).map(|(v, &(c, k))| v.time(e.h, e.w, c, k)).max().unwrap_or(0)
    }

    /// True when a PE's memory holds it.
    pub(crate) fn fits(&self, e: &Execution) -> bool {
        self.convs.iter().zip(&e.ck).all(|(v, &(c, k))| v.fits(e.h, e.w, c, k, self.memory))
    }

    /// Calls `f(h', w', rows)` for each useful height h'·w'·(rows + 1) up to `most`.
    fn each_height(&self, most: u64, mut f: impl FnMut(u64, u64, u64)) {
        let (h_max, w_max) = self.convs.iter().fold((1, 1), |m, v| (v.h.max(m.0), v.w.max(m.1)));
        let c_max = self.convs.iter().map(|v| v.c).max().unwrap_or(1);
        for h in (1..=h_max).filter(|&h| h == 1 || h_max.div_ceil(h) < h_max.div_ceil(h - 1)) {
            for w in (1..=w_max).filter(|&w| w == 1 || w_max.div_ceil(w) < w_max.div_ceil(w - 1)) {
                for rows in 1..=c_max {
                    if h * w * (rows + 1) > most {
                        break;
                    }
                    f(h, w, rows);
                }
            }
        }
    }

    /// The narrowest parameters of this height class, if any.
    fn execution(&self, h: u64, w: u64, rows: u64, limit: u64) -> Option<Execution> {
        let ck = self.convs.iter().map(|v| {
            let c = rows.min(v.c);
            v.least_k(h, w, c, limit, self.memory).map(|k| (c, k))
        });
        Some(Execution { h, w, ck: ck.collect::<Option<_>>()? })
    }

    /// The fastest parameters whose shape, perhaps turned, is at most `width` x `height`.
    pub(crate) fn fastest(&self, width: u64, height: u64) -> Option<(Execution, u64)> {
        let mut best: Option<(Execution, u64)> = None;
        for (w_most, h_most) in [(width, height), (height, width)] {
            self.each_height(h_most, |h, w, rows| {
                // Least time for this height: halve the limit while it still fits.
                let fits = |limit| self.execution(h, w, rows, limit).filter(|e| e.shape().0 <= w_most);
                let (mut lo, mut hi) = (0u64, best.as_ref().map_or(1 << 40, |b| b.1));
                if fits(hi).is_none() {
                    return;
                }
                while hi - lo > 1 {
                    let mid = lo + (hi - lo) / 2;
                    if fits(mid).is_some() { hi = mid } else { lo = mid }
                }
                if let Some(e) = fits(hi) {
                    let time = self.time(&e);
                    if best.as_ref().is_none_or(|b| time < b.1) {
                        best = Some((e, time));
                    }
                }
            });
        }
        best
    }
}

impl Shapes for Kernel {
    fn within(&self, limit: u64, width: u16, height: u16) -> Vec<(u16, u16)> {
        let most = u64::from(width.max(height));
        // Least width of each height.
        let mut least = vec![u64::MAX; most as usize + 1];
        self.each_height(most, |h, w, rows| {
            if let Some(e) = self.execution(h, w, rows, limit) {
                let (wide, high) = e.shape();
                least[high as usize] = least[high as usize].min(wide);
            }
        });
        let mut shapes = Vec::new();
        for (high, &wide) in least.iter().enumerate().filter(|(_, w)| **w <= most) {
            let (wide, high) = (wide as u16, high as u16);
            shapes.extend([(wide, high), (high, wide)]);
        }
        shapes
    }

    fn time(&self, shape: (u16, u16)) -> Option<u64> {
        self.fastest(u64::from(shape.0), u64::from(shape.1)).map(|f| f.1)
    }
}
