//! Lists of cells over time, in blocks of some cells of all lists. Copies share the blocks that neither has changed, so a
//! branch of a schedule costs what it changes.
//!
//! Knows nothing of what the cells are for.

use std::sync::Arc;

/// Lists that grow with time; what nothing was written to is zero. `PER` cells of a list are a block.
#[derive(Clone, Debug)]
pub(super) struct Cells<T, const PER: usize> {
    lists: usize,
    /// Cells of the first list, then of the second, and so on.
    blocks: Vec<Option<Arc<[T]>>>,
}

impl<T: Copy + Default, const PER: usize> Cells<T, PER> {
    pub(super) fn new(lists: usize) -> Cells<T, PER> {
        Cells { lists, blocks: Vec::new() }
    }

    /// A list's cells of a block.
    pub(super) fn part(&self, block: usize, list: usize) -> Option<&[T; PER]> {
        let cells = self.blocks.get(block)?.as_deref()?;
        cells.get(list * PER..)?.first_chunk()
    }

    /// The same of neighbouring lists.
    pub(super) fn parts(&self, block: usize, first: usize, count: usize) -> &[[T; PER]] {
        let Some(Some(cells)) = self.blocks.get(block) else { return &[] };
        cells[first * PER..(first + count) * PER].as_chunks().0
    }

    /// The same to change.
    pub(super) fn parts_mut(&mut self, block: usize, first: usize, count: usize) -> &mut [[T; PER]] {
        if self.blocks.len() <= block {
            self.blocks.resize(block + 1, None);
        }
        let cells = self.blocks[block].get_or_insert_with(|| vec![T::default(); self.lists * PER].into());
        Arc::make_mut(cells)[first * PER..(first + count) * PER].as_chunks_mut().0
    }
}
