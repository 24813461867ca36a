//! Random islands: every quantised value of the integer graph is within one quantum of the float graph's,
//! and a product has exactly the oracle's integers.

use super::{PASS, applies};
use crate::ir::arbitrary::Rng;
use crate::ir::builder::scalar;
use crate::ir::eval::eval;
use crate::ir::{
    Binary, DType, EpilogueStep, Graph, Op, OriginId, Pool, Reduce, Tensor, TensorType, Unary, ValueId, Window,
};

pub(in crate::passes) struct Build {
    pub(in crate::passes) g: Graph,
    o: OriginId,
    rng: Rng,
    /// Scale of each input.
    scales: Vec<f32>,
}

#[derive(Clone, Copy)]
pub(in crate::passes) struct Params {
    scale: f32,
    zero: i32,
    dtype: DType,
}

impl Build {
    pub(in crate::passes) fn new(seed: u64) -> Build {
        let mut g = Graph::new("island");
        let o = g.add_origin("island");
        Build { g, o, rng: Rng::new(seed), scales: Vec::new() }
    }

    fn node(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.g.add_node(op, inputs, self.o).unwrap()
    }

    fn binary(&mut self, op: Binary, x: ValueId, value: f64) -> ValueId {
        let c = self.g.add_const("", scalar(self.g.ty(x).dtype, value));
        self.node(Op::Binary(op), &[x, c])
    }

    pub(in crate::passes) fn params(&mut self) -> Params {
        let dtype = if self.rng.chance(40) { DType::U8 } else { DType::I8 };
        let middle = if dtype == DType::U8 { 128 } else { 0 };
        let zero = if self.rng.chance(40) { 0 } else { middle + self.rng.below(200) as i32 - 100 };
        Params { scale: 0.01 + self.rng.below(1000) as f32 / 7000.0, zero, dtype }
    }

    pub(in crate::passes) fn quantise(&mut self, x: ValueId, p: Params) -> ValueId {
        let y = self.binary(Binary::Div, x, f64::from(p.scale));
        let y = self.node(Op::Unary(Unary::Round), &[y]);
        let y = self.binary(Binary::Add, y, f64::from(p.zero));
        let (low, high) = if p.dtype == DType::U8 { (0.0, 255.0) } else { (-128.0, 127.0) };
        let y = self.binary(Binary::Max, y, low);
        let y = self.binary(Binary::Min, y, high);
        self.node(Op::Cast(p.dtype), &[y])
    }

    fn dequantise(&mut self, q: ValueId, p: Params) -> ValueId {
        let mut y = self.node(Op::Cast(DType::F32), &[q]);
        if p.zero != 0 {
            y = self.binary(Binary::Sub, y, f64::from(p.zero));
        }
        self.binary(Binary::Mul, y, f64::from(p.scale))
    }

    /// A quantised input, dequantised.
    fn activation(&mut self, name: &str, shape: &[usize]) -> (ValueId, Params) {
        let x = self.g.add_input(name, TensorType::new(DType::F32, shape));
        let p = self.params();
        self.scales.push(p.scale);
        let q = self.quantise(x, p);
        (self.dequantise(q, p), p)
    }

    fn weights(&mut self, shape: &[usize], channel: usize) -> ValueId {
        let data: Vec<u8> = (0..shape.iter().product()).map(|_| self.rng.below(256) as u8).collect();
        let w = self.g.add_const("w", Tensor::new(DType::I8, shape.to_vec(), data).unwrap());
        let mut per = vec![1; shape.len()];
        per[channel] = shape[channel];
        let scales: Vec<f32> = (0..shape[channel]).map(|_| 0.001 + self.rng.below(500) as f32 / 90000.0).collect();
        let s = self.g.add_const("s", Tensor::from_f32(&per, &scales));
        let y = self.node(Op::Cast(DType::F32), &[w]);
        self.node(Op::Binary(Binary::Mul), &[y, s])
    }

