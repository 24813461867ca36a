//! Random well-typed graphs and tensors, for property tests everywhere.
//!
//! The same seed gives the same graph. Extents are small, indices that are data are constants within
//! their axis, so that evaluation succeeds. Every primitive comes up.

use super::builder::scalar;
use super::{
    Binary, DType, EpilogueStep, Graph, Op, OriginId, PadMode, Pool, Reduce, ScatterMode, Tensor, TensorType, Unary,
    ValueId, Window,
};
use half::{bf16, f16};
use quadrille_isa::narrow;

/// SplitMix64: small, well mixed, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator for a seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// Below `n`, which must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// From `lo` to `hi`, both included.
    pub fn range(&mut self, lo: usize, hi: usize) -> usize {
        lo + self.below(hi - lo + 1)
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Uniform in `[lo, hi)`.
    pub fn float(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * ((self.bits() >> 11) as f64 / (1u64 << 53) as f64)
    }
}

/// What graphs to make.
#[derive(Clone, Debug)]
pub struct Config {
    /// Nodes to add (at least; epilogues and casts do not count apart).
    pub nodes: usize,
    /// Element types of inputs and fresh constants.
    pub dtypes: Vec<DType>,
    /// Whether extents may be 0.
    pub empty: bool,
    /// Largest extent.
    pub max_extent: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config { nodes: 8, dtypes: DType::ALL.to_vec(), empty: false, max_extent: 4 }
    }
}

impl Config {
    /// Graphs over `f32` alone (with `bool` and `i64` where an operation gives them).
    pub fn f32() -> Config {
        Config { dtypes: vec![DType::F32], ..Config::default() }
    }
}

/// A random tensor: floats in `[-3, 3)` in quarters (exact in every float type, so that different
/// orders of summing agree often), integers in -8..8 (0..8 when unsigned).
pub fn tensor(rng: &mut Rng, ty: &TensorType) -> Tensor {
    let mut data = Vec::with_capacity(ty.bytes());
    for _ in 0..ty.elements() {
        let quarters = rng.below(24) as f64 / 4.0 - 3.0;
        let int = rng.below(16) as i64 - 8;
        match ty.dtype {
            DType::F16 => data.extend(f16::from_f64(quarters).to_le_bytes()),
            DType::BF16 => data.extend(bf16::from_f64(quarters).to_le_bytes()),
            DType::F32 => data.extend((quarters as f32).to_le_bytes()),
            DType::F64 => data.extend(quarters.to_le_bytes()),
            DType::I8 => data.extend((int as i8).to_le_bytes()),
            DType::I16 => data.extend((int as i16).to_le_bytes()),
            DType::I32 => data.extend((int as i32).to_le_bytes()),
            DType::I64 => data.extend(int.to_le_bytes()),
            DType::U8 => data.push(int as u8 & 7),
            DType::U16 => data.extend((int as u16 & 7).to_le_bytes()),
            DType::U32 => data.extend((int as u32 & 7).to_le_bytes()),
            DType::U64 => data.extend((int as u64 & 7).to_le_bytes()),
            DType::Bool => data.push(int as u8 & 1),
            d if d.is_narrow_float() => data.push(narrow::encode(d, quarters)),
            d => data.push(narrow::wrap(d, int)),
        }
    }
    Tensor { dtype: ty.dtype, shape: ty.shape.clone(), data: data.into() }
}

/// Random tensors for the inputs of a graph.
pub fn inputs(rng: &mut Rng, graph: &Graph) -> Vec<Tensor> {
    graph.inputs.iter().map(|&v| tensor(rng, graph.ty(v))).collect()
}

/// A random graph. It verifies, and evaluates on [`inputs`].
pub fn graph(rng: &mut Rng, config: &Config) -> Graph {
    let mut m = Maker { g: Graph::new("random"), rng: rng.clone(), config, origin: OriginId(0) };
    m.fresh_input();
    while m.g.nodes().len() < config.nodes {
        let name = format!("node_{}", m.g.nodes().len() / 2);
        m.origin = m.g.add_origin(&name);
        m.step();
    }
    // The last value, and some others.
    let last = m.g.nodes().last().map(|n| n.output);
    let mut outputs: Vec<ValueId> =
        m.g.nodes().iter().map(|n| n.output).filter(|v| Some(*v) != last && m.rng.chance(15)).collect();
    outputs.extend(last);
    for (i, v) in outputs.into_iter().enumerate() {
        m.g.add_output(format!("out_{i}"), v);
    }
    *rng = m.rng;
    m.g
}

