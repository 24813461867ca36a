//! Buffers on short branches, so that streams that part and meet again do not deadlock.
//!
//! Where one stream feeds two branches that join later (a residual, a concatenation), the short
//! branch must hold what the long one has taken but not yet given back. The kernels are run
//! untimed, as wavelet counts through small queues; where that stops at a join with one operand
//! waiting and another full, a buffer of one block goes before the full operand, and the run goes on.
//! The graph with all its buffers is then run from the start.
//! Real queues are larger than those assumed here, and more room never stops such a network.

mod actor;
mod ahead;
mod flow;

use super::error::CompileError;
use super::kernels::Delay;
use super::layout::{Layout, Loop};
use super::streams::{KernelId, Lane, Operand, Stream, WaferGraph};
pub(crate) use ahead::add_room_for_neighbours;
use flow::{Network, Stop};
use std::collections::{BTreeMap, BTreeSet};

/// Blocks that one model may buffer before the compiler gives up.
const MAX_BLOCKS: usize = 100_000;

/// True when two operands of some kernel come from one stream; other graphs need no buffers.
pub(crate) fn has_reconvergence(g: &WaferGraph) -> bool {
    // Ways from one stream to a kernel part for the last time behind a stream that is read twice.
    let parting: Vec<usize> = (0..g.streams.len()).filter(|&s| g.streams[s].readers.len() > 1).collect();
    let words = parting.len().div_ceil(64);
    let mut behind: Vec<Vec<u64>> = vec![Vec::new(); g.streams.len()];
    for (i, &s) in parting.iter().enumerate() {
        behind[s] = vec![0; words];
        behind[s][i / 64] = 1 << (i % 64);
    }
    for k in g.order() {
        let kernel = &g.kernels[k.0];
        let mut seen = vec![0u64; words];
        for o in &kernel.inputs {
            for (all, &some) in seen.iter_mut().zip(&behind[o.stream.0]) {
                if *all & some != 0 {
                    return true;
                }
                *all |= some;
            }
        }
        let out = &mut behind[kernel.output.0];
        out.resize(words, 0);
        out.iter_mut().zip(&seen).for_each(|(all, some)| *all |= some);
    }
    false
}

/// Rows of an image that a lane's short branch can hold beyond what keeps it from a deadlock: about as many as a
/// long one works on at a time, so that the two need not wait for each other at every row.
const SPARE_ROWS: usize = 6;

/// Puts buffers where the graph would deadlock without them, and room on the short branches of its lanes.
///
/// Runs the graph a few times, however many buffers it needs.
pub(crate) fn add_buffers(g: &mut WaferGraph) -> Result<(), CompileError> {
    let mut buffered = short_branches(g);
    until_done(g, &mut buffered)?;
    for (k, i) in buffered {
        spare_rows(g, k, i);
    }
    Ok(())
}

/// Operands of joins that have come through two kernels less than the other one, or fewer.
fn short_branches(g: &WaferGraph) -> BTreeSet<(KernelId, usize)> {
    let mut depth = vec![0usize; g.streams.len()];
    let mut short = BTreeSet::new();
    for k in g.order() {
        let kernel = &g.kernels[k.0];
        let depths: Vec<usize> = kernel.inputs.iter().map(|o| depth[o.stream.0]).collect();
        let deepest = depths.iter().copied().max().unwrap_or(0);
        depth[kernel.output.0] = deepest + 1;
        if kernel.core.joins_branches() {
            short.extend((0..depths.len()).filter(|&i| depths[i] + 2 <= deepest).map(|i| (k, i)));
        }
    }
    short
}

/// Adds buffers until the graph runs to its end.
fn until_done(g: &mut WaferGraph, buffered: &mut BTreeSet<(KernelId, usize)>) -> Result<(), CompileError> {
    let mut left = MAX_BLOCKS;
    loop {
        let mut added: BTreeMap<(KernelId, usize), usize> = BTreeMap::new();
        let mut network = Network::new(g);
        loop {
            match network.run() {
                Stop::Done => break,
                Stop::Full(k, i) if left > 0 => {
                    network.add_room(k, i, block_wavelets(g, k, i));
                    *added.entry((k, i)).or_default() += 1;
                    left -= 1;
                }
                // A run that went on after room was added may be up to a block ahead of its buffers.
                Stop::Stuck(_) if !added.is_empty() => break,
                Stop::Full(k, _) | Stop::Stuck(k) => return Err(unbuffered(g, k)),
            }
        }
        if added.is_empty() {
            return Ok(());
        }
        for ((k, i), blocks) in added {
            buffered.insert((k, i));
            insert(g, k, i, blocks);
        }
    }
}

/// PEs of one block each before an operand of a lane's kernel: a row of such PEs holds any number of blocks.
fn spare_rows(g: &mut WaferGraph, k: KernelId, i: usize) {
    let stream = g.stream(g.kernels[k.0].inputs[i].stream);
    let [_, c, _, w] = stream.shape[..] else { return };
    if g.kernels[k.0].lane == Lane::WHOLE {
        return;
    }
    let Some((layout, images)) = in_blocks(stream) else { return };
    let block = layout.loops[layout.loops.len() - 2..].iter().map(|l| l.count).product::<usize>().max(1);
    for _ in 0..SPARE_ROWS * (c * w).div_ceil(block) {
        insert_one(g, k, i, holding(1, &layout, images));
    }
}

