//! The phases on host arrays: every operation, product and sum in its declared order.

use super::emit::Wiring;
use super::host;
use super::phase::{Arg, BufId, Init, LocalOp, Place, Plan, View, Work, other};
use crate::collective::Tree;
use crate::collective::wires::Axis;
use quadrille_compiler::ir::Tensor;
use quadrille_isa::numerics::f16_to_f32_fast;
use quadrille_isa::wafer::{ElemType, PeOp, scalar};
use rayon::prelude::*;

/// All buffers but those of weights, PE by PE of their places.
struct State<'a> {
    plan: &'a Plan,
    bits: Vec<Vec<u32>>,
}

pub(super) fn eval(plan: &Plan, wiring: &Wiring, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    host::check(plan, inputs)?;
    let weights: Vec<BufId> = plan
        .phases
        .iter()
        .filter_map(|p| match &p.work {
            Work::Product { blocks, .. } => Some(blocks.iter().map(|b| b.1)),
            _ => None,
        })
        .flatten()
        .collect();
    let start = |(i, b): (usize, &super::phase::Buffer)| match &b.init {
        _ if weights.contains(&BufId(i)) => Vec::new(),
        Init::Free | Init::Zero => vec![0; b.len * b.at.len()],
        _ => unpacked(b.ty, &host::start(b, inputs)),
    };
    let bits = plan.bufs.iter().enumerate().map(start).collect();
    let mut s = State { plan, bits };
    for p in &plan.phases {
        match &p.work {
            Work::Local { at, ops } => {
                for o in ops {
                    at.pes().for_each(|(x, y)| s.local(o, x, y));
                }
            }
            Work::Spread { axis, lines, buf, n } => {
                for &line in lines {
                    let from = s.place(*buf, *axis, plan.mesh.middle(*axis), line);
                    let sent = s.bits[buf.0][from..from + n].to_vec();
                    for place in 0..plan.mesh.len(*axis) {
                        let to = s.place(*buf, *axis, place, line);
                        s.bits[buf.0][to..to + n].copy_from_slice(&sent);
                    }
                }
            }
            Work::Product { axis, x, blocks, sums, ns, .. } => {
                blocks.iter().for_each(|b| s.product(*axis, *x, b, ns, *sums));
            }
            Work::Reduce { axis, lines, op, from, n, into } => {
                for &line in lines {
                    let places: Vec<u16> = plan.mesh.all(*axis);
                    s.sum(wiring.tree(*axis), *op, (*axis, line), &places, (*from, *n, *into));
                }
            }
            Work::GroupReduce { from, n, into } => {
                let Some(g) = plan.groups else { continue };
                for line in 0..plan.mesh.len(other(g.axis)) {
                    for k in 0..g.count {
                        let places: Vec<u16> = (0..g.size).map(|j| g.first + k * g.size + j).collect();
                        let alone = Tree { root: 0, children: vec![Vec::new()] };
                        let tree = wiring.group_tree().unwrap_or(&alone);
                        s.sum(tree, PeOp::Add, (g.axis, line), &places, (*from, *n, *into));
                    }
                }
            }
            Work::GroupSpread { buf, n } => {
                let Some(g) = plan.groups else { continue };
                for line in 0..plan.mesh.len(other(g.axis)) {
                    for place in g.members() {
                        let root = place - (place - g.first) % g.size + g.size / 2;
                        let (from, to) = (s.place(*buf, g.axis, root, line), s.place(*buf, g.axis, place, line));
                        s.bits[buf.0].copy_within(from..from + n, to);
                    }
                }
            }
        }
    }
    Ok(host::outputs(plan, |b| &s.bits[b.0]))
}

fn unpacked(ty: ElemType, bytes: &[u8]) -> Vec<u32> {
    match ty {
        ElemType::F16 => bytes.chunks_exact(2).map(|c| u32::from(u16::from_le_bytes([c[0], c[1]]))).collect(),
        _ => bytes.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect(),
    }
}