    fn window(&mut self) -> Window {
        let mut w = Window::pointwise(2);
        for i in 0..2 {
            w.kernel[i] = 1 + self.rng.below(3);
            w.stride[i] = 1 + self.rng.below(2);
            w.before[i] = self.rng.below(w.kernel[i]);
            w.after[i] = self.rng.below(w.kernel[i]);
        }
        w
    }

    fn bias(&mut self, y: ValueId, shape: &[usize]) -> ValueId {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| self.rng.below(200) as f32 / 100.0 - 1.0).collect();
        let b = self.g.add_const("b", Tensor::from_f32(shape, &values));
        self.node(Op::Binary(Binary::Add), &[y, b])
    }

    /// One island of a kind; gives the float value before it is quantised.
    pub(in crate::passes) fn island(&mut self, kind: usize) -> ValueId {
        let (c, h) = (1 + self.rng.below(4), 3 + self.rng.below(4));
        let shape = [1, c, h, h + 1];
        let x = self.activation("x", &shape).0;
        let y = match kind {
            0 => {
                let window = self.window();
                let m = 1 + self.rng.below(5);
                let mut w = vec![m, c];
                w.extend(&window.kernel);
                let w = self.weights(&w, 0);
                let y = self.node(Op::Conv { window, groups: 1, epilogue: Vec::new() }, &[x, w]);
                if self.rng.chance(70) { self.bias(y, &[m, 1, 1]) } else { y }
            }
            1 => {
                let (k, n) = (c * h * (h + 1), 1 + self.rng.below(6));
                let x = self.node(Op::Reshape { shape: vec![1, k] }, &[x]);
                let w = self.weights(&[n, k], 0);
                let w = self.node(Op::Transpose { perm: vec![1, 0] }, &[w]);
                let y = self.node(Op::MatMul { epilogue: Vec::new() }, &[x, w]);
                if self.rng.chance(70) { self.bias(y, &[n]) } else { y }
            }
            2 => {
                let other = self.activation("other", &shape).0;
                let op = if self.rng.chance(70) { Binary::Add } else { Binary::Sub };
                self.node(Op::Binary(op), &[x, other])
            }
            3 => self.node(Op::Reduce { kind: Reduce::Mean, axes: vec![2, 3], keep: true }, &[x]),
            4 => {
                let window = self.window();
                let kind = if self.rng.chance(50) { Pool::AverageExcludePad } else { Pool::AverageIncludePad };
                self.node(Op::Pool { kind, window }, &[x])
            }
            5 => {
                let window = self.window();
                self.node(Op::Pool { kind: Pool::Max, window }, &[x])
            }
            6 => {
                let other = self.activation("other", &shape).0;
                self.node(Op::Concat { axis: 1 }, &[x, other])
            }
            _ => {
                let other = self.activation("other", &shape).0;
                self.node(Op::Binary(Binary::Mul), &[x, other])
            }
        };
        match self.rng.below(4) {
            0 => self.node(Op::Unary(Unary::Relu), &[y]),
            1 => {
                let y = self.binary(Binary::Max, y, -0.3);
                self.binary(Binary::Min, y, 2.0)
            }
            _ => y,
        }
    }

    /// Values between two quanta and off the ties, which a reciprocal may round the other way.
    pub(in crate::passes) fn inputs(&mut self) -> Vec<Tensor> {
        let shapes: Vec<Vec<usize>> = self.g.inputs.iter().map(|&v| self.g.shape(v).to_vec()).collect();
        let mut inputs = Vec::new();
        for (shape, scale) in shapes.iter().zip(self.scales.clone()) {
            let count = shape.iter().product();
            let values: Vec<f32> = (0..count).map(|_| (self.rng.below(400) as f32 - 199.8) * scale).collect();
            inputs.push(Tensor::from_f32(shape, &values));
        }
        inputs
    }
}

fn elements(t: &Tensor) -> Vec<i32> {
    let signed = t.dtype == DType::I8;
    t.data.iter().map(|&b| if signed { i32::from(b as i8) } else { i32::from(b) }).collect()
}

