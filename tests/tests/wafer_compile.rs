//! The wafer compiler against the checker, the simulator and the oracle: for every graph the
//! program passes the checker, its simulated bits equal the tiled graph's, and those agree with
//! the tensor graph's `eval` as f16 products allow.

use quadrille_compiler::ir::{
    Binary, DType, EpilogueStep, Graph, Op, Pool, Reduce, Tensor, TensorType, Unary, ValueId, Window, eval,
};
use quadrille_isa::wafer::Machine;
use quadrille_runtime::wafer as rt;
use quadrille_wafer::{self as wafer, CompileError, Options};

/// A small deterministic generator of values in [-1, 1).
struct Values(u64);

impl Values {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 40) as f32) / (1u64 << 23) as f32 - 1.0
    }

    fn tensor(&mut self, shape: &[usize], scale: f32) -> Tensor {
        let n = shape.iter().product();
        let v: Vec<f32> = (0..n).map(|_| self.next() * scale).collect();
        Tensor::from_f32(shape, &v)
    }
}

/// Builds graphs in a line of code a node.
struct Net {
    g: Graph,
    v: Values,
    nodes: usize,
}

impl Net {
    fn new(name: &str) -> Net {
        Net { g: Graph::new(name), v: Values(7), nodes: 0 }
    }

    fn input(&mut self, shape: &[usize]) -> ValueId {
        let name = format!("in{}", self.g.inputs.len());
        self.g.add_input(name, TensorType::new(DType::F32, shape))
    }

    fn constant(&mut self, shape: &[usize], scale: f32) -> ValueId {
        let t = self.v.tensor(shape, scale);
        self.g.add_const("c", t)
    }

    fn op(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.nodes += 1;
        let o = self.g.add_origin(&format!("{}_{}", op.name(), self.nodes));
        self.g.add_node(op, inputs, o).expect("the test's graph is well-typed")
    }

    fn conv(&mut self, x: ValueId, m: usize, k: [usize; 2], s: [usize; 2], pad: usize, groups: usize) -> ValueId {
        self.conv_dilated(x, m, k, s, pad, groups, 1)
    }

    #[allow(clippy::too_many_arguments)]
    fn conv_dilated(
        &mut self,
        x: ValueId,
        m: usize,
        k: [usize; 2],
        s: [usize; 2],
        pad: usize,
        groups: usize,
        dilation: usize,
    ) -> ValueId {
        let c = self.g.shape(x)[1] / groups;
        let scale = 1.5 / ((c * k[0] * k[1]) as f32).sqrt();
        let w = self.constant(&[m, c, k[0], k[1]], scale);
        let window = Window {
            kernel: k.to_vec(),
            stride: s.to_vec(),
            dilation: vec![dilation; 2],
            before: vec![pad; 2],
            after: vec![pad; 2],
        };
        let y = self.op(Op::Conv { window, groups, epilogue: vec![] }, &[x, w]);
        let b = self.constant(&[m, 1, 1], 0.2);
        self.op(Op::Binary(Binary::Add), &[y, b])
    }

    fn pool(&mut self, x: ValueId, kind: Pool, k: usize, s: usize, before: usize, after: usize) -> ValueId {
        let window = Window {
            kernel: vec![k; 2],
            stride: vec![s; 2],
            dilation: vec![1; 2],
            before: vec![before; 2],
            after: vec![after; 2],
        };
        self.op(Op::Pool { kind, window }, &[x])
    }

    fn dense(&mut self, x: ValueId, n: usize) -> ValueId {
        let k = *self.g.shape(x).last().expect("a matrix");
        let w = self.constant(&[k, n], 1.5 / (k as f32).sqrt());
        let y = self.op(Op::MatMul { epilogue: vec![] }, &[x, w]);
        let b = self.constant(&[n], 0.2);
        self.op(Op::Binary(Binary::Add), &[y, b])
    }

    fn relu(&mut self, x: ValueId) -> ValueId {
        self.op(Op::Unary(Unary::Relu), &[x])
    }

    fn output(&mut self, x: ValueId) {
        let name = format!("out{}", self.g.outputs.len());
        self.g.add_output(name, x);
    }

    /// Compiles, checks, simulates, compares; gives the cycles.
    fn run(mut self, machine: &str) -> u64 {
        let inputs: Vec<Tensor> = self.g.inputs.clone().iter().map(|&v| self.v.tensor(self.g.shape(v), 1.0)).collect();
        run(&self.g, machine, &Options::default(), &inputs)
    }
}

/// Elements of an f32 tensor, or of an i32 one whose values f32 holds exactly.
fn numbers(t: &Tensor) -> Vec<f32> {
    t.as_f32().unwrap_or_else(|| {
        assert_eq!(t.dtype, DType::I32, "the tests here compute in f32 and i32");
        t.data.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32).collect()
    })
}

fn run(g: &Graph, machine: &str, options: &Options, inputs: &[Tensor]) -> u64 {
    run_on(g, &Machine::builtin(machine).expect("a built-in machine"), options, inputs)
}

fn run_on(g: &Graph, m: &Machine, options: &Options, inputs: &[Tensor]) -> u64 {
    let c = wafer::compile(g, m, options).unwrap_or_else(|e| panic!("{}: {e}", g.name));
    let report = rt::check(&c.program, m);
    assert!(report.ok(), "{}: {} errors, {:#?}\n{}", g.name, report.total_errors, first(&report.errors), c.tiled);
    let sim = rt::simulate(&c.program, m, inputs).unwrap_or_else(|e| panic!("{}: {e}\n{}", g.name, c.tiled));
    let tiled = c.tiled.eval(inputs).expect("inputs fit");
    for ((s, t), o) in sim.outputs.iter().zip(&tiled).zip(&g.outputs) {
        assert_eq!(s.shape, t.shape);
        let (a, b) = (numbers(s), numbers(t));
        let differ = a.iter().zip(&b).position(|(a, b)| a.to_bits() != b.to_bits());
        if let Some(i) = differ {
            panic!("{}: output {} element {i}: simulated {}, tiled {}\n{}", g.name, o.name, a[i], b[i], c.tiled);
        }
    }
    let oracle = eval::eval(g, inputs).expect("the oracle evaluates");
    for (t, o) in tiled.iter().zip(&oracle) {
        let (a, b) = (numbers(t), numbers(o));
        let scale = b.iter().fold(0f32, |m, v| m.max(v.abs()));
        let worst = a.iter().zip(&b).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(worst <= 5e-3 * scale + 1e-6, "{}: off by {worst} at scale {scale}\n{}", g.name, c.tiled);
        assert!(scale > 0.0, "{}: all results are zero, the test shows nothing", g.name);
    }
    assert!(
        sim.cycles >= c.estimate.mapping_bound_cycles,
        "{}: {} cycles, below the bound {}",
        g.name,
        sim.cycles,
        c.estimate.mapping_bound_cycles
    );
    sim.cycles
}

fn first(errors: &[rt::CheckError]) -> Vec<String> {
    errors.iter().take(6).map(ToString::to_string).collect()
}

#[test]
fn a_copy_goes_from_port_to_port() {
    let mut n = Net::new("copy");
    let x = n.input(&[2, 3, 4, 5]);
    n.output(x);
    n.run("wafer-small");
}

