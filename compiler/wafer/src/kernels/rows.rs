//! A window that slides over the rows of an image stream: which rows arrive when, and the
//! buffer that holds those under the window.
//!
//! The buffer holds the window's rows at fixed addresses; after each row of results the rows
//! that stay are moved up (f16 moves run at four elements a cycle, so for a 3x3 window this
//! costs about a ninth of one output channel's sum). Rows of padding are filled, not received.

use super::{BandInput, Format, LaneInput, PeContext, discard, in_queue, size};
use crate::code::{Builder, fabric, mem, mov, num};
use quadrille_isa::wafer::{Dst, ElemType, Mem, Src, Val, VecOp};
use std::borrow::Cow;
use std::ops::Range;

/// Extents of a two-dimensional window operation. One-dimensional ones have height 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub(crate) struct Geometry {
    pub(crate) n: usize,
    pub(crate) c: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) kh: usize,
    pub(crate) kw: usize,
    pub(crate) sh: usize,
    pub(crate) sw: usize,
    pub(crate) dh: usize,
    pub(crate) dw: usize,
    /// Padding above and to the left.
    pub(crate) top: usize,
    pub(crate) left: usize,
    pub(crate) oh: usize,
    pub(crate) ow: usize,
}

/// What a window over a part of an image receives beside that part, each side as an input of its own: columns to the
/// left and right, then rows above and below, which reach over those columns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Halo {
    /// Before and behind the columns of its own stream.
    pub(crate) columns: [usize; 2],
    /// Before and after the rows of its own stream, in the order in which they come.
    pub(crate) rows: [usize; 2],
    /// Rows of its own stream that come before those under the first window.
    pub(crate) skip: usize,
    /// The rows come from the last to the first.
    pub(crate) upward: bool,
}

/// What lies beside an image comes as f32.
const BESIDE: Format = Format { elem: ElemType::F32, pitch: 1 };

impl Halo {
    /// Input, first column in the padded row, and number of columns of each side that there is.
    fn inputs(self, g: &Geometry) -> Vec<(usize, usize, usize)> {
        let [before, behind] = self.columns;
        let sides = [(g.left.saturating_sub(before), before), (g.left + g.w, behind)];
        let sides = sides.into_iter().filter(|s| s.1 > 0).enumerate();
        sides.map(|(i, (first, count))| (i + 1, first, count)).collect()
    }

    /// The inputs that bring rows before and after its own.
    fn row_inputs(self) -> [usize; 2] {
        let first = 1 + self.columns.into_iter().filter(|&n| n > 0).count();
        [first, first + usize::from(self.rows[0] > 0)]
    }

    /// Inputs that a window has: its own stream and one for each side.
    pub(crate) fn inputs_in_all(self) -> usize {
        1 + self.columns.into_iter().chain(self.rows).filter(|&n| n > 0).count()
    }

    /// Extent of the runs of input `i`, for a window over rows of `w` columns.
    pub(crate) fn run(self, i: usize, w: usize) -> usize {
        let columns = self.columns.into_iter().filter(|&n| n > 0);
        match i {
            0 => w,
            _ => columns.clone().nth(i - 1).unwrap_or(w + columns.sum::<usize>()),
        }
    }

    /// The place under the window of a row of the kernel.
    pub(crate) fn slot(self, g: &Geometry, kh: usize) -> usize {
        g.dh * if self.upward { g.kh - 1 - kh } else { kh }
    }

    /// True when the window sees all of one image, from the first row to the last.
    pub(crate) fn is_none(self) -> bool {
        self == Halo::default()
    }

