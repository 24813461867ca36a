//! Bit-exact evaluation of a tiled graph.
//!
//! Scalar meaning comes from `quadrille_isa::tsp::alu`; the order of every sum is the tiled
//! graph's. Knows nothing of the schedule.

mod int8;

use super::{
    FILL, GROUP_LANES, Init, Kind, NOTHING, Pass, RowTensor, Rows, Src, Step, TensorId, TiledGraph, each_host_point,
};
use quadrille_isa::numerics::f16_to_f32;
use quadrille_isa::tsp::AluType;
use quadrille_isa::tsp::alu::alu;
use quadrille_isa::{DType, Tensor};
use rayon::prelude::*;

/// Inputs that a tiled graph cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TiledEvalError {
    /// Number, type or shape is not the model's.
    #[error("input {0}: {1}")]
    Input(usize, String),
    /// An index that the table of a gather does not have.
    #[error("node `{node}`: index {index} is not in a table of {rows} rows")]
    #[allow(missing_docs)]
    Index { node: String, index: u32, rows: u32 },
}

struct State<'a> {
    graph: &'a TiledGraph,
    data: Vec<Vec<u32>>,
}

fn width(ty: AluType) -> usize {
    usize::from(ty.bytes())
}

/// Little-endian bits of an element of up to four bytes.
fn load(bytes: &[u8]) -> u32 {
    let mut v = [0u8; 4];
    let n = bytes.len().min(4);
    v[..n].copy_from_slice(&bytes[..n]);
    u32::from_le_bytes(v)
}

impl State<'_> {
    fn info(&self, t: TensorId) -> &RowTensor {
        self.graph.tensor(t)
    }

    /// Element of a row; lanes beyond the tensor's are its tail.
    fn at(&self, t: TensorId, row: u32, lane: usize) -> u32 {
        let i = self.info(t);
        if let Init::Gather { from, sources, groups } = &i.init {
            let group = lane / GROUP_LANES;
            return match sources.get(row as usize * *groups as usize + group) {
                Some(&NOTHING) | None => 0,
                Some(&source) => self.at(*from, source, lane),
            };
        }
        if row == FILL {
            i.fill.unwrap_or(0)
        } else if lane < i.lanes as usize {
            self.data[t.0 as usize][row as usize * i.lanes as usize + lane]
        } else {
            i.tail
        }
    }

    /// `lanes` elements of a row.
    fn row(&self, t: TensorId, row: u32, lanes: usize, out: &mut Vec<u32>) {
        out.clear();
        let i = self.info(t);
        let own = i.lanes as usize;
        if matches!(i.init, Init::Gather { .. }) {
            out.extend((0..lanes).map(|l| self.at(t, row, l)));
            return;
        }
        if row == FILL {
            out.resize(lanes, i.fill.unwrap_or(0));
            return;
        }
        let start = row as usize * own;
        out.extend_from_slice(&self.data[t.0 as usize][start..start + own.min(lanes)]);
        out.resize(lanes, i.tail);
    }

    fn store(&mut self, t: TensorId, row: u32, values: &[u32]) {
        let own = self.info(t).lanes as usize;
        let start = row as usize * own;
        let n = own.min(values.len());
        self.data[t.0 as usize][start..start + n].copy_from_slice(&values[..n]);
    }
}

/// All steps on one row; `ins[k]` are operand lanes.
fn run_steps(steps: &[Step], ins: &[Vec<u32>], lanes: usize) -> Vec<Vec<u32>> {
    let mut results: Vec<Vec<u32>> = Vec::with_capacity(steps.len());
    for s in steps {
        let get = |src: Src, lane: usize| match src {
            Src::None => 0,
            Src::Imm(v) => v,
            Src::In(k) => ins[usize::from(k)][lane],
            Src::Op(k) => results[usize::from(k)][lane],
        };
        let r = (0..lanes).map(|l| alu(s.op, s.ty, get(s.src[0], l), get(s.src[1], l), get(s.src[2], l))).collect();
        results.push(r);
    }
    results
}

fn pick(src: Src, ins: &[Vec<u32>], results: &[Vec<u32>], lanes: usize) -> Vec<u32> {
    match src {
        Src::In(k) => ins[usize::from(k)].clone(),
        Src::Op(k) => results[usize::from(k)].clone(),
        Src::Imm(v) => vec![v; lanes],
        Src::None => vec![0; lanes],
    }
}

