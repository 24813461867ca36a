//! Unfinished sequences become kernels: output layout, operand rows, cuts where the VXM is too small.

use super::constant::to_bytes;
use super::conv::floats;
use super::expr::{Expr, Why};
use super::shorten::{ANY, Range, fused, range, shorten};
use super::view::{Axis, Digit, View};
use super::{Form, Lazy, LazyIn, MatBlock, Select};
use crate::sched::vxm;
use crate::tiled::{Init, Kind, Rows, Src, Step, TensorId};
use quadrille_isa::DType;
use quadrille_isa::tsp::alu::alu;
use quadrille_isa::tsp::{AluOp, AluType};
use std::collections::BTreeMap;

/// Kernel bodies that a sequence was cut into.
struct Piece {
    /// Operands by their number in the whole sequence, or results of earlier pieces.
    ins: Vec<PieceIn>,
    steps: Vec<Step>,
    /// Steps of the piece that are written.
    outs: Vec<(u16, PieceOut)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PieceIn {
    /// Operand of the sequence.
    Given(u16),
    /// Result of a step of the sequence, kept in a row tensor.
    Kept(u16),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PieceOut {
    Keep(u16),
    Form(usize),
}

fn result_type(s: &Step) -> AluType {
    s.op.result(s.ty)
}

/// Rows of weights that are read slice by slice before the next ones: what follows need not wait for all.
const RUN_ROWS: u32 = 256;

/// Blocks of a position whose rows may be taken apart.
const MOST_BLOCKS: usize = 16;

/// Stretches of rows a constant distance apart.
fn run_count(rows: impl Iterator<Item = u32>) -> usize {
    let (mut count, mut last, mut step) = (0, None, None);
    for r in rows {
        let now = last.map(|l| i64::from(r) - i64::from(l));
        if now.is_none() || step.is_some() && step != now {
            (count, step) = (count + 1, None);
        } else {
            step = now;
        }
        last = Some(r);
    }
    count
}

impl Select<'_> {
    /// Rows of a compact layout with the lanes of `v`: axes, rows.
    pub(super) fn compact(v: &View) -> (Vec<Axis>, usize) {
        let mut step = 1usize;
        let mut axes = v.axes.clone();
        for a in axes.iter_mut().rev() {
            for d in a.digits.iter_mut().rev() {
                if d.lane == 0 && d.extent > 1 {
                    d.row = step as i64;
                    step *= d.extent;
                } else {
                    d.row = 0;
                }
            }
        }
        (axes, step)
    }

    /// Lanes that a view reaches, from lane 0.
    pub(super) fn reach(axes: &[Axis], lane0: i64) -> usize {
        let far: i64 = axes
            .iter()
            .map(|a| {
                let copies: i64 = a.copies.iter().map(|c| (c.0 as i64 - 1) * c.1).sum();
                a.table().iter().map(|t| t.1).max().unwrap_or(0) + copies
            })
            .sum();
        (lane0 + far + 1) as usize
    }

    /// True when the view has the shape and every digit moves something, rows and lanes apart.
    pub(super) fn serves(v: &View, shape: &[usize]) -> bool {
        v.shape() == shape
            && v.axes.iter().flat_map(|a| &a.digits).all(|d| d.extent == 1 || ((d.row != 0) != (d.lane != 0)))
            && v.axes.iter().flat_map(|a| &a.digits).all(|d| d.lane >= 0)
    }

    /// True where products and sums may be one step: bits are the tiled graph's alone, and three operands of four bytes can come at once.
    fn joins(&self) -> bool {
        !self.zeros && self.groups > 3
    }

    /// Finishes a sequence in the wanted element types, the sequence's own or f16.
    pub(super) fn finish(&mut self, lazy: Lazy, wanted: Vec<AluType>) -> Result<Vec<Form>, Why> {
        self.finish_with(lazy, wanted, &[])
    }

    /// The same, with results of other steps behind.
    pub(super) fn finish_with(
        &mut self,
        mut lazy: Lazy,
        wanted: Vec<AluType>,
        more: &[(Src, AluType)],
    ) -> Result<Vec<Form>, Why> {
        let node = std::mem::replace(&mut self.node, lazy.node);
        let r = self.finish_here(&mut lazy, wanted, more);
        self.node = node;
        r
    }

    fn finish_here(
        &mut self,
        lazy: &mut Lazy,
        wanted: Vec<AluType>,
        more: &[(Src, AluType)],
    ) -> Result<Vec<Form>, Why> {
        let (axes, lane0, rows, lanes, pixels) = self.output_layout(lazy);
        let template = View { tensor: TensorId(0), axes: axes.clone(), row0: 0, lane0 };
        let packed = (pixels > 1).then(|| self.packed_result(template.clone(), pixels, lanes, rows));
        // A product without steps, or a result that is an operand, still passes the VXM.
        if !matches!(lazy.result, Src::Op(_)) {
            let int =
                [AluType::U8, AluType::U8, AluType::I16, AluType::I32, AluType::I32][usize::from(lazy.ty.bytes())];
            let x = match lazy.result {
                Src::Imm(_) | Src::None => {
                    return Err(("a constant result".into(), "this is a bug of the compiler".into()));
                }
                x => x,
            };
            lazy.result = lazy.expr.op(AluOp::Or, int, x, Src::Imm(0), Src::None);
        }
        let chains = lazy.mat.as_ref().map_or(0, |m| m.chains);
        if self.joins() {
            let roots: Vec<Src> = more.iter().map(|m| m.0).collect();
            self.join_zero_rows(lazy, &roots);
            lazy.join_affine(&roots);
        }
        let ranges = self.ranges_of(lazy);
        let mut operands: Vec<Rows> = Vec::new();
        let mut types = vec![AluType::F32; chains];
        let mut own_rows = Vec::new();
        for i in std::mem::take(&mut lazy.ins) {
            if let Some(p) = &packed {
                let rows = self.packed_operand(i, p)?;
                types.push(self.out.tensors[rows.tensor.0 as usize].ty);
                operands.push(rows);
                continue;
            }
            let view = match i {
                LazyIn::Const(t) => self.constant_view(&t, Some((&axes, lane0)))?,
                LazyIn::View(v) => v,
            };
            let mut view = self.plain(view.pad_rank(axes.len()))?;
            let mut pairs = template.row_pairs(&[&view]);
            if pairs.is_none() {
                view = self.relay(&view, &axes, lane0)?;
                pairs = template.row_pairs(&[&view]);
            }
            let Some((own, mut theirs)) = pairs else {
                return Err((
                    "an operand's lanes do not match the result's".into(),
                    "reshape or transpose it in the model".into(),
                ));
            };
            own_rows = own;
            types.push(self.out.tensors[view.tensor.0 as usize].ty);
            operands.push(Rows { tensor: view.tensor, rows: theirs.remove(0) });
        }
        if let Some(p) = &packed {
            own_rows = p.words.clone();
        } else if own_rows.is_empty() {
            own_rows = template.row_pairs(&[]).map(|p| p.0).unwrap_or_default();
        }
        let mut outs = Vec::new();
        let mut forms = Vec::new();
        let mut steps = std::mem::take(&mut lazy.expr);
        let mut wanted = wanted.into_iter().map(|ty| (steps.cast(lazy.ty, ty, lazy.result), ty)).collect::<Vec<_>>();
        wanted.extend(more);
        let mut roots: Vec<Src> = wanted.iter().map(|w| w.0).collect();
        let known = |k: u16| ranges.get(usize::from(k)).copied().unwrap_or(ANY);
        shorten(&mut steps, &mut roots, &known, self.zeros);
        if self.joins() {
            fused(&mut steps, &mut roots);
        }
        for (src, (_, ty)) in roots.into_iter().zip(wanted) {
            let tensor = self.tensor("", ty, rows, lanes, Init::Computed);
            let range = if ty == AluType::F32 { range(&steps.steps, src, &known) } else { ANY };
            if range.0.is_finite() && range.1.is_finite() {
                self.ranges.insert(tensor, range);
            }
            self.out.tensors[tensor.0 as usize].pixels = pixels as u32;
            forms.push(Form { ty, view: View { tensor, ..template.clone() } });
            outs.push((src, tensor));
        }
        let tail_of = |s: &Self, r: &Rows| s.out.tensors[r.tensor.0 as usize].tail;
        let mut tails: Vec<u32> = vec![0; chains];
        if lazy.mat.as_ref().is_some_and(|m| m.quotient) {
            // Some sum, by which nothing is divided.
            tails[1] = 1f32.to_bits();
        }
        tails.extend(operands.iter().map(|r| tail_of(self, r)));
        let pieces = self.cut(&steps, chains, &types, &outs)?;
        let blocks = match &lazy.mat {
            Some(m) => m.blocks.clone(),
            None if packed.is_some() => vec![MatBlock { out_rows: own_rows.clone(), chains: Vec::new() }],
            None => vec![MatBlock { out_rows: self.in_few_runs(&own_rows, &operands), chains: Vec::new() }],
        };
        // Rows of operands by output row.
        let index: BTreeMap<u32, usize> = own_rows.iter().enumerate().map(|(i, &r)| (r, i)).collect();
        let step_tails = tails_of(&steps.steps, &tails);
        let mut kept: BTreeMap<u16, TensorId> = BTreeMap::new();
        for (number, piece) in pieces.iter().enumerate() {
            for (_, o) in &piece.outs {
                if let PieceOut::Keep(s) = o
                    && !kept.contains_key(s)
                {
                    let t = self.tensor("", result_type(&steps.steps[usize::from(*s)]), rows, lanes, Init::Computed);
                    self.out.tensors[t.0 as usize].tail = step_tails[usize::from(*s)];
                    self.out.tensors[t.0 as usize].pixels = pixels as u32;
                    kept.insert(*s, t);
                }
                if let PieceOut::Form(k) = o
                    && let Src::Op(s) = outs[*k].0
                {
                    self.out.tensors[outs[*k].1.0 as usize].tail = step_tails[usize::from(s)];
                }
            }
            for b in &blocks {
                let with_sums = number == 0 && !b.chains.is_empty();
                let rows_of = |i: &PieceIn| match i {
                    PieceIn::Given(k) => {
                        let r = &operands[usize::from(*k) - chains];
                        Rows { tensor: r.tensor, rows: b.out_rows.iter().map(|o| r.rows[index[o]]).collect() }
                    }
                    PieceIn::Kept(s) => Rows { tensor: kept[s], rows: b.out_rows.clone() },
                };
                let ins: Vec<Rows> = piece.ins.iter().map(rows_of).collect();
                let written: Vec<(Src, Rows)> = piece
                    .outs
                    .iter()
                    .map(|(s, o)| {
                        let tensor = match o {
                            PieceOut::Keep(s) => kept[s],
                            PieceOut::Form(k) => outs[*k].1,
                        };
                        (Src::Op(*s), Rows { tensor, rows: b.out_rows.clone() })
                    })
                    .collect();
                let kind = if with_sums {
                    let steps = without_chains(&piece.steps, chains, b.chains.len());
                    Kind::MatMul { chains: b.chains.clone(), ins, steps, outs: written }
                } else {
                    Kind::Map { ins, steps: piece.steps.clone(), outs: written }
                };
                self.kernel(b.out_rows.len(), kind);
            }
        }
        Ok(forms)
    }

    /// Rows in the order in which operands are read in fewest runs: as they are, one block of each position after the other, or
    /// slice by slice where an operand lies in the slices of weights.
    fn in_few_runs(&self, own: &[u32], operands: &[Rows]) -> Vec<u32> {
        let n = own.len();
        let mut orders: Vec<Vec<usize>> = vec![(0..n).collect()];
        if let Some(r) = operands.iter().find(|r| self.out.tensors[r.tensor.0 as usize].weights) {
            orders[0].sort_by_key(|&i| (r.rows[i] / RUN_ROWS, r.rows[i] % 16, r.rows[i]));
        } else {
            let blocks = (2..=MOST_BLOCKS).filter(|&b| n.is_multiple_of(b) && n > b);
            orders.extend(blocks.map(|b| (0..n).map(|i| i % (n / b) * b + i / (n / b)).collect()));
        }
        let runs = |order: &Vec<usize>| {
            let of = |rows: &[u32]| run_count(order.iter().map(|&i| rows[i]));
            of(own) + operands.iter().map(|r| of(&r.rows)).sum::<usize>()
        };
        let best = orders.iter().min_by_key(|o| runs(o));
        best.map_or_else(|| own.to_vec(), |order| order.iter().map(|&i| own[i]).collect())
    }

    /// What is known of the operands of a sequence, its sums first.
    pub(super) fn ranges_of(&self, lazy: &Lazy) -> Vec<Range> {
        let chains = lazy.mat.as_ref().map_or(0, |m| m.chains);
        let of = |i: &LazyIn| match i {
            LazyIn::View(v) => self.ranges.get(&v.tensor).copied().unwrap_or(ANY),
            LazyIn::Const(t) if t.dtype == DType::F32 => floats(t).map_or(ANY, |values| {
                let wider = |r: Range, &x: &f32| if x.is_finite() { (r.0.min(x), r.1.max(x)) } else { ANY };
                // What lanes without a value hold is zero.
                values.iter().fold((0.0, 0.0), wider)
            }),
            LazyIn::Const(_) => ANY,
        };
        std::iter::repeat_n(ANY, chains).chain(lazy.ins.iter().map(of)).collect()
    }

    /// Axes, first lane, rows, lanes and pixels a word of a sequence's result.
    pub(super) fn output_layout(&self, lazy: &Lazy) -> (Vec<Axis>, i64, usize, usize, usize) {
        if let Some(m) = &lazy.mat {
            return (m.axes.clone(), m.lane0, m.rows, m.lanes, m.pixels);
        }
        let views = lazy.ins.iter().filter_map(|i| match i {
            LazyIn::View(v) if Self::serves(v, &lazy.shape) => Some(v),
            _ => None,
        });
        let whole = |v: &View| self.pixels(v.tensor) == 1 || (v.row0, v.lane0) == (0, 0);
        if let Some(v) = views.into_iter().find(|v| whole(v)) {
            let info = &self.out.tensors[v.tensor.0 as usize];
            if info.pixels > 1 {
                // Pitches stay as they are: words of operands then meet.
                return (v.axes.clone(), 0, info.rows as usize, info.lanes as usize, info.pixels as usize);
            }
            let (axes, rows) = Self::compact(v);
            let lanes = Self::reach(&axes, v.lane0);
            return (axes, v.lane0, rows, lanes, 1);
        }
        // Else the lanes of the operand that uses most of them.
        let widest = lazy.ins.iter().filter_map(|i| match i {
            LazyIn::View(v) => {
                let p = v.pad_rank(lazy.shape.len());
                (0..p.axes.len()).rev().find(|&a| p.axes[a].on_lanes())
            }
            LazyIn::Const(_) => None,
        });
        let last = (0..lazy.shape.len()).rev().find(|&i| lazy.shape[i] != 1);
        // Constants along the last axis meet one element a row of what is computed: moving that before costs one element,
        // moving the result behind a row of them.
        let thin = |i: &LazyIn| match i {
            LazyIn::View(v) => v.axes.last().is_none_or(|a| a.extent == 1),
            LazyIn::Const(_) => true,
        };
        let spread = lazy.shape.len() <= 3 && last == lazy.shape.len().checked_sub(1) && lazy.ins.iter().all(thin);
        let axis = widest.into_iter().next().filter(|_| !spread).or(last);
        let (axes, rows, lanes) = self.layout(&lazy.shape, axis);
        (axes, 0, rows, lanes, 1)
    }

    /// The view moved to the lanes of `axes`, axes of extent 1 copied over theirs.
    fn relay(&mut self, v: &View, axes: &[Axis], lane0: i64) -> Result<View, Why> {
        let mut step = 1usize;
        let mut target = Vec::new();
        for (a, own) in axes.iter().zip(&v.axes).rev() {
            if own.extent == 1 {
                let on_lanes = a.digits.iter().filter(|d| d.lane != 0).map(|d| (d.extent, d.lane));
                let copies = on_lanes.chain(a.copies.iter().copied()).collect();
                target.push(Axis { extent: 1, digits: Vec::new(), copies });
                continue;
            }
            let mut digits: Vec<Digit> = Vec::new();
            for d in a.digits.iter().rev() {
                let row = if d.lane == 0 && d.extent > 1 {
                    let here = step;
                    step *= d.extent;
                    here as i64
                } else {
                    0
                };
                digits.insert(0, Digit { row, ..*d });
            }
            target.push(Axis { extent: own.extent, digits, copies: Vec::new() });
        }
        target.reverse();
        self.relayout(v, target, lane0, step)
    }

    /// Cuts a sequence into kernels that the VXM can run: the longest first that leaves a rest that can
    /// be cut too.
    fn cut(&self, expr: &Expr, chains: usize, types: &[AluType], outs: &[(Src, TensorId)]) -> Result<Vec<Piece>, Why> {
        let n = expr.steps.len();
        // A result that is kept on both sides takes one ALU more.
        for spare in [1, 0] {
            let mut pieces = Vec::new();
            let mut hopeless = vec![false; n + 1];
            if self.cut_from(&expr.steps, (0, spare), chains, types, outs, &mut pieces, &mut hopeless) {
                pieces.reverse();
                return Ok(pieces);
            }
        }
        Err((
            format!("a step takes more than {} ALUs or {} operands of four bytes", self.alus, self.groups),
            "a machine description with more of them".into(),
        ))
    }

    #[allow(clippy::too_many_arguments)]
    fn cut_from(
        &self,
        steps: &[Step],
        (first, spare): (usize, usize),
        chains: usize,
        types: &[AluType],
        outs: &[(Src, TensorId)],
        pieces: &mut Vec<Piece>,
        hopeless: &mut [bool],
    ) -> bool {
        if first == steps.len() {
            return true;
        }
        if hopeless[first] {
            return false;
        }
        for last in (first + 1..=steps.len()).rev() {
            let mut p = piece(steps, first, last, outs);
            let is_sum = |i: &PieceIn| matches!(i, PieceIn::Given(k) if usize::from(*k) < chains);
            let sums = p.ins.iter().filter(|i| is_sum(i)).count();
            let sum_src = |x: &Src| matches!(x, Src::In(k) if usize::from(*k) < chains);
            let later = steps[last..].iter().any(|s| s.src.iter().any(sum_src));
            if later || (first > 0 && sums > 0) {
                continue;
            }
            let bytes = |i: &PieceIn| match i {
                PieceIn::Given(k) => types[usize::from(*k)].bytes(),
                PieceIn::Kept(k) => result_type(&steps[usize::from(*k)]).bytes(),
            };
            // Activations take their slices too, where slices are few.
            let acts = if sums > 0 && self.groups <= 2 { 1 } else { 0 };
            let wide = p.ins.iter().filter(|i| !is_sum(i) && bytes(i) == 4).count() + acts;
            let narrow: u8 = p.ins.iter().filter(|i| !is_sum(i)).map(bytes).filter(|&b| b < 4).sum();
            // What is more than three narrow bytes takes groups of four.
            let wide = wide + usize::from(narrow.saturating_sub(3).div_ceil(4));
            let planned = vxm::plan(&p.steps, p.ins.len()).slots.len() + p.outs.len().saturating_sub(1);
            let fits = planned + spare <= self.alus && wide <= self.groups && p.outs.len() <= self.groups.max(2);
            if fits && self.cut_from(steps, (last, spare), chains, types, outs, pieces, hopeless) {
                if first == 0 && chains > 0 {
                    sums_first(&mut p, chains);
                }
                pieces.push(p);
                return true;
            }
        }
        hopeless[first] = true;
        false
    }

    /// Gives a tensor a fill row, unless it has another one.
    pub(super) fn want_fill(&mut self, t: TensorId, value: u32) -> bool {
        let info = &mut self.out.tensors[t.0 as usize];
        match info.fill {
            None if !info.weights && !info.table => {
                info.fill = Some(value);
                true
            }
            Some(v) => v == value,
            None => false,
        }
    }

    /// The tensor, or a copy, whose fill row holds `value`.
    pub(super) fn filled(&mut self, t: TensorId, value: u32) -> TensorId {
        if self.want_fill(t, value) {
            return t;
        }
        let pixels = self.out.tensors[t.0 as usize].pixels;
        let copy = self.copied(t);
        self.out.tensors[copy.0 as usize].pixels = pixels;
        self.want_fill(copy, value);
        copy
    }

    /// A copy of the rows of a tensor, row for row.
    pub(super) fn copied(&mut self, t: TensorId) -> TensorId {
        let info = self.out.tensors[t.0 as usize].clone();
        let new = self.tensor(&info.name, info.ty, info.rows as usize, info.lanes as usize, Init::Computed);
        self.out.tensors[new.0 as usize].tail = info.tail;
        let rows: Vec<u32> = (0..info.rows).collect();
        self.copy_rows(t, rows.clone(), new, rows);
        new
    }

    /// Copies rows through the VXM.
    pub(super) fn copy_rows(&mut self, from: TensorId, rows: Vec<u32>, to: TensorId, out: Vec<u32>) {
        self.copied_rows((from, rows), (to, out), None);
    }

    /// Copies the first lanes of rows. Whatever the words hold beyond them stays behind: it may not be finite, and
    /// planes would multiply it with zero.
    pub(super) fn copy_lanes(&mut self, from: TensorId, rows: Vec<u32>, to: TensorId, out: Vec<u32>, lanes: usize) {
        let int = self.bits_of(from);
        let ones = vec![u32::MAX; lanes];
        let mask = self.tensor("lane mask", int, 1, lanes, Init::Const(to_bytes(&ones, int)));
        self.copied_rows((from, rows), (to, out), Some(mask));
    }

    fn copied_rows(
        &mut self,
        (from, rows): (TensorId, Vec<u32>),
        (to, out): (TensorId, Vec<u32>),
        mask: Option<TensorId>,
    ) {
        let (ty, n) = (self.bits_of(from), rows.len());
        let mut ins = vec![Rows { tensor: from, rows }];
        ins.extend(mask.map(|tensor| Rows { tensor, rows: vec![0; n] }));
        let (op, with) = if mask.is_some() { (AluOp::And, Src::In(1)) } else { (AluOp::Or, Src::Imm(0)) };
        let steps = vec![Step { op, ty, src: [Src::In(0), with, Src::None] }];
        let outs = vec![(Src::Op(0), Rows { tensor: to, rows: out })];
        self.kernel(n, Kind::Map { ins, steps, outs });
    }

    /// Integers of the width of a tensor's elements.
    fn bits_of(&self, t: TensorId) -> AluType {
        match self.out.tensors[t.0 as usize].ty.bytes() {
            1 => AluType::U8,
            2 => AluType::I16,
            _ => AluType::I32,
        }
    }
}

/// Steps that join `n` operands pair by pair, which keeps the sequence short; the last one is the result.
pub(super) fn tree(op: AluOp, ty: AluType, n: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut level: Vec<Src> = (0..n as u16).map(Src::In).collect();
    while level.len() > 1 {
        let mut next = Vec::new();
        for pair in level.chunks(2) {
            if let [a, b] = *pair {
                steps.push(Step { op, ty, src: [a, b, Src::None] });
                next.push(Src::Op(steps.len() as u16 - 1));
            } else {
                next.push(pair[0]);
            }
        }
        level = next;
    }
    steps
}

/// What the lanes beyond a tensor's own hold after each step.
pub(super) fn tails_of(steps: &[Step], ins: &[u32]) -> Vec<u32> {
    let mut t: Vec<u32> = Vec::new();
    for s in steps {
        let get = |x: Src| match x {
            Src::None => 0,
            Src::Imm(v) => v,
            Src::In(k) => ins[usize::from(k)],
            Src::Op(k) => t[usize::from(k)],
        };
        let v = alu(s.op, s.ty, get(s.src[0]), get(s.src[1]), get(s.src[2]));
        t.push(v);
    }
    t
}

/// Steps `first .. last` as a kernel body of their own.
fn piece(steps: &[Step], first: usize, last: usize, outs: &[(Src, TensorId)]) -> Piece {
    let mut p = Piece { ins: Vec::new(), steps: Vec::new(), outs: Vec::new() };
    for s in &steps[first..last] {
        let mut step = *s;
        for x in &mut step.src {
            let wanted = match *x {
                Src::In(k) => PieceIn::Given(k),
                Src::Op(k) if usize::from(k) < first => PieceIn::Kept(k),
                Src::Op(k) => {
                    *x = Src::Op(k - first as u16);
                    continue;
                }
                _ => continue,
            };
            let at = p.ins.iter().position(|i| *i == wanted).unwrap_or_else(|| {
                p.ins.push(wanted);
                p.ins.len() - 1
            });
            *x = Src::In(at as u16);
        }
        p.steps.push(step);
    }
    for k in first..last {
        let later = steps[last..].iter().any(|s| s.src.contains(&Src::Op(k as u16)));
        if later {
            p.outs.push(((k - first) as u16, PieceOut::Keep(k as u16)));
        }
        for (number, (src, _)) in outs.iter().enumerate() {
            if *src == Src::Op(k as u16) {
                p.outs.push(((k - first) as u16, PieceOut::Form(number)));
            }
        }
    }
    p
}

/// The steps of a block with fewer chains than others of its product: what the missing ones add is zero.
fn without_chains(steps: &[Step], chains: usize, own: usize) -> Vec<Step> {
    let mut steps = steps.to_vec();
    for x in steps.iter_mut().flat_map(|s| &mut s.src) {
        match *x {
            Src::In(k) if usize::from(k) >= chains => *x = Src::In(k - (chains - own) as u16),
            Src::In(k) if usize::from(k) >= own => *x = Src::Imm(0),
            _ => {}
        }
    }
    steps
}

/// Renumbers a piece so that the sums are its operands `0 .. chains`, and drops them from `ins`.
fn sums_first(p: &mut Piece, chains: usize) {
    let mut order: Vec<PieceIn> = (0..chains as u16).map(PieceIn::Given).collect();
    let rest: Vec<PieceIn> =
        p.ins.iter().copied().filter(|i| !matches!(i, PieceIn::Given(k) if usize::from(*k) < chains)).collect();
    order.extend(rest.iter().copied());
    for s in &mut p.steps {
        for x in &mut s.src {
            if let Src::In(k) = x {
                let which = p.ins[usize::from(*k)];
                *x = Src::In(order.iter().position(|o| *o == which).unwrap_or(0) as u16);
            }
        }
    }
    p.ins = rest;
}
