//! The wafer graph: kernels and the streams between them.
//!
//! A stream has one producer (an input of the model or a kernel) and any number of readers. It
//! carries one tensor in one order; a reader may see the tensor through transposes.

use super::kernels::{Core, Format, InputUse};
use super::layout::{Layout, Part};
use super::steps::Step;
use quadrille_isa::wafer::ElemType;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Index of a stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct StreamId(pub(crate) usize);

/// Index of a kernel, in topological order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct KernelId(pub(crate) usize);

/// Who makes a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Producer {
    /// An input of the model, by position.
    Input(usize),
    /// A kernel that was not needed after all: the stream does not exist.
    Gone,
    Kernel(KernelId),
}

/// An output of the model, by position, as what a stream gives of it.
#[derive(Clone, Debug)]
pub(crate) struct Exit {
    pub(crate) output: usize,
    pub(crate) part: Part,
}

/// A stream.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) producer: Producer,
    /// Shape of the tensor as its producer sees it.
    pub(crate) shape: Vec<usize>,
    /// Order over that shape's row-major indices; an input's is chosen by its first reader.
    pub(crate) layout: Option<Layout>,
    /// Readers: kernel and operand position.
    pub(crate) readers: Vec<(KernelId, usize)>,
    /// Outputs of the model that it is, or is a part of.
    pub(crate) outputs: Vec<Exit>,
    /// Of an input of the model, what it carries of it; without, all of it in its own order.
    pub(crate) part: Option<Part>,
    /// The element type that it always has; without, f32 or f16.
    pub(crate) fixed: Option<ElemType>,
    /// All readers round it to f16 anyway.
    pub(crate) narrow: bool,
    pub(crate) format: Format,
}

/// An operand of a kernel: a stream, and its order over the indices of the tensor that the
/// kernel sees.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub(crate) stream: StreamId,
    pub(crate) layout: Layout,
}

/// A kernel with its streams.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// Names of the user's nodes that it serves, first the one it is made for.
    pub(crate) names: Vec<String>,
    pub(crate) core: Arc<dyn Core>,
    pub(crate) steps: Vec<Step>,
    pub(crate) inputs: Vec<Operand>,
    pub(crate) output: StreamId,
    pub(crate) cut: Cut,
    /// The part of the mesh's rows that it lies in.
    pub(crate) lane: Lane,
    /// A kernel before it that has the same code on all PEs, but for data.
    pub(crate) twin: Option<KernelId>,
}

/// One of several equal parts of the mesh's rows, counted from the north.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Lane {
    pub(crate) index: usize,
    pub(crate) of: usize,
}

impl Lane {
    /// All rows.
    pub(crate) const WHOLE: Lane = Lane { index: 0, of: 1 };

    /// Where a lane of columns of this band of rows lies: the bands of a lane are neighbours.
    pub(crate) fn lane(self, index: usize, of: usize) -> Lane {
        Lane { index: index * self.of + self.index, of: of * self.of }
    }
}

impl Default for Lane {
    fn default() -> Lane {
        Lane::WHOLE
    }
}

/// How a kernel is cut into shares, one a PE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cut {
    /// Units (channels, columns) a PE.
    pub(crate) per: usize,
    /// PEs that share the runs of one unit; more than one only with one unit each.
    pub(crate) parts: usize,
}

/// Number of PEs of a kernel cut that way.
pub(crate) fn pes_of(core: &dyn Core, cut: Cut) -> usize {
    core.units().div_ceil(cut.per.max(1)).max(1) * part_columns(core.layout().run(), cut.parts).1
}

/// Columns of a part (an even number of them) and number of parts of a run.
pub(crate) fn part_columns(run: usize, parts: usize) -> (usize, usize) {
    if parts <= 1 {
        return (run, 1);
    }
    let columns = run.div_ceil(parts).next_multiple_of(2);
    (columns, run.div_ceil(columns))
}

impl Kernel {
    /// Number of PEs.
    pub(crate) fn pes(&self) -> usize {
        pes_of(self.core.as_ref(), self.cut)
    }
}

/// Kernels and streams of a model.
#[derive(Clone, Debug, Default)]
pub(crate) struct WaferGraph {
    pub(crate) kernels: Vec<Kernel>,
    pub(crate) streams: Vec<Stream>,
    /// Where kernels that are added lie.
    pub(crate) place: Lane,
    /// How often the time that a kernel may take is halved below that at which it keeps pace with the slowest.
    pub(crate) haste: u32,
}