    /// The image with what lies beside it and without the rows that no window sees, and the geometry of a window over that.
    pub(crate) fn widened<'a>(self, g: Geometry, inputs: &[&'a [f32]]) -> (Geometry, Cow<'a, [f32]>) {
        let (g, image) = self.with_columns(g, inputs);
        let [above, below] = self.rows;
        if above + below + self.skip == 0 {
            return (g, image);
        }
        let tall = Geometry { h: above + g.h - self.skip + below, top: g.top - above, ..g };
        let [first, last] = self.row_inputs().map(|i| inputs.get(i).copied().unwrap_or(&[]));
        let planes = (0..g.n * g.c).flat_map(|p| {
            let rows = |x: &[f32], skip: usize, n: usize| x[(p * n + skip) * g.w..(p + 1) * n * g.w].to_vec();
            let mut v = if above > 0 { rows(first, 0, above) } else { Vec::new() };
            v.extend(rows(&image, self.skip, g.h));
            v.extend(if below > 0 { rows(last, 0, below) } else { Vec::new() });
            v
        });
        (tall, Cow::Owned(planes.collect()))
    }

    fn with_columns<'a>(self, g: Geometry, inputs: &[&'a [f32]]) -> (Geometry, Cow<'a, [f32]>) {
        let [before, behind] = self.columns;
        if before + behind == 0 {
            return (g, Cow::Borrowed(inputs[0]));
        }
        let wide = Geometry { w: before + g.w + behind, left: g.left - before, ..g };
        let (left, right) = if before > 0 { (Some(inputs[1]), inputs.get(2)) } else { (None, inputs.get(1)) };
        let row = |x: &[f32], r: usize, w: usize| x[r * w..(r + 1) * w].to_vec();
        let rows = (0..g.n * g.c * g.h).flat_map(|r| {
            let mut v = left.map_or(Vec::new(), |x| row(x, r, before));
            v.extend(row(inputs[0], r, g.w));
            v.extend(right.map_or(Vec::new(), |x| row(x, r, behind)));
            v
        });
        (wide, Cow::Owned(rows.collect()))
    }
}

/// A row at one place of the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Row {
    /// Received into a slot.
    Take(usize),
    /// Received from an input of its own into a slot.
    Beside(usize, usize),
    /// Filled with the padding value.
    Fill(usize),
    /// Received and dropped.
    Drop,
}

/// The rows of one image: those before the first result, those for each result (runs of equal
/// ones together: how many results, the rows for each), and how many are left over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Schedule {
    pub(crate) prologue: Vec<Row>,
    pub(crate) groups: Vec<(usize, Vec<Row>)>,
    pub(crate) left_over: usize,
}

impl Geometry {
    /// Rows under the window.
    pub(crate) fn span_h(&self) -> usize {
        self.dh * (self.kh - 1) + 1
    }

    /// The columns that `columns` of results look at, in the image's own numbers.
    pub(crate) fn looks_at(&self, columns: &Range<usize>) -> Range<isize> {
        let first = (columns.start * self.sw) as isize - self.left as isize;
        let reach = columns.len().saturating_sub(1) * self.sw + (self.kw - 1) * self.dw + 1;
        first..first + reach as isize
    }

    /// The window of a lane that makes `columns` and receives that input.
    pub(crate) fn lane(&self, columns: &Range<usize>, input: &LaneInput) -> Option<(Geometry, Halo)> {
        let left = usize::try_from(input.columns.start as isize - self.looks_at(columns).start).ok()?;
        let g = Geometry { w: input.columns.len(), left, ow: columns.len(), ..*self };
        (input.beside[0] <= left).then_some((g, Halo { columns: input.beside, ..Halo::default() }))
    }

    /// The rows that `rows` of results look at, in the image's own numbers.
    pub(crate) fn looks_at_rows(&self, rows: &Range<usize>) -> Range<isize> {
        let first = (rows.start * self.sh) as isize - self.top as isize;
        let reach = rows.len().saturating_sub(1) * self.sh + self.span_h();
        first..first + reach as isize
    }

    /// The window of a band that makes `rows` and receives that input.
    pub(crate) fn band(&self, rows: &Range<usize>, upward: bool, input: &BandInput) -> Option<(Geometry, Halo)> {
        let looked = self.looks_at_rows(rows);
        let (own, [above, below]) = (&input.rows, input.beside);
        let (lead, sides) = match upward {
            false => (own.start as isize - looked.start, [above, below]),
            true => (looked.end - own.end as isize, [below, above]),
        };
        let (top, skip) = (lead.max(0) as usize, (-lead).max(0) as usize);
        let g = Geometry { h: own.len(), top, oh: rows.len(), ..*self };
        let halo = Halo { columns: [0, 0], rows: sides, skip, upward };
        // All that comes on a stream of its own lies under some window.
        let s = g.schedule(halo);
        let of = |rows: &[Row]| rows.iter().filter(|r| matches!(r, Row::Beside(..))).count();
        let beside = of(&s.prologue) + s.groups.iter().map(|(n, rows)| n * of(rows)).sum::<usize>();
        (sides[0] <= top && skip < own.len() && beside == sides[0] + sides[1]).then_some((g, halo))
    }