/// Float operations of the integer graph that are not scaling, rounding and casts.
fn float_products(g: &Graph) -> usize {
    let float = |v: ValueId| g.ty(v).dtype.is_float();
    let heavy = |op: &Op| matches!(op, Op::Conv { .. } | Op::MatMul { .. } | Op::Pool { .. } | Op::Reduce { .. });
    g.nodes().iter().filter(|n| heavy(&n.op) && float(n.inputs[0])).count()
}

#[test]
fn islands_are_integer_and_within_one_quantum() {
    let (mut differing, mut total) = (0usize, 0usize);
    for seed in 0..1200u64 {
        let kind = seed as usize % 8;
        let mut b = Build::new(seed);
        let y = b.island(kind);
        let p = b.params();
        let q = b.quantise(y, p);
        b.g.add_output("q", q);
        assert!(applies(&b.g));
        let new = (PASS.run)(&b.g).unwrap();
        crate::ir::verify::verify(&new).unwrap();
        assert_eq!(float_products(&new), 0, "seed {seed}");
        assert!(new.nodes().iter().all(|n| n.op != Op::Binary(Binary::Div)), "seed {seed}: a quantisation is left");
        let inputs = b.inputs();
        let want = elements(&eval(&b.g, &inputs).unwrap()[0]);
        let got = elements(&eval(&new, &inputs).unwrap()[0]);
        for (w, g) in want.iter().zip(&got) {
            assert!((w - g).abs() <= 1, "seed {seed}, kind {kind}: {w} became {g}");
            differing += usize::from(w != g);
            total += 1;
        }
    }
    println!("{differing} of {total} elements differ by one quantum");
    assert!(differing * 50 < total);
}

/// A product, computed here from the definition.
#[test]
fn a_product_has_the_oracles_bits() {
    for seed in 0..400u64 {
        let mut b = Build::new(seed);
        let (k, n) = (1 + b.rng.below(40), 1 + b.rng.below(5));
        let p = b.params();
        let t = b.params();
        let q = b.g.add_input("q", TensorType::new(p.dtype, [3, k]));
        let x = b.dequantise(q, p);
        let w = b.weights(&[k, n], 1);
        let y = b.node(Op::MatMul { epilogue: Vec::new() }, &[x, w]);
        let y = b.bias(y, &[n]);
        let out = b.quantise(y, t);
        b.g.add_output("out", out);
        let data: Vec<u8> = (0..3 * k).map(|_| b.rng.below(256) as u8).collect();
        let input = Tensor::new(p.dtype, vec![3, k], data).unwrap();
        let constant = |name: &str| {
            let v = b.g.values().iter().find(|v| v.name == name).unwrap();
            b.g.constant(ValueId(b.g.values().iter().position(|x| std::ptr::eq(x, v)).unwrap() as u32)).unwrap()
        };
        let (weights, scales, bias) =
            (elements(constant("w")), constant("s").as_f32().unwrap(), constant("b").as_f32().unwrap());
        let activations = elements(&input);
        let (low, high) = if t.dtype == DType::U8 { (0, 255) } else { (-128, 127) };
        let mut want = Vec::new();
        for r in 0..3 {
            for c in 0..n {
                let s = f64::from(p.scale) * f64::from(scales[c]);
                let dot: i32 = (0..k).map(|i| (activations[r * k + i] - p.zero) * weights[i * n + c]).sum();
                let acc = dot + (f64::from(bias[c]) / s).round_ties_even() as i32;
                let m = (s / f64::from(t.scale)) as f32;
                want.push(((acc as f32 * m).round_ties_even() as i32 + t.zero).clamp(low, high));
            }
        }
        let new = (PASS.run)(&b.g).unwrap();
        let got = elements(&eval(&new, std::slice::from_ref(&input)).unwrap()[0]);
        assert_eq!(got, want, "seed {seed}");
    }
}

