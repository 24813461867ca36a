//! Convolutions: pixels on rows, channels on lanes, one pass a tap (and a block of channels).
//!
//! Groups need nothing of their own: the weights of a pass are zero between groups. The few
//! channels of a model input are laid out by the host with all taps side by side, one pass in all.

use super::expr::Why;
use super::packed_conv::Conv;
use super::packing::PixelLayout;
use super::tiles::Draft;
use super::view::{Axis, View, layout};
use super::{MatBase, MatBlock, Select, Val};
use crate::tiled::{FILL, HostLoop, HostPiece, Init, Rows, Src};
use quadrille_compiler::ir::{EpilogueStep, Window};
use quadrille_compiler::ir::{Node, NodeId, Op, ValueDef, ValueId};
use quadrille_isa::tsp::AluType;
use quadrille_isa::{DType, Tensor};

/// For each output row: the input index along every spatial axis, `None` outside the image.
pub(super) fn tap_rows(
    x: &View,
    out_spatial: &[usize],
    window: &Window,
    tap: &[usize],
    batch: usize,
    channel_row: i64,
) -> Vec<u32> {
    let tables = x.tables();
    let mut rows: Vec<Option<i64>> = (0..batch).map(|n| Some(x.row0 + tables[0][n].0 + channel_row)).collect();
    for (i, &extent) in out_spatial.iter().enumerate() {
        let table = &tables[i + 2];
        rows = rows
            .iter()
            .flat_map(|r| {
                (0..extent).map(move |o| {
                    let at = (o * window.stride[i] + tap[i] * window.dilation[i]) as i64 - window.before[i] as i64;
                    let inside = at >= 0 && (at as usize) < table.len();
                    if inside { r.map(|r| r + table[at as usize].0) } else { None }
                })
            })
            .collect();
    }
    rows.into_iter().map(|r| r.map_or(FILL, |r| r as u32)).collect()
}

/// A model input and the stride in its elements of every axis of the value that a window reads.
pub(super) struct HostWindow {
    input: ValueId,
    index: u32,
    strides: Vec<i64>,
    /// From the input to the value, element by element.
    expr: super::Expr,
    src: Src,
}

/// Every tap of a window, row-major.
pub(super) fn taps(kernel: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for &k in kernel {
        all = all
            .iter()
            .flat_map(|t: &Vec<usize>| {
                (0..k).map(move |i| {
                    let mut t = t.clone();
                    t.push(i);
                    t
                })
            })
            .collect();
    }
    all
}