    /// The part of an image that its first row of results needs.
    pub(crate) fn lead(&self) -> f64 {
        self.span_h().saturating_sub(self.top).clamp(1, self.h.max(1)) as f64 / self.h.max(1) as f64
    }

    /// Columns of a buffered row: padding, the stream's run, and as far as the window reaches.
    fn buffer_pitch(&self, run_pitch: usize) -> usize {
        let reach = (self.ow - 1) * self.sw + (self.kw - 1) * self.dw + 1;
        (self.left + run_pitch).max(reach)
    }

    /// Row-by-row schedule of an image. Rows from beside are taken as late as can be, after its own: a neighbour waits for
    /// those, as this one does for those of the neighbour.
    pub(crate) fn schedule(&self, halo: Halo) -> Schedule {
        let span = self.span_h();
        let ([above, below], inputs) = (halo.rows, halo.row_inputs());
        let end = (self.top + self.h).saturating_sub(halo.skip);
        let real = |v: usize| (self.top..end).contains(&v);
        let keep = span.saturating_sub(self.sh);
        let row = |v: usize, slot: usize| match v {
            v if real(v) => Row::Take(slot),
            v if v < self.top && v + above >= self.top => Row::Beside(inputs[0], slot),
            v if v >= end && v < end + below => Row::Beside(inputs[1], slot),
            _ => Row::Fill(slot),
        };
        let is_beside = |r: &Row| matches!(r, Row::Beside(..));
        let (late, begin): (Vec<Row>, Vec<Row>) = (0..keep).map(|v| row(v, v)).partition(is_beside);
        let prologue = std::iter::repeat_n(Row::Drop, halo.skip).chain(begin).collect();
        let mut late = Some(late);
        let mut groups: Vec<(usize, Vec<Row>)> = Vec::new();
        // All results from below the padding up to this one are made of the same rows.
        let inner = end.saturating_sub(keep) / self.sh;
        let mut i = 0;
        while i < self.oh {
            let first = keep + i * self.sh;
            let mut rows: Vec<Row> = (0..self.sh)
                .filter_map(|k| {
                    let slot = keep + k;
                    if slot < span { Some(row(first + k, slot)) } else { real(first + k).then_some(Row::Drop) }
                })
                .collect();
            rows.splice(0..0, late.take().into_iter().flatten());
            rows.sort_by_key(is_beside);
            match groups.last_mut() {
                Some((n, r)) if *r == rows => *n += 1,
                _ => groups.push((1, rows)),
            }
            i += 1;
            if i > 1 && first >= self.top && i < inner.min(self.oh) {
                groups.last_mut().into_iter().for_each(|(n, _)| *n += inner.min(self.oh) - i);
                i = inner.min(self.oh);
            }
        }
        let used = keep + self.oh * self.sh;
        Schedule { prologue, groups, left_over: end.saturating_sub(used.max(self.top)) }
    }
}

/// The rows under the window, of the channels that a PE needs, in SRAM.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) ty: ElemType,
    /// Address of column `origin` of the first channel of the first row.
    base: u32,
    /// First column held, padding counted.
    origin: usize,
    /// Elements of a buffered channel row.
    pitch: usize,
    /// Channels, and rows, follow each other towards lower addresses.
    downward: bool,
    /// It holds whole rows.
    whole: bool,
    /// The channels of a column lie side by side, so that a window's columns and channels are one loop.
    mixed: bool,
    channels: Range<usize>,
    g: Geometry,
    fill: Src,
    format: Format,
    scratch: u32,
    before: Option<Val>,
    after: Option<Val>,
    /// Columns that come on streams of their own: input, first column, how many.
    beside: Vec<(usize, usize, usize)>,
    halo: Halo,
    /// A padded odd run leaves its zero where the window may look for another padding value.
    patch: bool,
    /// Columns of padding, (first, how many), that runs of other channels reach into.
    pads: Vec<(usize, usize)>,
}

/// Where the columns that a PE needs lie, when it needs a part of each run.
///
/// A run arrives whole. What is too much of it, before or behind, lies where another channel will be
/// written afterwards: the channels follow each other upward when the run's end is not needed,
/// downward when its start is not.
struct Part {
    origin: usize,
    pitch: usize,
    downward: bool,
    /// Elements of a run before and behind what is held.
    lead: usize,
    tail: usize,
    pads: Vec<(usize, usize)>,
}