impl TiledGraph {
    /// Runs the graph on host tensors; results in the model's order.
    pub fn eval(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, TiledEvalError> {
        if inputs.len() != self.inputs.len() {
            let why = format!("the model takes {}, got {}", self.inputs.len(), inputs.len());
            return Err(TiledEvalError::Input(inputs.len(), why));
        }
        for (n, (want, got)) in self.inputs.iter().zip(inputs).enumerate() {
            if want.dtype != got.dtype || want.shape != got.shape {
                let why = format!("`{}` is {}{:?}, got {got:?}", want.name, want.dtype, want.shape);
                return Err(TiledEvalError::Input(n, why));
            }
        }
        let mut state = State { graph: self, data: Vec::with_capacity(self.tensors.len()) };
        for t in &self.tensors {
            state.data.push(initial(t, inputs));
        }
        for k in &self.kernels {
            run(&mut state, k)?;
        }
        Ok(self.outputs.iter().map(|o| state.output(o)).collect())
    }
}

fn initial(t: &RowTensor, inputs: &[Tensor]) -> Vec<u32> {
    let count = t.rows as usize * t.lanes as usize;
    let w = width(t.ty);
    match &t.init {
        Init::Computed => vec![0; count],
        Init::Gather { .. } => Vec::new(),
        Init::Const(b) => b.chunks_exact(w).map(load).collect(),
        Init::Input { index, pieces } => {
            let mut data = vec![0; count];
            let host = &inputs[*index as usize];
            let size = host.dtype.size();
            for p in pieces {
                each_host_point(p, |row, lane, elem| {
                    let bytes = &host.data[elem as usize * size..(elem as usize + 1) * size];
                    let v = match p.byte {
                        Some(b) => u32::from(bytes[usize::from(b)]),
                        None => load(&bytes[..w.min(size)]),
                    };
                    data[row as usize * t.lanes as usize + lane as usize] = v;
                });
            }
            data
        }
    }
}

impl State<'_> {
    fn output(&self, o: &super::OutputDef) -> Tensor {
        let size = o.dtype.size();
        let count: usize = o.shape.iter().product();
        let mut bytes = vec![0u8; count * size];
        let w = width(self.info(o.tensor).ty);
        for p in &o.pieces {
            each_host_point(p, |row, lane, elem| {
                let v = self.at(o.tensor, row, lane as usize);
                let dst = &mut bytes[elem as usize * size..(elem as usize + 1) * size];
                let n = w.min(size);
                dst[..n].copy_from_slice(&v.to_le_bytes()[..n]);
                if size > n && o.dtype.is_signed_int() && v >> (8 * n - 1) & 1 == 1 {
                    dst[n..].fill(0xFF);
                }
            });
        }
        Tensor { dtype: o.dtype, shape: o.shape.clone(), data: bytes.into() }
    }

    /// One pass of one row: exact products in f64, ascending k, rounded once.
    fn dot(&self, p: &Pass, weights: &[Vec<f64>], ks: &[usize], n: usize, i: usize) -> Vec<f32> {
        let (t, row) = (p.act.tensor, p.act.rows[i]);
        let lanes = self.info(t).lanes as usize;
        let mut sum = vec![0f64; n];
        for (w, &k) in weights.iter().zip(ks) {
            let a = f64::from(f16_to_f32(self.at(t, row, k) as u16));
            for (s, &w) in sum.iter_mut().zip(w) {
                *s += a * w;
            }
        }
        // A zero weight meets its activation too, so an infinite one anywhere gives NaN.
        let finite = |k: usize| f16_to_f32(self.at(t, row, k) as u16).is_finite();
        if !(0..lanes).filter(|k| !ks.contains(k)).all(finite) {
            sum.fill(f64::NAN);
        }
        sum.into_iter().map(|s| quadrille_isa::numerics::canonical(s as f32)).collect()
    }

    /// The sums of a chain of f16 passes, as f32 bits: `n` rows of `lanes`.
    fn half_sums(&self, n: usize, passes: &[Pass], lanes: usize) -> Vec<Vec<u32>> {
        let mut sums = vec![vec![0f32; 0]; n];
        for (number, p) in passes.iter().enumerate() {
            let loaded = load_rows(&p.loads, p.slots);
            let wl = self.info(p.weights).lanes as usize;
            let weight = |r: u32, lane: usize| {
                if lane < wl { f64::from(f16_to_f32(self.at(p.weights, r, lane) as u16)) } else { 0.0 }
            };
            let weights: Vec<Vec<f64>> =
                loaded.iter().map(|&(_, r)| (0..lanes).map(|l| weight(r, l)).collect()).collect();
            let ks: Vec<usize> = loaded.iter().map(|&(k, _)| k).collect();
            sums.par_iter_mut().enumerate().for_each(|(i, row)| {
                let d = self.dot(p, &weights, &ks, lanes, i);
                if number == 0 {
                    *row = d;
                } else {
                    for (s, d) in row.iter_mut().zip(d) {
                        *s = quadrille_isa::numerics::canonical(*s + d);
                    }
                }
            });
        }
        sums.into_iter().map(|r| r.into_iter().map(f32::to_bits).collect()).collect()
    }
}

