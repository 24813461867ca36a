//! Growth: networks of 10, 100 and 1,000 kernels placed, routed, checked and simulated, and what each stage takes. Times are printed
//! and decide nothing; `cargo test -p quadrille-tests --test wafer_growth -- --nocapture` shows them.

use quadrille_compiler::ir::{Binary, DType};
use quadrille_compiler::ir::{EpilogueStep, Graph, Op, Tensor, TensorType, ValueId, Window};
use quadrille_isa::wafer::{Machine, Program};
use quadrille_runtime::wafer as rt;
use quadrille_wafer::{self as wafer, Compiled, Options};
use std::collections::BTreeSet;
use std::time::Instant;

/// Channels of all images.
const CHANNELS: usize = 4;
/// Rows and columns.
const SIDE: usize = 8;

/// Values in eighths, different from node to node.
fn weights(shape: &[usize], salt: usize) -> Tensor {
    let n: usize = shape.iter().product();
    let value = |i: usize| ((i * 7 + salt * 13) % 17) as f32 / 32.0 - 0.25;
    Tensor::from_f32(shape, &(0..n).map(value).collect::<Vec<_>>())
}

struct Net {
    g: Graph,
    nodes: usize,
}

impl Net {
    fn origin(&mut self, what: &str) -> quadrille_compiler::ir::OriginId {
        self.nodes += 1;
        self.g.push_origin(format!("{what}{}", self.nodes))
    }

    /// A convolution with a rectifier.
    fn conv(&mut self, x: ValueId, kernel: usize) -> ValueId {
        let origin = self.origin("conv");
        let pad = vec![kernel / 2; 2];
        let w = self.g.add_const("w", weights(&[CHANNELS, CHANNELS, kernel, kernel], self.nodes));
        let window = Window {
            kernel: vec![kernel; 2],
            stride: vec![1; 2],
            dilation: vec![1; 2],
            before: pad.clone(),
            after: pad,
        };
        let op = Op::Conv { window, groups: 1, epilogue: vec![EpilogueStep::Relu] };
        self.g.add_node(op, &[x, w], origin).expect("types agree")
    }

    fn add(&mut self, x: ValueId, y: ValueId) -> ValueId {
        let origin = self.origin("add");
        self.g.add_node(Op::Binary(Binary::Add), &[x, y], origin).expect("types agree")
    }
}

/// About `n` kernels: residual blocks, every third of two branches beside the residual.
fn residual(n: usize) -> Graph {
    let mut net = Net { g: Graph::new(format!("residual-{n}")), nodes: 0 };
    let mut x = net.g.add_input("x", TensorType::new(DType::F32, [1, CHANNELS, SIDE, SIDE]));
    let mut block = 0;
    while net.nodes + 3 <= n {
        let a = net.conv(x, 3);
        let y = match block % 3 {
            2 => {
                let b = net.conv(x, 1);
                net.add(a, b)
            }
            _ => net.conv(a, 1),
        };
        x = net.add(x, y);
        block += 1;
    }
    net.g.add_output("y", x);
    net.g
}

/// A chain of `n` convolutions.
fn chain(n: usize) -> Graph {
    let mut net = Net { g: Graph::new(format!("chain-{n}")), nodes: 0 };
    let mut x = net.g.add_input("x", TensorType::new(DType::F32, [1, CHANNELS, SIDE, SIDE]));
    for _ in 0..n {
        x = net.conv(x, 3);
    }
    net.g.add_output("y", x);
    net.g
}