impl WaferGraph {
    /// A new stream.
    pub(crate) fn add_stream(&mut self, producer: Producer, shape: Vec<usize>, layout: Option<Layout>) -> StreamId {
        self.streams.push(Stream {
            producer,
            shape,
            layout,
            readers: Vec::new(),
            outputs: Vec::new(),
            part: None,
            fixed: None,
            narrow: false,
            format: Format { elem: ElemType::F32, pitch: 1 },
        });
        StreamId(self.streams.len() - 1)
    }

    /// A new kernel with its output stream, reading `inputs`.
    pub(crate) fn add_kernel(
        &mut self,
        name: &str,
        core: Box<dyn Core>,
        inputs: Vec<Operand>,
        shape: Vec<usize>,
    ) -> (KernelId, StreamId) {
        self.add_shared(name, Arc::from(core), inputs, shape)
    }

    /// The same for work that another graph may hold too.
    pub(crate) fn add_shared(
        &mut self,
        name: &str,
        core: Arc<dyn Core>,
        inputs: Vec<Operand>,
        shape: Vec<usize>,
    ) -> (KernelId, StreamId) {
        let id = KernelId(self.kernels.len());
        for (i, operand) in inputs.iter().enumerate() {
            self.streams[operand.stream.0].readers.push((id, i));
        }
        let output = self.add_stream(Producer::Kernel(id), shape, Some(core.layout().clone()));
        let cut = Cut { per: core.units(), parts: 1 };
        self.kernels.push(Kernel {
            names: vec![name.to_string()],
            core,
            steps: Vec::new(),
            inputs,
            output,
            cut,
            lane: self.place,
            twin: None,
        });
        (id, output)
    }

