//! Running sums in log2(n) steps: each adds what lies 1, 2, 4 … places before.

use super::build::{Builder, Made};
use crate::ir::{Binary, ValueId};

impl Builder<'_> {
    pub(super) fn cumsum(&mut self, axis: usize, exclusive: bool, reverse: bool, x: ValueId) -> Made {
        let n = self.shape(x)[axis];
        let mut y = if reverse { self.reversed(x, axis..axis + 1)? } else { x };
        if exclusive {
            y = self.delayed(y, axis, 1)?;
        }
        let mut distance = 1;
        while distance < n {
            let earlier = self.delayed(y, axis, distance)?;
            y = self.binary(Binary::Add, y, earlier)?;
            distance *= 2;
        }
        if reverse { self.reversed(y, axis..axis + 1) } else { Ok(y) }
    }

    /// Moved on by some places; zeros come in.
    fn delayed(&mut self, x: ValueId, axis: usize, by: usize) -> Made {
        let rank = self.shape(x).len();
        let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
        before[axis] = by as isize;
        after[axis] = -(by as isize);
        self.zeros_around(x, before, after)
    }
}