/// A residual: the product's own quantisation is dropped, one `fma` and one rounding are left.
#[test]
fn a_residual_is_one_fma() {
    let mut b = Build::new(5);
    let x = b.activation("x", &[1, 4, 5, 5]).0;
    let p = Params { scale: 0.1, zero: 0, dtype: DType::I8 };
    let w = b.weights(&[4, 4, 1, 1], 0);
    let y = b.node(Op::Conv { window: Window::pointwise(2), groups: 1, epilogue: Vec::new() }, &[x, w]);
    let q = b.quantise(y, p);
    let y = b.dequantise(q, p);
    let sum = b.node(Op::Binary(Binary::Add), &[y, x]);
    let relu = b.node(Op::Unary(Unary::Relu), &[sum]);
    let q = b.quantise(relu, p);
    b.g.add_output("q", q);
    let new = (PASS.run)(&b.g).unwrap();
    assert_eq!(new.nodes().iter().filter(|n| n.op == Op::Fma).count(), 1);
    // Input and result.
    assert_eq!(new.nodes().iter().filter(|n| n.op == Op::Unary(Unary::Round)).count(), 2);
    let inputs = b.inputs();
    let (want, got) = (eval(&b.g, &inputs).unwrap(), eval(&new, &inputs).unwrap());
    assert!(elements(&want[0]).iter().zip(elements(&got[0])).all(|(w, g)| (w - g).abs() <= 1));
}

/// Integer operands that the importer widened (QLinearConv and its kin) meet as bytes again, with the same sums.
#[test]
fn widened_products_are_narrowed() {
    for seed in 0..200u64 {
        let mut b = Build::new(seed);
        let c = 1 + b.rng.below(4);
        let (p, window) = (b.params(), b.window());
        let q = b.g.add_input("q", TensorType::new(p.dtype, [1, c, 5, 6]));
        let wide = b.node(Op::Cast(DType::I32), &[q]);
        let x = b.binary(Binary::Sub, wide, f64::from(p.zero));
        let mut shape = vec![3, c];
        shape.extend(&window.kernel);
        let data: Vec<u8> =
            (0..shape.iter().product()).flat_map(|_| (b.rng.below(256) as i32 - 128).to_le_bytes()).collect();
        let w = b.g.add_const("w", Tensor::new(DType::I32, shape, data).unwrap());
        let y = b.node(Op::Conv { window, groups: 1, epilogue: Vec::<EpilogueStep>::new() }, &[x, w]);
        b.g.add_output("y", y);
        let new = (PASS.run)(&b.g).unwrap();
        let narrow = |n: &&crate::ir::Node| matches!(n.op, Op::Conv { .. }) && new.ty(n.inputs[0]).dtype == p.dtype;
        assert_eq!(new.nodes().iter().filter(narrow).count(), 1);
        let data: Vec<u8> = (0..c * 30).map(|_| b.rng.below(256) as u8).collect();
        let input = Tensor::new(p.dtype, vec![1, c, 5, 6], data).unwrap();
        assert!(eval(&b.g, std::slice::from_ref(&input)).unwrap() == eval(&new, &[input]).unwrap(), "seed {seed}");
    }
}

