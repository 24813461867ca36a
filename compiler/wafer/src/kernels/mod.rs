//! The kernels: what a group of PEs does with its streams.
//!
//! A kernel is a chain of PEs. Every input stream is multicast along the chain; every PE makes
//! its share of each block of the result, sends it, then passes on the shares of the PEs before
//! it, so that the last PE emits whole blocks in order (it has the first share). A kernel knows shapes,
//! weights and the order of its sums; it knows nothing of places, routes and colors.

mod attention;
mod by_channel;
mod columns;
mod concat;
mod conv;
mod conv_transpose;
mod copy;
mod delay;
mod dense;
mod enlarge;
pub(crate) mod general;
mod join;
mod pool;
mod product;
mod reduce;
mod reorder;
mod rows;
mod rows_beside;
mod slice;
mod softmax;
mod stitch;
mod total;

pub(crate) use attention::{Attention, Extents, Mask};
pub(crate) use by_channel::ByChannel;
pub(crate) use columns::Columns;
pub(crate) use concat::Concat;
pub(crate) use conv::Conv;
pub(crate) use conv_transpose::ConvTranspose;
pub(crate) use copy::Copy;
pub(crate) use delay::Delay;
pub(crate) use dense::Dense;
pub(crate) use enlarge::Enlarge;
pub(crate) use join::Join;
pub(crate) use pool::{Pool, PoolKind};
pub(crate) use product::Product;
pub(crate) use reduce::{Reduce, ReduceKind};
pub(crate) use reorder::Reorder;
pub(crate) use rows::{Geometry, Halo};
pub(crate) use rows_beside::RowsBeside;
pub(crate) use slice::Slice;
pub(crate) use softmax::Softmax;
pub(crate) use stitch::Stitch;
pub(crate) use total::Total;

use super::chain::member_queue;
use super::code::{Builder, PeCode, fabric, mem, mov, num, to_fabric};
use super::layout::{Layout, Loop};
use super::steps::{self, Arg, Block, Step};
use quadrille_isa::wafer::{Dst, ElemType, InQueue, OutQueue, Src, VecOp};
use std::fmt;
use std::ops::Range;

/// What a kernel does to the precision of an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum InputUse {
    /// Rounds it to f16 (an operand of products).
    Rounds,
    /// Moves or compares it only: rounding before and after are the same.
    Passes,
    /// Computes with it in f32.
    Exact,
}

/// How a stream is laid on wavelets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Format {
    /// `F16` or `F32`.
    pub(crate) elem: ElemType,
    /// Elements between the starts of two innermost runs: the run, made even for f16, so that
    /// every run starts on a wavelet of its own. The odd element out is zero.
    pub(crate) pitch: usize,
}

/// What a PE of a chain needs to know of its surroundings.
#[derive(Clone, Debug)]
pub(crate) struct PeContext<'a> {
    /// The kernel's units (channels, columns) that this PE makes.
    pub(crate) units: Range<usize>,
    /// The columns of each run that it makes: all, unless PEs share the runs of a unit.
    pub(crate) columns: Range<usize>,
    /// Elements of each block (with pads) that the PEs of its group make whose head it is, the nearest first.
    pub(crate) members: Vec<usize>,
    /// Elements of each block (with pads) that the PEs before it in the chain make, but for those.
    pub(crate) upstream: usize,
    /// Formats of the inputs, in operand order; input i is queue i times two.
    pub(crate) inputs: &'a [Format],
    /// Format of the result.
    pub(crate) output: Format,
    /// Whoever reads the result rounds it to f16, so it may be held rounded.
    pub(crate) narrow: bool,
    /// Elementwise steps on the result.
    pub(crate) steps: &'a [Step],
}

/// Bytes of a buffer that one PE should hold: half of its SRAM.
pub(crate) const LARGE: usize = 24576;

/// Queue of input `i`.
pub(crate) fn in_queue(i: usize) -> InQueue {
    InQueue([0, 2, 3, 4, 5, 6, 7][i.min(6)])
}

