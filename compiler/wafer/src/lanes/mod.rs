//! Images in lanes: several kernels for one, each for some columns of its image, all at work at once.
//!
//! ```text
//!  columns 0..8  ====> conv ====> conv ====> ...      every lane has rows of the mesh and ports of its own
//!                        | ^
//!  columns 8..16 ====> conv ====> conv ====> ...      columns at a border go across where a window needs them
//! ```
//!
//! A graph of kernels becomes another of more kernels with the same sums in the same order, but for reductions
//! over whole images, which add what the lanes have summed. Lanes of small images are stitched together in pairs.
//! Knows nothing of PEs and places.

mod carrier;

use crate::kernels::{Columns, Core, Joins, LaneInput, Stitch};
use crate::layout::{Layout, Part};
use crate::steps::Step;
use crate::streams::{Exit, Kernel, KernelId, Lane, Operand, Producer, StreamId, WaferGraph};
use carrier::{Carrier, image_of};
pub(crate) use carrier::{border, image_dims, needed, part_of};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Widths of what a lane receives of an input, on its own stream and beside it.
type Received = Option<(usize, [usize; 2])>;

/// Streams that one kernel may stitch.
const MOST: usize = crate::kernels::MAX_INPUTS;

/// A graph in lanes while it is made.
struct Weaver<'a> {
    old: &'a WaferGraph,
    new: WaferGraph,
    carriers: Vec<Carrier>,
    /// Lanes of old kernels that are no twins, by what they make and receive.
    firsts: BTreeMap<(KernelId, Received, Vec<Received>), KernelId>,
}

/// The same model in at most so many lanes; `None` when no kernel can be.
pub(crate) fn in_lanes(old: &WaferGraph, most: usize) -> Option<WaferGraph> {
    let carriers = old.streams.iter().map(Carrier::new).collect();
    let mut w = Weaver { old, new: WaferGraph::default(), carriers, firsts: BTreeMap::new() };
    let mut any = false;
    for k in old.order() {
        any |= w.kernel(k, most);
    }
    for (i, s) in old.streams.iter().enumerate() {
        if !s.outputs.is_empty() && !w.leaves_in_lanes(StreamId(i)) {
            let id = w.whole(StreamId(i));
            w.new.streams[id.0].outputs = s.outputs.clone();
        }
    }
    w.new.choose_formats();
    any.then_some(w.new)
}

/// Numbers of lanes to try, most first: halves, then what is left at once.
fn numbers(most: usize) -> Vec<usize> {
    let mut all = vec![most];
    let mut n = most;
    while n.is_multiple_of(2) {
        n /= 2;
        all.push(n);
    }
    all.push(1);
    all
}