#[test]
fn elementwise_steps() {
    for u in [Unary::Relu, Unary::Sigmoid, Unary::Tanh, Unary::Exp, Unary::Abs, Unary::Neg, Unary::Erf] {
        let mut n = Net::new(u.name());
        let x = n.input(&[2, 3, 4, 5]);
        let y = n.op(Op::Unary(u), &[x]);
        n.output(y);
        n.run("wafer-small");
    }
    for (b, shape) in [
        (Binary::Add, vec![3, 1, 1]),
        (Binary::Mul, vec![5]),
        (Binary::Sub, vec![2, 3, 4, 5]),
        (Binary::Max, vec![]),
        (Binary::Prelu, vec![3, 1, 1]),
        (Binary::Div, vec![4, 1]),
    ] {
        let mut n = Net::new(b.name());
        let x = n.input(&[2, 3, 4, 5]);
        let c = n.constant(&shape, 1.0);
        let y = n.op(Op::Binary(b), &[x, c]);
        let y = n.op(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[y]);
        let s = n.constant(&[3], 2.0);
        let y = n.op(Op::Binary(Binary::Mul), &[y, s]);
        n.output(y);
        n.run("wafer-small");
    }
}

#[test]
fn two_streams_join() {
    for b in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Max, Binary::Min] {
        let mut n = Net::new(b.name());
        let x = n.input(&[2, 3, 4, 5]);
        let y = n.input(&[2, 3, 4, 5]);
        let z = n.op(Op::Binary(b), &[x, y]);
        let z = n.op(Op::Unary(Unary::Abs), &[z]);
        n.output(z);
        n.run("wafer-small");
    }
}

#[test]
fn convolutions() {
    // channels in, extents, channels out, kernel, stride, pad, groups, dilation
    type Case = (usize, [usize; 2], usize, [usize; 2], [usize; 2], usize, usize, usize);
    let cases: [Case; 12] = [
        (1, [8, 8], 2, [3, 3], [1, 1], 0, 1, 1),
        (3, [7, 9], 4, [3, 3], [1, 1], 1, 1, 1),
        (4, [9, 7], 6, [3, 2], [2, 2], 1, 1, 1),
        (4, [6, 5], 5, [1, 1], [1, 1], 0, 1, 1),
        (4, [7, 7], 4, [1, 1], [2, 2], 0, 1, 1),
        (4, [8, 7], 4, [3, 3], [1, 1], 1, 4, 1),
        (4, [8, 7], 8, [3, 3], [1, 1], 1, 4, 1),
        (6, [8, 7], 4, [3, 3], [2, 1], 1, 2, 1),
        (2, [9, 9], 3, [3, 3], [1, 1], 2, 1, 2),
        (2, [5, 5], 3, [5, 5], [1, 1], 2, 1, 1),
        (3, [4, 4], 8, [4, 4], [1, 1], 0, 1, 1),
        (3, [11, 3], 2, [2, 2], [3, 3], 0, 1, 1),
    ];
    for (i, (c, [h, w], m, k, s, pad, groups, d)) in cases.into_iter().enumerate() {
        for batch in [1, 3] {
            let mut n = Net::new(&format!("conv{i} batch {batch}"));
            let x = n.input(&[batch, c, h, w]);
            let y = n.conv_dilated(x, m, k, s, pad, groups, d);
            let y = n.relu(y);
            // A second one, so that f16 streams with and without pads are read.
            let y = n.conv(y, 3, [1, 1], [1, 1], 0, 1);
            n.output(y);
            n.run("wafer-small");
        }
    }
}

#[test]
fn a_convolution_cut_into_few_pes() {
    for most in [1, 2, 3, 5] {
        let mut n = Net::new(&format!("at most {most} PEs"));
        let x = n.input(&[2, 3, 6, 7]);
        let y = n.conv(x, 7, [3, 3], [1, 1], 1, 1);
        let y = n.pool(y, Pool::Max, 2, 2, 0, 0);
        let y = n.op(Op::Reshape { shape: vec![2, 63] }, &[y]);
        let y = n.dense(y, 10);
        n.output(y);
        let inputs = [n.v.tensor(&[2, 3, 6, 7], 1.0)];
        run(&n.g, "wafer-small", &Options { max_pes_per_kernel: Some(most), ..Options::default() }, &inputs);
    }
}

#[test]
fn one_dimensional_convolution() {
    let mut n = Net::new("conv1d");
    let x = n.input(&[2, 3, 17]);
    let w = n.constant(&[4, 3, 3], 0.5);
    let window = Window { kernel: vec![3], stride: vec![2], dilation: vec![1], before: vec![1], after: vec![1] };
    let y = n.op(Op::Conv { window, groups: 1, epilogue: vec![EpilogueStep::Relu] }, &[x, w]);
    n.output(y);
    n.run("wafer-small");
}

#[test]
fn pools() {
    for kind in [Pool::Max, Pool::AverageExcludePad, Pool::AverageIncludePad] {
        for (k, s, before, after) in [(2, 2, 0, 0), (3, 2, 0, 1), (3, 1, 1, 1), (2, 3, 0, 0)] {
            for (h, w) in [(8, 8), (7, 9)] {
                let mut n = Net::new(&format!("{kind:?} {k} {s} {before} {after} {h}x{w}"));
                let x = n.input(&[2, 5, h, w]);
                let y = n.conv(x, 6, [1, 1], [1, 1], 0, 1);
                let y = n.pool(y, kind, k, s, before, after);
                let y = n.conv(y, 2, [1, 1], [1, 1], 0, 1);
                n.output(y);
                n.run("wafer-small");
            }
        }
    }
}

#[test]
fn dense_layers() {
    for (rows, k, m) in [(1, 12, 10), (5, 7, 8), (3, 64, 33)] {
        let mut n = Net::new(&format!("dense {rows}x{k}x{m}"));
        let x = n.input(&[rows, k]);
        let y = n.dense(x, m);
        let y = n.op(Op::Unary(Unary::Sigmoid), &[y]);
        let y = n.dense(y, 6);
        n.output(y);
        n.run("wafer-small");
    }
}

#[test]
fn flattened_images_need_no_reorder() {
    // As exporters write it: to NHWC, flatten, multiply.
    let mut n = Net::new("flatten");
    let x = n.input(&[2, 5, 5, 3]);
    let x = n.op(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[x]);
    let y = n.conv(x, 8, [3, 3], [1, 1], 0, 1);
    let y = n.op(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[y]);
    let y = n.op(Op::Reshape { shape: vec![2, 72] }, &[y]);
    let y = n.dense(y, 6);
    n.output(y);
    let m = Machine::builtin("wafer-small").expect("built in");
    let c = wafer::compile(&n.g, &m, &Options::default()).expect("compiles");
    assert!(!c.tiled.to_string().contains("reorder"), "{}", c.tiled);
    n.run("wafer-small");
}

#[test]
fn softmax_along_any_axis() {
    for (shape, axis) in
        [(vec![2, 10], 1), (vec![3, 4, 5], 1), (vec![2, 3, 4, 5], 3), (vec![2, 3, 4, 5], 1), (vec![4, 6], 0)]
    {
        let mut n = Net::new(&format!("softmax {shape:?} {axis}"));
        let x = n.input(&shape);
        let y = n.op(Op::Softmax { axis }, &[x]);
        n.output(y);
        n.run("wafer-small");
    }
    // After a convolution, over channels, seen as NHWC.
    let mut n = Net::new("softmax over channels");
    let x = n.input(&[1, 3, 5, 7]);
    let y = n.conv(x, 2, [1, 1], [1, 1], 0, 1);
    let y = n.op(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[y]);
    let y = n.op(Op::Softmax { axis: 3 }, &[y]);
    n.output(y);
    n.run("wafer-small");
}