impl Geometry {
    /// The columns under the windows of the results `columns`, when that saves room.
    fn part(&self, columns: &Range<usize>, run_pitch: usize) -> Option<Part> {
        if columns.len() == self.ow || columns.is_empty() {
            return None;
        }
        let origin = columns.start * self.sw;
        let end = (columns.end - 1) * self.sw + (self.kw - 1) * self.dw + 1;
        let lead = origin.saturating_sub(self.left);
        let tail = (self.left + run_pitch).saturating_sub(end);
        let (pitch, downward) = ((end - origin) + lead.min(tail), lead > tail);
        let padding = |from: usize, to: usize| (to > from).then(|| (from, to - from));
        let pads = [padding(origin, self.left.min(end)), padding((self.left + self.w).max(origin), end)];
        (pitch < self.buffer_pitch(run_pitch)).then(|| Part {
            origin,
            pitch,
            downward,
            lead,
            tail,
            pads: pads.into_iter().flatten().collect(),
        })
    }
}

impl Window {
    /// Buffer for `channels` of the image; `fill` is the padding value in type `ty`.
    pub(crate) fn new(
        b: &mut Builder,
        cx: &PeContext<'_>,
        g: Geometry,
        ty: ElemType,
        channels: Range<usize>,
        fill_bits: u32,
        halo: Halo,
    ) -> Window {
        let format = cx.inputs[0];
        let part = g.part(&cx.columns, format.pitch);
        let whole = part.is_none();
        let part = part.unwrap_or(Part {
            origin: 0,
            pitch: g.buffer_pitch(format.pitch),
            downward: false,
            lead: 0,
            tail: 0,
            pads: Vec::new(),
        });
        let Part { origin, pitch, downward, lead, tail, pads } = part;
        let rows = g.span_h() * channels.len();
        let n = lead + rows * pitch + tail;
        let start = match (ty, fill_bits) {
            (ElemType::F16, bits) => b.f16s(n, || vec![bits as u16; n]),
            (_, bits) => b.f32s(n, || vec![f32::from_bits(bits); n]),
        };
        let first = if downward { lead + (rows - 1) * pitch } else { lead };
        let base = start + first as u32 * size(ty);
        let scratch = b.zeros(format.elem, 1);
        let mut edge = |n: usize| (n > 0).then(|| b.param(n));
        let (before, after) = (edge(channels.start), edge(g.c - channels.end));
        let patch = pads.is_empty() && fill_bits != 0 && format.pitch > g.w && pitch > g.left + g.w;
        let fill = Src::Imm(fill_bits, ty);
        let beside = halo.inputs(&g);
        Window {
            ty,
            base,
            origin,
            pitch,
            downward,
            channels,
            g,
            fill,
            format,
            scratch,
            before,
            after,
            beside,
            halo,
            patch,
            pads,
            whole,
            mixed: false,
        }
    }

    /// The same with the channels of a column side by side, where it holds whole rows.
    pub(crate) fn mixed(self) -> Window {
        // A place for each element all the same: only which one changes, and all hold the same value at first.
        Window { mixed: self.whole, ..self }
    }

    /// The operand of a window row's columns and channels in one loop, for windows of columns side by side.
    pub(crate) fn columns_and_channels(&self, row: usize, column: usize, stride0: usize) -> Option<Mem> {
        self.mixed.then(|| mem(self.ty, self.at(row, 0, column), 1, stride0 * self.channels.len()))
    }

    /// Byte address of (window row, local channel, column).
    fn at(&self, row: usize, channel: usize, column: usize) -> u32 {
        if self.mixed {
            let element = (row * self.pitch + column) * self.channels.len() + channel;
            return self.base + element as u32 * size(self.ty);
        }
        let channels = ((row * self.channels.len() + channel) * self.pitch) as i64;
        let elements = if self.downward { -channels } else { channels } + column as i64 - self.origin as i64;
        (i64::from(self.base) + elements * i64::from(size(self.ty))).max(0) as u32
    }

