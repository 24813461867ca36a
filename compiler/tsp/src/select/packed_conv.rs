//! Convolutions over packed pixels: one pass for all pixels of an output word.
//!
//! The plane's rows are lane groups of the input, one position of the windows each; its columns are the
//! pixels of an output word with their channels. The weights are a banded matrix: position (row) to
//! pixel (column) by the tap that joins them, zero where none does. A model input is laid out by the
//! host with all positions side by side. Pitches are chosen by passes, of this window and the next.

use super::conv::{HostWindow, taps};
use super::expr::{Why, mild};
use super::packing::{Class, Frame, PixelLayout, WindowPlan, passes_at, plan, positions};
use super::tiles::Draft;
use super::view::{View, layout};
use super::whole_words::{by_word, word_rows};
use super::{Lazy, LazyIn, MatBase, MatBlock, Select, Val};
use crate::tiled::{FILL, GROUP_LANES, Init, NOTHING, Pass, Rows, Src, TensorId};
use quadrille_compiler::ir::{EpilogueStep, Node, Op, ValueId, Window};
use quadrille_compiler::legalize::taken_over;
use quadrille_isa::tsp::AluType;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Outer extents at most while pitches are compared.
const SAMPLE: usize = 24;

/// An address map that takes more than one in so many words of a bank is long.
const LONG_MAP: usize = 4;

/// Layouts at most that are planned in full when the first turns out not to work.
const TRIES: usize = 8;

/// Activations of one pass and the position (if any) of each lane group.
struct Part {
    act: Rows,
    /// (first lane, first channel, channels, position).
    takes: Vec<Take>,
}

struct Take {
    lane: usize,
    /// Channels with their lanes from `lane`.
    channels: Vec<(usize, usize)>,
    key: usize,
}

/// A window with what is known of its operands.
pub(super) struct Conv<'a> {
    pub(super) node: &'a Node,
    /// The operand, and the bits of what stands outside of it.
    pub(super) x: ValueId,
    pub(super) fill: u32,
    pub(super) window: &'a Window,
    pub(super) channels: usize,
    pub(super) batch: usize,
    pub(super) m: usize,
    pub(super) spatial: &'a [usize],
    pub(super) taps: &'a [Vec<usize>],
}

impl<'a> Conv<'a> {
    /// Where the window takes its pixels from, and where they go.
    pub(super) fn frame(&self, x: &'a View, x_pixels: usize, out: &'a PixelLayout) -> Frame<'a> {
        let (out_spatial, batch) = (self.spatial, self.batch);
        Frame { x, x_pixels, out, out_spatial, batch, window: self.window, taps: self.taps }
    }
}

/// A window that reads a result.
struct Follower {
    window: Window,
    /// Pixels a word of its own result, and pixels in all.
    pixels: usize,
    count: usize,
    /// Extent of the innermost axis of its operand.
    inner: usize,
    pool: bool,
}

/// Cycles of a pair of planes for the load of a pass.
const LOAD: usize = 40;

impl Follower {
    /// Cycles on one pair of planes, if the input is laid out like this.
    fn cost(&self, pixels: usize, x: &PixelLayout) -> usize {
        let words = self.count.div_ceil(self.pixels);
        let w = &self.window;
        let (wide, all) = (w.kernel[w.kernel.len() - 1], w.kernel.iter().product::<usize>());
        if !self.pool {
            let passes = passes_at(pixels, self.pixels, &x.pitches, w, &taps(&w.kernel));
            // Without a gap between rows its own rows need one, and then words fall into classes.
            let last = w.kernel.len() - 1;
            let pad = w.before[last].max(w.after[last]);
            let gapless = last > 0 && w.stride[last] == 1 && x.pitches[last - 1] < self.inner + pad;
            return 2 * words * passes + if gapless { LOAD * passes * self.pixels } else { 0 };
        }
        // Rows that start words fold on the VXM, and one row of the window is left.
        let aligned = x.pitches[..x.pitches.len() - 1].iter().all(|p| p % pixels == 0);
        if aligned { 2 * words * (wide + w.stride[w.stride.len() - 1]) } else { 2 * words * all }
    }
}