#[test]
fn reductions() {
    for kind in [Reduce::Mean, Reduce::Sum, Reduce::Max, Reduce::Min] {
        for (shape, axes, keep) in
            [(vec![2, 3, 4, 5], vec![2, 3], true), (vec![2, 3, 4, 5], vec![1], false), (vec![4, 6], vec![1], true)]
        {
            let mut n = Net::new(&format!("{kind:?} {shape:?} {axes:?}"));
            let x = n.input(&shape);
            let y = n.op(Op::Unary(Unary::Sigmoid), &[x]);
            let y = n.op(Op::Reduce { kind, axes, keep }, &[y]);
            n.output(y);
            n.run("wafer-small");
        }
    }
}

#[test]
fn reorders() {
    let mut n = Net::new("nchw flatten to pixels");
    let x = n.input(&[2, 3, 4, 5]);
    let y = n.conv(x, 4, [1, 1], [1, 1], 0, 1);
    // Rows of the product are pixels: channels must come together.
    let y = n.op(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[y]);
    let y = n.dense(y, 6);
    n.output(y);
    n.run("wafer-small");
}

/// More than one PE holds: rows of 13 columns, runs of 32 elements, and what ends in a constant of its own extents.
#[test]
fn large_transposes_and_constants_are_shared() {
    for (shape, perm) in
        [(vec![1024, 14], vec![1, 0]), (vec![12, 40, 32], vec![1, 0, 2]), (vec![2, 96, 70], vec![0, 2, 1])]
    {
        let mut n = Net::new("large transpose");
        let x = n.input(&shape);
        let x = n.relu(x);
        let y = n.op(Op::Transpose { perm }, &[x]);
        let width = *n.g.shape(y).last().expect("a matrix");
        let rows = n.g.shape(y).iter().product::<usize>() / width;
        let y = n.op(Op::Reshape { shape: vec![rows, width] }, &[y]);
        let y = n.dense(y, 6);
        n.output(y);
        n.run("wafer");
    }
    let mut n = Net::new("large constant");
    let x = n.input(&[128, 120]);
    let c = n.constant(&[128, 120], 1.0);
    let y = n.op(Op::Binary(Binary::Mul), &[x, c]);
    n.output(y);
    n.run("wafer");
}

/// An image wide enough for lanes, through every kernel that can be in them.
#[test]
fn images_in_lanes() {
    for lanes in [2, 3, 7] {
        let mut n = Net::new("lanes");
        let x = n.input(&[2, 3, 9, 23]);
        let y = n.conv(x, 6, [3, 3], [1, 1], 1, 1);
        let y = n.relu(y);
        let z = n.conv(y, 6, [3, 3], [1, 1], 1, 6);
        let y = n.op(Op::Binary(Binary::Add), &[y, z]);
        let c = n.constant(&[6, 1, 1], 1.0);
        let y = n.op(Op::Binary(Binary::Prelu), &[y, c]);
        let p = n.pool(y, Pool::Max, 3, 1, 1, 1);
        let a = n.pool(y, Pool::AverageExcludePad, 3, 1, 1, 1);
        let y = n.op(Op::Concat { axis: 1 }, &[p, a]);
        let y = n.conv(y, 8, [3, 3], [2, 2], 1, 1);
        let s = n.op(Op::Slice { start: vec![0, 2, 0, 0], step: vec![1; 4], shape: vec![2, 5, 5, 12] }, &[y]);
        let s = n.op(Op::Softmax { axis: 1 }, &[s]);
        n.output(s);
        let m = n.op(Op::Reduce { kind: Reduce::Mean, axes: vec![2, 3], keep: true }, &[y]);
        let y = n.op(Op::Binary(Binary::Mul), &[y, m]);
        n.output(y);
        let inputs: Vec<Tensor> = n.g.inputs.clone().iter().map(|&v| n.v.tensor(n.g.shape(v), 1.0)).collect();
        run(&n.g, "wafer", &Options { lanes: Some(lanes), ..Options::default() }, &inputs);
    }
}

/// Cycles from one image of a batch `x` to the next, simulated and expected; checker-clean.
fn intervals(n: &mut Net, x: ValueId, options: &Options) -> (u64, u64) {
    let m = Machine::builtin("wafer").expect("a built-in machine");
    let c = wafer::compile(&n.g, &m, options).expect("it fits");
    assert!(rt::check(&c.program, &m).ok());
    let inputs = [n.v.tensor(n.g.shape(x), 1.0)];
    let sim = rt::simulate(&c.program, &m, &inputs).unwrap_or_else(|e| panic!("{e}"));
    let interval = sim.interval_cycles.expect("a batch");
    println!("{interval} cycles from image to image, {} expected", c.estimate.interval_cycles);
    (interval, c.estimate.interval_cycles)
}

/// Windows that look into other lanes: no lane waits at every row until its neighbours have sent theirs.
#[test]
fn neighbours_have_rows_ahead() {
    let mut n = Net::new("ahead");
    let x = n.input(&[4, 8, 12, 8]);
    let y = n.conv(x, 16, [1, 1], [1, 1], 0, 1);
    let y = n.conv(y, 16, [3, 3], [1, 1], 1, 1);
    let y = n.conv(y, 16, [3, 3], [1, 1], 1, 1);
    n.output(y);
    let options = Options { lanes: Some(4), bands: Some(1), ..Options::default() };
    let (interval, expected) = intervals(&mut n, x, &options);
    assert!(5 * interval <= 6 * expected);
}

/// A chain of 512 PEs with a word each: one by one they would take twice the time.
#[test]
fn long_chains_keep_their_pace() {
    let mut n = Net::new("chain");
    let x = n.input(&[4, 256, 4, 1]);
    let y = n.conv(x, 512, [1, 1], [1, 1], 0, 1);
    n.output(y);
    let options = Options { lanes: Some(1), bands: Some(1), groups: Some(1), ..Options::default() };
    let (interval, expected) = intervals(&mut n, x, &options);
    assert!(4 * interval <= 5 * expected);
}

