//! Images in bands: several kernels for one, each for some rows of its image, all at work at once.
//!
//! ```text
//!  rows 0..8    downward   0 1 2 ... 7     two bands begin, or end, at the border between them at the same time, so that
//!  rows 8..16   upward    15 ... 9 8       what a window sees of the other band is there when it is needed
//!  rows 16..24  downward  16 17 ... 23
//! ```
//!
//! A graph of kernels becomes another of more kernels with the same sums in the same order, but for reductions over whole
//! images. Lanes of columns come afterwards, within each band. Knows nothing of PEs and places.

use crate::kernels::{BandInput, RowsBeside};
use crate::lanes::{add, border, image_dims, joined, needed, part_of};
use crate::layout::{Layout, Part};
use crate::streams::{Exit, KernelId, Lane, Operand, Producer, StreamId, WaferGraph};
use std::collections::BTreeMap;
use std::ops::Range;

/// What carries a tensor of the model: one stream, or one a band.
#[derive(Default)]
struct Carrier {
    dims: Option<[usize; 4]>,
    whole: Option<StreamId>,
    bands: Option<Vec<StreamId>>,
    /// Rows of a band for another, by band, first and end in the order in which the band makes them.
    beside: BTreeMap<(usize, usize, usize), StreamId>,
    /// Parts of an input of the model: first row, end, and whether they come upward.
    parts: BTreeMap<(usize, usize, bool), StreamId>,
}

/// A graph in bands while it is made.
struct Weaver<'a> {
    old: &'a WaferGraph,
    new: WaferGraph,
    bands: usize,
    carriers: Vec<Carrier>,
}

/// The same model in so many bands; `None` when some part of it takes an image whole that can only be made in bands, or
/// when nothing can.
pub(crate) fn in_bands(old: &WaferGraph, bands: usize) -> Option<WaferGraph> {
    let carriers = old.streams.iter().map(|s| Carrier { dims: image_dims(s), ..Carrier::default() }).collect();
    let mut w = Weaver { old, new: WaferGraph::default(), bands, carriers };
    let mut any = false;
    for k in old.order() {
        any |= w.kernel(k)?;
    }
    for (i, s) in old.streams.iter().enumerate().filter(|(_, s)| !s.outputs.is_empty()) {
        w.leaves(StreamId(i), &s.outputs)?;
    }
    w.new.choose_formats();
    any.then_some(w.new)
}