/// Queue on which a PE receives the shares of the PEs before it.
pub(crate) const CHAIN_IN: InQueue = InQueue(1);

/// Queue on which every PE sends.
pub(crate) const OUT: OutQueue = OutQueue(2);

/// Largest number of input streams of a kernel: queue 1 is for the chain.
pub(crate) const MAX_INPUTS: usize = 7;

/// What a lane receives of one input: a range of columns on a stream, and columns beside it on streams of their own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LaneInput {
    pub(crate) columns: Range<usize>,
    /// Columns before it and behind it.
    pub(crate) beside: [usize; 2],
}

/// What a band receives of one input: a range of rows on a stream, and rows before and behind it on streams of their own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BandInput {
    pub(crate) rows: Range<usize>,
    pub(crate) beside: [usize; 2],
}

/// Makes the kernel that joins the results of so many lanes; the last one ends what the lanes began.
pub(crate) type Joins = Box<dyn Fn(usize, bool) -> Box<dyn Core>>;

/// A kernel of one value a channel as one kernel a lane and others that join their results.
pub(crate) struct Parts {
    pub(crate) lanes: Vec<Box<dyn Core>>,
    pub(crate) join: Joins,
}

/// A kernel's work.
pub(crate) trait Core: fmt::Debug + Send + Sync {
    /// Name of the operation.
    fn op(&self) -> &'static str;

    /// Attributes and the order of its sums, for the tiled graph's text.
    fn describe(&self) -> String {
        String::new()
    }

    /// The order in which it makes its result, over the row-major index space of that result.
    /// The two innermost loops are one block; they may have one element.
    fn layout(&self) -> &Layout;

    /// What it does with the precision of input `i`.
    fn input_use(&self, i: usize) -> InputUse;

    /// Run (extent of the innermost loop) that it reads input `i` in: that of its result unless it says otherwise.
    fn input_run(&self, i: usize) -> usize {
        let _ = i;
        self.layout().run()
    }

    /// Number of units the result's blocks can be cut into, one share a PE: rows of a block, or
    /// columns when [`Core::splits_columns`]. 1 when it cannot be split.
    fn units(&self) -> usize {
        1
    }

    /// Units cut columns of a block, not rows.
    fn splits_columns(&self) -> bool {
        false
    }

    /// PEs that may share the runs of one unit.
    fn max_parts(&self) -> usize {
        1
    }

    /// True when `per` units a PE are possible for an output format.
    fn allows(&self, per: usize, output: Format) -> bool {
        let _ = output;
        per <= self.units()
    }

    /// True when elements go straight from its inputs to its result: then one PE keeps the streams' pace, and
    /// holds nothing back that a branch beside it would have to wait for.
    fn streams_through(&self, steps: &[Step], output: Format) -> bool {
        let _ = (steps, output);
        false
    }

    /// The part of input `i` that it takes before its first result.
    fn lead(&self, i: usize) -> f64 {
        let _ = i;
        1.0 / 32.0
    }

    /// True when its PEs send their shares by [`PeContext::forward`], so that the chain may come in groups.
    fn forwards(&self) -> bool {
        true
    }

    /// True when elementwise steps can work on its blocks, in f32 in SRAM.
    fn takes_steps(&self) -> bool {
        true
    }

    /// Takes a constant added to the result as the start of its sums, if it can.
    fn take_bias(&mut self, added: &Arg) -> bool {
        let _ = added;
        false
    }

    /// True when it can send runs of that extent as f16: odd ones end with a zero.
    fn sends_f16(&self, run: usize) -> bool {
        let _ = run;
        true
    }

    /// True when it computes with whole numbers of a stream in f16, in pairs without a pad, as with those in f32.
    fn takes_f16(&self) -> bool {
        false
    }

    /// True when its result lies beside an image for its readers, which take it as f32 then.
    fn is_beside(&self) -> bool {
        false
    }