/// An image of enough rows for bands, through every kernel that can be in them, its outputs in bands and whole.
#[test]
fn images_in_bands() {
    for (bands, lanes) in [(2, 1), (2, 2), (3, 3), (4, 2)] {
        let mut n = Net::new("bands");
        let x = n.input(&[2, 3, 19, 11]);
        let y = n.conv(x, 6, [3, 3], [1, 1], 1, 1);
        let y = n.relu(y);
        let z = n.conv(y, 6, [3, 3], [1, 1], 1, 6);
        let y = n.op(Op::Binary(Binary::Add), &[y, z]);
        let c = n.constant(&[6, 19, 11], 1.0);
        let y = n.op(Op::Binary(Binary::Prelu), &[y, c]);
        let p = n.pool(y, Pool::Max, 3, 1, 1, 1);
        let a = n.pool(y, Pool::AverageExcludePad, 3, 2, 1, 1);
        let q = n.conv(p, 5, [1, 1], [2, 2], 0, 1);
        n.output(a);
        let y = n.op(Op::Concat { axis: 1 }, &[q, a]);
        let y = n.conv(y, 8, [5, 3], [1, 1], 2, 1);
        let s = n.op(Op::Softmax { axis: 1 }, &[y]);
        n.output(s);
        let y = n.conv(y, 8, [3, 3], [2, 2], 1, 1);
        let m = n.op(Op::Reduce { kind: Reduce::Mean, axes: vec![2, 3], keep: true }, &[y]);
        let y = n.op(Op::Binary(Binary::Mul), &[y, m]);
        n.output(y);
        let inputs: Vec<Tensor> = n.g.inputs.clone().iter().map(|&v| n.v.tensor(n.g.shape(v), 1.0)).collect();
        let parts = Options { bands: Some(bands), lanes: Some(lanes), ..Options::default() };
        let m = Machine::builtin("wafer").expect("built in");
        let c = wafer::compile(&n.g, &m, &parts).unwrap_or_else(|e| panic!("{e}"));
        let beside = c.tiled.to_string().matches("backwards").count();
        assert!(
            beside >= bands * lanes,
            "{bands} bands of {lanes} lanes: {beside} kernels send rows across\n{}",
            c.tiled
        );
        run(&n.g, "wafer", &parts, &inputs);
    }
}

/// Rows that a general kernel sends in one long run meet a constant of one row: the run is cut where rows end, not where a block is full.
#[test]
fn constants_follow_the_axes_of_a_stream() {
    for (rows, columns, constant) in
        [(30, 1500, [1, 1500]), (40, 1536, [1, 1536]), (600, 12, [600, 1]), (9, 50, [1, 50])]
    {
        let mut n = Net::new("rows in one run");
        let x = n.input(&[rows, columns]);
        let y = n.op(Op::Cast(DType::I32), &[x]);
        let y = n.op(Op::Cast(DType::F32), &[y]);
        let c = n.constant(&constant, 1.0);
        let y = n.op(Op::Binary(Binary::Add), &[y, c]);
        n.output(y);
        let scaled = n.v.tensor(&[rows, columns], 50.0);
        let options = Options { groups: Some(1), max_pes_per_kernel: Some(4), ..Options::default() };
        run(&n.g, "wafer", &options, &[scaled]);
    }
}

/// Convolutions and products whose operands fit no PE: several kernels sum a part of each sum.
#[test]
fn sums_by_several_kernels() {
    let mut m = Machine::builtin("wafer").expect("built in");
    for (lanes, bands, batch, sram) in [(1, 1, 1, 3072), (3, 1, 2, 2048), (2, 2, 1, 2048)] {
        m.geometry.sram_bytes_per_pe = sram;
        let mut n = Net::new("sums in parts");
        let x = n.input(&[batch, 3, 12, 18]);
        let y = n.conv(x, 50, [1, 1], [1, 1], 0, 1);
        let y = n.conv(y, 6, [3, 3], [1, 1], 1, 1);
        let y = n.relu(y);
        let y = n.pool(y, Pool::Max, 2, 2, 0, 0);
        let y = n.conv(y, 4, [3, 1], [2, 1], 1, 1);
        n.output(y);
        let inputs = [n.v.tensor(&[batch, 3, 12, 18], 1.0)];
        let options = Options { lanes: Some(lanes), bands: Some(bands), ..Options::default() };
        let text = wafer::compile(&n.g, &m, &options).unwrap_or_else(|e| panic!("{e}")).tiled.to_string();
        assert!(text.matches("the sums before").count() >= lanes * bands, "{text}");
        run_on(&n.g, &m, &options, &inputs);
    }
    m.geometry.sram_bytes_per_pe = 3072;
    for (rows, k) in [(1, 2500), (3, 1999)] {
        let mut n = Net::new("long rows");
        let x = n.input(&[rows, k]);
        let y = n.dense(x, 5);
        let y = n.relu(y);
        n.output(y);
        let inputs = [n.v.tensor(&[rows, k], 1.0)];
        let text = wafer::compile(&n.g, &m, &Options::default()).unwrap_or_else(|e| panic!("{e}")).tiled.to_string();
        assert!(text.contains("the sums before"), "{text}");
        run_on(&n.g, &m, &Options::default(), &inputs);
    }
    // A flattened image, whose runs are those of its rows.
    let mut n = Net::new("flattened");
    let x = n.input(&[2, 8, 12, 15]);
    let y = n.conv(x, 9, [1, 1], [1, 1], 0, 1);
    let y = n.op(Op::Reshape { shape: vec![2, 1620] }, &[y]);
    let y = n.dense(y, 4);
    n.output(y);
    let inputs = [n.v.tensor(&[2, 8, 12, 15], 1.0)];
    run_on(&n.g, &m, &Options::default(), &inputs);
}

/// Sums in as many kernels as one wants, in lanes and without: each right to the bit. The planner takes them apart where the slowest
/// kernel gains by it, and nowhere else.
#[test]
fn sums_in_parts_are_an_alternative() {
    let m = Machine::builtin("wafer").expect("built in");
    let parts = |text: &str| text.matches("the sums before").count();
    let compiled = |g: &Graph, options: &Options| wafer::compile(g, &m, options).unwrap_or_else(|e| panic!("{e}"));
    // Many columns: what is received and sent is the most of it.
    let mut n = Net::new("many columns");
    let x = n.input(&[6, 64]);
    let y = n.dense(x, 96);
    n.output(y);
    assert_eq!(parts(&compiled(&n.g, &Options::default()).tiled.to_string()), 0);
    // Windows over narrow images of many channels, in lanes and in bands.
    for (lanes, bands) in [(1, 1), (4, 1), (2, 2)] {
        let mut n = Net::new("deep windows");
        let x = n.input(&[1, 48, 6, 8]);
        let y = n.conv(x, 6, [3, 3], [1, 1], 1, 1);
        let y = n.relu(y);
        let y = n.conv(y, 5, [3, 3], [1, 1], 1, 1);
        n.output(y);
        let inputs = [n.v.tensor(&[1, 48, 6, 8], 1.0)];
        let mut taken = Vec::new();
        for sums in [Some(1), Some(2), Some(8), None] {
            let options = Options { sums, lanes: Some(lanes), bands: Some(bands), ..Options::default() };
            let text = compiled(&n.g, &options).tiled.to_string();
            let cycles = run_on(&n.g, &m, &options, &inputs);
            println!("windows, {lanes} lanes, {bands} bands, sums {sums:?}: {} parts, {cycles} cycles", parts(&text));
            taken.push((parts(&text), cycles));
        }
        assert!(taken[0].0 == 0 && taken[1].0 > 0 && taken[2].0 > taken[1].0, "{taken:?}");
        // Faster than without, and as fast as all sums in as many parts, but for what is expected wrongly.
        assert!(taken[3].0 > 0 && taken[3].1 < taken[0].1, "{taken:?}");
        assert!(taken[1..3].iter().all(|t| taken[3].1 * 100 <= t.1 * 102), "{taken:?}");
    }
}