impl Weaver<'_> {
    /// True when the band takes its rows from the last to the first.
    fn upward(band: usize) -> bool {
        band % 2 == 1
    }

    fn rows(&self, h: usize, band: usize) -> Range<usize> {
        border(h, self.bands, band)..border(h, self.bands, band + 1)
    }

    fn is_input(&self, s: StreamId) -> bool {
        matches!(self.old.stream(s).producer, Producer::Input(_))
    }

    /// A kernel in bands, or as it is; whether it is in bands. `None` when it can be neither.
    fn kernel(&mut self, id: KernelId) -> Option<bool> {
        let k = &self.old.kernels[id.0];
        let dims: Vec<Option<[usize; 4]>> = k.inputs.iter().map(|o| self.carriers[o.stream.0].dims).collect();
        let image = k.core.image(&dims);
        self.carriers[k.output.0].dims = image;
        if self.reduces(id, &dims) {
            return Some(true);
        }
        if let Some(image) = image.filter(|i| i[2] >= self.bands)
            && let Some(plan) = self.plan(id, &dims, image)
        {
            self.weave(id, image, plan)?;
            return Some(true);
        }
        self.keep(id)?;
        Some(false)
    }

    /// The kernel as it is, of whole streams.
    fn keep(&mut self, id: KernelId) -> Option<()> {
        let k = &self.old.kernels[id.0];
        let mut inputs = Vec::new();
        for o in &k.inputs {
            inputs.push(Operand { stream: self.whole(o.stream)?, layout: o.layout.clone() });
        }
        let shape = self.old.stream(k.output).shape.clone();
        let (made, out) = self.new.add_shared(&k.names[0], k.core.clone(), inputs, shape);
        let kernel = &mut self.new.kernels[made.0];
        (kernel.names, kernel.steps) = (k.names.clone(), k.steps.clone());
        self.new.streams[out.0].fixed = self.old.stream(k.output).fixed;
        self.carriers[k.output.0].whole = Some(out);
        Some(())
    }

    /// What every band of a kernel receives of each input: its rows, or nothing where it takes all of it; and what it is
    /// then. `None` when a band would need more than the bands beside it have.
    fn plan(
        &self,
        id: KernelId,
        dims: &[Option<[usize; 4]>],
        image: [usize; 4],
    ) -> Option<Vec<Vec<Option<BandInput>>>> {
        let k = &self.old.kernels[id.0];
        let mut plan = Vec::new();
        for b in 0..self.bands {
            let own = self.rows(image[2], b);
            let mut inputs = Vec::new();
            for (i, o) in k.inputs.iter().enumerate() {
                let Some(looked) = k.core.looks_at_rows(i, &own) else {
                    inputs.push(None);
                    continue;
                };
                let h = dims[i]?[2];
                let need = needed(&looked, h)?;
                if self.is_input(o.stream) {
                    inputs.push(Some(BandInput { rows: need, beside: [0, 0] }));
                    continue;
                }
                self.carriers[o.stream.0].bands.as_ref()?;
                let (rows, beside) = part_of(h, self.bands, b, &need)?;
                inputs.push(Some(BandInput { rows, beside }));
            }
            k.core.band(image, &own, Self::upward(b), &given(&inputs))?;
            plan.push(inputs);
        }
        Some(plan)
    }

    /// Makes the bands of a kernel.
    fn weave(&mut self, id: KernelId, image: [usize; 4], plan: Vec<Vec<Option<BandInput>>>) -> Option<()> {
        let k = &self.old.kernels[id.0];
        let [n, c, h, w] = image;
        let mut firsts: BTreeMap<String, KernelId> = BTreeMap::new();
        let mut out = Vec::new();
        for (b, inputs) in plan.into_iter().enumerate() {
            let (own, upward) = (self.rows(h, b), Self::upward(b));
            let core = k.core.band(image, &own, upward, &given(&inputs))?;
            let mut operands = Vec::new();
            let mut key = format!("{upward} {}", own.len());
            for (i, (o, input)) in k.inputs.iter().zip(&inputs).enumerate() {
                match input {
                    None => operands.push(Operand { stream: self.whole(o.stream)?, layout: o.layout.clone() }),
                    Some(part) => {
                        let looked = k.core.looks_at_rows(i, &own)?;
                        let lead = (part.rows.start as isize - looked.start, looked.end - part.rows.end as isize);
                        key += &format!(" {} {:?} {lead:?}", part.rows.len(), part.beside);
                        operands.extend(self.received(o.stream, b, part)?);
                    }
                }
            }
            let rows: Vec<usize> = if upward { own.clone().rev().collect() } else { own.clone().collect() };
            let steps = k.steps.iter().map(|s| s.of_rows(image, &rows, core.layout())).collect();
            let lane = Lane { index: b, of: self.bands };
            let made = add(&mut self.new, k, core, steps, operands, vec![n, c, own.len(), w], lane);
            let first = *firsts.entry(key).or_insert(made);
            let kernel = &mut self.new.kernels[made.0];
            kernel.twin = (first != made).then_some(first);
            out.push(kernel.output);
        }
        self.carriers[k.output.0].bands = Some(out);
        Some(())
    }

    /// A reduction over an image in bands; false when it is none.
    fn reduces(&mut self, id: KernelId, dims: &[Option<[usize; 4]>]) -> bool {
        let k = &self.old.kernels[id.0];
        let ([Some([_, _, h, w])], [operand]) = (dims, &k.inputs[..]) else { return false };
        let Some(bands) = self.carriers[operand.stream.0].bands.clone() else { return false };
        let rows: Vec<usize> = (0..self.bands).map(|b| self.rows(*h, b).len()).collect();
        let extents: Vec<[usize; 2]> = rows.iter().map(|&r| [r, *w]).collect();
        let Some(parts) = k.core.in_parts(&extents) else { return false };
        let shape = self.old.stream(k.output).shape.clone();
        let mut firsts: BTreeMap<usize, KernelId> = BTreeMap::new();
        let mut open = Vec::new();
        for (b, core) in parts.lanes.into_iter().enumerate() {
            let layout = self.new.stream(bands[b]).layout.clone().unwrap_or_else(|| core.layout().clone());
            let operand = Operand { stream: bands[b], layout };
            let lane = Lane { index: b, of: self.bands };
            let made = add(&mut self.new, k, core, Vec::new(), vec![operand], shape.clone(), lane);
            let first = *firsts.entry(rows[b]).or_insert(made);
            let kernel = &mut self.new.kernels[made.0];
            kernel.twin = (first != made).then_some(first);
            open.push((kernel.output, lane));
        }
        self.carriers[k.output.0].whole = joined(&mut self.new, k, &parts.join, open, &shape);
        true
    }

    /// The streams of one operand of a band: its rows, then those before and after them in the order in which they come.
    fn received(&mut self, s: StreamId, b: usize, part: &BandInput) -> Option<Vec<Operand>> {
        let dims = self.carriers[s.0].dims?;
        let [n, c, h, w] = dims;
        let image = |rows: usize| Layout::image([n, c, rows, w]);
        if self.is_input(s) {
            let stream = self.of_input(s, dims, &part.rows, Self::upward(b))?;
            return Some(vec![Operand { stream, layout: image(part.rows.len()) }]);
        }
        let bands = self.carriers[s.0].bands.clone()?;
        let mut operands = vec![Operand { stream: bands[b], layout: image(part.rows.len()) }];
        let ([above, below], Range { start, end }) = (part.beside, part.rows.clone());
        let mut sides = [(b.wrapping_sub(1), start - above..start), (b + 1, end..end + below)];
        if Self::upward(b) {
            sides.reverse();
        }
        for (from, rows) in sides.into_iter().filter(|(_, r)| !r.is_empty()) {
            let theirs = self.rows(h, from);
            let local = match Self::upward(from) {
                false => rows.start - theirs.start..rows.end - theirs.start,
                true => theirs.end - rows.end..theirs.end - rows.start,
            };
            let key = (from, local.start, local.end);
            let stream = match self.carriers[s.0].beside.get(&key) {
                Some(&made) => made,
                None => {
                    let of = [n, c, theirs.len(), w];
                    let core = RowsBeside::new(of, local);
                    let operand = Operand { stream: bands[from], layout: Layout::image(of) };
                    let Producer::Kernel(maker) = self.old.stream(s).producer else { return None };
                    let name = &self.old.kernels[maker.0].names[0];
                    let (id, made) =
                        self.new.add_kernel(name, Box::new(core), vec![operand], vec![n, c, rows.len(), w]);
                    self.new.kernels[id.0].lane = Lane { index: from, of: self.bands };
                    self.carriers[s.0].beside.insert(key, made);
                    made
                }
            };
            operands.push(Operand { stream, layout: image(rows.len()) });
        }
        Some(operands)
    }

    /// Some rows of an input of the model, from a port of their own.
    fn of_input(
        &mut self,
        s: StreamId,
        [n, c, _, w]: [usize; 4],
        rows: &Range<usize>,
        upward: bool,
    ) -> Option<StreamId> {
        let key = (rows.start, rows.end, upward);
        if let Some(&known) = self.carriers[s.0].parts.get(&key) {
            return Some(known);
        }
        let old = self.old.stream(s);
        let all = old.part.clone().or_else(|| old.layout.clone().map(Part::whole))?.rows(rows);
        let dims = [n, c, rows.len(), w];
        let id = self.new.add_stream(old.producer, dims.to_vec(), Some(Layout::image(dims)));
        self.new.streams[id.0].part = Some(if upward { all.turned() } else { all });
        self.carriers[s.0].parts.insert(key, id);
        Some(id)
    }

    /// A stream as it was; `None` where there are only bands of it.
    fn whole(&mut self, s: StreamId) -> Option<StreamId> {
        if self.carriers[s.0].whole.is_none() && self.is_input(s) {
            let old = self.old.stream(s);
            let id = self.new.add_stream(old.producer, old.shape.clone(), old.layout.clone());
            self.new.streams[id.0].fixed = old.fixed;
            self.new.streams[id.0].part = old.part.clone();
            self.carriers[s.0].whole = Some(id);
        }
        self.carriers[s.0].whole
    }

    /// Lets an output leave, its bands through ports of their own.
    fn leaves(&mut self, s: StreamId, exits: &[Exit]) -> Option<()> {
        if let Some(id) = self.whole(s) {
            self.new.streams[id.0].outputs = exits.to_vec();
            return Some(());
        }
        let (bands, [_, _, h, w]) = (self.carriers[s.0].bands.clone()?, self.carriers[s.0].dims?);
        for (b, id) in bands.into_iter().enumerate() {
            let rows = self.rows(h, b);
            for e in exits {
                let loops = &e.part.layout.loops;
                if loops.len() != 4 || loops[1].count != h || loops[3].count != w {
                    return None;
                }
                let part = e.part.rows(&rows);
                let part = if Self::upward(b) { part.turned() } else { part };
                self.new.streams[id.0].outputs.push(Exit { output: e.output, part });
            }
        }
        Some(())
    }
}

fn given(inputs: &[Option<BandInput>]) -> Vec<BandInput> {
    let whole = BandInput { rows: 0..0, beside: [0, 0] };
    inputs.iter().map(|i| i.clone().unwrap_or_else(|| whole.clone())).collect()
}
