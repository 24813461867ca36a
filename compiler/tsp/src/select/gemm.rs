//! Products of a model input and a constant that leave the chip as they are: both operands may lie either way.
//!
//! The host lays an input out as rows of activations or as weights, and a constant may be either. So the result is
//! cut in two: in one part the right operand is stationary, its columns on the planes' lanes; in the other, the
//! left one, whose rows are then on the lanes. Cut where the first has no block of few columns, the second
//! takes what is left in blocks of few rows. Knows the machine's widths; knows no slices and no cycles.

use super::expr::{Expr, Why};
use super::tiles::Draft;
use super::{Select, Val};
use crate::tiled::{HostLoop, HostPiece, Init, Kind, Pass, Rows, Src, TensorId};
use quadrille_compiler::ir::{EpilogueStep, Node, Op, ValueDef, ValueId};
use quadrille_isa::DType;
use quadrille_isa::tsp::{AluOp, AluType};
use std::ops::Range;

/// Rows of the left operand from which on planes are worth filling: below, loading weights takes longer.
const FEWEST_ROWS: usize = 64;

/// A value that lies in rows as no view can say.
#[derive(Clone, Debug)]
pub(super) struct Laid {
    pub(super) value: ValueId,
    pub(super) tensor: TensorId,
    pub(super) pieces: Vec<HostPiece>,
}

/// Which operand the planes hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stationary {
    Left,
    Right,
}

/// A part of the result: rows of the left operand by columns of the right one.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Part {
    held: Stationary,
    rows: Range<usize>,
    columns: Range<usize>,
}

/// `[n, k] x [k, m]`.
struct Product<'a> {
    input: u32,
    n: usize,
    k: usize,
    m: usize,
    ty: AluType,
    /// Row-major.
    right: &'a [f32],
}

impl Product<'_> {
    /// Rows of activations that pass a plane for one block of the inner axis.
    fn cost(&self, p: &Part, lanes: usize) -> usize {
        let (moving, blocks) = match p.held {
            Stationary::Right => (p.rows.len(), p.columns.len().div_ceil(lanes)),
            Stationary::Left => (p.columns.len(), p.rows.len().div_ceil(lanes)),
        };
        // Loads of the next block, 16 rows a cycle, go on behind at least as many activations: of bytes those of two planes
        // of each hemisphere, of f16 one row in two cycles on a pair that is loaded byte by byte.
        let least = lanes / 16 * if self.ty == AluType::F16 { 1 } else { 2 };
        blocks * if moving == 0 { 0 } else { moving.max(least) }
    }

    /// The parts that cost least together; `left`: the left operand may be stationary.
    fn parts(&self, lanes: usize, left: bool) -> Vec<Part> {
        let (n, m) = (self.n, self.m);
        let part = |held, rows, columns| Part { held, rows, columns };
        let mut all = vec![vec![part(Stationary::Right, 0..n, 0..m)]];
        if left {
            let (columns, rows) = (m / lanes * lanes, n / lanes * lanes);
            all.push(vec![part(Stationary::Left, 0..n, 0..m)]);
            all.push(vec![part(Stationary::Right, 0..n, 0..columns), part(Stationary::Left, 0..n, columns..m)]);
            all.push(vec![part(Stationary::Left, 0..rows, 0..m), part(Stationary::Right, rows..n, 0..m)]);
        }
        let cost = |parts: &Vec<Part>| parts.iter().map(|p| self.cost(p, lanes)).sum::<usize>();
        let mut best = all.into_iter().min_by_key(cost).unwrap_or_default();
        best.retain(|p| !p.rows.is_empty() && !p.columns.is_empty());
        best
    }
}