struct Maker<'a> {
    g: Graph,
    rng: Rng,
    config: &'a Config,
    origin: OriginId,
}

const FLOATS: fn(DType) -> bool = DType::is_float;
const NUMBERS: fn(DType) -> bool = |d| d.is_float() || d.is_int();
const BITS: fn(DType) -> bool = |d| d.is_int() || d == DType::Bool;
const ORDERED: fn(DType) -> bool = |d| !d.is_narrow();
const ANY: fn(DType) -> bool = |_| true;

impl Maker<'_> {
    fn extent(&mut self) -> usize {
        if self.config.empty && self.rng.chance(3) { 0 } else { self.rng.range(1, self.config.max_extent) }
    }

    fn shape(&mut self, min_rank: usize) -> Vec<usize> {
        let rank = self.rng.range(min_rank, min_rank.max(3));
        (0..rank).map(|_| self.extent()).collect()
    }

    fn fresh_input(&mut self) -> ValueId {
        let dtype = self.rng.pick(&self.config.dtypes);
        let shape = self.shape(0);
        self.input(TensorType::new(dtype, shape))
    }

    fn input(&mut self, ty: TensorType) -> ValueId {
        let name = format!("in_{}", self.g.inputs.len());
        self.g.add_input(name, ty)
    }

    /// A value of exactly this type: an old one, an input or a constant.
    fn value(&mut self, ty: TensorType) -> ValueId {
        let old: Vec<ValueId> = self.ids().filter(|&v| *self.g.ty(v) == ty).collect();
        if !old.is_empty() && self.rng.chance(60) {
            return self.rng.pick(&old);
        }
        if self.rng.chance(30) {
            return self.input(ty);
        }
        let t = tensor(&mut self.rng, &ty);
        self.g.add_const(if self.rng.chance(50) { "weight" } else { "" }, t)
    }

    fn ids(&self) -> impl Iterator<Item = ValueId> + use<> {
        (0..self.g.values().len() as u32).map(ValueId)
    }

    /// An old value whose element type and rank fit, or a new one. Recent values come up more often.
    fn any(&mut self, dtype: fn(DType) -> bool, min_rank: usize) -> ValueId {
        let fits: Vec<ValueId> =
            self.ids().filter(|&v| dtype(self.g.ty(v).dtype) && self.g.shape(v).len() >= min_rank).collect();
        if !fits.is_empty() && self.rng.chance(85) {
            let a = self.rng.below(fits.len());
            return fits[a.max(self.rng.below(fits.len()))];
        }
        let allowed: Vec<DType> = self.config.dtypes.iter().copied().filter(|&d| dtype(d)).collect();
        let fallback = DType::ALL.into_iter().filter(|&d| dtype(d)).collect::<Vec<_>>();
        let dtype = self.rng.pick(if allowed.is_empty() { &fallback } else { &allowed });
        let shape = self.shape(min_rank);
        self.value(TensorType::new(dtype, shape))
    }

    /// A shape that broadcasts against `shape` without growing it: leading axes lost, some extents 1.
    fn narrower(&mut self, shape: &[usize]) -> Vec<usize> {
        let from = self.rng.range(0, shape.len());
        shape[from..].iter().map(|&d| if self.rng.chance(25) { 1 } else { d }).collect()
    }

    fn ty(&self, v: ValueId) -> TensorType {
        self.g.ty(v).clone()
    }

    fn add(&mut self, op: Op, inputs: &[ValueId]) {
        let text = format!("{op:?}");
        match self.g.add_node(op, inputs, self.origin) {
            Ok(v) if self.rng.chance(20) => self.g.set_name(v, format!("v \"{}\"", v.0)),
            Ok(_) => {}
            Err(e) => panic!("the generator made an ill-typed {text}: {e}"),
        }
    }

    fn step(&mut self) {
        match self.rng.below(24) {
            0..=3 => self.unary(),
            4..=7 => self.binary(),
            8 => self.select(),
            9 => {
                let x = self.any(ANY, 0);
                let to = self.rng.pick(&self.config.dtypes);
                self.add(Op::Cast(to), &[x]);
                let bits = self.ty(x).dtype.bits();
                let same = |d: &DType| d.bits() == bits && *d != DType::Bool;
                let same: Vec<DType> = self.config.dtypes.iter().copied().filter(same).collect();
                if self.rng.chance(50) && !same.is_empty() {
                    let to = self.rng.pick(&same);
                    self.add(Op::BitCast(to), &[x]);
                }
            }
            10 | 11 => self.matmul(),
            12 | 13 => self.conv(),
            14 => self.conv_transpose(),
            15 => self.pool(),
            16 => self.reduce(),
            17 => self.scan(),
            18 | 19 => self.movement(),
            20 => self.slice(),
            21 => self.concat_or_pad(),
            22 => self.gather(),
            _ => self.scatter(),
        }
    }

    fn unary(&mut self) {
        let u = self.rng.pick(&Unary::ALL);
        let class = match u {
            Unary::Not => BITS,
            Unary::Neg | Unary::Abs | Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round | Unary::Relu => NUMBERS,
            Unary::IsNan | Unary::IsInf => NUMBERS,
            _ => FLOATS,
        };
        let x = self.any(class, 0);
        self.add(Op::Unary(u), &[x]);
    }

    fn binary(&mut self) {
        let b = self.rng.pick(&Binary::ALL);
        let class = match b {
            Binary::And | Binary::Or | Binary::Xor => BITS,
            Binary::Shl | Binary::Shr => |d: DType| d.is_int(),
            Binary::Max | Binary::Min => ORDERED,
            _ if b.is_compare() => ORDERED,
            _ => NUMBERS,
        };
        let x = self.any(class, 0);
        let ty = self.ty(x);
        let shape = self.narrower(&ty.shape);
        let y = self.value(TensorType::new(ty.dtype, shape));
        if self.rng.chance(50) { self.add(Op::Binary(b), &[x, y]) } else { self.add(Op::Binary(b), &[y, x]) }
    }

    fn select(&mut self) {
        let x = self.any(ANY, 0);
        let ty = self.ty(x);
        let (cond, other) = (self.narrower(&ty.shape), self.narrower(&ty.shape));
        let cond = self.value(TensorType::new(DType::Bool, cond));
        let y = self.value(TensorType::new(ty.dtype, other));
        self.add(Op::Select, &[cond, x, y]);
    }

    /// Steps that fit a result of this type, and their operands.
    fn epilogue(&mut self, ty: &TensorType) -> (Vec<EpilogueStep>, Vec<ValueId>) {
        let steps: &[EpilogueStep] = match ty.dtype {
            DType::I32 => &[EpilogueStep::Add, EpilogueStep::Mul, EpilogueStep::Relu],
            d if d.is_float() => &[
                EpilogueStep::Add,
                EpilogueStep::Mul,
                EpilogueStep::Relu,
                EpilogueStep::LeakyRelu(0.1f32.to_bits()),
                EpilogueStep::Prelu,
                EpilogueStep::MaxConst((-1f32).to_bits()),
                EpilogueStep::MinConst(6f32.to_bits()),
                EpilogueStep::Sigmoid,
                EpilogueStep::Tanh,
                EpilogueStep::Gelu,
                EpilogueStep::GeluTanh,
                EpilogueStep::Silu(1.702f32.to_bits()),
                EpilogueStep::HardSwish,
            ],
            _ => return (Vec::new(), Vec::new()),
        };
        let n = if self.rng.chance(50) { 0 } else { self.rng.range(1, 3) };
        let steps: Vec<EpilogueStep> = (0..n).map(|_| self.rng.pick(steps)).collect();
        let mut operands = Vec::new();
        for _ in steps.iter().filter(|s| s.takes_operand()) {
            let shape = self.narrower(&ty.shape);
            operands.push(self.value(TensorType::new(ty.dtype, shape)));
        }
        (steps, operands)
    }

    /// The element type for the second operand of a product, and that of the sum.
    fn product_dtypes(&mut self, d: DType) -> (DType, DType) {
        if d.is_int() && d.size() <= 2 { (self.rng.pick(&[d, DType::I8, DType::U8]), DType::I32) } else { (d, d) }
    }

    fn matmul(&mut self) {
        let a = self.any(NUMBERS, 2);
        let ty = self.ty(a);
        let (batch, [m, k]) = ty.shape.split_at(ty.rank() - 2) else { return };
        let n = self.extent();
        let (d, sum) = self.product_dtypes(ty.dtype);
        let mut shape = self.narrower(batch);
        shape.extend([*k, n]);
        let b = self.value(TensorType::new(d, shape));
        let result = [batch, &[*m, n]].concat();
        let (epilogue, extra) = self.epilogue(&TensorType::new(sum, result));
        self.add(Op::MatMul { epilogue }, &[&[a, b], &extra[..]].concat());
    }

    fn window(&mut self, input: &[usize]) -> Window {
        let mut w = Window::pointwise(input.len());
        for (i, &extent) in input.iter().enumerate() {
            w.before[i] = self.rng.below(2);
            w.after[i] = self.rng.below(2);
            w.stride[i] = self.rng.range(1, 2);
            w.kernel[i] = self.rng.range(1, 3).min((extent + w.before[i] + w.after[i]).max(1));
            if (w.kernel[i] - 1) * 2 < extent + w.before[i] + w.after[i] && self.rng.chance(20) {
                w.dilation[i] = 2;
            }
        }
        w
    }

    /// A `[N, C, spatial...]` value with no empty axis.
    fn image(&mut self, class: fn(DType) -> bool) -> ValueId {
        let v = self.any(class, 3);
        if !self.g.shape(v).contains(&0) {
            return v;
        }
        let dtype = self.g.ty(v).dtype;
        self.value(TensorType::new(dtype, [1, 2, 3]))
    }

    fn conv(&mut self) {
        let x = self.image(NUMBERS);
        let ty = self.ty(x);
        let c = ty.shape[1];
        let groups = if self.rng.chance(50) { 1 } else { c };
        let m = groups * self.rng.range(1, 3);
        let window = self.window(&ty.shape[2..]);
        let (d, sum) = self.product_dtypes(ty.dtype);
        let w = self.value(TensorType::new(d, [&[m, c / groups], &window.kernel[..]].concat()));
        let mut result = vec![ty.shape[0], m];
        result.extend((0..ty.rank() - 2).filter_map(|i| window.out_extent(i, ty.shape[i + 2])));
        let (epilogue, extra) = self.epilogue(&TensorType::new(sum, result));
        self.add(Op::Conv { window, groups, epilogue }, &[&[x, w], &extra[..]].concat());
    }

    fn conv_transpose(&mut self) {
        let x = self.image(FLOATS);
        let ty = self.ty(x);
        let c = ty.shape[1];
        let groups = if self.rng.chance(50) { 1 } else { c };
        let spatial = ty.rank() - 2;
        let mut window = Window::pointwise(spatial);
        for i in 0..spatial {
            window.kernel[i] = self.rng.range(1, 3);
            window.stride[i] = self.rng.range(1, 2);
            window.before[i] = self.rng.below(window.kernel[i]).min(1);
        }
        let extra: Vec<usize> = (0..spatial).map(|_| self.rng.below(2)).collect();
        let mg = self.rng.range(1, 3);
        let w = self.value(TensorType::new(ty.dtype, [&[c, mg], &window.kernel[..]].concat()));
        self.add(Op::ConvTranspose { window, groups, extra }, &[x, w]);
    }

    fn pool(&mut self) {
        let kind = self.rng.pick(&[Pool::Max, Pool::AverageExcludePad, Pool::AverageIncludePad]);
        let x = self.image(if kind == Pool::Max { NUMBERS } else { FLOATS });
        let shape = self.ty(x).shape;
        let window = self.window(&shape[2..]);
        self.add(Op::Pool { kind, window }, &[x]);
    }

    fn reduce(&mut self) {
        let kind = self.rng.pick(&[Reduce::Sum, Reduce::Mean, Reduce::Max, Reduce::Min, Reduce::Prod]);
        let x = self.any(if matches!(kind, Reduce::Max | Reduce::Min) { ORDERED } else { NUMBERS }, 0);
        let rank = self.g.shape(x).len();
        let axes = (0..rank).filter(|_| self.rng.chance(50)).collect();
        let keep = self.rng.chance(50);
        self.add(Op::Reduce { kind, axes, keep }, &[x]);
    }

    fn scan(&mut self) {
        let kind = self.rng.below(4);
        let x = self.any([ORDERED, NUMBERS, FLOATS, ORDERED][kind], 1);
        let shape = self.ty(x).shape;
        let axis = self.rng.below(shape.len());
        let (p, q) = (self.rng.chance(50), self.rng.chance(50));
        match kind {
            // An extreme of nothing has no index.
            0 if shape[axis] == 0 => {}
            0 => {
                let last = self.rng.chance(50);
                self.add(Op::ArgReduce { max: p, axis, keep: q, last }, &[x]);
            }
            1 => self.add(Op::CumSum { axis, exclusive: p, reverse: q }, &[x]),
            2 if p => self.add(Op::Softmax { axis }, &[x]),
            2 => self.add(Op::Norm { axes: vec![axis], centered: q, epsilon: 1e-3f32.to_bits() }, &[x]),
            _ => {
                let k = self.rng.range(0, shape[axis]);
                self.add(Op::TopKValues { k, axis, largest: p }, &[x]);
                self.add(Op::TopKIndices { k, axis, largest: p }, &[x]);
            }
        }
    }

    fn movement(&mut self) {
        let x = self.any(ANY, 0);
        let shape = self.ty(x).shape;
        match self.rng.below(3) {
            0 => {
                // Two neighbouring axes merged, or an axis of extent 1 put in.
                let mut to = shape.clone();
                if to.len() >= 2 && self.rng.chance(60) {
                    let i = self.rng.below(to.len() - 1);
                    let d = to.remove(i);
                    to[i] *= d;
                } else {
                    let i = self.rng.range(0, to.len());
                    to.insert(i, 1);
                }
                self.add(Op::Reshape { shape: to }, &[x]);
            }
            1 => {
                let mut perm: Vec<usize> = (0..shape.len()).collect();
                for i in (1..perm.len()).rev() {
                    perm.swap(i, self.rng.below(i + 1));
                }
                self.add(Op::Transpose { perm }, &[x]);
            }
            _ => {
                let mut to: Vec<usize> = shape.iter().map(|&d| if d == 1 { self.rng.range(1, 3) } else { d }).collect();
                if to.len() < 4 && self.rng.chance(50) {
                    to.insert(0, self.rng.range(1, 3));
                }
                self.add(Op::Broadcast { shape: to }, &[x]);
            }
        }
    }

    fn slice(&mut self) {
        let x = self.any(ANY, 0);
        let (mut start, mut step, mut shape) = (Vec::new(), Vec::new(), Vec::new());
        for d in self.ty(x).shape {
            if d == 0 {
                start.push(0);
                step.push(1);
                shape.push(0);
                continue;
            }
            let s = self.rng.below(d);
            let k = self.rng.pick(&[1isize, 1, 2, -1, -2]);
            let most = if k > 0 { (d - 1 - s) / k as usize } else { s / k.unsigned_abs() } + 1;
            start.push(s);
            step.push(k);
            shape.push(if self.rng.chance(70) { most } else { self.rng.range(1, most) });
        }
        self.add(Op::Slice { start, step, shape }, &[x]);
    }

    fn concat_or_pad(&mut self) {
        let x = self.any(ANY, 1);
        let ty = self.ty(x);
        if self.rng.chance(50) {
            let axis = self.rng.below(ty.rank());
            let mut inputs = vec![x];
            for _ in 0..self.rng.range(0, 2) {
                let mut t = ty.clone();
                t.shape[axis] = self.extent();
                inputs.push(self.value(t));
            }
            return self.add(Op::Concat { axis }, &inputs);
        }
        let mode = self.rng.pick(&[PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap]);
        let mut side = || {
            let one = |&d: &usize| if d == 0 { 0 } else { self.rng.below(3) as isize - isize::from(d > 1) };
            ty.shape.iter().map(one).collect::<Vec<isize>>()
        };
        let (before, mut after) = (side(), side());
        // Crops on both sides of an axis may not take more than there is.
        for i in 0..after.len() {
            after[i] = after[i].max(-(ty.shape[i] as isize) - before[i]);
        }
        let mut inputs = vec![x];
        if mode == PadMode::Constant {
            let value = self.rng.below(3) as f64;
            inputs.push(self.g.add_const("fill", scalar(ty.dtype, value)));
        }
        self.add(Op::Pad { mode, before, after }, &inputs);
    }

    /// A constant of indices into the given extents, one after the other along the last axis.
    fn indices(&mut self, shape: Vec<usize>, extents: &[usize]) -> ValueId {
        let n: usize = shape.iter().product();
        let values: Vec<i64> = (0..n)
            .map(|i| {
                let d = extents[i % extents.len()];
                let at = self.rng.below(d) as i64;
                if self.rng.chance(20) { at - d as i64 } else { at }
            })
            .collect();
        let t = if self.rng.chance(50) {
            Tensor::from_i64(&shape, &values)
        } else {
            let data: Vec<u8> = values.iter().flat_map(|&v| (v as i32).to_le_bytes()).collect();
            Tensor { dtype: DType::I32, shape, data: data.into() }
        };
        self.g.add_const("indices", t)
    }

    fn gather(&mut self) {
        let x = self.any(ANY, 1);
        let shape = self.ty(x).shape;
        if shape.contains(&0) {
            return self.unary();
        }
        let axis = self.rng.below(shape.len());
        match self.rng.below(3) {
            0 => {
                let of = self.shape(0);
                let of: Vec<usize> = of.into_iter().take(2).collect();
                let ix = self.indices(of, &shape[axis..=axis]);
                self.add(Op::Gather { axis }, &[x, ix]);
            }
            1 => {
                let of = shape.iter().map(|&d| self.rng.range(1, d)).collect();
                let ix = self.indices(of, &shape[axis..=axis]);
                self.add(Op::GatherElements { axis }, &[x, ix]);
            }
            _ => {
                let batch_dims = self.rng.below(shape.len());
                let depth = self.rng.range(1, shape.len() - batch_dims);
                let mut of = shape[..batch_dims].to_vec();
                of.extend([self.rng.range(1, 3), depth]);
                let ix = self.indices(of, &shape[batch_dims..batch_dims + depth]);
                self.add(Op::GatherNd { batch_dims }, &[x, ix]);
            }
        }
    }

    fn scatter(&mut self) {
        let mode = self.rng.pick(&[
            ScatterMode::Replace,
            ScatterMode::Add,
            ScatterMode::Mul,
            ScatterMode::Max,
            ScatterMode::Min,
        ]);
        let x = self.any(NUMBERS, 1);
        let ty = self.ty(x);
        if ty.shape.contains(&0) {
            return self.unary();
        }
        if self.rng.chance(50) {
            let axis = self.rng.below(ty.rank());
            let of: Vec<usize> = ty.shape.iter().map(|&d| self.rng.range(1, d)).collect();
            let ix = self.indices(of.clone(), &ty.shape[axis..=axis]);
            let updates = self.value(TensorType::new(ty.dtype, of));
            return self.add(Op::ScatterElements { axis, mode }, &[x, ix, updates]);
        }
        let depth = self.rng.range(1, ty.rank());
        let n = self.rng.range(1, 3);
        let ix = self.indices(vec![n, depth], &ty.shape[..depth]);
        let updates = self.value(TensorType::new(ty.dtype, [&[n], &ty.shape[depth..]].concat()));
        self.add(Op::ScatterNd { mode }, &[x, ix, updates]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::eval;
    use crate::ir::verify::verify;
    use std::collections::BTreeSet;

    #[test]
    fn graphs_verify_and_evaluate_and_use_every_primitive() {
        let mut seen = BTreeSet::new();
        for seed in 0..1500 {
            let mut rng = Rng::new(seed);
            let config = Config { empty: seed % 4 == 0, ..Config::default() };
            let g = graph(&mut rng, &config);
            verify(&g).unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
            seen.extend(g.nodes().iter().map(|n| n.op.name()));
            let values = inputs(&mut rng, &g);
            let out = eval(&g, &values).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            for (o, t) in g.outputs.iter().zip(&out) {
                assert_eq!(TensorType::new(t.dtype, t.shape.clone()), *g.ty(o.value), "seed {seed}");
                assert_eq!(t.data.len(), g.ty(o.value).bytes(), "seed {seed}");
            }
        }
        // 29 unary, 20 binary, 5 reductions, 2 kinds of pool and of index, and the rest.
        let all = 29 + 20 + 5 + 2 + 2 + 22;
        assert_eq!(seen.len(), all, "{seen:?}");
    }
}