impl State<'_> {
    /// First element of a buffer on a PE.
    fn at(&self, buf: BufId, x: u16, y: u16) -> usize {
        let b = self.plan.buf(buf);
        b.at.number(x, y).map_or(0, |pe| pe * b.len)
    }

    fn place(&self, buf: BufId, axis: Axis, place: u16, line: u16) -> usize {
        match axis {
            Axis::Row => self.at(buf, place, line),
            Axis::Column => self.at(buf, line, place),
        }
    }

    fn local(&mut self, o: &LocalOp, x: u16, y: u16) {
        let start = |v: View| self.at(v.buf, x, y) + v.offset;
        let to = start(o.dst);
        let to_ty = self.plan.buf(o.dst.buf).ty;
        let mut ty = [ElemType::F32; 3];
        let mut from = [0usize; 3];
        for (k, a) in o.args.iter().enumerate() {
            if let Arg::View(v) | Arg::Row(v) = a {
                ty[k] = self.plan.buf(v.buf).ty;
                from[k] = start(*v);
            }
        }
        for i1 in 0..o.n1 {
            for i0 in 0..o.n0 {
                let mut v = [0u32; 3];
                for (k, a) in o.args.iter().enumerate() {
                    v[k] = match a {
                        Arg::View(w) => self.bits[w.buf.0][from[k] + i1 * w.s1 + i0 * w.s0],
                        Arg::Row(w) => self.bits[w.buf.0][from[k] + i1 * w.s1],
                        Arg::Imm(f) => f.to_bits(),
                    };
                }
                let bits = scalar::eval(o.op, v, ty, to_ty);
                self.bits[o.dst.buf.0][to + i1 * o.dst.s1 + i0 * o.dst.s0] = bits;
            }
        }
    }

    fn product(&mut self, axis: Axis, x: View, (at, weights): &(Place, BufId), ns: &[usize], sums: BufId) {
        let plan = self.plan;
        let Init::Bytes(block) = &plan.buf(*weights).init else { return };
        let middle = plan.mesh.middle(axis);
        let pes: Vec<(u16, u16)> = at.pes().collect();
        let made: Vec<Vec<u32>> = pes
            .par_iter()
            .zip(block.par_chunks_exact(plan.buf(*weights).len * 2))
            .map(|(&(px, py), w)| {
                let (line, place) = if axis == Axis::Row { (py, px) } else { (px, py) };
                let n = ns[usize::from(place)];
                let (from, to) = (self.place(x.buf, axis, middle, line) + x.offset, self.at(sums, px, py));
                let mut sum: Vec<f32> = self.bits[sums.0][to..to + n].iter().map(|&b| f32::from_bits(b)).collect();
                for (i, row) in w.chunks_exact(n * 2).enumerate() {
                    let v = f16_to_f32_fast(self.bits[x.buf.0][from + i] as u16);
                    for (s, w) in sum.iter_mut().zip(row.chunks_exact(2)) {
                        // The product of two f16 is exact in f32.
                        *s += v * f16_to_f32_fast(u16::from_le_bytes([w[0], w[1]]));
                    }
                }
                sum.into_iter().map(f32::to_bits).collect()
            })
            .collect();
        for ((px, py), sum) in pes.into_iter().zip(made) {
            let to = self.at(sums, px, py);
            self.bits[sums.0][to..to + sum.len()].copy_from_slice(&sum);
        }
    }

    fn sum(
        &mut self,
        tree: &Tree,
        op: PeOp,
        (axis, line): (Axis, u16),
        places: &[u16],
        (from, n, into): (BufId, usize, BufId),
    ) {
        let f32s = [ElemType::F32; 3];
        for at in tree.bottom_up() {
            let own = self.place(from, axis, places[usize::from(at)], line);
            for &child in &tree.children[usize::from(at)] {
                let other = self.place(from, axis, places[usize::from(child)], line);
                for i in 0..n {
                    let v = [self.bits[from.0][own + i], self.bits[from.0][other + i], 0];
                    self.bits[from.0][own + i] = scalar::eval(op, v, f32s, ElemType::F32);
                }
            }
        }
        let root = places[usize::from(tree.root)];
        let (own, to) = (self.place(from, axis, root, line), self.place(into, axis, root, line));
        let sums = self.bits[from.0][own..own + n].to_vec();
        self.bits[into.0][to..to + n].copy_from_slice(&sums);
    }
}