impl Select<'_> {
    /// The product, laid out for the host, if it is one of these; its sums have no other use.
    pub(super) fn gemm(&mut self, node: &Node, epilogue: &[EpilogueStep]) -> Result<bool, Why> {
        let (Some((input, n)), true) = (self.host_rows_of(node.inputs[0]), epilogue.is_empty()) else {
            return Ok(false);
        };
        let Val::Const(w) = &self.vals[node.inputs[1].0 as usize] else { return Ok(false) };
        let (w, Some(out)) = (w.clone(), self.leaves(node.output)) else { return Ok(false) };
        let (&[k, m], true) = (&w.shape[..], n >= FEWEST_ROWS && !self.compact) else { return Ok(false) };
        let dtype = self.graph.ty(input).dtype;
        let (ValueDef::Input(index), Some(ty)) = (&self.graph.value(input).def, super::device_type(dtype)) else {
            return Ok(false);
        };
        let right = super::conv::floats(&w)?;
        let p = Product { input: *index, n, k, m, ty, right: &right };
        // Planes hold f16 or i8, and a load brings 16 rows, which the host has all.
        let parts = p.parts(self.lanes, ty != AluType::U8 && k.is_multiple_of(16));
        let rows: usize = parts.iter().map(|p| self.result_rows(p)).sum();
        let result = self.ty(out);
        let tensor = self.tensor("", result, rows, self.lanes, Init::Computed);
        let mut pieces = Vec::new();
        let mut row0 = 0;
        for part in &parts {
            match part.held {
                Stationary::Right => self.right_held(&p, part, tensor, row0, &mut pieces),
                Stationary::Left => self.left_held(&p, part, tensor, row0, &mut pieces),
            }
            row0 += self.result_rows(part);
        }
        self.laid.push(Laid { value: out, tensor, pieces });
        Ok(true)
    }

    /// A model input of bytes or f16 (which the product widened), and its number of rows.
    fn host_rows_of(&self, v: ValueId) -> Option<(ValueId, usize)> {
        let input = match self.graph.producer(v) {
            None => v,
            Some(n) if matches!(n.op, Op::Cast(DType::F32)) && self.graph.ty(n.inputs[0]).dtype == DType::F16 => {
                n.inputs[0]
            }
            Some(_) => return None,
        };
        let ty = self.graph.ty(input);
        let fits = matches!(ty.dtype, DType::I8 | DType::U8 | DType::F16) && ty.rank() >= 2;
        let is_input = matches!(self.graph.value(input).def, ValueDef::Input(_));
        let inner = *ty.shape.last()?;
        (fits && is_input && inner > 0).then(|| (input, ty.elements() / inner))
    }

    /// The model output that the value is, as it is or in f16, when it is nothing else.
    fn leaves(&self, v: ValueId) -> Option<ValueId> {
        let only_output = |v: ValueId| {
            let used = self.graph.nodes().iter().any(|n| n.inputs.contains(&v) && self.wants.alive(n.output));
            !used && self.graph.outputs.iter().filter(|o| o.value == v).count() == 1
        };
        if only_output(v) {
            return Some(v);
        }
        let user = self.wants.only_user(self.graph, v)?;
        (matches!(user.op, Op::Cast(DType::F16)) && only_output(user.output)).then_some(user.output)
    }

    fn result_rows(&self, p: &Part) -> usize {
        match p.held {
            Stationary::Right => p.columns.len().div_ceil(self.lanes) * p.rows.len(),
            Stationary::Left => p.rows.len().div_ceil(self.lanes) * p.columns.len(),
        }
    }

    /// Blocks of at most as many as the machine has lanes.
    fn blocks(&self, of: &Range<usize>) -> Vec<Range<usize>> {
        of.clone().step_by(self.lanes).map(|at| at..(at + self.lanes).min(of.end)).collect()
    }

    /// Rows of the input meet constant weights, a block of columns at a time.
    fn right_held(&mut self, p: &Product<'_>, part: &Part, out: TensorId, row0: usize, pieces: &mut Vec<HostPiece>) {
        let (inner, lanes) = (self.blocks(&(0..p.k)), self.lanes);
        let n = part.rows.len();
        let host = (inner.iter().enumerate())
            .map(|(b, k)| HostPiece {
                row0: (b * n) as u32,
                lane0: 0,
                elem0: (part.rows.start * p.k + k.start) as u64,
                byte: None,
                loops: vec![rows_loop(n, p.k), lanes_loop(k.len(), 1)],
            })
            .collect();
        let acts = self.tensor("", p.ty, inner.len() * n, lanes, Init::Input { index: p.input, pieces: host });
        for (number, columns) in self.blocks(&part.columns).into_iter().enumerate() {
            let row_of = |k: usize| {
                let mut row = p.right[k * p.m + columns.start..k * p.m + columns.end].to_vec();
                row.resize(lanes, 0.0);
                row
            };
            let drafts: Vec<Draft> = (inner.iter().enumerate())
                .map(|(b, k)| Draft {
                    act: Rows { tensor: acts, rows: (b * n..(b + 1) * n).map(|r| r as u32).collect() },
                    weights: k.clone().map(|i| (i - k.start, row_of(i))).collect(),
                })
                .collect();
            let passes = self.chain(&drafts, lanes);
            let first = row0 + number * n;
            self.leaving(passes, out, first..first + n);
            pieces.push(HostPiece {
                row0: first as u32,
                lane0: 0,
                elem0: (part.rows.start * p.m + columns.start) as u64,
                byte: None,
                loops: vec![rows_loop(n, p.m), lanes_loop(columns.len(), 1)],
            });
        }
    }

    /// Columns of the constant, as rows, meet the input, a block of its rows at a time.
    fn left_held(&mut self, p: &Product<'_>, part: &Part, out: TensorId, row0: usize, pieces: &mut Vec<HostPiece>) {
        let (inner, lanes) = (self.blocks(&(0..p.k)), self.lanes);
        let n = part.columns.len();
        let mut data = vec![0u32; inner.len() * n * lanes];
        for (b, k) in inner.iter().enumerate() {
            for (row, column) in part.columns.clone().enumerate() {
                let at = (b * n + row) * lanes;
                let values = k.clone().map(|i| self.weight_bits(p.ty, p.right[i * p.m + column]));
                data[at..at + k.len()].iter_mut().zip(values).for_each(|(d, v)| *d = v);
            }
        }
        let init = Init::Const(super::constant::to_bytes(&data, p.ty));
        let acts = self.tensor("", p.ty, inner.len() * n, lanes, init);
        for (number, held) in self.blocks(&part.rows).into_iter().enumerate() {
            let host = HostPiece {
                row0: 0,
                lane0: 0,
                elem0: (held.start * p.k) as u64,
                byte: None,
                loops: vec![rows_loop(p.k, 1), lanes_loop(held.len(), p.k)],
            };
            let init = Init::Input { index: p.input, pieces: vec![host] };
            let weights = self.tensor("", p.ty, p.k, lanes, init);
            self.out.tensors[weights.0 as usize].weights = true;
            let mut passes = Vec::new();
            for (b, k) in inner.iter().enumerate() {
                let loads: Vec<(u16, u32)> = (0..k.len() / 16).map(|g| (g as u16, (k.start / 16 + g) as u32)).collect();
                for slots in self.slot_windows() {
                    let rows = (b * n..(b + 1) * n).map(|r| r as u32).collect();
                    passes.push(Pass { act: Rows { tensor: acts, rows }, weights, loads: loads.clone(), slots });
                }
            }
            let first = row0 + number * n;
            self.leaving(passes, out, first..first + n);
            pieces.push(HostPiece {
                row0: first as u32,
                lane0: 0,
                elem0: (held.start * p.m + part.columns.start) as u64,
                byte: None,
                loops: vec![rows_loop(n, 1), lanes_loop(held.len(), p.m)],
            });
        }
    }

    /// A kernel whose sums are the result, rounded to its type.
    fn leaving(&mut self, passes: Vec<Pass>, out: TensorId, rows: Range<usize>) {
        let to = self.out.tensors[out.0 as usize].ty;
        let mut expr = Expr::default();
        if to == AluType::F16 {
            expr.cast(AluType::F32, to, Src::In(0));
        } else {
            expr.op(AluOp::Or, AluType::I32, Src::In(0), Src::Imm(0), Src::None);
        }
        let rows: Vec<u32> = rows.map(|r| r as u32).collect();
        let n = rows.len();
        let outs = vec![(Src::Op(0), Rows { tensor: out, rows })];
        self.kernel(n, Kind::MatMul { chains: vec![passes], ins: Vec::new(), steps: expr.steps, outs });
    }
}