    /// True when constants of steps may differ from block to block: all blocks are made by one
    /// task in one order.
    fn one_task(&self) -> bool {
        true
    }

    /// True when it takes every input whole, whatever the others do.
    fn drains(&self) -> bool {
        false
    }

    /// True when branches of a graph meet here, which may have come through more kernels or fewer.
    fn joins_branches(&self) -> bool {
        false
    }

    /// What a unit is, in the tiled graph's text.
    fn unit_name(&self) -> &'static str {
        if self.splits_columns() { "columns" } else { "channels" }
    }

    /// Its sums by two kernels, where no PE has room for all of their operands: what makes the first part of each, and what
    /// goes on from there, given that as its last input instead of those of [`Core::begun`].
    fn halves(&self) -> Option<[Box<dyn Core>; 2]> {
        None
    }

    /// The input that brings sums which it goes on from.
    fn begun(&self) -> Option<usize> {
        None
    }

    /// Multiply-adds for the whole model run.
    fn macs(&self) -> u64 {
        0
    }

    /// How often the tasks run from first to last: once an image, or once in all.
    fn firings(&self) -> usize {
        1
    }

    /// The same on a PE that has `per` units.
    fn passes(&self, per: usize) -> usize {
        let _ = per;
        self.firings()
    }

    /// Extents of its result as an image (n, c, h, w), for inputs whose streams carry images of these, row by row
    /// and channel by channel; `None` when it cannot be made in lanes of columns.
    fn image(&self, inputs: &[Option<[usize; 4]>]) -> Option<[usize; 4]> {
        let _ = inputs;
        None
    }

    /// Extents of the image that its first input is, whoever makes it.
    fn takes_image(&self) -> Option<[usize; 4]> {
        None
    }

    /// The columns of input `i` that `columns` of its result are made from, those beyond the image's edges too;
    /// `None` where it takes that input whole.
    fn looks_at(&self, i: usize, columns: &Range<usize>) -> Option<Range<isize>> {
        let _ = i;
        Some(columns.start as isize..columns.end as isize)
    }

    /// The kernel that makes `columns` of its result, an image `dims`, from parts of its inputs.
    fn lane(&self, dims: [usize; 4], columns: &Range<usize>, inputs: &[LaneInput]) -> Option<Box<dyn Core>> {
        let _ = (dims, columns, inputs);
        None
    }

    /// True when columns beside its own of input `i` come on streams of their own, not together with them.
    fn takes_sides(&self, i: usize) -> bool {
        let _ = i;
        false
    }

    /// The rows of input `i` that `rows` of its result are made from, those beyond the image's edges too; `None` where
    /// it takes that input whole.
    fn looks_at_rows(&self, i: usize, rows: &Range<usize>) -> Option<Range<isize>> {
        let _ = i;
        Some(rows.start as isize..rows.end as isize)
    }

    /// The kernel that makes `rows` of its result, an image `dims`, from parts of its inputs, whose rows come from the
    /// last to the first where they come `upward`, as its own go then.
    fn band(&self, dims: [usize; 4], rows: &Range<usize>, upward: bool, inputs: &[BandInput]) -> Option<Box<dyn Core>> {
        let _ = (dims, rows, upward, inputs);
        None
    }

    /// Where a value for each channel is taken of a whole image: what makes it of parts of those rows and columns, each
    /// its own, and what makes the result of theirs.
    fn in_parts(&self, parts: &[[usize; 2]]) -> Option<Parts> {
        let _ = parts;
        None
    }

    /// The program of one PE.
    fn code(&self, cx: &PeContext<'_>, b: &mut Builder);

    /// The result by row-major index, before the steps, for inputs by row-major index.
    fn eval(&self, inputs: &[&[f32]]) -> Vec<f32>;

    /// The same in bits, for kernels that hold other types than f32.
    fn eval_bits(&self, inputs: &[&[u32]]) -> Vec<u32> {
        let floats: Vec<Vec<f32>> = inputs.iter().map(|x| x.iter().map(|&b| f32::from_bits(b)).collect()).collect();
        let operands: Vec<&[f32]> = floats.iter().map(Vec::as_slice).collect();
        self.eval(&operands).into_iter().map(f32::to_bits).collect()
    }
}

