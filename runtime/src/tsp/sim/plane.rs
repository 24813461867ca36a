//! One MXM plane: weight buffer, installed array, rows on their way, accumulators.
//!
//! Knows the plane's protocol and its sums. Knows no streams. Dot products are computed when
//! the first sum of a batch is due, for all planes side by side: rows that entered since then share the weights.

use super::kernel::{HalfWeights, IntWeights};
use quadrille_isa::numerics::canonical;
use quadrille_isa::tsp::{AccMode, ActType};
use rayon::prelude::*;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

/// Streams, and so rows, of a `load_weights`: the length of its operand list.
const ROWS_PER_LOAD: usize = 16;

/// An installed array: `lanes x lanes` bytes, row major.
pub(super) struct Array {
    bytes: Vec<u8>,
    /// Rows that were loaded.
    loaded: Vec<bool>,
    int: OnceLock<IntWeights>,
}

/// The weights that a row meets.
#[derive(Clone)]
enum Weights {
    Int(Arc<Array>),
    Half(Arc<HalfWeights>),
}

impl Weights {
    fn same(&self, other: &Weights) -> bool {
        match (self, other) {
            (Weights::Int(a), Weights::Int(b)) => Arc::ptr_eq(a, b),
            (Weights::Half(a), Weights::Half(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// What kind of sum a row of accumulators holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int32,
    F32,
}

struct Row {
    due: u64,
    ty: ActType,
    weights: Weights,
    bytes: Vec<Box<[u8]>>,
    sum: Option<Vec<u32>>,
}

/// Weights of an f16 pair, kept as long as neither plane installs.
struct Pair {
    low: Arc<Array>,
    high: Arc<Array>,
    weights: Arc<HalfWeights>,
}

pub(super) struct Plane {
    lanes: usize,
    buffer: Option<Vec<u8>>,
    /// First row and issue cycle of the loads in the buffer.
    loads: Vec<(u16, u64)>,
    array: Option<Arc<Array>>,
    last_install: Option<u64>,
    /// First cycle in which the plane can take a row.
    free_from: u64,
    pair: Option<Pair>,
    rows: VecDeque<Row>,
    sums: Vec<Option<Kind>>,
    values: Vec<u32>,
}

impl Plane {
    pub(super) fn new(lanes: usize, accumulators: usize) -> Plane {
        Plane {
            lanes,
            buffer: None,
            loads: Vec::new(),
            array: None,
            last_install: None,
            free_from: 0,
            pair: None,
            rows: VecDeque::new(),
            sums: vec![None; accumulators],
            values: vec![0; accumulators * lanes],
        }
    }

    /// Fills one row of the buffer.
    pub(super) fn load(&mut self, cycle: u64, k0: u16, row: u16, bytes: &[u8]) -> Result<(), String> {
        if row == 0 {
            if self.loads.iter().any(|&(k, _)| k == k0) {
                return Err(format!("rows from {k0} are loaded twice without an install"));
            }
            self.loads.push((k0, cycle));
        }
        let buffer = self.buffer.get_or_insert_with(|| vec![0; self.lanes * self.lanes]);
        let at = usize::from(k0 + row) * self.lanes;
        buffer[at..at + self.lanes].copy_from_slice(bytes);
        Ok(())
    }

    /// Makes the buffer the array.
    pub(super) fn install(&mut self, cycle: u64, row_latency: u64, distance: u64) -> Result<(), String> {
        if let Some((k, at)) = self.loads.iter().find(|&&(_, at)| at + row_latency > cycle) {
            return Err(format!("rows from {k}, loaded at cycle {at}, are not there yet"));
        }
        if let Some(last) = self.last_install.filter(|&last| last + distance > cycle) {
            return Err(format!("the last install was at cycle {last}"));
        }
        self.last_install = Some(cycle);
        let mut loaded = vec![false; self.lanes];
        for (k0, _) in self.loads.drain(..) {
            loaded.iter_mut().skip(usize::from(k0)).take(ROWS_PER_LOAD).for_each(|l| *l = true);
        }
        let bytes = self.buffer.take().unwrap_or_else(|| vec![0; self.lanes * self.lanes]);
        self.array = Some(Arc::new(Array { bytes, loaded, int: OnceLock::new() }));
        self.pair = None;
        Ok(())
    }

    pub(super) fn array(&self) -> Option<Arc<Array>> {
        self.array.clone()
    }

    /// Keeps the plane from taking rows before `cycle`.
    pub(super) fn occupy(&mut self, now: u64, until: u64) -> Result<(), String> {
        if now < self.free_from {
            return Err(format!("the plane is taken by an f16 row until cycle {}", self.free_from));
        }
        self.free_from = until;
        Ok(())
    }

    /// One row enters; for f16, `partner` is the odd plane's array.
    pub(super) fn enter(
        &mut self,
        due: u64,
        ty: ActType,
        bytes: Vec<Box<[u8]>>,
        partner: Option<Arc<Array>>,
    ) -> Result<(), String> {
        if self.rows.front().is_some_and(|r| r.due + self.sums.len() as u64 + 4096 < due) {
            return Err("sums are due that no accumulate took".into());
        }
        let Some(array) = self.array.clone() else { return Err("no weights are installed".into()) };
        let weights = match (ty, partner) {
            (ActType::F16, None) => return Err("no weights are installed in the odd plane of the pair".into()),
            (ActType::F16, Some(high)) => Weights::Half(self.half(array, high)),
            _ => Weights::Int(array),
        };
        self.rows.push_back(Row { due, ty, weights, bytes, sum: None });
        Ok(())
    }

    fn half(&mut self, low: Arc<Array>, high: Arc<Array>) -> Arc<HalfWeights> {
        if let Some(p) = &self.pair
            && Arc::ptr_eq(&p.low, &low)
            && Arc::ptr_eq(&p.high, &high)
        {
            return p.weights.clone();
        }
        let weights =
            Arc::new(HalfWeights::new(&low.bytes, &high.bytes, self.lanes, |k| low.loaded[k] || high.loaded[k]));
        self.pair = Some(Pair { low, high, weights: weights.clone() });
        weights
    }

    /// True while sums are on their way.
    pub(super) fn owes(&self) -> Option<u64> {
        self.rows.front().map(|r| r.due)
    }

    /// Takes the sum that is due and gives what an emission would carry.
    pub(super) fn accumulate(&mut self, cycle: u64, row: usize, mode: AccMode) -> Result<Vec<u32>, String> {
        match self.rows.front().map(|r| r.due) {
            Some(due) if due == cycle => {}
            Some(due) => return Err(format!("no sum is due; the next one is at cycle {due}")),
            None => return Err("no sum is due".into()),
        }
        let Some(Row { ty, sum: Some(mut sum), .. }) = self.rows.pop_front() else {
            return Err("no sum is due".into());
        };
        let kind = if ty == ActType::F16 { Kind::F32 } else { Kind::Int32 };
        let values = &mut self.values[row * self.lanes..(row + 1) * self.lanes];
        match mode {
            AccMode::Bypass => return Ok(sum),
            AccMode::Over => {}
            AccMode::Add => {
                if self.sums[row] != Some(kind) {
                    return Err(format!("row {row} holds no sum of this kind to add to"));
                }
                for (s, &v) in sum.iter_mut().zip(&*values) {
                    *s = match kind {
                        Kind::F32 => canonical(f32::from_bits(v) + f32::from_bits(*s)).to_bits(),
                        Kind::Int32 => match (v as i32).checked_add(*s as i32) {
                            Some(x) => x as u32,
                            None => return Err(format!("an int32 sum of row {row} overflows")),
                        },
                    };
                }
            }
        }
        self.sums[row] = Some(kind);
        values.copy_from_slice(&sum);
        Ok(sum)
    }

    /// True when the sum of the first row is not computed yet.
    pub(super) fn wants_sums(&self) -> bool {
        self.rows.front().is_some_and(|r| r.sum.is_none())
    }

    /// Computes sums of rows on all planes: in each those of the first rows without them that share weights and type.
    pub(super) fn compute_all(planes: &mut [Plane]) {
        planes.par_iter_mut().for_each(Plane::compute);
    }

    fn compute(&mut self) {
        let Some(at) = self.rows.iter().position(|r| r.sum.is_none()) else { return };
        let (weights, ty) = (self.rows[at].weights.clone(), self.rows[at].ty);
        let rows = || self.rows.range(at..);
        let batch = rows().take_while(|r| r.ty == ty && r.weights.same(&weights)).count();
        let sums = match &weights {
            Weights::Half(w) => {
                let acts: Vec<(&[u8], &[u8])> =
                    rows().take(batch).map(|r| (&r.bytes[0][..], &r.bytes[1][..])).collect();
                w.dot(&acts)
            }
            Weights::Int(array) => {
                let w = array.int.get_or_init(|| IntWeights::new(&array.bytes, self.lanes, |k| array.loaded[k]));
                let acts: Vec<&[u8]> = rows().take(batch).map(|r| &r.bytes[0][..]).collect();
                w.dot(&acts, ty == ActType::I8)
            }
        };
        for (row, sum) in self.rows.range_mut(at..).zip(sums) {
            row.sum = Some(sum);
        }
    }
}