/// A batch in groups of images, each with kernels of its own, in lanes and without.
#[test]
fn batches_in_groups() {
    for (groups, lanes) in [(2, 1), (4, 1), (2, 3)] {
        let mut n = Net::new(&format!("{groups} groups"));
        let x = n.input(&[4, 9, 12, 3]);
        let x = n.op(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[x]);
        let y = n.conv(x, 6, [3, 3], [1, 1], 1, 1);
        let y = n.relu(y);
        let z = n.conv(y, 6, [3, 3], [1, 1], 1, 6);
        let y = n.op(Op::Concat { axis: 1 }, &[y, z]);
        let y = n.pool(y, Pool::Max, 2, 2, 0, 0);
        n.output(y);
        let m = n.op(Op::Reduce { kind: Reduce::Mean, axes: vec![2, 3], keep: true }, &[y]);
        let y = n.op(Op::Binary(Binary::Mul), &[y, m]);
        let y = n.op(Op::Slice { start: vec![0, 2, 0, 0], step: vec![1; 4], shape: vec![4, 5, 4, 6] }, &[y]);
        let y = n.op(Op::Reshape { shape: vec![4, 120] }, &[y]);
        let y = n.dense(y, 10);
        let y = n.op(Op::Softmax { axis: 1 }, &[y]);
        n.output(y);
        let inputs = [n.v.tensor(&[4, 9, 12, 3], 1.0)];
        let options = Options { groups: Some(groups), lanes: Some(lanes), ..Options::default() };
        let m = Machine::builtin("wafer").expect("built in");
        let text = wafer::compile(&n.g, &m, &options).unwrap_or_else(|e| panic!("{e}")).tiled.to_string();
        assert_eq!(text.matches("= softmax").count(), groups, "{text}");
        run(&n.g, "wafer", &options, &inputs);
    }
    // What looks from image to image is not taken apart.
    let mut n = Net::new("images that know each other");
    let x = n.input(&[4, 10]);
    let m = n.op(Op::Reduce { kind: Reduce::Mean, axes: vec![0], keep: true }, &[x]);
    let y = n.op(Op::Binary(Binary::Sub), &[x, m]);
    let y = n.dense(y, 6);
    n.output(y);
    let inputs = [n.v.tensor(&[4, 10], 1.0)];
    run(&n.g, "wafer", &Options { groups: Some(2), ..Options::default() }, &inputs);
}

/// Windows over what rows of products make: a spectrogram.
#[test]
fn an_image_that_products_make_goes_in_lanes() {
    let mut n = Net::new("spectrogram");
    let x = n.input(&[1, 14, 20]);
    let y = n.dense(x, 22);
    let y = n.op(Op::Binary(Binary::Mul), &[y, y]);
    let y = n.op(Op::Reshape { shape: vec![1, 1, 14, 22] }, &[y]);
    let y = n.conv(y, 5, [3, 3], [1, 1], 1, 1);
    let y = n.pool(y, Pool::Max, 2, 2, 0, 0);
    n.output(y);
    let inputs = [n.v.tensor(&[1, 14, 20], 1.0)];
    let options = Options { lanes: Some(4), ..Options::default() };
    let m = Machine::builtin("wafer").expect("built in");
    let text = wafer::compile(&n.g, &m, &options).unwrap_or_else(|e| panic!("{e}")).tiled.to_string();
    assert!(text.matches("= conv ").count() >= 4 || text.matches("conv").count() >= 4, "{text}");
    run(&n.g, "wafer", &options, &inputs);
}

/// Attention over more places than a PE holds: products whose right operand several PEs hold, columns or rows coming first.
#[test]
fn products_of_large_computed_matrices() {
    for heads in [1, 2] {
        let mut n = Net::new(&format!("attention of {heads}"));
        let q = n.input(&[heads, 30, 64]);
        let k = n.input(&[heads, 400, 64]);
        let v = n.input(&[heads, 400, 64]);
        let k = n.op(Op::Transpose { perm: vec![0, 2, 1] }, &[k]);
        let scores = n.op(Op::MatMul { epilogue: vec![] }, &[q, k]);
        let p = n.op(Op::Softmax { axis: 2 }, &[scores]);
        let y = n.op(Op::MatMul { epilogue: vec![] }, &[p, v]);
        n.output(y);
        n.run("wafer");
    }
}

/// Sums over rows that come one after the other need no other order.
#[test]
fn reductions_over_rows() {
    for kind in [Reduce::Sum, Reduce::Mean, Reduce::Max] {
        let mut n = Net::new(&format!("{kind:?} over rows"));
        let x = n.input(&[2, 90, 32]);
        let y = n.dense(x, 160);
        let y = n.op(Op::Reduce { kind, axes: vec![1], keep: false }, &[y]);
        n.output(y);
        n.run("wafer");
    }
}

/// Images that become smaller, so that lanes are stitched where bands meet: rows and columns cross in all directions.
#[test]
fn bands_of_images_that_shrink() {
    for (bands, lanes) in [(2, 4), (3, 2), (2, 2)] {
        let mut n = Net::new("shrinking bands");
        let x = n.input(&[3, 3, 56, 16]);
        let y = n.conv(x, 6, [7, 7], [2, 2], 3, 1);
        let y = n.pool(y, Pool::Max, 3, 2, 1, 1);
        let z = n.conv(y, 5, [1, 1], [1, 1], 0, 1);
        let z = n.conv(z, 8, [3, 3], [2, 2], 1, 1);
        let short = n.conv(y, 8, [1, 1], [2, 2], 0, 1);
        let y = n.op(Op::Binary(Binary::Add), &[short, z]);
        let m = n.op(Op::Reduce { kind: Reduce::Mean, axes: vec![2, 3], keep: true }, &[y]);
        n.output(m);
        let inputs: Vec<Tensor> = n.g.inputs.clone().iter().map(|&v| n.v.tensor(n.g.shape(v), 1.0)).collect();
        let parts = Options { bands: Some(bands), lanes: Some(lanes), ..Options::default() };
        run(&n.g, "wafer", &parts, &inputs);
    }
}

#[test]
fn concatenations_and_slices() {
    for axis in 0..4 {
        let mut n = Net::new(&format!("concat {axis}"));
        let x = n.input(&[2, 3, 4, 5]);
        let y = n.input(&[2, 3, 4, 5]);
        let a = n.conv(x, 2, [1, 1], [1, 1], 0, 1);
        let b = n.conv(y, 2, [1, 1], [1, 1], 0, 1);
        let z = n.op(Op::Concat { axis }, &[a, b]);
        let z = n.conv(z, 2, [1, 1], [1, 1], 0, 1);
        n.output(z);
        n.run("wafer-small");
    }
    for (start, step, shape) in [
        (vec![0, 1, 0, 0], vec![1, 1, 1, 1], vec![2, 2, 4, 5]),
        (vec![0, 0, 1, 1], vec![1, 1, 1, 1], vec![2, 3, 2, 3]),
        (vec![0, 0, 0, 4], vec![1, 1, 1, -2], vec![2, 3, 4, 3]),
        (vec![1, 0, 0, 0], vec![1, 1, 1, 1], vec![1, 3, 4, 5]),
    ] {
        let mut n = Net::new(&format!("slice {start:?} {step:?} {shape:?}"));
        let x = n.input(&[2, 3, 4, 5]);
        let a = n.conv(x, 3, [1, 1], [1, 1], 0, 1);
        let a = n.op(Op::Slice { start, step, shape }, &[a]);
        let z = n.conv(a, 2, [1, 1], [1, 1], 0, 1);
        n.output(z);
        n.run("wafer-small");
    }
}