/// `n` kernels in branches as wide as they are long, all from one image and summed in the end.
fn fan(n: usize) -> Graph {
    let mut net = Net { g: Graph::new(format!("fan-{n}")), nodes: 0 };
    let x = net.g.add_input("x", TensorType::new(DType::F32, [1, CHANNELS, SIDE, SIDE]));
    let wide = (2..).find(|w| w * w > n).unwrap_or(2).min(12);
    let long = (n - (wide - 1)) / wide;
    let mut ends = Vec::new();
    for _ in 0..wide {
        let mut y = x;
        for _ in 0..long {
            y = net.conv(y, 3);
        }
        ends.push(y);
    }
    while ends.len() > 1 {
        let pairs: Vec<_> = ends.chunks(2).map(<[ValueId]>::to_vec).collect();
        ends = pairs.into_iter().map(|p| if let [a, b] = p[..] { net.add(a, b) } else { p[0] }).collect();
    }
    net.g.add_output("y", ends[0]);
    net.g
}

fn colors(p: &Program) -> usize {
    p.routes.iter().map(|r| r.color).collect::<BTreeSet<_>>().len()
}

/// One network all the way; the row of the table.
fn grow(g: &Graph, machine: &Machine, options: &Options) -> (usize, u64) {
    let timer = Instant::now();
    let Compiled { program, tiled, estimate, .. } =
        wafer::compile(g, machine, options).unwrap_or_else(|e| panic!("{}: {e}", g.name));
    let compiled = timer.elapsed();
    let timer = Instant::now();
    let report = rt::check(&program, machine);
    let checked = timer.elapsed();
    assert!(report.ok(), "{}: {:#?}", g.name, report.errors);
    let n = CHANNELS * SIDE * SIDE;
    let x: Vec<f32> = (0..n).map(|i| ((i * 5 % 23) as f32 - 11.0) / 16.0).collect();
    let inputs = [Tensor::from_f32(&[1, CHANNELS, SIDE, SIDE], &x)];
    let timer = Instant::now();
    let recorded = rt::Options { record_links: true, ..rt::Options::default() };
    let run = rt::simulate_with(&program, machine, &inputs, &recorded).unwrap_or_else(|e| panic!("{}: {e}", g.name));
    let simulated = timer.elapsed();
    assert!(run.outputs == tiled.eval(&inputs).expect("the tiled graph evaluates"), "{}: other bits", g.name);
    let hottest = run.links.first().map_or(0, |l| l.wavelets);
    println!(
        "| {} | {} | {} | {} | {} | {:.2?} | {:.2?} | {:.2?} | {} |",
        g.name,
        estimate.pes,
        program.routes.len(),
        colors(&program),
        hottest,
        compiled,
        checked,
        simulated,
        run.cycles
    );
    (program.routes.len(), estimate.pes)
}

fn head() {
    println!("| network | PEs | routes | colors | hottest link, wavelets | compile | check | simulate | cycles |");
    println!("|---|---|---|---|---|---|---|---|---|");
}

/// Without lanes, so that a kernel more is some PEs and routes more, however many there are already.
fn grows(sizes: &[usize]) {
    let machine = Machine::builtin("wafer").expect("built in");
    let options = Options { lanes: Some(1), bands: Some(1), ..Options::default() };
    head();
    for family in [chain, residual, fan] {
        let grown: Vec<(usize, u64)> = sizes.iter().map(|&n| grow(&family(n), &machine, &options)).collect();
        for pair in grown.windows(2) {
            let ((routes, pes), (more_routes, more_pes)) = (pair[0], pair[1]);
            // Larger fans are wider, too, and their slowest kernels more.
            assert!(more_pes <= 25 * pes && more_routes <= 25 * routes, "{grown:?}");
        }
    }
}

#[test]
fn networks_grow_to_a_hundred_kernels() {
    grows(&[10, 100]);
}

#[test]
#[ignore = "takes minutes; prints a table"]
fn networks_grow_to_a_thousand_kernels() {
    grows(&[10, 100, 1000]);
}

/// As many lanes as the planner finds best.
#[test]
#[ignore = "takes minutes; prints a table"]
fn networks_in_lanes_grow() {
    let machine = Machine::builtin("wafer").expect("built in");
    head();
    for family in [chain, residual, fan] {
        for n in [10, 100] {
            grow(&family(n), &machine, &Options::default());
        }
    }
}
