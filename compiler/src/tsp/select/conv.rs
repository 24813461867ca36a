//! Convolutions: pixels on rows, channels on lanes, one pass a tap (and a block of channels).
//!
//! Groups need nothing of their own: the weights of a pass are zero between groups. The few
//! channels of a model input are laid out by the host with all taps side by side, one pass in all.

use super::expr::Why;
use super::tiles::Draft;
use super::view::{Axis, View, layout};
use super::{MatBase, MatBlock, Select, Val};
use crate::ir::{EpilogueStep, Window};
use crate::ir::{Node, Op, ValueDef, ValueId};
use crate::tsp::tiled::{FILL, HostLoop, HostPiece, Init, Rows, Src};
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
        let Some(weights) = w.as_f32() else {
            return Err((format!("products of {} are not mapped", w.dtype), "use a float model".into()));
        };
        let out_shape = self.graph.shape(node.output).to_vec();
        let (batch, m, out_spatial) = (out_shape[0], out_shape[1], &out_shape[2..]);
        let pixels: usize = batch * out_spatial.iter().product::<usize>();
        let (axes, rows, lanes) = layout(&out_shape, Some(1), self.lanes);
        let out_table = axes[1].table();
        let x_shape = self.graph.shape(node.inputs[0]).to_vec();
        let channels = x_shape[1];
        let (per, out_per) = (channels / groups, m / groups);
        let all_taps = taps(&window.kernel);
        let weight = |o: usize, c: usize, t: usize| {
            if o / out_per == c / per { weights[(o * per + c % per) * all_taps.len() + t] } else { 0.0 }
        };
        // (activation rows, plane row, channel, tap) of each pass.
        type Part = (Rows, Vec<(usize, usize, usize)>);
        let mut parts: Vec<Part> = Vec::new();
        if let Some(act) = self.replicated(node.inputs[0], window, &out_shape)? {
            let rows = Rows { tensor: act, rows: (0..pixels as u32).collect() };
            let mut list = Vec::new();
            for t in 0..all_taps.len() {
                list.extend((0..channels).map(|c| (t * channels + c, c, t)));
            }
            parts.push((rows, list));
        } else {
            let x = self.half(node.inputs[0])?;
            let x = self.pixel_rows(x, &x_shape)?;
            let mut x = self.finite(x);
            let padded = all_taps.iter().any(|t| tap_rows(&x, out_spatial, window, t, batch, 0).contains(&FILL));
            if padded && !self.want_fill(x.tensor, 0) {
                x.tensor = self.copied(x.tensor);
                self.want_fill(x.tensor, 0);
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
            let drafts = parts
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
        let shape = self.graph.shape(node.output).to_vec();
        let mut lazy = self.start(&shape);
        let chains = Self::chain_count(&blocks);
        lazy.mat = Some(MatBase { blocks, axes, lane0, rows, lanes, chains });
        self.joined(&mut lazy);
        let mut next = first_operand;
        for &step in epilogue {
            let operand = if step.takes_operand() {
                next += 1;
                self.join(&mut lazy, node.inputs[next - 1])?
            } else {
                Src::None
            };
            lazy.result = lazy.expr.epilogue(step, lazy.result, operand)?;
        }
        lazy.ty = AluType::F32;
        Ok(Val::Lazy(Box::new(lazy)))
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
    fn replicated(
        &mut self,
        v: ValueId,
        window: &Window,
        out_shape: &[usize],
    ) -> Result<Option<crate::tsp::tiled::TensorId>, Why> {
        let shape = self.graph.shape(v).to_vec();
        let channels = shape[1];
        let count: usize = window.kernel.iter().product();
        if count == 1 || channels > 4 || count * channels > self.lanes || self.graph.ty(v).dtype != DType::F32 {
            return Ok(None);
        }
        let Some((input, strides)) = self.host_strides(v) else { return Ok(None) };
        let ValueDef::Input(index) = self.graph.value(input).def else { return Ok(None) };
        let spatial = &out_shape[2..];
        let pixels: usize = out_shape[0] * spatial.iter().product::<usize>();
        let mut row_steps = vec![1usize; spatial.len()];
        for i in (0..spatial.len().saturating_sub(1)).rev() {
            row_steps[i] = row_steps[i + 1] * spatial[i + 1];
        }
        let image: usize = spatial.iter().product();
        let mut pieces = Vec::new();
        for (t, tap) in taps(&window.kernel).iter().enumerate() {
            let (mut row0, mut elem0) = (0usize, 0i64);
            let mut loops = vec![
                HostLoop { count: out_shape[0] as u32, row: image as i32, lane: 0, elem: strides[0] },
                HostLoop { count: channels as u32, row: 0, lane: 1, elem: strides[1] },
            ];
            let mut empty = false;
            for i in 0..spatial.len() {
                let shift = (tap[i] * window.dilation[i]) as i64 - window.before[i] as i64;
                let inside = |o: usize| (0..shape[i + 2] as i64).contains(&((o * window.stride[i]) as i64 + shift));
                let Some(first) = (0..spatial[i]).find(|&o| inside(o)) else {
                    empty = true;
                    break;
                };
                let n = (first..spatial[i]).take_while(|&o| inside(o)).count();
                row0 += first * row_steps[i];
                elem0 += ((first * window.stride[i]) as i64 + shift) * strides[i + 2];
                loops.push(HostLoop {
                    count: n as u32,
                    row: row_steps[i] as i32,
                    lane: 0,
                    elem: window.stride[i] as i64 * strides[i + 2],
                });
            }
            if !empty {
                loops.retain(|l| l.count > 1);
                pieces.push(HostPiece {
                    row0: row0 as u32,
                    lane0: (t * channels) as u32,
                    elem0: elem0 as u64,
                    byte: None,
                    loops,
                });
            }
        }
        let lanes = count * channels;
        let name = self.graph.value(input).name.clone();
        let raw = self.tensor(&name, AluType::F32, pixels, lanes, Init::Input { index, pieces });
        let half = self.tensor(&name, AluType::F16, pixels, lanes, Init::Computed);
        let rows: Vec<u32> = (0..pixels as u32).collect();
        let mut expr = super::Expr::default();
        let src = expr.cast(AluType::F32, AluType::F16, Src::In(0));
        self.kernel(
            pixels,
            crate::tsp::tiled::Kind::Map {
                ins: vec![Rows { tensor: raw, rows: rows.clone() }],
                steps: expr.steps,
                outs: vec![(src, Rows { tensor: half, rows })],
            },
        );
        Ok(Some(half))
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

/// The f32 elements of a constant, if it has them.
pub(super) fn floats(t: &Tensor) -> Result<Vec<f32>, Why> {
    t.as_f32().ok_or((format!("products of {} are not mapped", t.dtype), "use a float model".into()))
}
