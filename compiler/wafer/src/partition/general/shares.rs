//! Look-ups in a constant table larger than one PE, or long to search: every PE of a chain holds
//! some of the rows, finds those that are asked for, and adds what the PEs before it found.

use super::super::{Obstacle, Partitioner, Source, torn};
use super::asm::{A, Asm};
use super::{Attempt, Feed, Given, MAX_OPS, SRAM, general};
use crate::kernels::general::{Input, Shares, Sliced, slice_order};
use crate::lane::{lane, lane_bits};
use quadrille_compiler::ir::{DType, Op};
use quadrille_isa::wafer::{ElemType, PeOp};
use std::sync::Arc;

/// Bytes of a table that one PE searches in one go.
const TABLE: usize = 16384;

/// Bytes of results of one round.
const RESULTS: usize = 6144;

/// Elements that a PE compares and selects a round, at most.
const WORK: usize = 40_000;

/// PEs of a chain.
const MAX_SHARES: usize = 8192;

impl Partitioner<'_> {
    /// The kernel of a look-up by the first axis of a large constant; `None` for all other nodes.
    pub(super) fn shared(
        &mut self,
        op: &Op,
        given: &[Given],
        (dtype, shape): (DType, &[usize]),
    ) -> Result<Option<Attempt>, Obstacle> {
        let Op::Gather { axis: 0 } = op else { return Ok(None) };
        let (Source::Constant(table), Source::Stream { id, views, .. }) = (&given[0].source, &given[1].source) else {
            return Ok(None);
        };
        let (rows, tail) = (given[0].shape[0], given[0].shape[1..].iter().product::<usize>());
        let n: usize = given[1].shape.iter().product();
        if lane(dtype) != Some(ElemType::F32) || (rows * tail * 4 <= TABLE && rows * n * tail <= WORK) {
            return Ok(None);
        }
        let Some(bits) = lane_bits(table) else { return Ok(None) };
        self.settle(*id, views, &given[1].shape);
        let arrives = self.order_of(*id, views).ok_or_else(torn)?;
        let most = (RESULTS / (tail * 4).max(1)).max(1);
        let each = (1..=n.min(most)).rev().find(|c| n.is_multiple_of(*c)).unwrap_or(1);
        let (each, order) = match slice_order(&arrives, n / each, each) {
            Some(o) if each < n => (each, o),
            _ => (n, arrives),
        };
        let rounds = n / each;
        let count =
            (rows * tail * 4).div_ceil(TABLE).max((rows * each * tail).div_ceil(WORK)).min(MAX_SHARES).min(rows);
        let held = rows.div_ceil(count);
        let count = rows.div_ceil(held);
        let mut asm = Asm::default();
        let idx = asm.fresh(given[1].dtype, &[each]);
        let part = asm.fresh(dtype, &[held, tail]);
        let first = asm.fresh(DType::F32, &[]);
        let out = asm.gather_from(&part, &idx, rows, &first);
        let mut values: Vec<u32> = bits;
        values.resize(count * held * tail, 0);
        let sliced = vec![
            Sliced { buf: part.view.buf, ty: part.elem(), values: Arc::new(values), len: held * tail },
            Sliced {
                buf: first.view.buf,
                ty: ElemType::F32,
                values: Arc::new((0..count).map(|i| ((i * held) as f32).to_bits()).collect()),
                len: 1,
            },
        ];
        let input = Input { buf: idx.view.buf, ty: idx.elem(), words: 1, order, once: false, len: each, turn: 0 };
        let Some(program) = asm.prog.lower(MAX_OPS) else { return Ok(None) };
        let mut kernel = general("gather", program, vec![input], sliced, &out, each * tail, rounds, shape);
        kernel.shares = Some(Shares { count, join: PeOp::Add });
        kernel.about = format!("{held} of {rows} rows a PE, ");
        let bytes: usize = kernel.program.bufs.iter().map(|b| b.len * b.ty.bytes() as usize).sum();
        let sram = bytes + kernel.operations() * 16 + 1024;
        if sram > SRAM {
            return Ok(None);
        }
        Ok(Some(Attempt { kernel, feeds: vec![Feed::Given(1, false)], sram, source: None }))
    }
}

impl Asm {
    /// The rows of `part`, which begins with row `first` of a table of `rows`, that the indices
    /// name; zeros where they name others.
    fn gather_from(
        &mut self,
        part: &super::asm::T,
        idx: &super::asm::T,
        rows: usize,
        first: &super::asm::T,
    ) -> super::asm::T {
        let places = self.places(idx, rows);
        self.to(&places, PeOp::Sub, &[A::T(&places), A::T(first)]);
        let dims = [idx.dims[0], part.dims[1]];
        let out = self.make(part.dtype, &dims, PeOp::Mov, &[A::F(0.0)]);
        let data = part.with_axis(1);
        self.choose(&out, &data, 0, &places.with_axis(1));
        out
    }
}
