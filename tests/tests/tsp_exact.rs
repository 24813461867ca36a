//! How far from the shortest the scheduler is, on small random graphs that an exhaustive search can judge.

use quadrille_compiler::ir::arbitrary::Rng;
use quadrille_compiler::ir::{Binary, Graph, Op, Reduce, Unary, ValueId};
use quadrille_isa::tsp::Machine;
use quadrille_tests::exact::{Shortest, shortest};
use quadrille_tests::graphs::Writer;
use quadrille_tsp::{self as tsp, CompileError};

/// A graph of `nodes` operations on matrices: elementwise, products, reductions, softmax, transposes.
fn graph(seed: u64, nodes: usize) -> Graph {
    let mut rng = Rng::new(seed);
    let mut w = Writer::new("small");
    let (rows, lanes) = (rng.range(1, 16), rng.pick(&[16, 32, 48, 64]));
    let mut values: Vec<ValueId> = vec![w.input(&[rows, lanes])];
    if rng.chance(50) {
        values.push(w.input(&[rows, lanes]));
    }
    for _ in 0..nodes {
        // Mostly what was made last, so that the graph is deep and little of it is unused.
        let x = if rng.chance(70) { values[values.len() - 1] } else { rng.pick(&values) };
        let shape = w.graph.shape(x).to_vec();
        let same: Vec<ValueId> = values.iter().copied().filter(|&v| w.graph.shape(v) == shape).collect();
        values.push(match rng.below(10) {
            0..=2 => {
                let y = rng.pick(&same);
                w.binary(rng.pick(&[Binary::Add, Binary::Sub, Binary::Mul, Binary::Max]), x, y)
            }
            3 | 4 => w.unary(rng.pick(&[Unary::Relu, Unary::Tanh, Unary::Sigmoid, Unary::Exp, Unary::Abs]), x),
            5 | 6 => w.dense(x, rng.pick(&[16, 32, 64])),
            7 => {
                let y = rng.pick(&same);
                let t = w.transpose(y, &[1, 0]);
                w.matmul(x, t)
            }
            8 => {
                let kind = rng.pick(&[Reduce::Sum, Reduce::Max, Reduce::Mean]);
                let r = w.node(Op::Reduce { kind, axes: vec![1], keep: true }, &[x]);
                w.binary(Binary::Sub, x, r)
            }
            _ => w.node(Op::Softmax { axis: 1 }, &[x]),
        });
    }
    let last = values[values.len() - 1];
    w.done(&[last])
}

struct Judged {
    seed: u64,
    kernels: usize,
    cycles: u64,
    shortest: Shortest,
}

impl Judged {
    /// Percent.
    fn gap(&self) -> f64 {
        100.0 * (self.cycles as f64 / self.shortest.cycles as f64 - 1.0)
    }
}

/// Kernels of a graph at most.
const MOST: usize = 12;

fn judge(seed: u64, nodes: usize, m: &Machine) -> Option<Judged> {
    let c = match tsp::compile(&graph(seed, nodes), m, &tsp::Options::default()) {
        Err(CompileError::DoesNotFit { .. }) => return None,
        c => c.unwrap_or_else(|e| panic!("seed {seed}: {e}")),
    };
    let (kernels, cycles) = (c.tiled.kernels.len(), c.estimate.cycles);
    if kernels > MOST {
        return None;
    }
    let shortest = shortest(&c.tiled, m, cycles)?;
    assert!(shortest.path <= cycles, "seed {seed}: {cycles} cycles, but its longest path takes {}", shortest.path);
    shortest.exhausted.then_some(Judged { seed, kernels, cycles, shortest })
}

/// Judges graphs until there are a hundred. Half of the schedules are at most `median` percent longer, all at most `worst`.
fn near_the_shortest(machine: &str, median: f64, worst: f64) {
    let m = Machine::builtin(machine).expect("built in");
    let mut all: Vec<Judged> = (0..400).filter_map(|seed| judge(seed, 2 + seed as usize % 3, &m)).take(100).collect();
    all.sort_by(|a, b| a.gap().total_cmp(&b.gap()).then(a.seed.cmp(&b.seed)));
    println!("{machine}: seed, kernels, cycles, shortest, longest path, gap %");
    for j in &all {
        let s = &j.shortest;
        println!("{:4} {:3} {:5} {:5} {:5} {:6.1}", j.seed, j.kernels, j.cycles, s.cycles, s.path, j.gap());
    }
    let optimal = all.iter().filter(|j| j.cycles == j.shortest.cycles).count();
    let (middle, last) = (all[all.len() / 2].gap(), all[all.len() - 1].gap());
    println!("{machine}: {} graphs, {optimal} as short as can be, median {middle:.1} %, worst {last:.1} %", all.len());
    assert_eq!(all.len(), 100);
    assert!(middle <= median && last <= worst, "median {middle:.1} %, worst {last:.1} %");
}

#[test]
fn schedules_for_the_small_machine() {
    near_the_shortest("tsp-small", 5.0, 20.0);
}

#[test]
fn schedules_for_the_full_machine() {
    near_the_shortest("tsp", 1.5, 18.0);
}
