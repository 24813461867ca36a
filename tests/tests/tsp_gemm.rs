//! Large products on the tsp machines: cycles against the peak, bits against the oracle.

use quadrille_compiler::ir::{DType, Graph, Op, Tensor, TensorType, eval::eval};
use quadrille_isa::tsp::Machine;
use quadrille_runtime::tsp::{check, simulate};
use quadrille_tsp::tiled::{Init, Kind};
use quadrille_tsp::{self as tsp, Compiled, Options};

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 33
    }

    /// Small whole numbers as bytes, or quarters as `f16`.
    fn tensor(&mut self, dtype: DType, shape: [usize; 2]) -> Tensor {
        let mut data = Vec::new();
        for _ in 0..shape[0] * shape[1] {
            let v = (self.next() % 15) as i8 - 7;
            match dtype {
                DType::I8 => data.push(v as u8),
                DType::U8 => data.push((v + 7) as u8),
                _ => data.extend(half::f16::from_f32(f32::from(v) / 4.0).to_le_bytes()),
            }
        }
        Tensor::new(dtype, shape.to_vec(), data).expect("as many elements as the shape says")
    }
}

/// `[n, k] x [k, m]`, the right operand constant.
fn gemm(dtype: DType, n: usize, k: usize, m: usize) -> Graph {
    let mut g = Graph::new("gemm");
    let x = g.add_input("x", TensorType::new(dtype, [n, k]));
    let weights = if dtype == DType::U8 { DType::I8 } else { dtype };
    let w = g.add_const("w", Rng(7).tensor(weights, [k, m]));
    let o = g.add_origin("product");
    let y = g.add_node(Op::MatMul { epilogue: Vec::new() }, &[x, w], o).expect("well typed");
    g.add_output("y", y);
    g
}

fn compiled(g: &Graph, m: &Machine) -> Compiled {
    let c = tsp::compile(g, m, &Options::default()).unwrap_or_else(|e| panic!("{}: {e}", m.name));
    let report = check(&c.program, m);
    let errors: Vec<String> = report.errors.iter().take(5).map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{}: {}", m.name, errors.join("\n"));
    assert_eq!(report.cycles, c.estimate.cycles, "cycles of checker and estimate");
    c
}

/// Products whose weights are the model's input, and all products.
fn orientations(c: &Compiled) -> (usize, usize) {
    let held = c.tiled.kernels.iter().filter_map(|k| match &k.kind {
        Kind::MatMul { chains, .. } => Some(chains[0][0].weights),
        _ => None,
    });
    let input = held.clone().filter(|&t| matches!(c.tiled.tensor(t).init, Init::Input { .. })).count();
    (input, held.count())
}

/// Simulated outputs are the oracle's to the bit.
fn runs_right(g: &Graph, c: &Compiled, m: &Machine) {
    let inputs: Vec<Tensor> = (g.inputs.iter().enumerate())
        .map(|(n, &v)| Rng(91 + n as u64).tensor(g.ty(v).dtype, [g.shape(v)[0], g.shape(v)[1]]))
        .collect();
    let want = eval(g, &inputs).unwrap();
    let got = simulate(&c.program, m, &inputs).unwrap_or_else(|e| panic!("{}: {e}", m.name));
    assert!(got.outputs == want, "{}: the simulator is not the oracle", m.name);
    assert!(c.tiled.eval(&inputs).unwrap() == want, "{}: the tiled graph is not the oracle", m.name);
}

/// Both orientations, short blocks in every direction, more rows than accumulators, on both machines.
#[test]
fn parts_of_both_orientations() {
    for (name, n, k, m) in [
        ("tsp-small", 90, 144, 140),
        ("tsp-small", 70, 48, 64 + 5),
        ("tsp-small", 64 + 3, 80, 150),
        ("tsp", 1300, 704, 340),
        ("tsp", 660, 656, 300),
    ] {
        let machine = Machine::builtin(name).unwrap();
        for dtype in [DType::I8, DType::F16] {
            let g = gemm(dtype, n, k, m);
            let c = compiled(&g, &machine);
            let (input, all) = orientations(&c);
            assert!(input > 0 && input < all, "{name} {dtype} {n} x {k} x {m}: {input} of {all} hold the input");
            runs_right(&g, &c, &machine);
        }
        let g = gemm(DType::U8, n, k, m);
        let c = compiled(&g, &machine);
        assert_eq!(orientations(&c).0, 0, "planes hold no u8");
        runs_right(&g, &c, &machine);
    }
}

/// Peak that the product reaches, in percent, from the barrier to the last event.
fn of_peak(dtype: DType, n: usize, machine: &Machine) -> (f64, Compiled) {
    let c = compiled(&gemm(dtype, n, 4096, 2304), machine);
    let (input, all) = orientations(&c);
    assert!(input > 0 && input < all, "{dtype} {n}: {input} of {all} hold the input");
    let peak = if dtype == DType::I8 { machine.peak_i8_macs_per_cycle() } else { machine.peak_f16_macs_per_cycle() };
    let percent = 100.0 * (2304 * 4096 * n as u64) as f64 / (peak * c.estimate.cycles) as f64;
    println!("{dtype} 2304 x 4096 x {n}: {} cycles, {percent:.1} % of peak", c.estimate.cycles);
    (percent, c)
}

#[test]
fn at_least_nine_tenths_of_the_peak() {
    let m = Machine::builtin("tsp").unwrap();
    for dtype in [DType::I8, DType::F16] {
        for n in (1376..=3500).step_by(118) {
            let (percent, c) = of_peak(dtype, n, &m);
            if n == 1376 && dtype == DType::I8 {
                runs_right(&gemm(dtype, n, 4096, 2304), &c, &m);
            }
            assert!(percent >= 90.0, "{dtype} {n}: {percent:.1} % of peak");
        }
    }
}

/// Weights are read at full rate: within 8 % of their bytes by 20,480 a cycle, beyond 120 cycles of fill.
#[test]
fn one_row_takes_as_long_as_its_weights() {
    let m = Machine::builtin("tsp").unwrap();
    for dtype in [DType::I8, DType::U8] {
        let g = gemm(dtype, 1, 6400, 3200);
        let c = compiled(&g, &m);
        println!("{dtype} 3200 x 6400 by a vector: {} cycles", c.estimate.cycles);
        assert!(c.estimate.cycles <= 1000 * 108 / 100 + 120, "{dtype}: {} cycles", c.estimate.cycles);
        runs_right(&g, &c, &m);
    }
    // An odd number of blocks of each axis, a few rows, short last blocks.
    for (n, k, columns) in [(3, 3300, 2000), (16, 3000, 2100), (2, 6401, 1100)] {
        let g = gemm(DType::I8, n, k, columns);
        runs_right(&g, &compiled(&g, &m), &m);
    }
}