impl Weaver<'_> {
    /// A kernel in as many lanes as its image allows; true when that is more than one.
    fn kernel(&mut self, id: KernelId, most: usize) -> bool {
        let k = &self.old.kernels[id.0];
        let dims: Vec<Option<[usize; 4]>> = k.inputs.iter().map(|o| self.carriers[o.stream.0].dims).collect();
        let image = k.core.image(&dims);
        self.carriers[k.output.0].dims = image.or_else(|| self.taken_as(k.output));
        let Some(image) = image else {
            self.keep(k);
            return false;
        };
        for lanes in numbers(most).into_iter().filter(|&n| n > 1) {
            if self.reduces(id, &dims, lanes) {
                return true;
            }
            let fits = image[3] >= lanes;
            if let Some(plan) = fits.then(|| self.plan(k, &dims, image, lanes)).flatten() {
                self.weave(id, image, lanes, plan);
                return true;
            }
        }
        self.keep(k);
        false
    }

    /// The image that the readers of a stream take it for, whatever it is for its maker.
    fn taken_as(&self, s: StreamId) -> Option<[usize; 4]> {
        let readers = self.old.stream(s).readers.iter().filter(|(_, i)| *i == 0);
        readers.filter_map(|(k, _)| self.old.kernels[k.0].core.takes_image()).next()
    }

    /// The kernel as it is, of whole streams.
    fn keep(&mut self, k: &Kernel) {
        let inputs = k.inputs.iter().map(|o| Operand { stream: self.whole(o.stream), layout: o.layout.clone() });
        let inputs: Vec<Operand> = inputs.collect();
        let out = self.copied(k, k.core.clone(), k.steps.clone(), inputs, k.output);
        self.carriers[k.output.0].whole = Some(out);
    }

    /// A kernel whose result has the shape and type of an old stream.
    fn copied(
        &mut self,
        k: &Kernel,
        core: Arc<dyn Core>,
        steps: Vec<Step>,
        inputs: Vec<Operand>,
        like: StreamId,
    ) -> StreamId {
        let shape = self.old.stream(like).shape.clone();
        let (id, out) = self.new.add_shared(&k.names[0], core, inputs, shape);
        self.new.kernels[id.0].names = k.names.clone();
        self.new.kernels[id.0].steps = steps;
        self.new.kernels[id.0].lane = k.lane;
        self.new.streams[out.0].fixed = self.old.stream(like).fixed;
        out
    }

    /// What every lane of a kernel receives: for each input its columns, or nothing where it takes all of it.
    /// `None` when lanes would need more than the lanes beside them have.
    fn plan(
        &self,
        k: &Kernel,
        dims: &[Option<[usize; 4]>],
        image: [usize; 4],
        lanes: usize,
    ) -> Option<Vec<Vec<Option<LaneInput>>>> {
        let mut plan = Vec::new();
        for l in 0..lanes {
            let own = border(image[3], lanes, l)..border(image[3], lanes, l + 1);
            let mut inputs = Vec::new();
            for (i, o) in k.inputs.iter().enumerate() {
                let Some(looked) = k.core.looks_at(i, &own) else {
                    inputs.push(None);
                    continue;
                };
                let w = dims[i]?[3];
                let need = needed(&looked, w)?;
                if self.is_input(o.stream) {
                    inputs.push(Some(LaneInput { columns: need, beside: [0, 0] }));
                    continue;
                }
                if w < lanes {
                    return None;
                }
                let (columns, beside) = part_of(w, lanes, l, &need)?;
                if looked.start > columns.start as isize {
                    return None;
                }
                inputs.push(Some(LaneInput { columns, beside }));
            }
            plan.push(inputs);
        }
        let dims_of = |l: usize| border(image[3], lanes, l)..border(image[3], lanes, l + 1);
        let made = plan.iter().enumerate().all(|(l, inputs)| k.core.lane(image, &dims_of(l), &given(inputs)).is_some());
        made.then_some(plan)
    }

    /// Makes the lanes of a kernel.
    fn weave(&mut self, id: KernelId, image: [usize; 4], lanes: usize, plan: Vec<Vec<Option<LaneInput>>>) {
        let k = &self.old.kernels[id.0];
        let [n, c, h, w] = image;
        let mut out = Vec::new();
        for (l, inputs) in plan.into_iter().enumerate() {
            let own = border(w, lanes, l)..border(w, lanes, l + 1);
            let Some(core) = k.core.lane(image, &own, &given(&inputs)) else { continue };
            let mut operands = Vec::new();
            for (i, (o, input)) in k.inputs.iter().zip(&inputs).enumerate() {
                match input {
                    None => operands.push(Operand { stream: self.whole(o.stream), layout: o.layout.clone() }),
                    Some(part) => {
                        operands.extend(match k.core.takes_sides(i) {
                            true => self.received(o.stream, lanes, l, part),
                            false => self.together(o.stream, lanes, l, part),
                        });
                    }
                }
            }
            let steps = k.steps.iter().map(|s| s.of_columns(image, &own, core.layout())).collect();
            let shape = vec![n, c, h, own.len()];
            let made = add(&mut self.new, k, core, steps, operands, shape, k.lane.lane(l, lanes));
            let received = inputs.iter().map(|i| i.as_ref().map(|i| (i.columns.len(), i.beside))).collect();
            self.has_twin(made, (id, Some((own.len(), [0, 0])), received));
            out.push(self.new.kernels[made.0].output);
        }
        self.carriers[k.output.0].lanes.insert(lanes, out);
    }

    /// Notes that all lanes with this key, here and of twins in other bands, have the same code.
    fn has_twin(&mut self, made: KernelId, (old, own, received): (KernelId, Received, Vec<Received>)) {
        let first = self.old.kernels[old.0].twin.unwrap_or(old);
        let twin = *self.firsts.entry((first, own, received)).or_insert(made);
        self.new.kernels[made.0].twin = (twin != made).then_some(twin);
    }

    /// A reduction over an image in lanes; false when it is none.
    fn reduces(&mut self, id: KernelId, dims: &[Option<[usize; 4]>], lanes: usize) -> bool {
        let k = &self.old.kernels[id.0];
        let ([Some([_, _, h, w])], [operand]) = (dims, &k.inputs[..]) else { return false };
        if *w < lanes || self.is_input(operand.stream) {
            return false;
        }
        let columns: Vec<Range<usize>> = (0..lanes).map(|l| border(*w, lanes, l)..border(*w, lanes, l + 1)).collect();
        let extents: Vec<[usize; 2]> = columns.iter().map(|c| [*h, c.len()]).collect();
        let Some(parts) = k.core.in_parts(&extents) else { return false };
        let shape = self.old.stream(k.output).shape.clone();
        let mut open: Vec<(StreamId, Lane)> = Vec::new();
        for (l, core) in parts.lanes.into_iter().enumerate() {
            let part = LaneInput { columns: columns[l].clone(), beside: [0, 0] };
            let operands = self.received(operand.stream, lanes, l, &part);
            let made = add(&mut self.new, k, core, Vec::new(), operands, shape.clone(), k.lane.lane(l, lanes));
            self.has_twin(made, (id, None, vec![Some((columns[l].len(), [0, 0]))]));
            open.push((self.new.kernels[made.0].output, k.lane.lane(l, lanes)));
        }
        self.carriers[k.output.0].whole = joined(&mut self.new, k, &parts.join, open, &shape);
        true
    }

    fn is_input(&self, s: StreamId) -> bool {
        matches!(self.old.stream(s).producer, Producer::Input(_))
    }

    /// The streams of one operand of a lane: its columns, then those beside it.
    fn received(&mut self, s: StreamId, lanes: usize, l: usize, part: &LaneInput) -> Vec<Operand> {
        let Some(dims) = self.carriers[s.0].dims else { return Vec::new() };
        if self.is_input(s) {
            return vec![self.of_input(s, dims, &part.columns)];
        }
        let all = self.lanes(s, dims, lanes);
        let mut operands = vec![Operand { stream: all[l], layout: image_of(dims, part.columns.len()) }];
        let [before, behind] = part.beside;
        let (start, end) = (part.columns.start, part.columns.end);
        let sides = [(l.wrapping_sub(1), start - before..start), (l + 1, end..end + behind)];
        for (from, columns) in sides.into_iter().filter(|(_, c)| !c.is_empty()) {
            let lane = border(dims[3], lanes, from)..border(dims[3], lanes, from + 1);
            let key = (lanes, from, columns.start, columns.end);
            let known = self.carriers[s.0].beside.get(&key).copied();
            let stream = known.unwrap_or_else(|| {
                let local = columns.start - lane.start..columns.end - lane.start;
                let place = self.band(s).lane(from, lanes);
                let made = self.columns(s, all[from], [dims[0], dims[1], dims[2], lane.len()], local, place, true);
                self.carriers[s.0].beside.insert(key, made);
                made
            });
            operands.push(Operand { stream, layout: image_of(dims, columns.len()) });
        }
        operands
    }

    /// The columns of a lane and those beside it as one stream.
    fn together(&mut self, s: StreamId, lanes: usize, l: usize, part: &LaneInput) -> Vec<Operand> {
        let mut parts = self.received(s, lanes, l, part);
        let Some([n, c, h, _]) = self.carriers[s.0].dims.filter(|_| parts.len() > 1) else { return parts };
        let own = usize::from(part.beside[0] > 0);
        parts[..=own].rotate_left(own);
        let widths: Vec<usize> = parts.iter().map(|o| o.layout.run()).collect();
        let shape = vec![n, c, h, widths.iter().sum()];
        let layout = image_of([n, c, h, 0], shape[3]);
        let key: Vec<StreamId> = parts.iter().map(|o| o.stream).collect();
        let known = self.carriers[s.0].together.get(&key).copied();
        let stream = known.unwrap_or_else(|| {
            let core = Stitch::with_sides([n, c, h], widths, own);
            let (id, made) = self.new.add_kernel(&self.name(s), Box::new(core), parts, shape);
            self.new.kernels[id.0].lane = self.band(s).lane(l, lanes);
            self.carriers[s.0].together.insert(key, made);
            made
        });
        vec![Operand { stream, layout }]
    }

    /// True for rows that another band takes beside its own.
    fn is_beside(&self, s: StreamId) -> bool {
        matches!(self.old.stream(s).producer, Producer::Kernel(k) if self.old.kernels[k.0].core.is_beside())
    }

    /// The band of rows that a stream lies in.
    fn band(&self, s: StreamId) -> Lane {
        match self.old.stream(s).producer {
            Producer::Kernel(k) => self.old.kernels[k.0].lane,
            _ => Lane::WHOLE,
        }
    }

    /// Some columns of a stream.
    fn columns(
        &mut self,
        of: StreamId,
        from: StreamId,
        dims: [usize; 4],
        columns: Range<usize>,
        place: Lane,
        beside: bool,
    ) -> StreamId {
        let shape = vec![dims[0], dims[1], dims[2], columns.len()];
        let operand = Operand { stream: from, layout: Layout::image(dims) };
        let name = self.name(of);
        let core = Columns::new(dims, columns, beside);
        let (id, out) = self.new.add_kernel(&name, Box::new(core), vec![operand], shape);
        self.new.kernels[id.0].lane = place;
        out
    }

    /// The node that makes a stream.
    fn name(&self, s: StreamId) -> String {
        match self.old.stream(s).producer {
            Producer::Kernel(k) => self.old.kernels[k.0].names[0].clone(),
            _ => "input".to_string(),
        }
    }

    /// Some columns of an input of the model, from a port of their own.
    fn of_input(&mut self, s: StreamId, dims: [usize; 4], columns: &Range<usize>) -> Operand {
        let layout = image_of(dims, columns.len());
        let key = (columns.start, columns.end);
        let known = self.carriers[s.0].parts.get(&key).copied();
        let stream = known.unwrap_or_else(|| {
            let old = self.old.stream(s);
            let all = || Part::whole(old.layout.clone().unwrap_or_else(|| layout.clone()));
            let part = old.part.clone().unwrap_or_else(all).columns(columns);
            let shape = vec![dims[0], dims[1], dims[2], columns.len()];
            let id = self.new.add_stream(old.producer, shape, Some(layout.clone()));
            self.new.streams[id.0].part = Some(part);
            self.carriers[s.0].parts.insert(key, id);
            id
        });
        Operand { stream, layout }
    }

    /// A stream in so many lanes: those that it has, or others stitched or cut.
    fn lanes(&mut self, s: StreamId, dims: [usize; 4], lanes: usize) -> Vec<StreamId> {
        if lanes == 1 {
            return vec![self.whole(s)];
        }
        if let Some(all) = self.carriers[s.0].lanes.get(&lanes) {
            return all.clone();
        }
        let finer = self.carriers[s.0].lanes.keys().copied().find(|n| *n > lanes && n.is_multiple_of(lanes));
        let made = match finer {
            Some(from) => self.stitched(s, dims, from, lanes),
            None => {
                let coarser = self.carriers[s.0].lanes.keys().copied().rfind(|&n| lanes.is_multiple_of(n)).unwrap_or(1);
                let from = self.lanes(s, dims, coarser);
                let cut = |l: usize| {
                    let parent = l / (lanes / coarser);
                    let lane = border(dims[3], coarser, parent)..border(dims[3], coarser, parent + 1);
                    let own = border(dims[3], lanes, l)..border(dims[3], lanes, l + 1);
                    (parent, lane.len(), own.start - lane.start..own.end - lane.start)
                };
                let parts: Vec<_> = (0..lanes).map(cut).collect();
                let (band, beside) = (self.band(s), self.is_beside(s));
                let place = |index| band.lane(index, lanes);
                let each = parts.into_iter().enumerate().map(|(l, (parent, width, columns))| {
                    let dims = [dims[0], dims[1], dims[2], width];
                    self.columns(s, from[parent], dims, columns, place(l), beside)
                });
                each.collect()
            }
        };
        self.carriers[s.0].lanes.insert(lanes, made.clone());
        made
    }

    /// Lets the lanes of an output leave through ports of their own; false when they cannot, or there are none.
    fn leaves_in_lanes(&mut self, s: StreamId) -> bool {
        let carrier = &self.carriers[s.0];
        let (Some((lanes, all)), Some([_, _, _, w])) = (carrier.lanes.last_key_value(), carrier.dims) else {
            return false;
        };
        let exits = &self.old.stream(s).outputs;
        if carrier.whole.is_some() || exits.iter().any(|e| e.part.layout.run() != w) {
            return false;
        }
        for (l, id) in all.iter().enumerate() {
            let own = border(w, *lanes, l)..border(w, *lanes, l + 1);
            let part = exits.iter().map(|e| Exit { output: e.output, part: e.part.columns(&own) });
            self.new.streams[id.0].outputs = part.collect();
        }
        true
    }

    /// Fewer lanes of more.
    fn stitched(&mut self, s: StreamId, dims: [usize; 4], from: usize, to: usize) -> Vec<StreamId> {
        let ratio = from / to;
        let step = (2..=MOST).rev().find(|d| ratio.is_multiple_of(*d)).unwrap_or(ratio);
        let all = if step == ratio { self.lanes(s, dims, from) } else { self.stitched(s, dims, from, to * step) };
        let many = to * step;
        let mut out = Vec::new();
        for (l, some) in all.chunks(step).enumerate() {
            let widths: Vec<usize> =
                (l * step..(l + 1) * step).map(|i| border(dims[3], many, i + 1) - border(dims[3], many, i)).collect();
            let operands = some.iter().zip(&widths);
            let operands = operands.map(|(&stream, &w)| Operand { stream, layout: image_of(dims, w) }).collect();
            let shape = vec![dims[0], dims[1], dims[2], widths.iter().sum()];
            let rows = [dims[0], dims[1], dims[2]];
            let core = if self.is_beside(s) { Stitch::beside(rows, widths) } else { Stitch::new(rows, widths) };
            let name = self.name(s);
            let (id, made) = self.new.add_kernel(&name, Box::new(core), operands, shape);
            self.new.kernels[id.0].lane = self.band(s).lane(l, to);
            out.push(made);
        }
        out
    }

    /// A stream as it was before there were lanes.
    fn whole(&mut self, s: StreamId) -> StreamId {
        if let Some(w) = self.carriers[s.0].whole {
            return w;
        }
        let old = self.old.stream(s);
        // The fewest lanes that there are: least to stitch.
        let fewest = self.carriers[s.0].lanes.keys().next().copied();
        let made = match (fewest, self.carriers[s.0].dims) {
            // Elements come in the order that they had; readers number them in their own way.
            (Some(n), Some(dims)) => self.stitched(s, dims, n, 1)[0],
            _ => {
                let id = self.new.add_stream(old.producer, old.shape.clone(), old.layout.clone());
                self.new.streams[id.0].fixed = old.fixed;
                self.new.streams[id.0].part = old.part.clone();
                id
            }
        };
        self.carriers[s.0].whole = Some(made);
        made
    }
}

