//! What carries a tensor of the model: one stream, or a stream a lane, in one or several numbers of lanes.

use crate::layout::Layout;
use crate::streams::{Producer, Stream, StreamId};
use std::collections::BTreeMap;
use std::ops::Range;

/// The streams of one tensor.
#[derive(Debug, Default)]
pub(super) struct Carrier {
    /// Extents of the image that it is, row by row: loops over n, h, c, w.
    pub(super) dims: Option<[usize; 4]>,
    pub(super) whole: Option<StreamId>,
    /// By number of lanes.
    pub(super) lanes: BTreeMap<usize, Vec<StreamId>>,
    /// Columns at a border: number of lanes, lane, first and end.
    pub(super) beside: BTreeMap<(usize, usize, usize, usize), StreamId>,
    /// Lanes with columns of others as one stream, by the streams that they are made of.
    pub(super) together: BTreeMap<Vec<StreamId>, StreamId>,
    /// Parts of an input of the model, by first column and end.
    pub(super) parts: BTreeMap<(usize, usize), StreamId>,
}

impl Carrier {
    /// For a stream of the graph without lanes. What an input carries is known by its order.
    pub(super) fn new(s: &Stream) -> Carrier {
        let dims = image_dims(s);
        Carrier { dims, ..Carrier::default() }
    }
}

/// Extents (n, c, h, w) of an input of the model whose order shows that it is an image, row by row.
pub(crate) fn image_dims(s: &Stream) -> Option<[usize; 4]> {
    match (s.producer, s.layout.as_ref().map(|l| &l.loops[..])) {
        (Producer::Input(_), Some([n, h, c, w])) if s.fixed.is_none() && s.outputs.is_empty() => {
            Some([n.count, c.count, h.count, w.count])
        }
        _ => None,
    }
}

/// The first column of lane `l` of a row of `w` columns; lane `lanes` is the end. Rows of bands are cut the same way.
pub(crate) fn border(w: usize, lanes: usize, l: usize) -> usize {
    w * l / lanes
}

/// What there is, of `extent` in all, of the rows or columns that windows look at; `None` for nothing.
pub(crate) fn needed(looked: &Range<isize>, extent: usize) -> Option<Range<usize>> {
    let clamped = |at: isize| at.clamp(0, extent as isize) as usize;
    Some(clamped(looked.start)..clamped(looked.end)).filter(|need| !need.is_empty())
}

/// The extent of part `i` of so many, and how much of `need` lies before and behind it; `None` where that is more than
/// the parts beside it have.
pub(crate) fn part_of(
    extent: usize,
    parts: usize,
    i: usize,
    need: &Range<usize>,
) -> Option<(Range<usize>, [usize; 2])> {
    let own = border(extent, parts, i)..border(extent, parts, i + 1);
    let lower = border(extent, parts, i.saturating_sub(1));
    let upper = border(extent, parts, (i + 2).min(parts));
    let beside = [own.start.saturating_sub(need.start), need.end.saturating_sub(own.end)];
    (need.start >= lower && need.end <= upper).then_some((own, beside))
}

/// Row by row, of an image whose rows have `w` columns.
pub(super) fn image_of([n, c, h, _]: [usize; 4], w: usize) -> Layout {
    Layout::image([n, c, h, w])
}
