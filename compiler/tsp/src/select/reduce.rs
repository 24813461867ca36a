//! Reductions.
//!
//! Over rows: a fold, in halves where there are many. Over lanes: sums of floats are passes over ones (`lane_sums`), the
//! rest a butterfly, each stage a lane move by a power of two and one ALU step; every lane then holds the result, so
//! nothing is spread afterwards.

use super::expr::Why;
use super::view::{Axis, View, layout};
use super::{Lazy, LazyIn, Select, Val};
use crate::tiled::{FILL, Init, Kind, Rows, Src, Step, TensorId};
use quadrille_compiler::ir::Reduce;
use quadrille_compiler::ir::{Node, ValueId};
use quadrille_isa::DType;
use quadrille_isa::tsp::{AluOp, AluType};

fn alu_op(kind: Reduce) -> AluOp {
    match kind {
        Reduce::Sum | Reduce::Mean => AluOp::Add,
        Reduce::Max => AluOp::Max,
        Reduce::Min => AluOp::Min,
        Reduce::Prod => AluOp::Mul,
    }
}

/// Bits that change nothing when joined.
fn identity(kind: Reduce, ty: AluType) -> u32 {
    let float = ty == AluType::F32;
    match kind {
        Reduce::Sum | Reduce::Mean => 0,
        Reduce::Max if float => f32::NEG_INFINITY.to_bits(),
        Reduce::Min if float => f32::INFINITY.to_bits(),
        Reduce::Prod if float => 1f32.to_bits(),
        Reduce::Max if ty == AluType::I8 => i8::MIN as u8 as u32,
        Reduce::Max if ty == AluType::U8 => 0,
        Reduce::Max => i32::MIN as u32,
        Reduce::Min => i32::MAX as u32,
        Reduce::Prod => 1,
    }
}

/// The axes that are left.
pub(super) fn without(axes: &[Axis], gone: &[usize]) -> Vec<Axis> {
    axes.iter().enumerate().filter(|(a, _)| !gone.contains(a)).map(|(_, axis)| axis.clone()).collect()
}