impl PeContext<'_> {
    /// The operations that end a block: send this PE's `block`, then pass on what the PEs before
    /// it in the chain made.
    pub(crate) fn send(&self, b: &mut Builder, core: &dyn Core, block: &Block) -> Vec<VecOp> {
        let f = self.output;
        // The last part of a run ends with the run's pad.
        let cols = match block.cols.end == core.layout().run() && !core.splits_columns() {
            true => f.pitch - block.cols.start,
            false => block.cols.len(),
        };
        let from = Src::Mem(mem(ElemType::F32, block.base, block.pitch, 1));
        let mut ops = vec![mov(num(block.rows.len()), num(cols), to_fabric(OUT, f.elem), from)];
        ops.extend(self.forward(b));
        ops
    }

    /// Takes this PE's part of a block of `rows` x `run` from input `i`, a stream of f32, into `block`.
    pub(crate) fn take_block(
        &self,
        b: &mut Builder,
        i: usize,
        (rows, run): (usize, usize),
        block: &Block,
    ) -> Vec<VecOp> {
        let (q, f) = (in_queue(i), self.inputs[i]);
        let (units, columns) = (&block.rows, &block.cols);
        // Only a PE of one row takes a part of it.
        let before = units.start * run + columns.start;
        let after = (rows - units.end) * run + run - columns.end;
        let into = Dst::Mem(mem(ElemType::F32, block.base, block.pitch, 1));
        let scratch = b.zeros(f.elem, 1);
        let drop = |b: &mut Builder, n: usize| (n > 0).then(|| discard(q, f, b.param(n), 1, scratch));
        let mut ops: Vec<VecOp> = drop(b, before).into_iter().collect();
        ops.push(mov(num(units.len()), num(columns.len()), into, fabric(q, f.elem)));
        ops.extend(drop(b, after));
        ops
    }

    /// Pass on the shares of the PEs before this one.
    pub(crate) fn forward(&self, b: &mut Builder) -> Vec<VecOp> {
        let f = self.output.elem;
        let members = self.members.iter().enumerate();
        let mut from: Vec<_> = members.map(|(i, &n)| (member_queue(i + 1, self.inputs.len()), n)).collect();
        from.push((CHAIN_IN, self.upstream));
        from.retain(|&(_, n)| n > 0);
        from.into_iter().map(|(q, n)| mov(num(1), b.param(n), to_fabric(OUT, f), fabric(q, f))).collect()
    }

    /// A block of f32 results for this PE's units, `cols` columns or `rows` rows, starting as
    /// zeros, the pad of each run included.
    pub(crate) fn block(&self, b: &mut Builder, rows: Range<usize>, cols: Range<usize>) -> Block {
        let pitch = cols.len().max(if cols.len() == 1 { 1 } else { cols.len().next_multiple_of(2) });
        let pitch = if self.output.elem == ElemType::F16 { pitch } else { cols.len() };
        Block { base: b.zeros(ElemType::F32, rows.len() * pitch), pitch, rows, cols }
    }
}

/// Makes the code of one PE.
pub(crate) fn pe_code(core: &dyn Core, cx: &PeContext<'_>, with_data: bool) -> PeCode {
    let mut b = Builder::new(with_data);
    core.code(cx, &mut b);
    b.finish(core.op())
}

/// The kernel's value: its result after the steps, by row-major index.
pub(crate) fn eval(core: &dyn Core, steps: &[Step], inputs: &[&[u32]]) -> Vec<u32> {
    let bits = core.eval_bits(inputs);
    if steps.is_empty() {
        return bits;
    }
    let mut v: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
    steps::eval(steps, core.layout(), &mut v);
    v.into_iter().map(f32::to_bits).collect()
}

