//! Matrix products: rows of the left operand enter planes that hold the right one.
//!
//! Constant right operands are cut and ordered to meet the lanes of the left one, wherever they
//! are. A computed right operand needs its inner axis on rows; where a batch axis of it lies on
//! lanes (the heads of an attention's values) the result keeps it there.

use super::byte_product::Zeros;
use super::conv::floats;
use super::expr::Why;
use super::heads;
use super::product_way::{Factor, exchanged, moves, stands};
use super::tiles::{Draft, DynamicDraft, joined_drafts, loads_whole};
use super::view::{self, Axis, View, lane_axis, layout};
use super::{MatBase, MatBlock, Select, Val};
use crate::tiled::{Pass, Rows};
use crate::way::{Columns, Held, Inner, ProductWay};
use quadrille_compiler::ir::EpilogueStep;
use quadrille_compiler::ir::{DType, Node, Tensor, ValueId};
use quadrille_isa::numerics::f32_to_f16;

/// All index tuples of a shape, row-major.
fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    super::conv::taps(shape)
}

impl Select<'_> {
    pub(super) fn matmul(&mut self, node: &Node, epilogue: &[EpilogueStep]) -> Result<Val, Why> {
        self.product_types(node)?;
        let [a, b] = [node.inputs[0], node.inputs[1]];
        if self.graph.ty(a).dtype.is_int() {
            return match (&self.vals[a.0 as usize], &self.vals[b.0 as usize]) {
                (_, Val::Const(w)) => {
                    let w = w.clone();
                    let x = self.multiplicand(a)?;
                    let way = self.way_of_bytes(node, &x, &w.shape);
                    self.matmul_const(node, x, &floats(&w)?, &w.shape, way, epilogue)
                }
                (Val::Const(_), _) => {
                    Err(("a constant left operand of integers".into(), "exchange the operands".into()))
                }
                _ => Err((
                    "integer products of two computed operands are not mapped".into(),
                    "quantise one operand only".into(),
                )),
            };
        }
        if let Some(product) = self.byte_product(node, epilogue) {
            return Ok(product);
        }
        let b = self.factor(b)?;
        if let (Some(e), Factor::View(v)) = (self.exponentials_of(a), &b) {
            let moving = Factor::View(e.clone());
            let way = self.way_of_floats(node, &moving, &b);
            if way.held == Held::Right {
                return self.matmul_dynamic(node, e, v.clone(), way, epilogue, true);
            }
        }
        let a = self.factor(a)?;
        let way = self.way_of_floats(node, &a, &b);
        let (moving, standing) = match way.held {
            Held::Right => (a, b),
            Held::Left => (turned(b)?, turned(a)?),
        };
        let x = match moving {
            Factor::View(v) => v,
            Factor::Const(t) => self.constant_rows(&t)?,
        };
        match standing {
            Factor::Const(w) => self.matmul_const(node, x, &floats(&w)?, &w.shape, way, epilogue),
            Factor::View(v) => self.matmul_dynamic(node, x, v, way, epilogue, false),
        }
    }

    /// An operand of a product of floats.
    fn factor(&mut self, v: ValueId) -> Result<Factor, Why> {
        match &self.vals[v.0 as usize] {
            Val::Const(t) => Ok(Factor::Const(t.clone())),
            _ => self.half(v).map(Factor::View),
        }
    }

    /// A constant as rows of f16, its last axis on lanes.
    fn constant_rows(&mut self, t: &Tensor) -> Result<View, Why> {
        let bytes: Vec<u8> = floats(t)?.into_iter().flat_map(|x| f32_to_f16(x).to_le_bytes()).collect();
        let half = Tensor::new(DType::F16, t.shape.clone(), bytes)
            .map_err(|e| (format!("a constant of the product: {e}"), "this is a bug of the compiler".to_string()))?;
        self.constant_view(&half, None)
    }

    /// Refuses products of other types than `f32`, and `i8` or `u8` by `i8`.
    pub(super) fn product_types(&self, node: &Node) -> Result<(), Why> {
        let [a, b] = [0, 1].map(|k| self.graph.ty(node.inputs[k]).dtype);
        match (a, b) {
            (DType::F32, DType::F32) | (DType::I8 | DType::U8, DType::I8) => Ok(()),
            _ => Err((
                format!("products of {a} and {b} are not mapped"),
                "use f32, or i8 weights that meet i8 or u8 activations".into(),
            )),
        }
    }

    /// The value as a left operand: bytes as they are, floats in f16.
    pub(super) fn multiplicand(&mut self, v: ValueId) -> Result<View, Why> {
        if self.graph.ty(v).dtype.is_int() { self.view(v) } else { self.half(v) }
    }

    /// Left operand with everything but the inner axis on rows.
    fn left(&mut self, x: View, rank: usize, batch_lanes: bool) -> Result<View, Why> {
        let x = x.pad_rank(rank);
        let x = self.finite(x);
        if moves(&x, batch_lanes) {
            return Ok(x);
        }
        let shape = x.shape();
        let (axes, rows, _) = layout(&shape, Some(rank - 1), self.lanes);
        self.relayout(&x, axes, 0, rows)
    }

    /// Row of the left operand for each (batch index, m), the inner block `block` chosen.
    fn left_rows(x: &View, batches: &[Vec<usize>], block: i64) -> Vec<u32> {
        let tables = x.tables();
        let rank = x.axes.len();
        let mut rows = Vec::new();
        for b in batches {
            for m in 0..x.axes[rank - 2].extent {
                let mut index: Vec<usize> =
                    b.iter().enumerate().map(|(i, &k)| if x.axes[i].extent == 1 { 0 } else { k }).collect();
                index.push(m);
                index.push(0);
                rows.push((i64::from(x.row_of(&tables, &index)) + block) as u32);
            }
        }
        rows
    }

    fn matmul_const(
        &mut self,
        node: &Node,
        x: View,
        w: &[f32],
        w_shape: &[usize],
        way: ProductWay,
        epilogue: &[EpilogueStep],
    ) -> Result<Val, Why> {
        let mut out_shape = self.graph.shape(node.output).to_vec();
        let rank = out_shape.len();
        let flipped = way.held == Held::Left;
        if flipped {
            out_shape.swap(rank - 1, rank - 2);
        }
        let x = self.left(x, rank, false)?;
        let bytes = self.is_bytes(x.tensor);
        let (k, n) = (w_shape[w_shape.len() - 2], w_shape[w_shape.len() - 1]);
        let (mut axes, rows, lanes) = view::blocks_together(&out_shape, self.lanes, way.columns == Columns::Widest);
        let n_table = axes[rank - 1].table();
        let k_table = x.axes[rank - 1].table();
        let mut k_blocks: Vec<i64> = k_table.iter().map(|t| t.0).collect();
        k_blocks.sort_unstable();
        k_blocks.dedup();
        let mut n_blocks: Vec<i64> = n_table.iter().map(|t| t.0).collect();
        n_blocks.sort_unstable();
        n_blocks.dedup();
        let mut w_batch = vec![1; rank - w_shape.len()];
        w_batch.extend(&w_shape[..w_shape.len() - 2]);
        let shared = w_batch.iter().all(|&d| d == 1);
        let batches = indices(&out_shape[..rank - 2]);
        let runs: Vec<Vec<Vec<usize>>> =
            if shared { vec![batches] } else { batches.into_iter().map(|b| vec![b]).collect() };
        let out_tables: Vec<Vec<(i64, i64)>> = axes.iter().map(Axis::table).collect();
        let mut blocks = Vec::new();
        for run in &runs {
            let w_base =
                run[0].iter().zip(&w_batch).fold(0, |at, (&b, &d)| at * d + if d == 1 { 0 } else { b }) * k * n;
            for (number, &start) in n_blocks.iter().enumerate() {
                let outs: Vec<(usize, usize)> =
                    (0..n).filter(|&o| n_table[o].0 == start).map(|o| (o, n_table[o].1 as usize)).collect();
                let drafts = k_blocks
                    .iter()
                    .map(|&block| Draft {
                        act: Rows { tensor: x.tensor, rows: Self::left_rows(&x, run, block) },
                        weights: (0..k)
                            .filter(|&c| k_table[c].0 == block)
                            .map(|c| {
                                let mut row = vec![0f32; lanes];
                                outs.iter().for_each(|&(o, l)| row[l] = w[w_base + c * n + o]);
                                ((x.lane0 + k_table[c].1) as usize, row)
                            })
                            .collect(),
                    })
                    .collect();
                // A block that has no other to take turns with is halved.
                let in_turn = n_blocks.len() < 2 || number < n_blocks.len() / 2 * 2;
                let inner = if in_turn || bytes { way.inner } else { Inner::Halved };
                let chains = self.chains_of_rows(drafts, lanes, inner);
                let mut out_rows = Vec::new();
                for b in run {
                    let base: i64 = b.iter().enumerate().map(|(i, &k)| out_tables[i][k].0).sum();
                    out_rows
                        .extend((0..out_shape[rank - 2]).map(|m| (base + out_tables[rank - 2][m].0 + start) as u32));
                }
                blocks.push(MatBlock { out_rows, chains });
            }
        }
        let blocks = in_parts(blocks, way.parts);
        if flipped {
            axes.swap(rank - 1, rank - 2);
        }
        self.product(node, axes, 0, rows, lanes, blocks, epilogue, 2)
    }

    /// A product with a computed right operand; with `quotient` over the sums of the left one's rows.
    fn matmul_dynamic(
        &mut self,
        node: &Node,
        x: View,
        b: View,
        way: ProductWay,
        epilogue: &[EpilogueStep],
        quotient: bool,
    ) -> Result<Val, Why> {
        let (base, _) = self.dynamic_product(node, x, b, way, quotient, Zeros::default())?;
        self.product_of(node, base, epilogue, 2)
    }

    /// Its sums; of bytes also a row for all rows of the left operand, which is to be added to them.
    pub(super) fn dynamic_product(
        &mut self,
        node: &Node,
        x: View,
        b: View,
        way: ProductWay,
        quotient: bool,
        zeros: Zeros,
    ) -> Result<(MatBase, Option<View>), Why> {
        let mut whole_shape = self.graph.shape(node.output).to_vec();
        let whole_rank = whole_shape.len();
        let flipped = way.held == Held::Left;
        if flipped {
            whole_shape.swap(whole_rank - 1, whole_rank - 2);
        }
        let rank = whole_rank;
        let x = self.left(x, rank, true)?;
        let b = b.pad_rank(rank);
        // Batch axes in parts that lie either on rows or on lanes; some of them may share words in the result.
        let split = heads::split(&x, &b, &whole_shape, self.lanes);
        let (xs, bs) = (x.shape(), b.shape());
        let parted = (x.reshape(&split.of(&xs, &xs[rank - 2..])), b.reshape(&split.of(&bs, &bs[rank - 2..])));
        let (split, x, mut b) = match parted {
            (Some(x), Some(b)) => (split.clone(), x, b),
            _ => (heads::Split::none(&whole_shape), x, b),
        };
        let out_shape = split.shape(&whole_shape[rank - 2..]);
        let rank = out_shape.len();
        let b_shape = b.shape();
        let moved = !stands(&b);
        if moved {
            if b_shape[rank - 1] > self.lanes && split.shared.is_some() {
                return Err((
                    format!("a computed right operand of {} columns whose batches share words", b_shape[rank - 1]),
                    "split the product in the model".into(),
                ));
            }
            b = self.right_moved(&b, split.shared)?;
        }
        let lane_batch: Vec<usize> = (0..rank - 2).filter(|&i| b.axes[i].on_lanes()).collect();
        // The result: lane batches and columns as in the right operand, the rest on rows.
        let mut axes = vec![Axis::unit(); rank];
        let mut step = 1usize;
        for i in (0..rank - 1).rev() {
            if lane_batch.contains(&i) {
                axes[i] = b.axes[i].clone();
                axes[i].digits.iter_mut().for_each(|d| d.row = 0);
            } else if out_shape[i] != 1 {
                axes[i] = Axis::rows(out_shape[i], step as i64);
                step *= out_shape[i];
            }
        }
        axes[rank - 1] = if b_shape[rank - 1] == 1 { lane_axis(1, self.lanes, 0) } else { b.axes[rank - 1].clone() };
        // More columns than lanes lie in blocks, the rows of one after those of another.
        for d in axes[rank - 1].digits.iter_mut().rev() {
            d.row = 0;
            if d.lane == 0 && d.extent > 1 {
                d.row = step as i64;
                step *= d.extent;
            }
        }
        let columns = axes[rank - 1].table();
        let mut n_blocks: Vec<(i64, usize)> = columns.iter().enumerate().map(|(n, t)| (t.0, n)).collect();
        n_blocks.sort_unstable();
        n_blocks.dedup_by_key(|b| b.0);
        let lanes = Self::reach(&axes, b.lane0);
        let (b_tables, x_table) = (b.tables(), x.axes[rank - 1].table());
        let mut k_blocks: Vec<i64> = x_table.iter().map(|t| t.0).collect();
        k_blocks.sort_unstable();
        k_blocks.dedup();
        // The passes of one block of the inner axis are those of heads that share words: both hemispheres take them.
        let inner = match quotient || self.is_bytes(x.tensor) {
            true => Inner::Whole,
            false if k_blocks.len() > 1 => way.inner,
            false => Inner::Halved,
        };
        let k_extent = out_k(&x);
        let row_batch: Vec<usize> =
            (0..rank - 2).map(|i| if lane_batch.contains(&i) { 1 } else { out_shape[i] }).collect();
        let lane_shape: Vec<usize> =
            (0..rank - 2).map(|i| if lane_batch.contains(&i) { out_shape[i] } else { 1 }).collect();
        let out_tables: Vec<Vec<(i64, i64)>> = axes.iter().map(Axis::table).collect();
        let x_tables = x.tables();
        // Weights that were moved hold each head in lanes of its own, and zeros.
        let masked = !lane_batch.is_empty() && !self.out.tensors[b.tensor.0 as usize].weights;
        let mut drafted = Vec::new();
        for (r, &(start, first)) in indices(&row_batch).iter().flat_map(|r| n_blocks.iter().map(move |n| (r, n))) {
            let (mut drafts, mut sums) = (Vec::new(), Vec::new());
            for l in indices(&lane_shape) {
                let at: Vec<usize> = r.iter().zip(&l).map(|(a, b)| a + b).collect();
                let own = |v: &View| -> Vec<usize> {
                    at.iter().enumerate().map(|(i, &k)| if v.axes[i].extent == 1 { 0 } else { k }).collect()
                };
                let x_at = own(&x);
                let x_lane: i64 = x.lane0 + x_at.iter().enumerate().map(|(i, &k)| x_tables[i][k].1).sum::<i64>();
                let b_at = own(&b);
                let base: i64 = b.lane0 + b_at.iter().enumerate().map(|(i, &k)| b_tables[i][k].1).sum::<i64>();
                let own = (0..b_shape[rank - 1]).filter(|&n| columns[n].0 == start);
                let own: Vec<usize> = own.map(|n| (base + b_tables[rank - 1][n].1) as usize).collect();
                let keep = masked.then(|| own.clone());
                for &block in &k_blocks {
                    let rows = (0..k_extent)
                        .filter(|&k| x_table[k].0 == block)
                        .map(|k| {
                            let mut index = b_at.clone();
                            index.extend([k, first]);
                            ((x_lane + x_table[k].1) as usize, b.row_of(&b_tables, &index), keep.clone())
                        })
                        .collect();
                    let act = Rows { tensor: x.tensor, rows: Self::left_rows(&x, std::slice::from_ref(&at), block) };
                    if quotient || zeros.right != 0 {
                        let lanes = (0..k_extent).filter(|&k| x_table[k].0 == block).map(|k| x_lane + x_table[k].1);
                        sums.push((act.clone(), lanes.map(|l| (l as usize, own.clone())).collect()));
                    }
                    drafts.push(DynamicDraft { act, rows });
                }
            }
            let base: i64 = start + r.iter().enumerate().map(|(i, &k)| out_tables[i][k].0).sum::<i64>();
            let out_rows = (0..out_shape[rank - 2]).map(|m| (base + out_tables[rank - 2][m].0) as u32).collect();
            let index: Vec<usize> = r.iter().copied().chain([0, first]).collect();
            drafted.push((out_rows, joined_drafts(drafts), sums, index));
        }
        // Rows that were moved for this product alone go where planes load them from.
        if moved && self.out.tensors[b.tensor.0 as usize].tail == 0 && drafted.iter().all(|(_, d, ..)| loads_whole(d)) {
            self.out.tensors[b.tensor.0 as usize].weights = true;
        }
        let mut indices = Vec::new();
        let blocks: Vec<MatBlock> = drafted
            .into_iter()
            .map(|(out_rows, drafts, sums, index)| {
                let mut chains = self.dynamic_chains(b.tensor, drafts, inner);
                if quotient {
                    chains.push(self.spread_sums(sums));
                } else if zeros.right != 0 {
                    chains[0].extend(self.spread(sums, -zeros.right));
                }
                indices.push(index);
                MatBlock { out_rows, chains }
            })
            .collect();
        let shared = (zeros.left != 0).then(|| {
            let mut one = View { tensor: b.tensor, axes: axes.clone(), row0: 0, lane0: 0 };
            one.axes[rank - 2] = Axis::unit();
            let (axes, _) = Self::compact(&one);
            let tables: Vec<Vec<(i64, i64)>> = axes.iter().map(Axis::table).collect();
            let row = |index: &Vec<usize>| index.iter().zip(&tables).map(|(&i, t)| t[i].0).sum::<i64>() as u32;
            let rows: Vec<(u32, &MatBlock)> = indices.iter().map(row).zip(&blocks).collect();
            let row = self.zero_rows(zeros.left, axes, b.lane0, &rows);
            View { axes: split.joined(row.axes), ..row }
        });
        let (blocks, mut axes) = (in_parts(blocks, way.parts), split.joined(axes));
        if flipped {
            axes.swap(whole_rank - 1, whole_rank - 2);
        }
        let chains = Self::chain_count(&blocks);
        let base = MatBase { blocks, axes, lane0: b.lane0, rows: step, lanes, chains, pixels: 1, quotient };
        Ok((base, shared))
    }

    /// A right operand with its columns on lanes and the rest on rows; where heads share words, weights in which each has
    /// rows of its own, zero in the lanes of the others.
    fn right_moved(&mut self, b: &View, shared: Option<usize>) -> Result<View, Why> {
        let shape = b.shape();
        let rank = shape.len();
        let (mut axes, rows, _) = layout(&shape, Some(rank - 1), self.lanes);
        if let Some(axis) = shared {
            axes[axis].digits.iter_mut().for_each(|d| d.lane = shape[rank - 1] as i64);
        }
        if let Some(v) = self.turned_weights(b, &axes, rows) {
            return Ok(v);
        }
        let v = self.relayout(b, axes, 0, rows)?;
        if shared.is_some() {
            self.out.tensors[v.tensor.0 as usize].weights = true;
        }
        Ok(v)
    }
}