/// A part of an input is what its port sends: with windows behind it, with steps, beside the whole, in lanes.
#[test]
fn slices_of_inputs() {
    for lanes in [1, 2, 5] {
        let mut n = Net::new("slices of inputs");
        let x = n.input(&[2, 5, 9, 24]);
        let part = |start: [usize; 4], step: [isize; 4], shape: [usize; 4]| Op::Slice {
            start: start.to_vec(),
            step: step.to_vec(),
            shape: shape.to_vec(),
        };
        let a = n.op(part([0, 1, 2, 3], [1, 2, 1, 1], [2, 2, 7, 20]), &[x]);
        let a = n.conv(a, 3, [3, 3], [1, 1], 1, 1);
        n.output(a);
        let b = n.op(part([1, 0, 0, 1], [1, 1, 4, 3], [1, 5, 3, 8]), &[x]);
        let b = n.relu(b);
        n.output(b);
        let all = n.relu(x);
        n.output(all);
        let inputs: Vec<Tensor> = n.g.inputs.clone().iter().map(|&v| n.v.tensor(n.g.shape(v), 1.0)).collect();
        run(&n.g, "wafer", &Options { lanes: Some(lanes), ..Options::default() }, &inputs);
    }
    // Much more than a PE holds.
    let mut n = Net::new("a long input");
    let x = n.input(&[1, 40000]);
    let y = n.op(Op::Slice { start: vec![0, 5], step: vec![1, 1], shape: vec![1, 30000] }, &[x]);
    let y = n.op(Op::Reshape { shape: vec![300, 100] }, &[y]);
    let y = n.dense(y, 4);
    n.output(y);
    n.run("wafer-small");
}

/// Cells that become more cells, with a bias and elementwise nodes after it, on few PEs and many, in lanes.
#[test]
fn transposed_convolutions() {
    for (c, m, k, lanes) in
        [(3, 4, [2, 2], 1), (5, 1, [2, 3], 1), (4, 6, [3, 2], 2), (2, 3, [2, 2], 4), (3, 2, [1, 4], 3)]
    {
        let mut n = Net::new("transposed");
        let x = n.input(&[2, c, 5, 16]);
        let x = n.conv(x, c, [3, 3], [1, 1], 1, 1);
        let w = n.constant(&[c, m, k[0], k[1]], 0.5);
        let window = Window {
            kernel: k.to_vec(),
            stride: k.to_vec(),
            dilation: vec![1; 2],
            before: vec![0; 2],
            after: vec![0; 2],
        };
        let y = n.op(Op::ConvTranspose { window, groups: 1, extra: vec![0; 2] }, &[x, w]);
        let bias = n.constant(&[m, 1, 1], 0.3);
        let y = n.op(Op::Binary(Binary::Add), &[y, bias]);
        let y = n.relu(y);
        let z = n.conv(y, 2, [3, 3], [1, 1], 1, 1);
        n.output(z);
        n.output(y);
        let inputs: Vec<Tensor> = n.g.inputs.clone().iter().map(|&v| n.v.tensor(n.g.shape(v), 1.0)).collect();
        for most in [None, Some(1)] {
            run(
                &n.g,
                "wafer",
                &Options { lanes: Some(lanes), max_pes_per_kernel: most, ..Options::default() },
                &inputs,
            );
        }
    }
}

/// Of the PEs that share a row of many channels, those in the middle hold most of it: a cut for which only those at the ends
/// have room is none.
#[test]
fn every_share_of_a_row_fits_its_pe() {
    for (channels, width) in [(96, 160), (128, 161), (64, 200)] {
        let mut n = Net::new("wide");
        let x = n.input(&[1, channels, 6, width]);
        let y = n.conv(x, 8, [3, 3], [1, 1], 1, 1);
        n.output(y);
        let m = Machine::builtin("wafer").expect("built in");
        match wafer::compile(&n.g, &m, &Options::default()) {
            Ok(c) => {
                let report = rt::check(&c.program, &m);
                assert!(report.ok(), "{channels} x {width}: {:?}", first(&report.errors));
            }
            Err(CompileError::DoesNotFit { need, have, .. }) => assert!(need > have),
            Err(e) => panic!("{e}"),
        }
    }
}

/// Rows, then columns repeated, as enlargements are spelled; on few PEs and many, in lanes.
#[test]
fn enlarged_images() {
    for (by, lanes) in [([2, 2], 1), ([3, 2], 2), ([1, 4], 4), ([2, 1], 3)] {
        let mut n = Net::new("enlarged");
        let x = n.input(&[2, 3, 4, 8]);
        let x = n.conv(x, 5, [3, 3], [1, 1], 1, 1);
        let y = n.op(Op::Reshape { shape: vec![2, 5, 4, 1, 8] }, &[x]);
        let y = n.op(Op::Broadcast { shape: vec![2, 5, 4, by[0], 8] }, &[y]);
        let h = 4 * by[0];
        let y = n.op(Op::Reshape { shape: vec![2, 5, h, 8, 1] }, &[y]);
        let y = n.op(Op::Broadcast { shape: vec![2, 5, h, 8, by[1]] }, &[y]);
        let y = n.op(Op::Reshape { shape: vec![2, 5, h, 8 * by[1]] }, &[y]);
        let y = n.relu(y);
        n.output(y);
        let z = n.conv(y, 2, [3, 3], [1, 1], 1, 1);
        n.output(z);
        let inputs: Vec<Tensor> = n.g.inputs.clone().iter().map(|&v| n.v.tensor(n.g.shape(v), 1.0)).collect();
        for most in [None, Some(1)] {
            run(
                &n.g,
                "wafer",
                &Options { lanes: Some(lanes), max_pes_per_kernel: most, ..Options::default() },
                &inputs,
            );
        }
    }
}

/// Products of bytes less their zero points with constants larger than a PE: exact, the sum cut where f32 would not hold it.
#[test]
fn products_of_whole_numbers() {
    let ints = |shape: &[usize], f: &dyn Fn(usize) -> i32| {
        let data: Vec<u8> = (0..shape.iter().product()).flat_map(|i| f(i).to_le_bytes()).collect();
        Tensor::new(DType::I32, shape.to_vec(), data).expect("as many values as elements")
    };
    for (k, m) in [(40, 3), (512, 96), (1100, 40)] {
        let mut n = Net::new("whole numbers");
        let x = n.g.add_input("x", TensorType::new(DType::U8, vec![2, k]));
        let z = n.g.add_input("z", TensorType::new(DType::U8, vec![1]));
        let xi = n.op(Op::Cast(DType::I32), &[x]);
        let zi = n.op(Op::Cast(DType::I32), &[z]);
        let d = n.op(Op::Binary(Binary::Sub), &[xi, zi]);
        let w = n.g.add_const("w", ints(&[k, m], &|i| (i * 89 % 255) as i32 - 127));
        let y = n.op(Op::MatMul { epilogue: vec![] }, &[d, w]);
        n.output(y);
        let bytes: Vec<u8> = (0..2 * k).map(|i| if i < k { 255 } else { (i * 37 % 256) as u8 }).collect();
        let x = Tensor::new(DType::U8, vec![2, k], bytes).expect("as many values as elements");
        let z = Tensor::new(DType::U8, vec![1], vec![3]).expect("one");
        run(&n.g, "wafer", &Options::default(), &[x, z]);
    }
}