/// Holds so many rows or blocks back before operand `i` of a kernel, as far as a PE can: who else reads the stream may be that far
/// ahead.
pub(crate) fn hold_back(g: &mut WaferGraph, k: KernelId, i: usize, blocks: usize) {
    let mut stream = g.stream(g.kernels[k.0].inputs[i].stream).clone();
    // Rows one after the other are blocks of one run each.
    if let Some(layout) = stream.layout.as_mut().filter(|l| l.loops.len() == 2) {
        layout.loops.insert(1, Loop { count: 1, step: 0 });
    }
    let Some((layout, images)) = in_blocks(&stream) else { return };
    // Its own rows go on one by one, so that those of the next image come while the last ones leave; a few columns or rows beside
    // them need fewer PEs.
    let (_, most) = blocks_of(&layout, images);
    let depths = if i == 0 { vec![1; blocks] } else { vec![blocks.clamp(1, most)] };
    for depth in depths {
        insert_one(g, k, i, holding(depth, &layout, images));
    }
}

/// Bytes of a block that one PE holds back, at most.
const BLOCK_BYTES: usize = 32768;

/// The order of a stream in loops of blocks, runs and elements, as a buffer on it takes it, and the
/// number of images that it brings. A block fits a PE if its runs do.
fn in_blocks(s: &Stream) -> Option<(Layout, usize)> {
    let mut loops = s.layout.clone()?.loops;
    while loops.len() < 2 {
        loops.insert(0, Loop { count: 1, step: 0 });
    }
    let n = loops.len();
    let images = if n > 3 { loops[0].count } else { 1 };
    let (runs, run) = (loops[n - 2], loops[n - 1].count.max(1));
    let most = (BLOCK_BYTES / (4 * run)).max(1);
    let fits = (1..=runs.count.min(most)).rev().find(|d| runs.count.is_multiple_of(*d)).unwrap_or(1);
    if fits < runs.count {
        loops[n - 2].count = fits;
        loops.insert(n - 2, Loop { count: runs.count / fits, step: runs.step * fits });
    }
    Some((Layout { loops }, images))
}

/// Blocks of an image in loops of blocks, runs and elements, and how many of them a PE holds at most.
fn blocks_of(layout: &Layout, images: usize) -> (usize, usize) {
    let [outer @ .., runs, run] = &layout.loops[..] else { return (1, 1) };
    let blocks = outer.iter().map(|l| l.count).product::<usize>() / images.max(1);
    let bytes = 4 * runs.count * run.count.next_multiple_of(2);
    (blocks, (BLOCK_BYTES / bytes.max(1)).clamp(1, blocks.max(1)))
}

/// What holds so many blocks of a stream in such an order.
fn holding(depth: usize, layout: &Layout, images: usize) -> Delay {
    let (blocks, _) = blocks_of(layout, images);
    Delay { depth, images, blocks, runs: layout.loops[layout.loops.len() - 2].count, layout: layout.clone() }
}

/// Wavelets of the block that a buffer before this operand holds.
fn block_wavelets(g: &WaferGraph, k: KernelId, i: usize) -> u64 {
    let stream = g.stream(g.kernels[k.0].inputs[i].stream);
    let blocks = in_blocks(stream);
    let Some([.., runs, run]) = blocks.as_ref().map(|(l, _)| &l.loops[..]) else { return 1 };
    // Runs of packed elements are padded to whole wavelets.
    runs.count as u64 * (run.count as u64).div_ceil(u64::from(stream.format.elem.per_wavelet()))
}

fn unbuffered(g: &WaferGraph, k: KernelId) -> CompileError {
    let kernel = &g.kernels[k.0];
    CompileError::Unsupported {
        node: kernel.names[0].clone(),
        op: kernel.core.op().to_string(),
        shape: format!("{:?}", g.stream(kernel.output).shape),
        reason: "its operands come from one stream over branches of different length, and no number of row \
                 buffers on the short one lets the long one finish"
            .to_string(),
        remedy: "use --target tsp".to_string(),
    }
}

/// Room for so many blocks more before operand `i` of a kernel, on as many PEs as it takes.
fn insert(g: &mut WaferGraph, k: KernelId, i: usize, mut blocks: usize) {
    let id = g.kernels[k.0].inputs[i].stream;
    let Some((layout, images)) = in_blocks(g.stream(id)) else { return };
    let (_, most) = blocks_of(&layout, images);
    while blocks > 0 {
        let depth = blocks.min(most);
        blocks -= depth;
        insert_one(g, k, i, holding(depth, &layout, images));
    }
}

fn insert_one(g: &mut WaferGraph, k: KernelId, i: usize, core: Delay) {
    let id = g.kernels[k.0].inputs[i].stream;
    let (shape, narrow, format) = {
        let s = g.stream(id);
        (s.shape.clone(), s.narrow, s.format)
    };
    let layout = core.layout.clone();
    let name = g.kernels[k.0].names[0].clone();
    g.streams[id.0].readers.retain(|r| *r != (k, i));
    let operand = Operand { stream: id, layout };
    let lane = g.kernels[k.0].lane;
    let (delay, buffered) = g.add_kernel(&name, Box::new(core), vec![operand], shape);
    g.kernels[delay.0].lane = lane;
    let s = &mut g.streams[buffered.0];
    (s.narrow, s.format) = (narrow, format);
    s.readers.push((k, i));
    g.kernels[k.0].inputs[i].stream = buffered;
}