    /// Columns `stride0` apart from (window row, local channel, column) on, a channel a row.
    pub(crate) fn channels(&self, row: usize, channel: usize, column: usize, stride0: usize) -> Mem {
        if self.mixed {
            return mem(self.ty, self.at(row, channel, column), 1, stride0 * self.channels.len());
        }
        let m = mem(self.ty, self.at(row, channel, column), self.pitch, stride0);
        match self.downward {
            true => Mem { stride1: Val::Const(-(self.pitch as i32)), ..m },
            false => m,
        }
    }

    /// Columns of one channel: `stride0` apart, and a row of them `stride1` after the one before.
    pub(crate) fn columns(&self, row: usize, channel: usize, column: usize, (stride1, stride0): (usize, usize)) -> Mem {
        let apart = if self.mixed { self.channels.len() } else { 1 };
        mem(self.ty, self.at(row, channel, column), stride1 * apart, stride0 * apart)
    }

    /// The operations for one row.
    pub(crate) fn row(&self, row: Row) -> Vec<VecOp> {
        let q = in_queue(0);
        let (n, run) = (self.channels.len(), self.format.pitch);
        match row {
            Row::Fill(slot) => {
                let dst = Dst::Mem(self.channels(slot, 0, self.origin, 1));
                vec![mov(num(n), num(self.pitch), dst, self.fill)]
            }
            Row::Drop => {
                let all = num(self.g.c);
                let beside = self.beside.iter().map(|&(i, _, n)| discard(in_queue(i), BESIDE, all, n, self.scratch));
                [discard(q, self.format, all, run, self.scratch)].into_iter().chain(beside).collect()
            }
            Row::Take(slot) => {
                let mut ops = Vec::new();
                if let Some(v) = self.before {
                    ops.push(discard(q, self.format, v, run, self.scratch));
                }
                let dst = Dst::Mem(self.channels(slot, 0, self.g.left, 1));
                ops.push(mov(num(n), num(run), dst, fabric(q, self.format.elem)));
                if let Some(v) = self.after {
                    ops.push(discard(q, self.format, v, run, self.scratch));
                }
                if self.patch {
                    let dst = Dst::Mem(self.channels(slot, 0, self.g.left + self.g.w, 1));
                    ops.push(mov(num(n), num(1), dst, self.fill));
                }
                for &(first, count) in &self.pads {
                    let dst = Dst::Mem(self.channels(slot, 0, first, 1));
                    ops.push(mov(num(n), num(count), dst, self.fill));
                }
                for &(i, first, count) in &self.beside {
                    let q = in_queue(i);
                    ops.extend(self.before.map(|v| discard(q, BESIDE, v, count, self.scratch)));
                    let dst = Dst::Mem(self.channels(slot, 0, first, 1));
                    ops.push(mov(num(n), num(count), dst, fabric(q, ElemType::F32)));
                    ops.extend(self.after.map(|v| discard(q, BESIDE, v, count, self.scratch)));
                }
                ops
            }
            Row::Beside(i, slot) => {
                let (q, width) = (in_queue(i), self.halo.run(i, self.g.w));
                let dst = Dst::Mem(self.channels(slot, 0, self.g.left - self.halo.columns[0], 1));
                let mut ops: Vec<VecOp> =
                    self.before.map(|v| discard(q, BESIDE, v, width, self.scratch)).into_iter().collect();
                ops.push(mov(num(n), num(width), dst, fabric(q, ElemType::F32)));
                ops.extend(self.after.map(|v| discard(q, BESIDE, v, width, self.scratch)));
                ops
            }
        }
    }

    /// Moves the rows that stay under the window to its top, as far as results of `columns` look.
    fn shift(&self, columns: &Range<usize>) -> Vec<VecOp> {
        let keep = self.g.span_h().saturating_sub(self.g.sh);
        if keep == 0 {
            return Vec::new();
        }
        let rows = keep * self.channels.len();
        let first = columns.start * self.g.sw;
        let width = (columns.len() - 1) * self.g.sw + (self.g.kw - 1) * self.g.dw + 1;
        let at = |row| self.channels(row, 0, first, 1);
        if self.mixed {
            let n = self.channels.len();
            let at = |row| Mem { stride0: num(1), stride1: num(self.pitch * n), ..at(row) };
            return vec![mov(num(keep), num(width * n), Dst::Mem(at(0)), Src::Mem(at(self.g.sh)))];
        }
        vec![mov(num(rows), num(width), Dst::Mem(at(0)), Src::Mem(at(self.g.sh)))]
    }

