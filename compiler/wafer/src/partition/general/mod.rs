//! Nodes without a kernel of their own: a general kernel that holds the operands in SRAM.
//!
//! The leading axes along which a node's results do not depend on each other become rounds, as
//! few as let a round fit a PE and end soon; the rest of the node is written as a program over
//! the slices of one round. Knows tensors and lanes; the order of tasks is the kernel's affair.

mod asm;
mod batches;
mod edge;
mod elementwise;
mod fuse;
mod index;
mod lower;
mod moves;
mod pool;
mod product;
pub(super) mod range;
mod reduce;
mod shares;
mod slices;

use super::{Obstacle, Partitioner, Source, View, back_through, through, torn};
use crate::kernels::general::{General, Input, Lowered, Prog, Sliced, slice_order};
use crate::kernels::{Copy, Core, MAX_INPUTS, Reorder};
use crate::lane::{lane, lane_bits};
use crate::layout::Layout;
use crate::streams::{Operand, StreamId};
use asm::{Asm, T};
use quadrille_compiler::ir::{DType, Node, Op, Tensor};
use range::Range;
use slices::{Cut, cuts};
use std::sync::Arc;

pub(super) use fuse::{Pending, is_long};

/// Operations that a program may have: half of SRAM at 16 bytes each.
const MAX_OPS: usize = 1536;

/// Bytes of SRAM that a kernel's data, staging included, may take beside its program.
const SRAM: usize = 49152;

/// Cycles above which a kernel is cut into more rounds, so that more PEs can share them.
const LONG: usize = 6000;

/// How much more than in longer rounds the work may be in all.
const MOST_EFFORT: usize = 4;

/// An operand as the partitioner knows it.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) source: Source,
    pub(super) range: Option<Range>,
}

/// Where an input of a kernel comes from.
#[derive(Clone, Debug)]
enum Feed {
    /// An operand of the node, and whether its stream comes in another order.
    Given(usize, bool),
    /// An operand of a node whose program was taken over.
    Inherited(Operand),
}

/// A kernel and what it receives.
struct Attempt {
    kernel: General,
    /// By input of the kernel.
    feeds: Vec<Feed>,
    sram: usize,
    /// For kernels of one round: the program before it was lowered, and its value.
    source: Option<(Prog, T)>,
}