/// Rows of a pass that are loaded: (plane row, weight tensor row), ascending.
fn load_rows(loads: &[(u16, u32)], slots: (u8, u8)) -> Vec<(usize, u32)> {
    let mut v: Vec<(usize, u32)> = loads
        .iter()
        .flat_map(|&(k, r)| {
            (slots.0..slots.0 + slots.1).map(move |i| (usize::from(k) * 16 + usize::from(i), r * 16 + u32::from(i)))
        })
        .collect();
    v.sort_unstable();
    v
}

fn run(state: &mut State<'_>, k: &super::Kernel) -> Result<(), TiledEvalError> {
    match &k.kind {
        Kind::Map { ins, steps, outs } => {
            let lanes = outs.iter().map(|(_, r)| state.info(r.tensor).lanes).max().unwrap_or(0) as usize;
            let mut rows: Vec<Vec<u32>> = vec![Vec::new(); ins.len()];
            for i in 0..k.n as usize {
                for (r, o) in rows.iter_mut().zip(ins) {
                    state.row(o.tensor, o.rows[i], lanes, r);
                }
                let results = run_steps(steps, &rows, lanes);
                for (src, o) in outs {
                    let v = pick(*src, &rows, &results, lanes);
                    state.store(o.tensor, o.rows[i], &v);
                }
            }
        }
        Kind::MatMul { chains, ins, steps, outs } => matmul(state, k.n as usize, chains, ins, steps, outs),
        Kind::Move { passes, out } => {
            let lanes = state.info(out.tensor).lanes as usize;
            for i in 0..k.n as usize {
                let mut v = vec![0u32; lanes];
                for p in passes {
                    for &(from, to) in &p.map {
                        // Lanes of the map beyond the result are never named.
                        v[usize::from(to)] |= state.at(p.from.tensor, p.from.rows[i], usize::from(from));
                    }
                }
                state.store(out.tensor, out.rows[i], &v);
            }
        }
        Kind::Gather { ids, table, out } => {
            let lanes = state.info(out.tensor).lanes as usize;
            let rows = state.info(*table).rows;
            let mut v = Vec::new();
            for i in 0..k.n as usize {
                let b = |lane| state.at(ids.tensor, ids.rows[i], lane);
                let index = b(0) | b(1) << 8;
                if index == u32::from(quadrille_isa::tsp::MAP_NONE) {
                    state.store(out.tensor, out.rows[i], &vec![0; lanes]);
                    continue;
                }
                if index >= rows {
                    return Err(TiledEvalError::Index {
                        node: state.graph.nodes[k.node.0 as usize].clone(),
                        index,
                        rows,
                    });
                }
                state.row(*table, index, lanes, &mut v);
                state.store(out.tensor, out.rows[i], &v);
            }
        }
        Kind::Transpose { from, out, groups } => {
            let lanes = state.info(*out).lanes as usize;
            for (a, j) in (0..groups.len() as u32).flat_map(|a| (0..16).map(move |j| (a, j))) {
                let source = |lane: usize| state.at(*from, a * 16 + (lane % 16) as u32, lane / 16 * 16 + j);
                let v: Vec<u32> = (0..lanes).map(source).collect();
                state.store(*out, groups[a as usize] * 16 + j as u32, &v);
            }
        }
    }
    Ok(())
}

fn matmul(state: &mut State<'_>, n: usize, chains: &[Vec<Pass>], ins: &[Rows], steps: &[Step], outs: &[(Src, Rows)]) {
    let lanes = outs.iter().map(|(_, r)| state.info(r.tensor).lanes).max().unwrap_or(0) as usize;
    let int8 = |p: &Pass| matches!(state.info(p.act.tensor).ty, AluType::I8 | AluType::U8);
    let mut chain_sums: Vec<Vec<Vec<u32>>> = chains
        .iter()
        .map(|passes| {
            if passes.iter().all(int8) {
                int8::sums(state, n, passes, lanes)
            } else {
                state.half_sums(n, passes, lanes)
            }
        })
        .collect();
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); chains.len() + ins.len()];
    for i in 0..n {
        for (r, s) in rows.iter_mut().zip(&mut chain_sums) {
            *r = std::mem::take(&mut s[i]);
        }
        for (r, o) in rows[chains.len()..].iter_mut().zip(ins) {
            state.row(o.tensor, o.rows[i], lanes, r);
        }
        let results = run_steps(steps, &rows, lanes);
        for (src, o) in outs {
            let v = pick(*src, &rows, &results, lanes);
            state.store(o.tensor, o.rows[i], &v);
        }
    }
}

/// Bytes that the device keeps of an element.
pub(crate) fn device_bytes(dtype: DType, ty: AluType) -> u8 {
    (dtype.size() as u8).min(ty.bytes())
}