fn rows_loop(count: usize, elem: usize) -> HostLoop {
    HostLoop { count: count as u32, row: 1, lane: 0, elem: elem as i64 }
}

fn lanes_loop(count: usize, elem: usize) -> HostLoop {
    HostLoop { count: count as u32, row: 0, lane: 1, elem: elem as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(n: usize, m: usize, ty: AluType) -> Product<'static> {
        Product { input: 0, n, k: 4096, m, ty, right: &[] }
    }

    #[test]
    fn parts_cover_the_result_and_waste_little() {
        for ty in [AluType::I8, AluType::F16] {
            for n in (1376..=3500).step_by(118) {
                let p = product(n, 2304, ty);
                let parts = p.parts(320, true);
                assert_eq!(parts.iter().map(|p| p.rows.len() * p.columns.len()).sum::<usize>(), n * 2304);
                assert!(parts.len() == 2, "{n} {parts:?}");
                let cost: usize = parts.iter().map(|x| p.cost(x, 320)).sum();
                assert!(cost * 320 * 100 <= n * 2304 * 101, "{n}: {cost}");
            }
        }
    }

    #[test]
    fn one_orientation_where_it_is_exact() {
        let p = product(640, 960, AluType::I8);
        assert_eq!(p.parts(320, true).len(), 1);
        assert_eq!(product(700, 1000, AluType::I8).parts(320, false).len(), 1);
    }
}