    /// Kernels in an order in which every stream is made before it is read, of those that could be next the first in the list.
    pub(crate) fn order(&self) -> Vec<KernelId> {
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); self.kernels.len()];
        let mut waits = vec![0usize; self.kernels.len()];
        for (k, kernel) in self.kernels.iter().enumerate() {
            for o in &kernel.inputs {
                if let Producer::Kernel(maker) = self.streams[o.stream.0].producer {
                    readers[maker.0].push(k);
                    waits[k] += 1;
                }
            }
        }
        let mut ready: BinaryHeap<Reverse<usize>> =
            (0..self.kernels.len()).filter(|&k| waits[k] == 0).map(Reverse).collect();
        let mut order = Vec::with_capacity(self.kernels.len());
        while let Some(Reverse(k)) = ready.pop() {
            order.push(KernelId(k));
            for &r in &readers[k] {
                waits[r] -= 1;
                if waits[r] == 0 {
                    ready.push(Reverse(r));
                }
            }
        }
        order
    }

    /// The same, one branch after the other: every kernel as soon as the last of its operands is made.
    pub(crate) fn depth_first(&self) -> Vec<KernelId> {
        let maker = |s: StreamId| match self.streams[s.0].producer {
            Producer::Kernel(k) => Some(k),
            _ => None,
        };
        let mut made = vec![false; self.kernels.len()];
        let mut order = Vec::with_capacity(self.kernels.len());
        for last in self.order().into_iter().rev() {
            let mut open = vec![(last, 0)];
            while let Some((k, at)) = open.pop() {
                if made[k.0] {
                    continue;
                }
                match self.kernels[k.0].inputs.get(at) {
                    Some(o) => {
                        open.push((k, at + 1));
                        open.extend(maker(o.stream).filter(|p| !made[p.0]).map(|p| (p, 0)));
                    }
                    None => {
                        made[k.0] = true;
                        order.push(k);
                    }
                }
            }
        }
        order
    }

    /// Removes kernels whose results nobody wants.
    pub(crate) fn prune(&mut self) {
        let mut wanted = vec![false; self.kernels.len()];
        let mut open: Vec<StreamId> =
            (0..self.streams.len()).map(StreamId).filter(|s| !self.streams[s.0].outputs.is_empty()).collect();
        while let Some(s) = open.pop() {
            if let Producer::Kernel(k) = self.streams[s.0].producer
                && !std::mem::replace(&mut wanted[k.0], true)
            {
                open.extend(self.kernels[k.0].inputs.iter().map(|o| o.stream));
            }
        }
        let mut new = vec![KernelId(usize::MAX); self.kernels.len()];
        let mut n = 0;
        for (id, w) in new.iter_mut().zip(&wanted) {
            if *w {
                *id = KernelId(n);
                n += 1;
            }
        }
        let mut at = 0;
        self.kernels.retain(|_| {
            at += 1;
            wanted[at - 1]
        });
        // A stream of a kernel that is gone has no readers left; its place stays.
        for s in &mut self.streams {
            s.readers.retain(|(k, _)| wanted[k.0]);
            s.readers.iter_mut().for_each(|(k, _)| *k = new[k.0]);
            s.producer = match s.producer {
                Producer::Kernel(k) if wanted[k.0] => Producer::Kernel(new[k.0]),
                Producer::Kernel(_) => Producer::Gone,
                p => p,
            };
        }
    }

    /// Drops steps that change nothing: what only moves or compares the values of one stream makes none that were
    /// not there, and rounding what is rounded already in the same way leaves it as it is.
    pub(crate) fn drop_idle_steps(&mut self) {
        for k in self.order() {
            let kernel = &self.kernels[k.0];
            let [operand] = &kernel.inputs[..] else { continue };
            let Producer::Kernel(maker) = self.streams[operand.stream.0].producer else { continue };
            if kernel.steps.is_empty() || kernel.core.input_use(0) != InputUse::Passes {
                continue;
            }
            let values = super::steps::values(&self.kernels[maker.0].steps);
            if values.is_some_and(|v| super::steps::keep(&kernel.steps, &v)) {
                self.kernels[k.0].steps.clear();
            }
        }
    }

    /// The stream.
    pub(crate) fn stream(&self, s: StreamId) -> &Stream {
        &self.streams[s.0]
    }

    /// True when f16 holds all that a stream carries.
    fn is_held_by_f16(&self, s: StreamId) -> bool {
        let Producer::Kernel(k) = self.stream(s).producer else { return false };
        let k = &self.kernels[k.0];
        if !k.steps.is_empty() {
            return super::steps::end_in_f16(&k.steps);
        }
        let mut operands = k.inputs.iter().enumerate();
        operands.all(|(i, o)| k.core.input_use(i) == InputUse::Passes && self.is_held_by_f16(o.stream))
    }

    /// Decides how every stream goes over the wires: f16 where all readers round it to f16
    /// anyway, or take it so and it changes nothing, and two elements a wavelet gain something, else f32.
    pub(crate) fn choose_formats(&mut self) {
        // Readers come later in topological order, so their results are decided first.
        for s in (0..self.streams.len()).rev() {
            let stream = &self.streams[s];
            let run = stream.layout.as_ref().map_or(1, Layout::run);
            let narrow = stream.outputs.is_empty()
                && stream.readers.iter().all(|&(k, i)| {
                    let k = &self.kernels[k.0];
                    match k.core.input_use(i) {
                        InputUse::Rounds => true,
                        InputUse::Passes => k.steps.is_empty() && self.streams[k.output.0].narrow,
                        InputUse::Exact => {
                            k.core.takes_f16() && run.is_multiple_of(2) && self.is_held_by_f16(StreamId(s))
                        }
                    }
                });
            let runs_agree = stream.readers.iter().all(|&(k, i)| {
                let r = self.kernels[k.0].core.input_run(i);
                r > 0 && (r == run || (r.is_multiple_of(2) && run.is_multiple_of(2)))
            });
            let pads = match stream.producer {
                Producer::Input(_) | Producer::Gone => false,
                Producer::Kernel(k) => self.kernels[k.0].core.sends_f16(run),
            };
            let stream = &mut self.streams[s];
            if let Some(elem) = stream.fixed.filter(|&e| e != ElemType::F32) {
                stream.format = Format { elem, pitch: run };
                continue;
            }
            stream.narrow = narrow;
            stream.format = if narrow && runs_agree && pads && run > 1 {
                Format { elem: ElemType::F16, pitch: run.next_multiple_of(2) }
            } else {
                Format { elem: ElemType::F32, pitch: run }
            };
        }
    }

    /// The format in which operand `i` of a kernel reads its stream: in its own runs, which are
    /// the stream's or need no pad.
    pub(crate) fn input_format(&self, k: &Kernel, i: usize) -> Format {
        let f = self.stream(k.inputs[i].stream).format;
        let run = k.core.input_run(i);
        match f.elem {
            ElemType::F16 => Format { pitch: run.next_multiple_of(2), ..f },
            _ => Format { pitch: if run == 0 { f.pitch } else { run }, ..f },
        }
    }
}