    /// The rows of results that each task of [`Window::tasks_each`] makes.
    pub(crate) fn groups(&self) -> Vec<Range<usize>> {
        let mut start = 0;
        self.g
            .schedule(self.halo)
            .groups
            .iter()
            .map(|(n, _)| {
                start += n;
                start - n..start
            })
            .collect()
    }

    /// The tasks of a PE that makes `columns` of one row of results by `body` for every place of
    /// the window.
    pub(crate) fn tasks(&self, b: &mut Builder, columns: &Range<usize>, body: &[VecOp]) {
        self.tasks_of(b, columns, &|_| body);
    }

    /// The same with a body for each of [`Window::groups`].
    pub(crate) fn tasks_each(&self, b: &mut Builder, columns: &Range<usize>, bodies: &[Vec<VecOp>]) {
        self.tasks_of(b, columns, &|i| &bodies[i]);
    }

    fn tasks_of<'a>(&self, b: &mut Builder, columns: &Range<usize>, body: &dyn Fn(usize) -> &'a [VecOp]) {
        let s = self.g.schedule(self.halo);
        let rows = |rows: &[Row]| -> Vec<VecOp> { rows.iter().flat_map(|&r| self.row(r)).collect() };
        let mut parts = vec![("begin".to_string(), 1, rows(&s.prologue))];
        for (i, (n, r)) in s.groups.iter().enumerate() {
            let (first, last, body) = (rows(r), self.shift(columns), body(i));
            let mut ops = Vec::with_capacity(first.len() + body.len() + last.len());
            ops.extend(first);
            ops.extend_from_slice(body);
            ops.extend(last);
            parts.push((format!("rows{i}"), *n, ops));
        }
        parts.push(("rest".to_string(), s.left_over, rows(&[Row::Drop])));
        b.sequence(in_queue(0), parts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn g(h: usize, k: usize, s: usize, top: usize, bottom: usize) -> Geometry {
        let oh = (h + top + bottom - k) / s + 1;
        Geometry { n: 1, c: 1, h, w: 4, kh: k, kw: 1, sh: s, sw: 1, dh: 1, dw: 1, top, left: 0, oh, ow: 4 }
    }

    /// Plays a schedule: the rows under the window for every result, `None` for padding.
    fn play(g: &Geometry) -> (Vec<Vec<Option<usize>>>, usize) {
        let s = g.schedule(Halo::default());
        let mut next = 0;
        let mut window = vec![None; g.span_h()];
        let mut take = |window: &mut Vec<Option<usize>>, r: Row| match r {
            Row::Take(slot) => {
                window[slot] = Some(next);
                next += 1;
            }
            Row::Fill(slot) => window[slot] = None,
            Row::Drop => next += 1,
            Row::Beside(..) => panic!("nothing lies beside this image"),
        };
        for &r in &s.prologue {
            take(&mut window, r);
        }
        let mut seen = Vec::new();
        for (n, rows) in &s.groups {
            for _ in 0..*n {
                for &r in rows {
                    take(&mut window, r);
                }
                seen.push(window.clone());
                let keep = g.span_h().saturating_sub(g.sh);
                for i in 0..keep {
                    window[i] = window[i + g.sh];
                }
            }
        }
        (seen, next + s.left_over)
    }

    #[test]
    fn every_window_sees_its_rows() {
        for (h, k, s, top, bottom) in [
            (5, 3, 1, 0, 0),
            (5, 3, 1, 1, 1),
            (6, 3, 2, 1, 1),
            (7, 2, 2, 0, 0),
            (7, 1, 2, 0, 0),
            (7, 1, 3, 0, 0),
            (8, 3, 2, 0, 1),
            (5, 5, 1, 4, 4),
            (6, 2, 3, 1, 1),
            (9, 3, 3, 2, 0),
        ] {
            let g = g(h, k, s, top, bottom);
            let (seen, used) = play(&g);
            assert_eq!(used, h, "{g:?} must take every row");
            assert_eq!(seen.len(), g.oh);
            for (i, w) in seen.iter().enumerate() {
                let want: Vec<Option<usize>> =
                    (0..k).map(|r| (i * s + r).checked_sub(top).filter(|&v| v < h)).collect();
                assert_eq!(w, &want, "{g:?} result {i}");
            }
        }
    }
}