/// True when shares of `per` of a run's `all` elements start on a wavelet of their own.
fn shares_start_on_wavelets(all: usize, per: usize, output: Format) -> bool {
    let even = output.elem == ElemType::F32 || (per.is_multiple_of(2) && all.is_multiple_of(2));
    per == all || (per < all && even)
}

/// Takes `n` elements from a stream and keeps none: `scratch` is one element of SRAM.
pub(crate) fn discard(q: InQueue, f: Format, n1: quadrille_isa::wafer::Val, n0: usize, scratch: u32) -> VecOp {
    mov(n1, num(n0), Dst::Mem(mem(f.elem, scratch, 0, 0)), fabric(q, f.elem))
}

/// Makes what is added the bias of a kernel that has none, a value per channel or column: the same constant `n` times, or
/// a table's. False where it cannot be.
fn take_bias(
    bias: &mut Option<Vec<f32>>,
    added: &Arg,
    n: usize,
    of: impl Fn(&steps::Table) -> Option<Vec<f32>>,
) -> bool {
    if bias.is_some() {
        return false;
    }
    *bias = match added {
        Arg::Imm(v) => Some(vec![*v; n]),
        Arg::Table(t) => of(t),
        Arg::Reg(_) => None,
    };
    bias.is_some()
}

/// Cuts a layout into blocks of at most `max` elements: the last two loops are a block.
pub(crate) fn blocks(layout: &Layout, max: usize) -> Layout {
    let mut loops: Vec<Loop> = layout.loops.iter().copied().filter(|l| l.count != 1).collect();
    let largest = |n: usize, max: usize| (1..=n.min(max.max(1))).rev().find(|d| n.is_multiple_of(*d)).unwrap_or(1);
    let cut = |loops: &mut Vec<Loop>, at: usize, max: usize| {
        let l = loops[at];
        let k = largest(l.count, max);
        if k < l.count {
            loops[at] = Loop { count: k, step: l.step };
            loops.insert(at, Loop { count: l.count / k, step: l.step * k });
        }
        k
    };
    while loops.len() < 2 {
        loops.insert(0, Loop { count: 1, step: 0 });
    }
    let inner = loops.len() - 1;
    let before = loops.len();
    let run = cut(&mut loops, inner, max);
    let rows = loops.len() - 2;
    // A run that had to be cut is a block of its own rows.
    if loops.len() == before || rows > 0 {
        cut(&mut loops, rows, (max / run).max(1));
    }
    Layout { loops }
}

/// Rows of a block that PEs can share well, and the shortest run worth a row of its own.
const SHARED_ROWS: usize = 8;
const SHORT_RUN: usize = 32;

/// Blocks of work that is the same for every element: a long run is cut into rows, so that PEs may share them.
pub(crate) fn shared_blocks(layout: &Layout, max: usize) -> Layout {
    let mut blocks = blocks(layout, max);
    let inner = blocks.loops.len() - 1;
    let (rows, Loop { count: run, step }) = (blocks.loops[inner - 1].count, blocks.loops[inner]);
    let short = (SHORT_RUN..=run / SHARED_ROWS).find(|d| run.is_multiple_of(*d));
    if let Some(short) = short.filter(|_| rows < SHARED_ROWS) {
        blocks.loops[inner] = Loop { count: run / short, step: step * short };
        blocks.loops.push(Loop { count: short, step });
        if rows == 1 {
            blocks.loops.remove(inner - 1);
        }
    }
    blocks
}

/// Blocks of a lane: where it is one column wide, of channels as rows, so that PEs may share them.
pub(crate) fn lane_blocks(layout: &Layout, max: usize) -> Layout {
    let mut blocks = blocks(layout, max);
    if layout.run() == 1 {
        blocks.loops.push(Loop { count: 1, step: 1 });
    }
    blocks
}

/// Size of a type in SRAM.
pub(crate) fn size(ty: ElemType) -> u32 {
    ty.bytes()
}