/// A part that is dense in memory but does not begin where its buffer does.
#[test]
fn slices_of_integers() {
    for (shape, start, part) in [
        (vec![12], vec![1], vec![11]),
        (vec![12], vec![11], vec![1]),
        (vec![4, 5], vec![2, 0], vec![2, 5]),
        (vec![4, 5], vec![3, 1], vec![1, 3]),
        (vec![2, 3, 4], vec![1, 1, 0], vec![1, 2, 4]),
    ] {
        let mut n = Net::new(&format!("slice {start:?} {part:?} of {shape:?}"));
        let x = n.g.add_input("x", TensorType::new(DType::I32, shape.clone()));
        let step = vec![1; shape.len()];
        let z = n.op(Op::Slice { start, step, shape: part }, &[x]);
        n.output(z);
        let values: Vec<u8> = (0..shape.iter().product::<usize>() as i32).flat_map(i32::to_le_bytes).collect();
        let x = Tensor::new(DType::I32, shape, values).expect("as many values as elements");
        run(&n.g, "wafer-small", &Options::default(), &[x]);
    }
}

fn digits(batch: usize, size: usize) -> Net {
    let mut n = Net::new("digits");
    let x = n.input(&[batch, 1, size, size]);
    let y = n.conv(x, 8, [3, 3], [1, 1], 1, 1);
    let y = n.relu(y);
    let y = n.pool(y, Pool::Max, 2, 2, 0, 0);
    let y = n.conv(y, 16, [3, 3], [1, 1], 1, 1);
    let y = n.relu(y);
    let y = n.pool(y, Pool::Max, 2, 2, 0, 0);
    let k = 16 * (size / 4) * (size / 4);
    let y = n.op(Op::Reshape { shape: vec![batch, k] }, &[y]);
    let y = n.dense(y, 10);
    let y = n.op(Op::Softmax { axis: 1 }, &[y]);
    n.output(y);
    n
}

#[test]
fn a_digit_classifier_on_both_meshes() {
    digits(1, 8).run("wafer-small");
    digits(2, 28).run("wafer");
}

/// What a placement looks like; that it is right is for the run beside it to show.
#[test]
fn the_placement_of_a_digit_classifier() {
    let n = digits(1, 8);
    let m = Machine::builtin("wafer-small").expect("built in");
    let c = wafer::compile(&n.g, &m, &Options::default()).expect("compiles");
    insta::assert_snapshot!(c.tiled.to_string());
    n.run("wafer-small");
}

#[test]
fn two_outputs_of_one_trunk() {
    let mut n = Net::new("two heads");
    let x = n.input(&[1, 3, 8, 8]);
    let t = n.conv(x, 4, [3, 3], [1, 1], 0, 1);
    let t = n.relu(t);
    let a = n.conv(t, 4, [1, 1], [1, 1], 0, 1);
    let b = n.conv(t, 2, [1, 1], [1, 1], 0, 1);
    let b = n.op(Op::Softmax { axis: 1 }, &[b]);
    n.output(a);
    n.output(b);
    n.output(t);
    n.run("wafer-small");
}

#[test]
fn what_cannot_be_mapped_is_listed_by_node() {
    let mut n = Net::new("unsupported");
    let x = n.input(&[2, 4]);
    // Products and shifts of i32 are exact on no lane of the mesh.
    let x = n.op(Op::Cast(DType::I32), &[x]);
    let y = n.op(Op::Binary(Binary::Mul), &[x, x]);
    let z = n.op(Op::Binary(Binary::Shl), &[y, x]);
    let z = n.op(Op::Cast(DType::F32), &[z]);
    n.output(z);
    let m = Machine::builtin("wafer-small").expect("built in");
    match wafer::compile(&n.g, &m, &Options::default()) {
        Err(CompileError::Unsupported { node, op, reason, remedy, .. }) => {
            assert_eq!((node.as_str(), op.as_str()), ("mul_2", "mul"));
            assert!(!reason.is_empty() && !remedy.is_empty());
        }
        other => panic!("{other:?}"),
    }
    let report = wafer::check(&n.g, &m);
    let bad: Vec<&str> = report.iter().filter(|s| s.problem.is_some()).map(|s| s.node.as_str()).collect();
    assert_eq!(bad, ["mul_2", "shl_3"]);
    assert_eq!(report.len(), 4);
}

#[test]
fn compiling_twice_gives_the_same_program() {
    let m = Machine::builtin("wafer-small").expect("built in");
    let once = wafer::compile(&digits(1, 8).g, &m, &Options::default()).expect("compiles").program;
    let twice = wafer::compile(&digits(1, 8).g, &m, &Options::default()).expect("compiles").program;
    assert!(once == twice);
}

#[test]
fn residuals_get_buffers() {
    for batch in [1, 2] {
        for depth in 1..4 {
            let mut n = Net::new(&format!("residual {batch} {depth}"));
            let x = n.input(&[batch, 3, 8, 6]);
            let s = n.conv(x, 4, [1, 1], [1, 1], 0, 1);
            let mut y = s;
            for _ in 0..depth {
                y = n.conv(y, 4, [3, 3], [1, 1], 1, 1);
                y = n.relu(y);
            }
            let y = n.op(Op::Binary(Binary::Add), &[y, s]);
            let y = n.relu(y);
            n.output(y);
            n.run("wafer-small");
        }
    }
}

#[test]
fn a_residual_with_a_projection() {
    let mut n = Net::new("projection");
    let x = n.input(&[2, 4, 8, 8]);
    let x = n.conv(x, 4, [3, 3], [1, 1], 1, 1);
    let a = n.conv(x, 6, [3, 3], [2, 2], 1, 1);
    let a = n.relu(a);
    let a = n.conv(a, 6, [3, 3], [1, 1], 1, 1);
    let b = n.conv(x, 6, [1, 1], [2, 2], 0, 1);
    let y = n.op(Op::Binary(Binary::Add), &[a, b]);
    let y = n.relu(y);
    let y = n.op(Op::Reduce { kind: Reduce::Mean, axes: vec![2, 3], keep: false }, &[y]);
    let y = n.dense(y, 5);
    n.output(y);
    n.run("wafer-small");
}

#[test]
fn branches_that_meet_in_a_concatenation() {
    let mut n = Net::new("inception");
    let x = n.input(&[1, 3, 8, 8]);
    let x = n.conv(x, 4, [3, 3], [1, 1], 1, 1);
    let a = n.conv(x, 2, [1, 1], [1, 1], 0, 1);
    let b = n.conv(x, 2, [3, 3], [1, 1], 1, 1);
    let c = n.conv(x, 2, [5, 5], [1, 1], 2, 1);
    let d = n.pool(x, Pool::Max, 3, 1, 1, 1);
    let y = n.op(Op::Concat { axis: 1 }, &[a, b, c, d]);
    let y = n.conv(y, 3, [1, 1], [1, 1], 0, 1);
    n.output(y);
    n.run("wafer-small");
}