impl Select<'_> {
    pub(super) fn conv(
        &mut self,
        node: &Node,
        window: &Window,
        groups: usize,
        epilogue: &[EpilogueStep],
    ) -> Result<Val, Why> {
        let Val::Const(w) = self.vals[node.inputs[1].0 as usize].clone() else {
            return Err(("its weights are computed".into(), "make the weights constant".into()));
        };
        self.product_types(node)?;
        let weights = floats(&w)?;
        let out_shape = self.graph.shape(node.output).to_vec();
        let (batch, m, out_spatial) = (out_shape[0], out_shape[1], &out_shape[2..]);
        let pixels: usize = batch * out_spatial.iter().product::<usize>();
        let (axes, rows, lanes) = layout(&out_shape, Some(1), self.lanes);
        let out_table = axes[1].table();
        let padded = self.behind_padding(node.inputs[0], window);
        let (window, fill) = (&padded.window, padded.fill);
        let x_shape = self.graph.shape(padded.x).to_vec();
        let channels = x_shape[1];
        let (per, out_per) = (channels / groups, m / groups);
        let all_taps = taps(&window.kernel);
        let weight = |o: usize, c: usize, t: usize| {
            if o / out_per == c / per { weights[(o * per + c % per) * all_taps.len() + t] } else { 0.0 }
        };
        let c = Conv { node, x: padded.x, fill, window, channels, batch, m, spatial: out_spatial, taps: &all_taps };
        if let Some(v) = self.packed_conv(&c, epilogue, &weight)? {
            return Ok(v);
        }
        // (activation rows, plane row, channel, tap) of each pass.
        type Part = (Rows, Vec<(usize, usize, usize)>);
        let mut parts: Vec<Part> = Vec::new();
        if let Some(act) = self.replicated(&c)? {
            let rows = Rows { tensor: act, rows: (0..pixels as u32).collect() };
            let mut list = Vec::new();
            for t in 0..all_taps.len() {
                list.extend((0..channels).map(|c| (t * channels + c, c, t)));
            }
            parts.push((rows, list));
        } else {
            let x = self.multiplicand(padded.x)?;
            let x = self.pixel_rows(x, &x_shape)?;
            let mut x = self.finite(x);
            if all_taps.iter().any(|t| tap_rows(&x, out_spatial, window, t, batch, 0).contains(&FILL)) {
                x.tensor = self.filled(x.tensor, fill);
            }
            let table = x.axes[1].table();
            let mut blocks: Vec<i64> = table.iter().map(|t| t.0).collect();
            blocks.sort_unstable();
            blocks.dedup();
            for (t, tap) in all_taps.iter().enumerate() {
                for &block in &blocks {
                    let rows = tap_rows(&x, out_spatial, window, tap, batch, block);
                    let list = (0..channels)
                        .filter(|&c| table[c].0 == block)
                        .map(|c| ((x.lane0 + table[c].1) as usize, c, t))
                        .collect();
                    parts.push((Rows { tensor: x.tensor, rows }, list));
                }
            }
        }
        let mut starts: Vec<i64> = out_table.iter().map(|t| t.0).collect();
        starts.sort_unstable();
        starts.dedup();
        let mut blocks = Vec::new();
        for &start in &starts {
            let outs: Vec<(usize, usize)> =
                (0..m).filter(|&o| out_table[o].0 == start).map(|o| (o, out_table[o].1 as usize)).collect();
            let mut drafts: Vec<Draft> = parts
                .iter()
                .map(|(act, list)| Draft {
                    act: act.clone(),
                    weights: list
                        .iter()
                        .map(|&(k, c, t)| {
                            let mut row = vec![0f32; lanes];
                            outs.iter().for_each(|&(o, l)| row[l] = weight(o, c, t));
                            (k, row)
                        })
                        .collect(),
                })
                .collect();
            // A block of a grouped convolution needs its own groups' channels alone; zeros add nothing to integers.
            if drafts.first().is_some_and(|d| self.is_bytes(d.act.tensor)) {
                let counts = |d: &Draft| d.weights.iter().any(|(_, row)| row.iter().any(|w| *w != 0.0));
                match drafts.iter().any(counts) {
                    true => drafts.retain(counts),
                    // A block of zeros is one pass of them.
                    false => drafts.truncate(1),
                }
            }
            let chains = self.chains(drafts, lanes);
            let out_rows = (0..pixels as u32).map(|p| start as u32 + p).collect();
            blocks.push(MatBlock { out_rows, chains });
        }
        self.product(node, axes, 0, rows, lanes, blocks, epilogue, 2)
    }

    /// A lazy product with its epilogue.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn product(
        &mut self,
        node: &Node,
        axes: Vec<Axis>,
        lane0: i64,
        rows: usize,
        lanes: usize,
        blocks: Vec<MatBlock>,
        epilogue: &[EpilogueStep],
        first_operand: usize,
    ) -> Result<Val, Why> {
        let chains = Self::chain_count(&blocks);
        let base = MatBase { blocks, axes, lane0, rows, lanes, chains, pixels: 1, quotient: false };
        self.product_of(node, base, epilogue, first_operand)
    }

    /// The view with pixels on rows and channels on lanes.
    pub(super) fn pixel_rows(&mut self, x: View, shape: &[usize]) -> Result<View, Why> {
        let spatial_on_lanes = (0..shape.len()).any(|i| i != 1 && x.axes[i].on_lanes());
        let channels_ok = x.axes[1].digits.iter().all(|d| d.lane >= 0) && (shape[1] == 1 || x.axes[1].on_lanes());
        if !spatial_on_lanes && channels_ok {
            return Ok(x);
        }
        let (axes, rows, _) = layout(shape, Some(1), self.lanes);
        self.relayout(&x, axes, 0, rows)
    }

    /// A model input with few channels: the host lays all taps of a pixel side by side. The f16 rows,
    /// one an output pixel, lane `tap * channels + channel`.
    fn replicated(&mut self, c: &Conv<'_>) -> Result<Option<crate::tiled::TensorId>, Why> {
        if c.taps.len() * c.channels > self.lanes {
            return Ok(None);
        }
        let Some(host) = self.host_window(c)? else { return Ok(None) };
        let last = c.spatial[c.spatial.len() - 1];
        let out = PixelLayout::new(1, c.m, c.batch, c.spatial, last);
        let keys: Vec<Vec<i64>> =
            (c.taps.iter()).map(|t| t.iter().zip(&c.window.dilation).map(|(t, d)| (t * d) as i64).collect()).collect();
        self.host_rows(&host, c, &out, &keys).map(Some)
    }

    /// A value that the host can lay out as a window wants it: a model input of few channels, more than one tap.
    pub(super) fn host_window(&self, c: &Conv<'_>) -> Result<Option<HostWindow>, Why> {
        let (v, window) = (c.x, c.window);
        let count: usize = window.kernel.iter().product();
        if count == 1
            || self.graph.shape(v)[1] > 4
            || !matches!(self.graph.ty(v).dtype, DType::F32 | DType::I8 | DType::U8)
        {
            return Ok(None);
        }
        let (v, pointwise) = self.behind_pointwise(v);
        let Some((input, strides)) = self.host_strides(v) else { return Ok(None) };
        let ValueDef::Input(index) = self.graph.value(input).def else { return Ok(None) };
        if super::device_type(self.graph.ty(input).dtype).is_none() {
            return Ok(None);
        }
        // Outside of the image the host leaves zeros, and elementwise nodes work on them.
        let mut expr = super::Expr::default();
        let mut src = Src::In(0);
        for &n in &pointwise {
            src = self.pointwise_steps(&mut expr, n, src)?;
        }
        let outside = match src {
            Src::Imm(v) => v,
            Src::Op(k) => super::finish::tails_of(&expr.steps, &[0])[usize::from(k)],
            _ => 0,
        };
        let (own, pads) = (self.ty(c.x), window.before.iter().chain(&window.after).any(|&p| p > 0));
        let minus_zero = own == AluType::F32 && outside << 1 == 0 && c.fill == 0;
        if pads && outside & own.mask() != c.fill && !minus_zero {
            return Ok(None);
        }
        Ok(Some(HostWindow { input, index, strides, expr, src }))
    }

    /// F16 rows of a model input, one a word of `out` (rows of an image start new words): positions `keys`, relative to
    /// the window of the word's first pixel, side by side.
    pub(super) fn host_rows(
        &mut self,
        host: &HostWindow,
        c: &Conv<'_>,
        out: &PixelLayout,
        keys: &[Vec<i64>],
    ) -> Result<crate::tiled::TensorId, Why> {
        let shape = self.graph.shape(c.x).to_vec();
        let rank = c.spatial.len();
        let pixels = out.pixels;
        let mut pieces = Vec::new();
        for (k, key) in keys.iter().enumerate() {
            let (mut row0, mut elem0) = (0usize, 0i64);
            let mut loops = vec![
                HostLoop { count: c.batch as u32, row: (out.image / pixels) as i32, lane: 0, elem: host.strides[0] },
                HostLoop { count: c.channels as u32, row: 0, lane: 1, elem: host.strides[1] },
            ];
            let mut empty = false;
            for i in 0..rank {
                // Along the last axis a step is a word.
                let (extent, stride, step) = if i + 1 == rank {
                    (c.spatial[i].div_ceil(pixels), c.window.stride[i] * pixels, 1)
                } else {
                    (c.spatial[i], c.window.stride[i], out.pitches[i] / pixels)
                };
                let shift = key[i] - c.window.before[i] as i64;
                let inside = |o: usize| (0..shape[i + 2] as i64).contains(&((o * stride) as i64 + shift));
                let Some(first) = (0..extent).find(|&o| inside(o)) else {
                    empty = true;
                    break;
                };
                let n = (first..extent).take_while(|&o| inside(o)).count();
                row0 += first * step;
                elem0 += ((first * stride) as i64 + shift) * host.strides[i + 2];
                loops.push(HostLoop {
                    count: n as u32,
                    row: step as i32,
                    lane: 0,
                    elem: stride as i64 * host.strides[i + 2],
                });
            }
            if !empty {
                loops.retain(|l| l.count > 1);
                let lane0 = (k * c.channels) as u32;
                pieces.push(HostPiece { row0: row0 as u32, lane0, elem0: elem0 as u64, byte: None, loops });
            }
        }
        let lanes = keys.len() * c.channels;
        let name = self.graph.value(host.input).name.clone();
        let init = Init::Input { index: host.index, pieces };
        let raw = self.tensor(&name, self.ty(host.input), out.words, lanes, init);
        let rows: Vec<u32> = (0..out.words as u32).collect();
        let own = self.ty(c.x);
        let ty = if own == AluType::F32 { AluType::F16 } else { own };
        let mut expr = host.expr.clone();
        let src = expr.cast(own, ty, host.src);
        if src == Src::In(0) {
            return Ok(raw);
        }
        let half = self.tensor(&name, ty, out.words, lanes, Init::Computed);
        self.kernel(
            out.words,
            crate::tiled::Kind::Map {
                ins: vec![Rows { tensor: raw, rows: rows.clone() }],
                steps: expr.steps,
                outs: vec![(src, Rows { tensor: half, rows })],
            },
        );
        Ok(half)
    }

    /// The value behind elementwise nodes of one computed operand and scalars, and those nodes.
    fn behind_pointwise(&self, v: ValueId) -> (ValueId, Vec<NodeId>) {
        let (mut at, mut nodes) = (v, Vec::new());
        while let ValueDef::Node(n) = self.graph.value(at).def {
            let node = self.graph.node(n);
            if !matches!(node.op, Op::Unary(_) | Op::Binary(_) | Op::Cast(_)) {
                break;
            }
            let computed: Vec<ValueId> =
                node.inputs.iter().copied().filter(|i| self.graph.constant(*i).is_none_or(|t| t.len() != 1)).collect();
            let [inner] = computed[..] else { break };
            if self.graph.shape(inner) != self.graph.shape(at) {
                break;
            }
            nodes.push(n);
            at = inner;
        }
        nodes.reverse();
        (at, nodes)
    }

    /// Steps of a node with one computed operand.
    fn pointwise_steps(&self, expr: &mut super::Expr, n: NodeId, x: Src) -> Result<Src, Why> {
        let node = self.graph.node(n);
        let mut args = Vec::new();
        for &i in &node.inputs {
            args.push(match self.graph.constant(i) {
                Some(t) if t.len() == 1 => Src::Imm(super::constant::bits(t)?[0]),
                _ => x,
            });
        }
        self.steps_of(expr, node, &args)
    }

    /// The input behind a value that only transposes and unit reshapes lie between, with the stride
    /// in its elements of every axis of the value.
    fn host_strides(&self, v: ValueId) -> Option<(ValueId, Vec<i64>)> {
        match &self.graph.value(v).def {
            ValueDef::Input(_) => {
                let mut step = 1i64;
                let mut strides: Vec<i64> = Vec::new();
                for &d in self.graph.shape(v).iter().rev() {
                    strides.push(step);
                    step *= d as i64;
                }
                strides.reverse();
                Some((v, strides))
            }
            ValueDef::Const(_) => None,
            ValueDef::Node(n) => {
                let node = self.graph.node(*n);
                match &node.op {
                    Op::Transpose { perm } => {
                        let (i, s) = self.host_strides(node.inputs[0])?;
                        Some((i, perm.iter().map(|&p| s[p]).collect()))
                    }
                    Op::Reshape { shape } => {
                        let (i, s) = self.host_strides(node.inputs[0])?;
                        let from = self.graph.shape(node.inputs[0]);
                        let real: Vec<(usize, i64)> = from.iter().copied().zip(s).filter(|(d, _)| *d != 1).collect();
                        let mut left = real.iter();
                        let mut out = Vec::new();
                        for &d in shape {
                            if d == 1 {
                                out.push(0);
                                continue;
                            }
                            let &(extent, step) = left.next()?;
                            if extent != d {
                                return None;
                            }
                            out.push(step);
                        }
                        Some((i, out))
                    }
                    _ => None,
                }
            }
        }
    }
}

/// The elements of constant weights, exactly.
pub(super) fn floats(t: &Tensor) -> Result<Vec<f32>, Why> {
    if t.dtype == DType::I8 {
        return Ok(t.data.iter().map(|&b| f32::from(b as i8)).collect());
    }
    t.as_f32().ok_or((format!("products of {} are not mapped", t.dtype), "use a float model".into()))
}