impl Partitioner<'_> {
    /// A node as a general kernel.
    pub(super) fn general(&mut self, node: &Node) -> Result<Source, Obstacle> {
        let given: Vec<Given> = node
            .inputs
            .iter()
            .map(|&v| {
                let source = self.sources[v.0 as usize].clone();
                source.map(|source| Given {
                    dtype: self.g.ty(v).dtype,
                    shape: self.g.shape(v).to_vec(),
                    source,
                    range: self.ranges[v.0 as usize],
                })
            })
            .collect::<Option<_>>()
            .ok_or_else(|| Obstacle::new("an operand was not made", "report this as a bug of the compiler"))?;
        let name = self.g.origin_name(node).to_string();
        let ty = self.g.ty(node.output).clone();
        let range = self.ranges[node.output.0 as usize];
        let solo = self.uses[node.output.0 as usize] == 1;
        if let Some((given, views)) = self.before_views(&node.op, &given) {
            let shape = given.shape.clone();
            let id = self.general_op(&name, &node.op, &[given], (ty.dtype, &shape), range)?;
            return Ok(Source::Stream { id, views, solo });
        }
        let id = self.general_op(&name, &node.op, &given, (ty.dtype, &ty.shape), range)?;
        Ok(Source::Stream { id, views: Vec::new(), solo })
    }

    /// The operand of a node that does the same to each element, as its stream brings it, where it comes row by row there and not as
    /// the node sees it: the result is seen through the same transposes.
    fn before_views(&mut self, op: &Op, given: &[Given]) -> Option<(Given, Vec<View>)> {
        let (Op::Unary(_) | Op::Cast(_), [g]) = (op, given) else { return None };
        let Source::Stream { id, views, .. } = &g.source else { return None };
        self.settle(*id, views, &g.shape);
        let row_major = |l: &Layout, shape: &[usize]| l.same_order(&Layout::row_major(shape));
        let stream = self.out.stream(*id);
        let there = row_major(stream.layout.as_ref()?, &stream.shape);
        let here = self.order_of(*id, views).is_some_and(|l| row_major(&l, &g.shape));
        let source = Source::Stream { id: *id, views: Vec::new(), solo: false };
        (there && !here).then(|| (Given { shape: stream.shape.clone(), source, ..g.clone() }, views.clone()))
    }

    /// An operation on streams and constants.
    pub(super) fn general_op(
        &mut self,
        name: &str,
        op: &Op,
        given: &[Given],
        (dtype, shape): (DType, &[usize]),
        range: Option<Range>,
    ) -> Result<StreamId, Obstacle> {
        // Parts without elements add nothing to a concatenation.
        if matches!(op, Op::Concat { .. }) && given.iter().any(Given::is_empty) {
            let parts: Vec<Given> = given.iter().filter(|g| !g.is_empty()).cloned().collect();
            return self.general_op(name, op, &parts, (dtype, shape), range);
        }
        for d in given.iter().map(|g| g.dtype).chain([dtype]) {
            if lane(d).is_none() {
                return Err(Obstacle::new(
                    format!("{d} has no lane on the PEs, which compute in f32, f16 and integers of up to 32 bits"),
                    "convert the model to float32",
                ));
            }
        }
        for (i, g) in given.iter().enumerate() {
            let wide = matches!(g.dtype, DType::I64 | DType::U64) && !matches!(g.source, Source::Constant(_));
            if wide && g.range.is_none() && !slices::takes_low_words(op, i) {
                return Err(Obstacle::new(
                    format!("operand {i} is {}, of which a lane holds the low 32 bits only", g.dtype),
                    "use 32-bit integers",
                ));
            }
        }
        // More streams than a PE receives: by groups.
        let streams = |g: &[Given]| {
            let mut ids: Vec<StreamId> = g.iter().filter_map(Given::stream).collect();
            ids.sort();
            ids.dedup();
            ids.len()
        };
        if let Op::Concat { axis } = op
            && streams(given) > MAX_INPUTS
        {
            let mut parts = Vec::new();
            for (i, g) in given.chunks(MAX_INPUTS).enumerate() {
                let mut part = shape.to_vec();
                part[*axis] = g.iter().map(|g| g.shape[*axis]).sum();
                let id = self.general_op(&format!("{name}#{i}"), op, g, (dtype, &part), range)?;
                let source = Source::Stream { id, views: Vec::new(), solo: false };
                parts.push(Given { dtype, shape: part, source, range });
            }
            return self.general_op(name, op, &parts, (dtype, shape), range);
        }
        let shared = self.shared(op, given, (dtype, shape))?;
        let mut attempt = match shared {
            Some(a) => a,
            None => match self.best_attempt(op, given, (dtype, shape), range) {
                Ok(a) => a,
                Err(o) => {
                    return match self.by_batches(name, op, given, (dtype, shape))? {
                        Some(id) => Ok(id),
                        None => Err(o),
                    };
                }
            },
        };
        let mut inputs = Vec::new();
        let mut seen: Vec<StreamId> = Vec::new();
        for feed in &attempt.feeds {
            let (mut operand, reorder, g_shape) = match feed {
                Feed::Inherited(o) => (o.clone(), false, self.out.stream(o.stream).shape.clone()),
                Feed::Given(i, reorder) => {
                    let g = &given[*i];
                    let Source::Stream { id, views, .. } = &g.source else { continue };
                    self.settle(*id, views, &g.shape);
                    let layout = self.order_of(*id, views).ok_or_else(torn)?;
                    (Operand { stream: *id, layout }, *reorder, g.shape.clone())
                }
            };
            let id = operand.stream;
            if reorder {
                let wanted = Layout::row_major(&g_shape);
                let core = Reorder::new(&operand.layout, &wanted).ok_or_else(|| {
                    Obstacle::new(
                        "an operand too large for one PE arrives in another order than the one needed",
                        "move the transpose to the model's input or output",
                    )
                })?;
                operand = self.relay(name, Box::new(core), operand, &g_shape, wanted);
            } else if seen.contains(&id) {
                // A stream reaches a PE once; its second form comes by way of another.
                let core = Copy::new(&operand.layout);
                let layout = operand.layout.clone();
                operand = self.relay(name, Box::new(core), operand, &g_shape, layout);
            }
            seen.push(id);
            inputs.push(operand);
        }
        for (input, operand) in attempt.kernel.inputs.iter_mut().zip(&inputs) {
            input.turn = operand.stream.0;
        }
        let ty = attempt.kernel.output.1;
        let pending = attempt.source.map(|(prog, value)| Pending {
            prog,
            value,
            inputs: attempt.kernel.inputs.iter().cloned().zip(inputs.iter().cloned()).collect(),
        });
        let (_, id) = self.out.add_kernel(name, Box::new(attempt.kernel), inputs, shape.to_vec());
        if let Some(p) = pending {
            self.pending.insert(id, p);
        }
        self.out.streams[id.0].fixed = Some(ty);
        Ok(id)
    }

    /// A kernel between a stream and its reader.
    fn relay(&mut self, name: &str, core: Box<dyn Core>, from: Operand, shape: &[usize], seen: Layout) -> Operand {
        let fixed = self.out.stream(from.stream).fixed;
        let (_, stream) = self.out.add_kernel(name, core, vec![from], shape.to_vec());
        self.out.streams[stream.0].fixed = fixed;
        Operand { stream, layout: seen }
    }

    /// Gives a stream an order, when its first reader may choose: row-major as seen here.
    fn settle(&mut self, id: StreamId, views: &[View], shape: &[usize]) {
        if self.out.stream(id).layout.is_none() {
            let own = Layout::row_major(&self.out.stream(id).shape);
            let back = back_through(&Layout::row_major(shape), views).unwrap_or(own);
            self.out.streams[id.0].layout = Some(back);
        }
    }

    /// The order in which a value seen through views arrives.
    fn order_of(&self, id: StreamId, views: &[View]) -> Option<Layout> {
        self.out.stream(id).layout.as_ref().and_then(|l| through(l, views))
    }

    /// The cut into rounds that fits and ends soon, or why there is none.
    fn best_attempt(
        &mut self,
        op: &Op,
        given: &[Given],
        (dtype, shape): (DType, &[usize]),
        range: Option<Range>,
    ) -> Result<Attempt, Obstacle> {
        for g in given {
            if let Source::Stream { id, views, .. } = &g.source {
                self.settle(*id, views, &g.shape);
            }
        }
        let mut best: Option<(bool, usize, usize, Attempt)> = None;
        let mut smallest: Option<usize> = None;
        let mut reason = None;
        if self.fuses {
            let whole = cuts(op, given, shape).into_iter().next().filter(|c| c.rounds == 1);
            let fused = whole.and_then(|c| self.attempt(op, given, &c, (dtype, shape), range, true).ok().flatten());
            if let Some(a) = fused.filter(|a| a.sram <= SRAM && a.kernel.round_cycles() <= LONG) {
                return Ok(a);
            }
        }
        // Two forms of one stream reach a PE by different ways; in rounds each would wait for the
        // other, so both are taken whole.
        let twice = (0..given.len()).any(|i| {
            let id = given[i].stream();
            id.is_some() && given[..i].iter().any(|g| g.stream() == id && !g.same_stream(&given[i]))
        });
        for cut in cuts(op, given, shape) {
            if twice && cut.rounds > 1 {
                continue;
            }
            match self.attempt(op, given, &cut, (dtype, shape), range, false) {
                Err(o) => reason = Some(o),
                Ok(None) => {}
                Ok(Some(a)) => {
                    smallest = Some(smallest.map_or(a.sram, |s| s.min(a.sram)));
                    if a.sram > SRAM {
                        continue;
                    }
                    let reorders = a.feeds.iter().any(|f| matches!(f, Feed::Given(_, true)));
                    let cycles = a.kernel.round_cycles();
                    let all = cycles * cut.rounds;
                    // Short rounds are no use where they multiply the work.
                    let sooner = |c: usize, in_all: usize| c > LONG && all <= MOST_EFFORT * in_all;
                    let better = best
                        .as_ref()
                        .is_none_or(|(r, c, in_all, _)| (*r && !reorders) || (*r == reorders && sooner(*c, *in_all)));
                    if better {
                        best = Some((reorders, cycles, all, a));
                    }
                }
            }
        }
        match (best, reason, smallest) {
            (Some((_, _, _, a)), _, _) => Ok(a),
            (None, Some(o), _) => Err(o),
            (None, None, Some(s)) => Err(Obstacle::new(
                format!("its operands and temporaries need at least {s} bytes of one PE's {SRAM}"),
                "split the node along its first axes, or use --target tsp",
            )),
            (None, None, None) => Err(Obstacle::new(
                "it needs more vector operations than fit a PE beside its data",
                "split the node, or use --target tsp",
            )),
        }
    }

    /// The kernel for one way of cutting; `None` when its program is too long.
    fn attempt(
        &self,
        op: &Op,
        given: &[Given],
        cut: &Cut,
        (dtype, shape): (DType, &[usize]),
        range: Option<Range>,
        fuse: bool,
    ) -> Result<Option<Attempt>, Obstacle> {
        // Operands and result alone, before anything is copied.
        let elements = |dims: &[usize]| dims.iter().fold(1usize, |n, &d| n.saturating_mul(d));
        let held = cut.operands.iter().map(|o| elements(&o.dims)).fold(elements(&cut.out), usize::saturating_add);
        if held.saturating_mul(4) > SRAM {
            return Err(Obstacle::new(
                format!("its operands and result need {} bytes of one PE's {SRAM}", held.saturating_mul(4)),
                "split the node along its first axes, or use --target tsp",
            ));
        }
        let mut asm = Asm::default();
        let mut operands: Vec<T> = Vec::new();
        let mut inputs: Vec<Input> = Vec::new();
        let mut feeds: Vec<Feed> = Vec::new();
        let mut sliced: Vec<Sliced> = Vec::new();
        let mut staging = 0;
        for (i, g) in given.iter().enumerate() {
            let (dims, once) = (&cut.operands[i].dims, cut.operands[i].once);
            let len: usize = dims.iter().product();
            let same = (0..i).find(|&k| g.same_stream(&given[k]) && cut.operands[k] == cut.operands[i]);
            if let Some(k) = same {
                operands.push(operands[k].clone());
                continue;
            }
            match &g.source {
                Source::Constant(t) => {
                    let bits = constant_bits(t, g.dtype)?;
                    if once || cut.rounds == 1 {
                        operands.push(asm.constant(g.dtype, dims, bits));
                    } else {
                        let x = asm.fresh(g.dtype, dims);
                        sliced.push(Sliced { buf: x.view.buf, ty: x.elem(), values: bits, len });
                        operands.push(x);
                    }
                }
                Source::Stream { id, views, .. } => {
                    if fuse && let Some(p) = self.fusible(g) {
                        let v = fuse::inline(&mut asm, p, given, &mut inputs, &mut feeds);
                        operands.push(v.reshaped(dims).typed(g.dtype));
                        continue;
                    }
                    let arrives = self.order_of(*id, views).ok_or_else(torn)?;
                    if let Some(k) = fuse::received(&inputs, &feeds, given, *id, &arrives, len) {
                        operands.push(asm.view_of(inputs[k].buf, g.dtype, dims));
                        continue;
                    }
                    let order =
                        if cut.rounds == 1 || once { Some(arrives) } else { slice_order(&arrives, cut.rounds, len) };
                    let reorder = order.is_none();
                    let order = order.unwrap_or_else(|| Layout::row_major(&[len]));
                    let x = asm.fresh(g.dtype, dims);
                    if order.normalized().len() > 2 {
                        staging += len * 4;
                    }
                    let buf = x.view.buf;
                    inputs.push(Input { buf, ty: x.elem(), words: 1, order, once, len, turn: 0 });
                    feeds.push(Feed::Given(i, reorder));
                    operands.push(x);
                }
            }
        }
        if feeds.len() > MAX_INPUTS {
            return Err(Obstacle::new(
                format!("{} streams; a PE receives at most {MAX_INPUTS} beside its chain", feeds.len()),
                "split the node",
            ));
        }
        if cut.rounds > 1 && inputs.is_empty() {
            return Ok(None);
        }
        let ranges: Vec<Option<Range>> = given.iter().map(|g| g.range).chain([range]).collect();
        let value = lower::lower(&mut asm, op, &operands, &cut.out, dtype, &ranges)?;
        let value = asm.alone(&value);
        let out_len = cut.out.iter().product();
        let prog = asm.prog;
        let source = (cut.rounds == 1 && self.fuses).then(|| (prog.clone(), value.clone()));
        let Some(program) = prog.lower(MAX_OPS) else { return Ok(None) };
        // Rounds that nothing starts are the repetition of one task, which cannot hold loops.
        if cut.rounds > 1 && inputs.iter().all(|i| i.once) && program.parts.iter().any(|p| p.repeat > 1) {
            return Ok(None);
        }
        let kernel = general(op.name(), program, inputs, sliced, &value, out_len, cut.rounds, shape);
        let text = kernel.operations() * 16 + (kernel.program.parts.len() + 12) * 32 + kernel.inputs.len() * 64;
        let sram = kernel.data_bytes() + staging + text;
        Ok(Some(Attempt { kernel, feeds, sram, source }))
    }
}