#[test]
fn wide_rows_are_shared_by_several_pes() {
    for (w, stride, groups) in [(40, 1, 1), (37, 1, 1), (151, 2, 1), (41, 1, 2)] {
        let mut n = Net::new(&format!("wide {w} {stride} {groups}"));
        let x = n.input(&[2, 8, 6, w]);
        let y = n.conv(x, 2, [3, 3], [stride, stride], 1, groups);
        let s = n.constant(&[2, 1, 1], 0.5);
        let y = n.op(Op::Binary(Binary::Prelu), &[y, s]);
        let wide = *n.g.shape(y).last().expect("an image");
        let s = n.constant(&[wide], 0.5);
        let y = n.op(Op::Binary(Binary::Mul), &[y, s]);
        let y = n.conv(y, 2, [1, 1], [1, 1], 0, 1);
        n.output(y);
        let m = Machine::builtin("wafer-small").expect("built in");
        let options = Options { lanes: Some(1), bands: Some(1), groups: Some(1), sums: Some(1), ..Options::default() };
        let c = wafer::compile(&n.g, &m, &options).expect("compiles");
        assert!(c.tiled.to_string().contains("a row"), "{}", c.tiled);
        let inputs = [n.v.tensor(&[2, 8, 6, w], 1.0)];
        run_on(&n.g, &m, &options, &inputs);
    }
}

/// A random small network, drawn from a seed.
fn random_net(seed: u64) -> Net {
    let mut n = Net::new(&format!("random {seed}"));
    n.v = Values(seed);
    for _ in 0..4 {
        n.v.next();
    }
    let pick = |n: &mut Net, k: usize| (((n.v.next() + 1.0) / 2.0 * k as f32) as usize).min(k - 1);
    let (b, c) = (1 + pick(&mut n, 2), 1 + pick(&mut n, 4));
    let (h, w) = (4 + pick(&mut n, 6), 4 + pick(&mut n, 9));
    let mut x = n.input(&[b, c, h, w]);
    for _ in 0..2 + pick(&mut n, 4) {
        let [_, c, h, w] = n.g.shape(x).to_vec()[..] else { unreachable!("images have four axes") };
        x = match pick(&mut n, 10) {
            0 | 1 if h > 2 && w > 2 => {
                let (m, s, pad) = (1 + pick(&mut n, 5), 1 + pick(&mut n, 2), pick(&mut n, 2));
                n.conv(x, m, [3, 3], [s, s], pad, 1)
            }
            2 => {
                let k = [1 + pick(&mut n, h.min(3)), 1 + pick(&mut n, w.min(3))];
                let (m, s) = (1 + pick(&mut n, 6), [1 + pick(&mut n, 3), 1 + pick(&mut n, 3)]);
                n.conv(x, m, k, s, 0, 1)
            }
            3 if h > 2 && w > 2 => n.conv(x, c * 2, [3, 3], [1, 1], 1, c),
            4 if h > 1 && w > 1 => {
                let kind = [Pool::Max, Pool::AverageExcludePad, Pool::AverageIncludePad][pick(&mut n, 3)];
                let s = 1 + pick(&mut n, 2);
                n.pool(x, kind, 2, s, 0, 0)
            }
            5 => n.relu(x),
            6 => {
                let shape = [vec![c, 1, 1], vec![w], vec![h, 1], vec![c, h, w], vec![]][pick(&mut n, 5)].clone();
                let k = n.constant(&shape, 1.0);
                let op = [Binary::Add, Binary::Mul, Binary::Prelu, Binary::Max][pick(&mut n, 4)];
                n.op(Op::Binary(op), &[x, k])
            }
            7 => {
                let perm = [vec![0, 2, 3, 1], vec![0, 1, 3, 2], vec![0, 3, 1, 2]][pick(&mut n, 3)].clone();
                n.op(Op::Transpose { perm }, &[x])
            }
            8 if h > 2 && w > 2 => {
                let y = n.conv(x, c, [3, 3], [1, 1], 1, 1);
                n.op(Op::Binary(Binary::Add), &[y, x])
            }
            9 => {
                let a = n.conv(x, 2, [1, 1], [1, 1], 0, 1);
                let b = n.conv(x, 3, [1, 1], [1, 1], 0, 1);
                n.op(Op::Concat { axis: 1 }, &[a, b])
            }
            _ => n.op(Op::Unary(Unary::Tanh), &[x]),
        };
    }
    match pick(&mut n, 4) {
        0 => x = n.op(Op::Softmax { axis: 1 }, &[x]),
        1 => x = n.op(Op::Reduce { kind: Reduce::Mean, axes: vec![2, 3], keep: false }, &[x]),
        2 => {
            let s = n.g.shape(x).to_vec();
            x = n.op(Op::Reshape { shape: vec![s[0], s[1] * s[2] * s[3]] }, &[x]);
            x = n.dense(x, 6);
        }
        _ => {}
    }
    n.output(x);
    n
}

#[test]
fn random_networks() {
    for seed in 0..300 {
        random_net(seed).run("wafer-small");
    }
}

#[test]
fn two_computed_operands_of_different_extents() {
    let mut n = Net::new("general");
    let x = n.input(&[4, 6, 50]);
    let y = n.input(&[4, 1, 50]);
    let a = n.op(Op::Binary(Binary::Sub), &[x, y]);
    let t = n.op(Op::Transpose { perm: vec![0, 2, 1] }, &[a]);
    let p = n.op(Op::MatMul { epilogue: vec![] }, &[a, t]);
    let s = n.op(Op::Softmax { axis: 2 }, &[p]);
    let r = n.op(Op::Reduce { kind: Reduce::Sum, axes: vec![0, 2], keep: false }, &[a]);
    n.output(s);
    n.output(r);
    n.run("wafer-small");
}

#[test]
fn rounds_are_shared_by_several_pes() {
    let mut n = Net::new("rounds");
    let x = n.input(&[24, 4, 60]);
    let y = n.input(&[24, 1, 60]);
    let z = n.op(Op::Unary(Unary::Sin), &[x]);
    let m = n.op(Op::Binary(Binary::Mod), &[z, y]);
    let c = n.op(Op::CumSum { axis: 2, exclusive: false, reverse: true }, &[z]);
    n.output(c);
    n.output(z);
    let _ = m;
    n.run("wafer-small");
}

#[test]
fn a_table_larger_than_a_pe_is_searched_by_a_chain() {
    let mut n = Net::new("embedding");
    let table = n.constant(&[3000, 16], 1.0);
    let ids = n.g.add_input("ids", TensorType::new(DType::I64, vec![1, 5]));
    let rows = n.op(Op::Gather { axis: 0 }, &[table, ids]);
    n.output(rows);
    let at: Vec<u8> = [0i64, 2999, 17, -1, 1500].iter().flat_map(|v| v.to_le_bytes()).collect();
    let ids = Tensor::new(DType::I64, vec![1, 5], at).expect("five indices");
    run(&n.g, "wafer-small", &Options::default(), &[ids]);
}

#[test]
fn small_nodes_of_a_long_graph_share_pes() {
    let mut n = Net::new("recurrent");
    let x = n.input(&[60, 16]);
    let mut h = n.constant(&[1, 16], 0.5);
    for t in 0..60 {
        let part = n.op(Op::Slice { start: vec![t, 0], step: vec![1, 1], shape: vec![1, 16] }, &[x]);
        let s = n.op(Op::Binary(Binary::Add), &[part, h]);
        let u = n.op(Op::Unary(Unary::Tanh), &[s]);
        let v = n.op(Op::Unary(Unary::Sigmoid), &[s]);
        h = n.op(Op::Binary(Binary::Mul), &[u, v]);
    }
    n.output(h);
    let m = Machine::builtin("wafer").expect("built in");
    let pes = wafer::compile(&n.g, &m, &Options::default()).expect("compiles").estimate.pes;
    assert!(pes <= 130, "{pes} PEs for 300 nodes");
    n.run("wafer");
}