fn out_k(x: &View) -> usize {
    x.axes[x.axes.len() - 1].extent
}

/// Kernels of so many parts of the rows.
fn in_parts(blocks: Vec<MatBlock>, parts: u8) -> Vec<MatBlock> {
    let part = |b: &MatBlock, p: usize| {
        let (n, parts) = (b.out_rows.len(), usize::from(parts));
        let rows = n * p / parts..n * (p + 1) / parts;
        let of = |pass: &Pass| Pass {
            act: Rows { tensor: pass.act.tensor, rows: pass.act.rows[rows.clone()].to_vec() },
            ..pass.clone()
        };
        let chains = b.chains.iter().map(|c| c.iter().map(of).collect()).collect();
        MatBlock { out_rows: b.out_rows[rows.clone()].to_vec(), chains }
    };
    if parts < 2 {
        return blocks;
    }
    let all = blocks.iter().flat_map(|b| (0..usize::from(parts)).map(move |p| part(b, p)));
    all.filter(|b| !b.out_rows.is_empty()).collect()
}

/// The operand with its last two axes exchanged.
fn turned(f: Factor) -> Result<Factor, Why> {
    let t = match f {
        Factor::View(v) => return Ok(Factor::View(exchanged(&v))),
        Factor::Const(t) => t,
    };
    let (values, rank) = (floats(&t)?, t.shape.len());
    let (m, k) = (t.shape[rank - 2], t.shape[rank - 1]);
    let mut exchanged = Vec::with_capacity(values.len());
    for matrix in values.chunks_exact((m * k).max(1)) {
        exchanged.extend((0..k).flat_map(|c| (0..m).map(move |r| matrix[r * k + c])));
    }
    let mut shape = t.shape.clone();
    shape.swap(rank - 1, rank - 2);
    Ok(Factor::Const(Tensor::from_f32(&shape, &exchanged)))
}