/// A kernel for a part of what `k` makes.
pub(crate) fn add(
    g: &mut WaferGraph,
    k: &Kernel,
    core: Box<dyn Core>,
    steps: Vec<Step>,
    inputs: Vec<Operand>,
    shape: Vec<usize>,
    lane: Lane,
) -> KernelId {
    let (id, _) = g.add_kernel(&k.names[0], core, inputs, shape);
    let kernel = &mut g.kernels[id.0];
    (kernel.names, kernel.steps, kernel.lane) = (k.names.clone(), steps, lane);
    id
}

/// Joins what the parts of a reduction made, two by two.
pub(crate) fn joined(
    g: &mut WaferGraph,
    k: &Kernel,
    join: &Joins,
    mut open: Vec<(StreamId, Lane)>,
    shape: &[usize],
) -> Option<StreamId> {
    while open.len() > 1 {
        let last = open.len() <= 2;
        let mut next = Vec::new();
        for some in open.chunks(2) {
            let &[(a, lane), (b, _)] = some else {
                next.extend_from_slice(some);
                continue;
            };
            let core = join(2, last);
            let layout = core.layout().clone();
            let operands = [a, b].map(|stream| Operand { stream, layout: layout.clone() });
            let (steps, lane) = if last { (k.steps.clone(), k.lane) } else { (Vec::new(), lane) };
            let id = add(g, k, core, steps, operands.to_vec(), shape.to_vec(), lane);
            next.push((g.kernels[id.0].output, lane));
        }
        open = next;
    }
    open.first().map(|o| o.0)
}

fn given(inputs: &[Option<LaneInput>]) -> Vec<LaneInput> {
    let whole = LaneInput { columns: 0..0, beside: [0, 0] };
    inputs.iter().map(|i| i.clone().unwrap_or_else(|| whole.clone())).collect()
}
