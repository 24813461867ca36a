//! When a schedule takes the rows of each kernel.

use crate::tiled::TiledGraph;
use std::ops::Range;
use std::sync::Arc;

/// First and last cycle.
type Span = (u32, u32);

const NEVER: Span = (u32::MAX, 0);

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    rows: Vec<Arc<Vec<Span>>>,
    kernels: Vec<Span>,
}

fn widen(s: &mut Span, from: u32, to: u32) {
    *s = (s.0.min(from), s.1.max(to));
}

impl Times {
    pub(super) fn new(g: &TiledGraph) -> Times {
        Times { rows: vec![Arc::default(); g.kernels.len()], kernels: vec![NEVER; g.kernels.len()] }
    }

    /// Something of a kernel happens between two cycles.
    pub(super) fn note(&mut self, kernel: usize, from: u32, to: u32) {
        widen(&mut self.kernels[kernel], from, to);
    }

    /// Rows of a kernel of `all` are taken one a cycle.
    pub(super) fn note_rows(&mut self, kernel: usize, all: usize, rows: Range<usize>, first: u32) {
        let list = Arc::make_mut(&mut self.rows[kernel]);
        list.resize(all, NEVER);
        for (n, r) in rows.enumerate() {
            widen(&mut list[r], first + n as u32, first + n as u32);
        }
    }

    /// When a row is taken, the first and the last time; with the whole kernel where rows were not told apart.
    pub(super) fn row(&self, kernel: usize, row: usize) -> Span {
        match self.rows[kernel].get(row) {
            Some(&s) if s != NEVER => s,
            _ => self.kernel(kernel),
        }
    }

    pub(super) fn kernel(&self, kernel: usize) -> Span {
        let s = self.kernels[kernel];
        if s == NEVER { (0, 0) } else { s }
    }
}