#[test]
fn gates_of_a_recurrent_cell_are_integer_products() {
    for seed in 0..100u64 {
        let mut b = Build::new(seed);
        let (steps, inputs, hidden) = (1 + b.rng.below(4), 1 + b.rng.below(20), 1 + b.rng.below(6));
        let (x, _) = b.activation("x", &[steps, 1, inputs]);
        let x = b.node(Op::Reshape { shape: vec![steps, inputs] }, &[x]);
        // The weights of two directions, as LSTM has them, a scale each gate row or one in all.
        let w = b.weights(&[2, 4 * hidden, inputs], 1);
        let w = b.node(Op::Slice { start: vec![1, 0, 0], step: vec![1; 3], shape: vec![1, 4 * hidden, inputs] }, &[w]);
        let w = b.node(Op::Reshape { shape: vec![4 * hidden, inputs] }, &[w]);
        let w = b.node(Op::Transpose { perm: vec![1, 0] }, &[w]);
        let y = b.node(Op::MatMul { epilogue: vec![] }, &[x, w]);
        let y = b.binary(Binary::Add, y, 0.25);
        let y = b.node(Op::Unary(Unary::Sigmoid), &[y]);
        b.g.add_output("y", y);
        let made = crate::ir::builder::remove_dead(&(PASS.run)(&b.g).unwrap());
        let product = |n: &crate::ir::Node| matches!(n.op, Op::MatMul { .. });
        for n in made.nodes().iter().filter(|n| product(n)) {
            assert_eq!(made.ty(n.inputs[1]).dtype, DType::I8, "seed {seed}");
            assert!(made.constant(n.inputs[1]).is_some());
        }
        let n = steps * inputs;
        let values: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin() * 60.0 * b.scales[0]).collect();
        let x = Tensor::from_f32(&[steps, 1, inputs], &values);
        let (want, got) = (eval(&b.g, std::slice::from_ref(&x)).unwrap(), eval(&made, &[x]).unwrap());
        for (a, b) in got[0].as_f32().unwrap().iter().zip(want[0].as_f32().unwrap()) {
            assert!((a - b).abs() < 1e-4, "seed {seed}: {a} for {b}");
        }
    }
}

/// A dense layer whose product is quantised before its bias: one rounding is left where the sum is quantised, none where it is
/// not, and what the product saturated at bounds the sum.
#[test]
fn a_product_is_not_rounded_before_its_bias() {
    for seed in 0..200u64 {
        let mut b = Build::new(seed);
        let (k, n) = (2 + b.rng.below(30), 1 + b.rng.below(5));
        let x = b.activation("x", &[3, k]).0;
        let w = b.weights(&[k, n], 1);
        let y = b.node(Op::MatMul { epilogue: Vec::new() }, &[x, w]);
        let own = b.params();
        let q = b.quantise(y, own);
        let y = b.dequantise(q, own);
        let y = b.bias(y, &[n]);
        let again = seed % 2 == 0;
        let t = Params { scale: own.scale * 1.5, ..b.params() };
        if again {
            let q = b.quantise(y, t);
            b.g.add_output("y", q);
        } else {
            let y = b.binary(Binary::Add, y, 0.0);
            b.g.add_output("y", y);
        }
        let new = crate::ir::builder::remove_dead(&(PASS.run)(&b.g).unwrap());
        let count = |op: Op| new.nodes().iter().filter(|n| n.op == op).count();
        // That of the input, and that of the result.
        assert_eq!(count(Op::Unary(Unary::Round)), 1 + usize::from(again), "seed {seed}");
        assert_eq!(float_products(&new), 0, "seed {seed}");
        let inputs = b.inputs();
        let (want, got) = (eval(&b.g, &inputs).unwrap().remove(0), eval(&new, &inputs).unwrap().remove(0));
        // What the product can be; a bias is within one.
        let (low, high) = if own.dtype == DType::U8 { (0, 255) } else { (-128, 127) };
        let [low, high] = [low, high].map(|q| (q - own.zero) as f32 * own.scale);
        let real = |y: &Tensor| match y.as_f32() {
            Some(values) => values,
            None => elements(y).into_iter().map(|q| (q - t.zero) as f32 * t.scale).collect(),
        };
        let quantum = own.scale * 0.501 + if again { t.scale * 1.001 } else { 0.0 };
        for (w, g) in real(&want).into_iter().zip(real(&got)) {
            // Where the product saturated more may be left of it.
            let saturated = w < low + 1.0 + quantum || w > high - 1.0 - quantum;
            assert!((w - g).abs() <= quantum || saturated, "seed {seed}: {w} became {g}");
            assert!(again || (low - 1.01..=high + 1.01).contains(&g), "seed {seed}: {g} is beyond what saturates");
        }
    }
}