impl Select<'_> {
    pub(super) fn reduce(&mut self, node: &Node, kind: Reduce, axes: &[usize], keep: bool) -> Result<Val, Why> {
        let (ty, dtype) = (self.ty(node.inputs[0]), self.graph.ty(node.inputs[0]).dtype);
        let whole = dtype == DType::I32 && kind != Reduce::Mean;
        let ordered = dtype == DType::I64 && matches!(kind, Reduce::Max | Reduce::Min);
        if dtype != DType::F32 && !whole && !ordered {
            return Err((format!("{} over {dtype} is not mapped", kind.name()), "cast to f32 first".into()));
        }
        if let Some(sum) = self.sum_of_bytes(node, axes, keep)? {
            return Ok(sum);
        }
        let shape = self.graph.shape(node.inputs[0]).to_vec();
        let squared = self.squared(node.inputs[0], kind, axes);
        let squares = squared.is_some();
        let mut v = match squared {
            Some(v) => v,
            None => self.view(node.inputs[0])?,
        };
        let count: usize = axes.iter().map(|&a| shape[a]).product();
        let out_shape = self.graph.shape(node.output).to_vec();
        for (number, &a) in axes.iter().enumerate() {
            if number + 1 == axes.len()
                && matches!(kind, Reduce::Sum | Reduce::Mean)
                && let Some(mut lazy) = self.lane_sum(&v, a, squares)
            {
                if let (false, Some(m)) = (keep, &mut lazy.mat) {
                    m.axes = without(&m.axes, axes);
                }
                if kind == Reduce::Mean {
                    lazy.result = lazy.expr.f2(AluOp::Mul, lazy.result, Src::Imm((1.0 / count as f32).to_bits()));
                }
                lazy.shape = out_shape;
                return Ok(Val::Lazy(Box::new(lazy)));
            }
            v = self.reduce_axis(v, a, kind)?;
        }
        if !keep {
            v.axes = without(&v.axes, axes);
        }
        if kind == Reduce::Mean {
            let mut lazy = self.start(&out_shape);
            let a = super::elementwise::add_in(&mut lazy, LazyIn::View(v.clone()));
            lazy.result = lazy.expr.f2(AluOp::Mul, a, Src::Imm((1.0 / count as f32).to_bits()));
            // Finished in its own layout, so that lanes stay copies.
            return Ok(Val::Forms(self.finish_like(lazy, &v, self.wants.forms(node.output))?));
        }
        Ok(Val::Forms(vec![super::Form { ty, view: v }]))
    }

    /// The value whose squares an unfinished one is, where a plane sums them.
    fn squared(&mut self, v: ValueId, kind: Reduce, axes: &[usize]) -> Option<View> {
        let Val::Lazy(l) = &self.vals[v.0 as usize] else { return None };
        let sums = matches!(kind, Reduce::Sum | Reduce::Mean) && axes.len() == 1 && l.mat.is_none();
        let square = Step { op: AluOp::Mul, ty: AluType::F32, src: [Src::In(0), Src::In(0), Src::None] };
        match &l.ins[..] {
            [LazyIn::View(x)] if sums && l.expr.steps == [square] && x.shape() == l.shape => {
                let x = x.clone();
                self.sums_on_planes(&x, axes[0]).then_some(x)
            }
            _ => None,
        }
    }

    /// Finishes a sequence in the exact lanes of a view with copies.
    pub(super) fn finish_like(
        &mut self,
        mut lazy: Lazy,
        like: &View,
        wanted: Vec<AluType>,
    ) -> Result<Vec<super::Form>, Why> {
        let (axes, rows) = Self::compact(like);
        let lanes = Self::reach(&axes, like.lane0);
        let base = super::MatBase {
            blocks: Vec::new(),
            axes,
            lane0: like.lane0,
            rows,
            lanes,
            chains: 0,
            pixels: 1,
            quotient: false,
        };
        let template = View { tensor: like.tensor, axes: base.axes.clone(), row0: 0, lane0: like.lane0 };
        let out_rows = template.row_pairs(&[]).map(|p| p.0).unwrap_or_default();
        let blocks = vec![super::MatBlock { out_rows, chains: Vec::new() }];
        lazy.mat = Some(super::MatBase { blocks, ..base });
        self.finish(lazy, wanted)
    }

    /// The value, in packed form if the axes to reduce lie on the lanes of each pixel.
    pub(super) fn lanes_of_pixels(&mut self, v: quadrille_compiler::ir::ValueId, axes: &[usize]) -> Result<View, Why> {
        let x = self.any_form(v, self.ty(v))?;
        let inside = |a: &usize| x.axes[*a].digits.iter().all(|d| d.row == 0);
        let whole = (x.row0, x.lane0) == (0, 0) && x.axes.iter().all(|a| a.copies.is_empty());
        if axes.iter().all(inside) && whole { Ok(x) } else { self.view(v) }
    }

    /// The view with one axis reduced to extent 1 (every lane of it holding the result).
    pub(super) fn reduce_axis(&mut self, v: View, axis: usize, kind: Reduce) -> Result<View, Why> {
        let product: usize = v.axes[axis].digits.iter().map(|d| d.extent).product();
        let mut v = v;
        if product != v.axes[axis].extent {
            let mut shape = v.shape();
            let extent = shape[axis];
            let other = (0..shape.len()).rev().find(|&i| i != axis && shape[i] > 1 && shape[i] <= self.lanes);
            if other.is_none() {
                shape[axis] = extent;
            }
            let (axes, rows, _) = layout(&shape, other, self.lanes);
            v = self.relayout(&v, axes, 0, rows)?;
        }
        if matches!(kind, Reduce::Sum | Reduce::Mean)
            && let Some(sum) = self.summed_axis(&v, axis)?
        {
            return Ok(sum);
        }
        loop {
            let digits = v.axes[axis].digits.clone();
            let Some(k) = digits.iter().position(|d| d.extent > 1 && d.lane == 0) else { break };
            v = self.reduce_rows(v, axis, k, kind)?;
        }
        let mut copies = Vec::new();
        loop {
            let digits = v.axes[axis].digits.clone();
            let Some(k) = digits.iter().position(|d| d.extent > 1) else { break };
            copies.push((digits[k].extent, digits[k].lane));
            v = self.reduce_lanes(v, axis, k, kind)?;
        }
        v.axes[axis] = Axis { extent: 1, digits: Vec::new(), copies };
        Ok(v)
    }

    /// Folds one row digit away, in halves.
    fn reduce_rows(&mut self, v: View, axis: usize, digit: usize, kind: Reduce) -> Result<View, Why> {
        let mut v = v;
        let ty = self.out.tensors[v.tensor.0 as usize].ty;
        loop {
            let d = v.axes[axis].digits[digit];
            if d.extent == 1 {
                v.axes[axis].digits.remove(digit);
                v.axes[axis].extent = v.axes[axis].digits.iter().map(|d| d.extent).product();
                return Ok(v);
            }
            let upper = d.extent / 2;
            let kept = d.extent - upper;
            let mut low = v.clone();
            low.axes[axis].digits[digit].extent = kept;
            low.axes[axis].extent = low.axes[axis].digits.iter().map(|d| d.extent).product();
            let (axes, rows) = Self::compact(&low);
            let template = View { tensor: TensorId(0), axes: axes.clone(), row0: 0, lane0: v.lane0 };
            let mut high = low.clone();
            high.row0 += d.row * kept as i64;
            let Some((own, theirs)) = template.row_pairs(&[&low, &high]) else {
                return Err(("an axis whose rows repeat".into(), "reduce before broadcasting".into()));
            };
            let step = axes[axis].digits[digit].row.max(1) as usize;
            let mut second = theirs[1].clone();
            let mut padded = false;
            for (o, r) in own.iter().zip(second.iter_mut()) {
                if (*o as usize / step) % kept >= upper {
                    *r = FILL;
                    padded = true;
                }
            }
            if padded && !self.want_fill(v.tensor, identity(kind, ty)) {
                let t = self.copied(v.tensor);
                self.want_fill(t, identity(kind, ty));
                v.tensor = t;
            }
            let lists = vec![theirs[0].clone(), second];
            let lanes = Self::reach(&axes, v.lane0);
            let t = self.fold(alu_op(kind), ty, v.tensor, lists, own, rows, lanes);
            v = View { tensor: t, axes, row0: 0, lane0: v.lane0 };
        }
    }

    /// Joins the lanes of one digit; the digit stays with extent 1 and all its lanes hold the result.
    fn reduce_lanes(&mut self, v: View, axis: usize, digit: usize, kind: Reduce) -> Result<View, Why> {
        let info = self.out.tensors[v.tensor.0 as usize].clone();
        let pixels = info.pixels as usize;
        let (axes, rows) = if pixels > 1 { (v.axes.clone(), info.rows as usize) } else { Self::compact(&v) };
        let template = View { tensor: TensorId(0), axes: axes.clone(), row0: 0, lane0: v.lane0 };
        let Some((mut own, mut theirs)) = template.row_pairs(&[&v]) else {
            return Err(("an axis whose lanes repeat".into(), "reduce before broadcasting".into()));
        };
        if pixels > 1 {
            own = self.packed_result(template, pixels, info.lanes as usize, rows).words;
            theirs[0] = own.clone();
        }
        let d = v.axes[axis].digits[digit];
        let mut bases = Self::first_lanes(&axes, v.lane0, axis, digit);
        let mut lanes = Self::reach(&axes, v.lane0);
        if pixels > 1 {
            // The same in every pixel of a word.
            lanes = info.lanes as usize;
            let group = (lanes / pixels) as i64;
            bases = bases.iter().flat_map(|&b| (0..pixels as i64).map(move |p| b + p * group)).collect();
        }
        let full = if d.extent.is_power_of_two() { d.extent } else { d.extent.next_power_of_two() / 2 };
        let e = d.extent;
        let idle = matches!(kind, Reduce::Max | Reduce::Min);
        let ty = self.out.tensors[v.tensor.0 as usize].ty;
        let lane = |b: i64, i: usize| (b + i as i64 * d.lane) as u16;
        let mut at = Rows { tensor: v.tensor, rows: theirs[0].clone() };
        let stage = |s: &mut Self, at: &Rows, pairs: &dyn Fn(usize) -> Option<usize>, join: bool| -> Rows {
            let mut map: Vec<(u16, u16)> = Vec::new();
            for &b in &bases {
                for i in 0..e {
                    if let Some(from) = pairs(i) {
                        map.push((lane(b, from), lane(b, i)));
                    }
                }
            }
            map.sort_unstable();
            let moved = s.tensor("", ty, rows, lanes, Init::Computed);
            s.out.tensors[moved.0 as usize].pixels = pixels as u32;
            let passes = s.move_passes(at.clone(), &map);
            let out = Rows { tensor: moved, rows: own.clone() };
            s.kernel(own.len(), Kind::Move { passes, out: out.clone() });
            if !join {
                return out;
            }
            let t = s.tensor("", ty, rows, lanes, Init::Computed);
            s.out.tensors[t.0 as usize].pixels = pixels as u32;
            let mut ins = vec![at.clone(), out];
            let mut steps = Vec::new();
            let mut moved = Src::In(1);
            if kind == Reduce::Prod {
                // Lanes that nothing came to hold zeros: there a one is put in.
                let mut ones = vec![identity(kind, ty); lanes];
                map.iter().for_each(|&(_, to)| ones[usize::from(to)] = 0);
                let data = super::constant::to_bytes(&ones, ty);
                let ones = s.tensor("ones", ty, 1, lanes, Init::Const(data));
                ins.push(Rows { tensor: ones, rows: vec![0; own.len()] });
                steps.push(Step { op: AluOp::Or, ty: AluType::I32, src: [moved, Src::In(2), Src::None] });
                moved = Src::Op(0);
            }
            let last = steps.len() as u16;
            steps.push(Step { op: alu_op(kind), ty, src: [Src::In(0), moved, Src::None] });
            let tails = [s.out.tensors[at.tensor.0 as usize].tail, 0, 0];
            let tail = super::finish::tails_of(&steps, &tails[..ins.len()]);
            s.out.tensors[t.0 as usize].tail = tail[usize::from(last)];
            let result = Rows { tensor: t, rows: own.clone() };
            let outs = vec![(Src::Op(last), result.clone())];
            s.kernel(own.len(), Kind::Map { ins, steps, outs });
            result
        };
        if e > full {
            // The part beyond the power of two joins the front; the rest meets itself or what changes nothing.
            let pairs = |i: usize| {
                if i + full < e {
                    Some(i + full)
                } else if idle {
                    Some(i)
                } else {
                    None
                }
            };
            at = stage(self, &at, &pairs, true);
        }
        let mut distance = full / 2;
        while distance > 0 {
            let pairs = |i: usize| (i < full).then_some(i ^ distance);
            at = stage(self, &at, &pairs, true);
            distance /= 2;
        }
        if e > full {
            let pairs = |i: usize| Some(i % full);
            at = stage(self, &at, &pairs, false);
        }
        let mut axes = axes;
        axes[axis].digits[digit].extent = 1;
        axes[axis].extent = axes[axis].digits.iter().map(|d| d.extent).product();
        Ok(View { tensor: at.tensor, axes, row0: 0, lane0: v.lane0 })
    }
}
