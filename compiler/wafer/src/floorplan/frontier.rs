//! The least height for every width, and the least width for every height: all that a slicing
//! needs to know of what lies in a box.

/// No shape of this extent.
pub(super) const NONE: u16 = u16::MAX;

/// `height[w]`: least height of a shape at most `w` wide; `width[h]` likewise. Index 0 holds [`NONE`].
#[derive(Clone, Debug)]
pub(super) struct Frontier {
    pub(super) height: Vec<u16>,
    pub(super) width: Vec<u16>,
}

impl Frontier {
    /// Of a list of `(width, height)`; larger ones than the mesh are left out.
    pub(super) fn new(shapes: &[(u16, u16)], width: u16, height: u16) -> Self {
        let mut f = Self::empty(width, height);
        for &(w, h) in shapes {
            if w >= 1 && h >= 1 && w <= width && h <= height {
                f.height[usize::from(w)] = f.height[usize::from(w)].min(h);
                f.width[usize::from(h)] = f.width[usize::from(h)].min(w);
            }
        }
        f.close();
        f
    }

    /// Of no shape.
    pub(super) fn empty(width: u16, height: u16) -> Self {
        Self { height: vec![NONE; usize::from(width) + 1], width: vec![NONE; usize::from(height) + 1] }
    }

    /// True when some shape fits the mesh.
    pub(super) fn any(&self) -> bool {
        self.height.last().is_some_and(|&h| h != NONE)
    }

    /// Adds `a` above `b` and `a` beside `b`.
    pub(super) fn join(&mut self, a: &Frontier, b: &Frontier) {
        fn least(to: &mut [u16], a: &[u16], b: &[u16]) {
            for ((t, &a), &b) in to.iter_mut().zip(a).zip(b) {
                *t = (*t).min(a.saturating_add(b));
            }
        }
        least(&mut self.height, &a.height, &b.height);
        least(&mut self.width, &a.width, &b.width);
    }

    /// Makes both tables monotone, says in each what the other knows, and drops what is off the mesh.
    pub(super) fn close(&mut self) {
        fn fill(t: &mut [u16], most: usize) {
            let mut least = NONE;
            for v in t.iter_mut() {
                if usize::from(*v) > most {
                    *v = NONE;
                }
                least = least.min(*v);
                *v = least;
            }
        }
        fn tell(from: &[u16], to: &mut [u16]) {
            for (extent, &other) in from.iter().enumerate() {
                if other != NONE {
                    let t = &mut to[usize::from(other)];
                    *t = (*t).min(extent as u16);
                }
            }
        }
        let (w, h) = (self.height.len() - 1, self.width.len() - 1);
        fill(&mut self.height, h);
        fill(&mut self.width, w);
        let before = self.height.clone();
        tell(&self.width, &mut self.height);
        tell(&before, &mut self.width);
        fill(&mut self.height, h);
        fill(&mut self.width, w);
    }
}