/// The kernel around a lowered program.
#[allow(clippy::too_many_arguments)]
fn general(
    op: &'static str,
    program: Lowered,
    inputs: Vec<Input>,
    sliced: Vec<Sliced>,
    value: &T,
    out_len: usize,
    rounds: usize,
    shape: &[usize],
) -> General {
    let layout = if rounds > 1 {
        Layout::new(&[(rounds, out_len), (out_len, 1)])
    } else {
        let n = shape.iter().product();
        Layout::new(&[(1, 0), (n, 1)])
    };
    let output = (value.view.buf, value.elem(), 1);
    let about = String::new();
    let macs = 0;
    General { op, about, rounds, inputs, sliced, shares: None, output, out_len, program, layout, macs }
}

/// A constant in its lane.
fn constant_bits(t: &Tensor, d: DType) -> Result<Arc<Vec<u32>>, Obstacle> {
    lane_bits(t).map(Arc::new).ok_or_else(|| {
        Obstacle::new(
            format!("a constant of {d} has values that a lane of 32 bits does not hold"),
            "use constants of up to 32 bits",
        )
    })
}

impl Given {
    fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    fn stream(&self) -> Option<StreamId> {
        match &self.source {
            Source::Stream { id, .. } => Some(*id),
            Source::Constant(_) => None,
        }
    }

    /// Both are the same stream in the same form.
    fn same_stream(&self, other: &Given) -> bool {
        match (&self.source, &other.source) {
            (Source::Stream { id: a, views: v, .. }, Source::Stream { id: b, views: w, .. }) => {
                a == b && v == w && self.dtype == other.dtype
            }
            _ => false,
        }
    }
}