impl Select<'_> {
    /// The convolution over packed pixels, or nothing where that gains nothing.
    pub(super) fn packed_conv(
        &mut self,
        c: &Conv<'_>,
        epilogue: &[EpilogueStep],
        weight: &dyn Fn(usize, usize, usize) -> f32,
    ) -> Result<Option<Val>, Why> {
        if !self.packing || c.spatial.is_empty() {
            return Ok(None);
        }
        let v = c.x;
        let (full, _) = self.pixels_a_word(c.m);
        let wanted = if self.takes_packed(c.node.output) { full } else { 1 };
        let x_shape = self.graph.shape(v).to_vec();
        let host = self.host_window(c)?;
        let x = if host.is_some() {
            None
        } else {
            let own = self.ty(v);
            let ty = if own == AluType::F32 { AluType::F16 } else { own };
            let mut x = self.any_form(v, ty)?;
            if wanted > 1 && self.too_many(&self.aligned(c, wanted)) && self.pixels(x.tensor) == 1 {
                x = self.finite(x);
                if let Some((x, pixels)) = self.lanes_as_pixels(&x)
                    && let Some(v) = self.conv_by_word(c, (&x, pixels), wanted, epilogue, weight)?
                {
                    return Ok(Some(v));
                }
            }
            if self.pixels(x.tensor) > 1 && !Self::pixels_on_rows(&x) {
                x = self.plain(x)?;
            }
            if self.pixels(x.tensor) == 1 {
                x = self.pixel_rows(x, &x_shape)?;
                x = self.finite(x);
            }
            Some(x)
        };
        let x_pixels = x.as_ref().map_or(1, |x| self.pixels(x.tensor));
        if x_pixels == 1 && wanted == 1 {
            return Ok(None);
        }
        let (out, key_of, blocks) = match (&x, host) {
            (None, Some(host)) => {
                let out = self.aligned(c, wanted);
                if out.words >= self.bank_words {
                    return Ok(None);
                }
                let (key_of, keys) = positions(out.pixels, c.window, c.taps);
                let parts = self.host_parts(c, &out, &host, &keys)?;
                let words = (0..out.words as u32).collect();
                (out, key_of, vec![(words, parts)])
            }
            (Some(x), _) => {
                let long = self.crowded && LONG_MAP * self.aligned(c, wanted).words >= self.bank_words;
                if long && let Some(v) = self.conv_by_word(c, (x, x_pixels), wanted, epilogue, weight)? {
                    return Ok(Some(v));
                }
                let Some((out, p)) = self.planned(c, x, wanted) else {
                    return self.conv_by_word(c, (x, x_pixels), wanted, epilogue, weight);
                };
                let blocks = self.packed_parts(c, x.clone(), &p, None);
                (out, p.key_of, blocks)
            }
            (None, None) => return Ok(None),
        };
        self.packed_product(c, &out, &key_of, blocks, epilogue, weight, false).map(Some)
    }

    /// The product of a window whose parts are known. `one_copy`: the operand is too large to have one for each hemisphere.
    #[allow(clippy::too_many_arguments)]
    fn packed_product(
        &mut self,
        c: &Conv<'_>,
        out: &PixelLayout,
        key_of: &[Vec<usize>],
        blocks: Vec<(Vec<u32>, Vec<Part>)>,
        epilogue: &[EpilogueStep],
        weight: &dyn Fn(usize, usize, usize) -> f32,
        one_copy: bool,
    ) -> Result<Val, Why> {
        let blocks = self.packed_blocks(c, out, key_of, blocks, weight, one_copy);
        let shape = self.graph.shape(c.node.output);
        let (axes, rows, lanes) = match c.m > self.lanes {
            true => layout(shape, Some(1), self.lanes),
            false => (out.axes(shape), out.words, out.pixels * out.group),
        };
        let chains = Self::chain_count(&blocks);
        let base = MatBase { chains, blocks, axes, lane0: 0, rows, lanes, pixels: out.pixels, quotient: false };
        self.product_of(c.node, base, epilogue, 2)
    }

    /// A convolution whose passes take whole words, for images of more words than a gather can choose from.
    fn conv_by_word(
        &mut self,
        c: &Conv<'_>,
        (x, x_pixels): (&View, usize),
        wanted: usize,
        epilogue: &[EpilogueStep],
        weight: &dyn Fn(usize, usize, usize) -> f32,
    ) -> Result<Option<Val>, Why> {
        if x_pixels == 1 || c.fill != 0 {
            return Ok(None);
        }
        let out = self.aligned(c, wanted);
        let Some(p) = by_word(&c.frame(x, x_pixels, &out), false, self.long_runs) else { return Ok(None) };
        self.crowded |= self.too_many(&out) && !self.is_bytes(x.tensor);
        let blocks = self.packed_parts(c, x.clone(), &p, Some(x_pixels));
        self.packed_product(c, &out, &p.key_of, blocks, epilogue, weight, true).map(Some)
    }

    /// True when a view has channels on lanes and all else on rows.
    pub(super) fn pixels_on_rows(x: &View) -> bool {
        (0..x.axes.len()).all(|i| i == 1 || !x.axes[i].on_lanes())
            && x.axes[1].digits.iter().all(|d| d.row == 0 && d.lane >= 0)
    }

    /// True when everything that takes the value, elementwise nodes between, takes packed pixels.
    pub(super) fn takes_packed(&self, v: ValueId) -> bool {
        let users = self.takers(v);
        let takes =
            |n: &&Node| matches!(n.op, Op::Pool { .. } | Op::Conv { .. } | Op::Transpose { .. } | Op::Softmax { .. });
        users.iter().all(takes)
    }

    /// Nodes that take a value, with elementwise nodes of its shape looked through.
    fn takers(&self, v: ValueId) -> Vec<&Node> {
        let mut found: Vec<&Node> = Vec::new();
        let mut open = vec![v];
        let mut seen = vec![v];
        while let Some(v) = open.pop() {
            for n in self.graph.nodes().iter().filter(|n| n.inputs.contains(&v) && self.wants.alive(n.output)) {
                let same = self.graph.shape(n.output) == self.graph.shape(v);
                let pointwise = matches!(n.op, Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Fma | Op::Cast(_));
                let residual = matches!(n.op, Op::Conv { .. }) && n.inputs[0] != v;
                if ((pointwise || residual) && same) || taken_over(self.graph, n).is_some() {
                    if !seen.contains(&n.output) {
                        seen.push(n.output);
                        open.push(n.output);
                    }
                } else if let Op::Transpose { .. } = n.op {
                    // Views of packed pixels stay packed as long as only the host looks at them.
                    if self.graph.nodes().iter().any(|k| k.inputs.contains(&n.output)) {
                        found.extend(self.graph.nodes().iter().filter(|k| k.inputs.contains(&n.output)));
                    } else {
                        found.push(n);
                    }
                } else {
                    found.push(n);
                }
            }
        }
        found
    }

    /// The layout in which rows of the image start words.
    pub(super) fn aligned(&self, c: &Conv<'_>, pixels: usize) -> PixelLayout {
        let group = if pixels == 1 { c.m } else { self.pixels_a_word(c.m).1 };
        let last = c.spatial[c.spatial.len() - 1];
        PixelLayout::new(pixels, group, c.batch, c.spatial, last.div_ceil(pixels) * pixels)
    }

    /// The layout with the fewest plane cycles for this window and those that follow, and its plan.
    pub(super) fn planned(&self, c: &Conv<'_>, x: &View, wanted: usize) -> Option<(PixelLayout, WindowPlan)> {
        if self.pixels(x.tensor) > 1 && self.out.tensors[x.tensor.0 as usize].rows as usize >= self.bank_words {
            return None;
        }
        let fits = |o: &PixelLayout| !self.too_many(o);
        self.layouts(c, x, wanted).into_iter().filter(fits).take(TRIES).find_map(|out| {
            let p = plan(&c.frame(x, self.pixels(x.tensor), &out), c.fill != 0)?;
            Some((out, p))
        })
    }

    /// Layouts of the result, the one with the fewest plane cycles first.
    fn layouts(&self, c: &Conv<'_>, x: &View, wanted: usize) -> Vec<PixelLayout> {
        let x_pixels = self.pixels(x.tensor);
        let last = c.spatial[c.spatial.len() - 1];
        let outer = |i: usize, e: usize| if i + 1 == c.spatial.len() { e } else { e.min(SAMPLE) };
        let sample: Vec<usize> = c.spatial.iter().enumerate().map(|(i, &e)| outer(i, e)).collect();
        let batch = c.batch.min(2);
        let followers = self.followers(c.node.output);
        let more = if c.spatial.len() == 1 { 1 } else { wanted.max(x_pixels) };
        let group = if wanted == 1 { c.m } else { self.pixels_a_word(c.m).1 };
        let mut found: Vec<(usize, PixelLayout)> = Vec::new();
        for pitch in last..last + more {
            let part = PixelLayout::new(wanted, group, batch, &sample, pitch);
            let frame = Frame { out_spatial: &sample, batch, ..c.frame(x, x_pixels, &part) };
            let Some(p) = plan(&frame, c.fill != 0) else { continue };
            let out = PixelLayout::new(wanted, group, c.batch, c.spatial, pitch);
            let mut cost = 2 * p.rows() * out.words.div_ceil(part.words.max(1)) + LOAD * p.passes();
            for f in &followers {
                cost += f.cost(wanted, &out);
            }
            found.push((cost, out));
        }
        found.sort_by_key(|f| f.0);
        found.into_iter().map(|f| f.1).collect()
    }

    /// Windows that take a value.
    fn followers(&self, v: ValueId) -> Vec<Follower> {
        let of = |n: &&Node| {
            let s = self.graph.shape(n.output);
            s.iter().skip(2).product::<usize>() * s[0]
        };
        let inner = self.graph.shape(v).last().copied().unwrap_or(1);
        self.takers(v)
            .iter()
            .filter_map(|n| match &n.op {
                Op::Conv { window, .. } => {
                    let pixels = self.pixels_a_word(self.graph.shape(n.output)[1]).0;
                    Some(Follower { window: window.clone(), pixels, count: of(n), inner, pool: false })
                }
                Op::Pool { window, .. } => {
                    let pixels = self.pixels_a_word(self.graph.shape(n.output)[1]).0;
                    Some(Follower { window: window.clone(), pixels, count: of(n), inner, pool: true })
                }
                _ => None,
            })
            .collect()
    }

    /// Activations of each class: words of the output, and the passes. `whole`: pixels of a word, each pass of which takes whole words.
    fn packed_parts(
        &mut self,
        c: &Conv<'_>,
        x: View,
        p: &WindowPlan,
        whole: Option<usize>,
    ) -> Vec<(Vec<u32>, Vec<Part>)> {
        let mut x = x;
        let x_pixels = whole.unwrap_or_else(|| self.pixels(x.tensor));
        let info = self.out.tensors[x.tensor.0 as usize].clone();
        let table = x.axes[1].table();
        let group = info.lanes as usize / x_pixels;
        let mut out = Vec::new();
        // A gather brings zeros by itself.
        let outside = if x_pixels > 1 && c.fill == 0 && whole.is_none() { NOTHING } else { FILL };
        if outside == FILL && p.classes.iter().any(Class::reads_outside) {
            x.tensor = self.filled(x.tensor, c.fill);
        }
        if x_pixels > 1 {
            let groups = self.lanes / GROUP_LANES;
            let lanes: Vec<(usize, usize)> = (0..c.channels).map(|k| (k, (x.lane0 + table[k].1) as usize)).collect();
            for class in &p.classes {
                let parts = class.keys.iter().map(|keys| {
                    let takes = keys
                        .iter()
                        .enumerate()
                        .filter_map(|(g, key)| key.map(|key| Take { lane: g * group, channels: lanes.clone(), key }))
                        .collect();
                    if whole.is_some() {
                        return Part { act: Rows { tensor: x.tensor, rows: word_rows(class, keys, x_pixels) }, takes };
                    }
                    // Zero weights stand for what other pixels of the word add to integers.
                    if self.is_bytes(x.tensor)
                        && let Some(rows) = whole_words(class, keys, x_pixels)
                    {
                        return Part { act: Rows { tensor: x.tensor, rows }, takes };
                    }
                    let mut sources = vec![NOTHING; class.words.len() * groups];
                    for (w, pixels) in class.pixels.iter().enumerate() {
                        for (g, key) in keys.iter().enumerate() {
                            let Some(key) = *key else { continue };
                            let source = pixels[key].map_or(outside, |v| v / x_pixels as u32);
                            let first = w * groups + g * group / GROUP_LANES;
                            sources[first..first + group / GROUP_LANES].fill(source);
                        }
                    }
                    let t = self.gathered(x.tensor, sources, class.words.len());
                    Part { act: Rows { tensor: t, rows: (0..class.words.len() as u32).collect() }, takes }
                });
                let parts = parts.collect();
                out.push((class.words.clone(), parts));
            }
            return out;
        }
        let mut blocks: Vec<i64> = table.iter().map(|t| t.0).collect();
        blocks.sort_unstable();
        blocks.dedup();
        for class in &p.classes {
            let mut parts = Vec::new();
            for keys in &class.keys {
                let Some(key) = keys[0] else { continue };
                for &b in &blocks {
                    let rows = class.pixels.iter().map(|w| w[key].map_or(FILL, |v| v + b as u32)).collect();
                    let channels = (0..c.channels)
                        .filter(|&k| table[k].0 == b)
                        .map(|k| (k, (x.lane0 + table[k].1) as usize))
                        .collect();
                    let takes = vec![Take { lane: 0, channels, key }];
                    parts.push(Part { act: Rows { tensor: x.tensor, rows }, takes });
                }
            }
            out.push((class.words.clone(), parts));
        }
        out
    }

    /// A gathered tensor of full words.
    pub(super) fn gathered(&mut self, from: TensorId, sources: Vec<u32>, rows: usize) -> TensorId {
        let (ty, groups) = (self.out.tensors[from.0 as usize].ty, (self.lanes / GROUP_LANES) as u32);
        let sources: Arc<[u32]> = sources.into();
        self.tensor("", ty, rows, self.lanes, Init::Gather { from, sources, groups })
    }

    /// Model input rows with all positions of an output word side by side.
    fn host_parts(
        &mut self,
        c: &Conv<'_>,
        out: &PixelLayout,
        host: &HostWindow,
        keys: &[Vec<i64>],
    ) -> Result<Vec<Part>, Why> {
        let per = (self.lanes / c.channels).max(1);
        let mut parts = Vec::new();
        for (n, list) in keys.chunks(per).enumerate() {
            let act = self.host_rows(host, c, out, list)?;
            let takes = (0..list.len())
                .map(|k| Take {
                    lane: k * c.channels,
                    channels: (0..c.channels).map(|l| (l, l)).collect(),
                    key: n * per + k,
                })
                .collect();
            parts.push(Part { act: Rows { tensor: act, rows: (0..out.words as u32).collect() }, takes });
        }
        Ok(parts)
    }

    /// Kernels: the banded weights of every pass, the passes or the words split over the hemispheres.
    fn packed_blocks(
        &mut self,
        c: &Conv<'_>,
        out: &PixelLayout,
        key_of: &[Vec<usize>],
        classes: Vec<(Vec<u32>, Vec<Part>)>,
        weight: &dyn Fn(usize, usize, usize) -> f32,
        one_copy: bool,
    ) -> Vec<MatBlock> {
        // Lane and channel of the columns of one pixel, from the first row of each block of channels. Lanes
        // between the last channel and the next pixel repeat channel 0.
        let mut columns: Vec<(u32, Vec<(usize, usize)>)> =
            vec![(0, (0..out.group).map(|l| (l, if l < c.m { l } else { 0 })).collect())];
        let mut lanes = out.pixels * out.group;
        if c.m > self.lanes {
            let (axes, _, wide) = layout(self.graph.shape(c.node.output), Some(1), self.lanes);
            let mut of: BTreeMap<i64, Vec<(usize, usize)>> = BTreeMap::new();
            for (o, &(row, lane)) in axes[1].table().iter().enumerate() {
                of.entry(row).or_default().push((lane as usize, o));
            }
            columns = of.into_iter().map(|(row, list)| (row as u32, list)).collect();
            lanes = wide;
        }
        let positions = key_of.iter().flatten().max().map_or(0, |m| m + 1);
        let mut joins: Vec<Vec<(usize, usize)>> = vec![Vec::new(); positions];
        for (slot, taps) in key_of.iter().enumerate() {
            taps.iter().enumerate().for_each(|(t, &key)| joins[key].push((slot, t)));
        }
        // By passes: half of them on each side, sums joined. By words: all of them on both sides.
        let time = |rows: usize, passes: usize| passes * (2 * rows).max(40);
        let by_passes: usize = classes.iter().map(|(w, p)| time(w.len(), p.len().div_ceil(2))).sum();
        let by_words: usize = classes.iter().map(|(w, p)| time(w.len().div_ceil(2), p.len())).sum();
        let split_passes = !one_copy && by_passes <= by_words && classes.iter().all(|(_, p)| p.len() > 1);
        let mut blocks = Vec::new();
        for ((words, parts), (start, columns)) in classes.iter().flat_map(|k| columns.iter().map(move |c| (k, c))) {
            let words: Vec<u32> = words.iter().map(|w| w + start).collect();
            let drafts: Vec<Draft> = parts
                .iter()
                .map(|p| Draft {
                    act: p.act.clone(),
                    weights: p
                        .takes
                        .iter()
                        .flat_map(|take| take.channels.iter().map(move |&(k, lane)| (take, k, lane)))
                        .map(|(take, k, lane)| {
                            let mut row = vec![0f32; lanes];
                            for &(slot, t) in &joins[take.key] {
                                for &(l, o) in columns {
                                    row[slot * out.group + l] = weight(o, k, t);
                                }
                            }
                            (take.lane + lane, row)
                        })
                        .collect(),
                })
                .collect();
            // Planes share the rows of bytes by themselves, and pairs of planes rows that are stored.
            let bytes = parts.first().is_some_and(|p| self.is_bytes(p.act.tensor));
            if one_copy && !bytes {
                blocks.push(MatBlock { out_rows: words, chains: vec![self.chain(&drafts, lanes)] });
                continue;
            }
            if split_passes || bytes {
                blocks.push(MatBlock { out_rows: words, chains: self.chains(drafts, lanes) });
                continue;
            }
            let chain = self.chain(&drafts, lanes);
            let half = words.len().div_ceil(2).max(1);
            for (n, list) in words.chunks(half).enumerate() {
                let part = |p: &Pass| {
                    let rows = p.act.rows[n * half..n * half + list.len()].to_vec();
                    Pass { act: Rows { tensor: p.act.tensor, rows }, ..p.clone() }
                };
                blocks.push(MatBlock { out_rows: list.to_vec(), chains: vec![chain.iter().map(part).collect()] });
            }
        }
        blocks
    }

    /// A lazy product with its epilogue.
    pub(super) fn product_of(
        &mut self,
        node: &Node,
        base: MatBase,
        epilogue: &[EpilogueStep],
        first_operand: usize,
    ) -> Result<Val, Why> {
        let lazy = self.sums(node, base);
        self.with_epilogue(lazy, node, epilogue, first_operand)
    }

    /// An unfinished product: its sums.
    pub(super) fn sums(&self, node: &Node, base: MatBase) -> Lazy {
        let mut lazy = self.start(self.graph.shape(node.output));
        lazy.mat = Some(base);
        self.joined(&mut lazy);
        lazy
    }

    pub(super) fn with_epilogue(
        &mut self,
        mut lazy: Lazy,
        node: &Node,
        epilogue: &[EpilogueStep],
        first_operand: usize,
    ) -> Result<Val, Why> {
        let mut next = first_operand;
        for &step in epilogue {
            let operand = if step.takes_operand() {
                next += 1;
                self.join(&mut lazy, node.inputs[next - 1])?
            } else {
                Src::None
            };
            lazy.result = match step {
                EpilogueStep::Prelu if mild_slopes(&lazy, operand) => lazy.expr.leaky(lazy.result, operand),
                _ => lazy.expr.epilogue(step, self.ty(node.output), lazy.result, operand)?,
            };
        }
        lazy.ty = self.ty(node.output);
        Ok(Val::Lazy(Box::new(lazy)))
    }
}

/// The one word from which a pass takes its positions, for each word of a class; nothing where it takes more than one.
fn whole_words(class: &Class, keys: &[Option<usize>], x_pixels: usize) -> Option<Vec<u32>> {
    let of_word = |pixels: &Vec<Option<u32>>| {
        let mut words = keys.iter().flatten().map(|&key| pixels[key].map(|v| v / x_pixels as u32));
        let first = words.next()??;
        words.all(|w| w == Some(first)).then_some(first)
    };
    class.pixels.iter().map(of_word).collect()
}

/// True when an operand is a constant of slopes that make two ALU steps enough.
fn mild_slopes(lazy: &Lazy, operand: Src) -> bool {
    let chains = lazy.mat.as_ref().map_or(0, |m| m.chains);
    let Src::In(k) = operand else { return false };
    match lazy.ins.get(usize::from(k).wrapping_sub(chains)) {
        Some(LazyIn::Const(t)) => t.as_f32().is_some_and(|s| s.iter().all(|&x| mild(x))),
        _ => false,
    }
}
