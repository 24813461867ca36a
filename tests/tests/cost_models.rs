//! Do the cost models rank what the compilers make? Predicted against scheduled cycles of single operations of real
//! models and of generated ones, in the mappings that each target has.

use quadrille::machine::{Machine, Target};
use quadrille_compiler::ir::{DType, Graph, Node, Op, Pool, Reduce, Tensor, TensorType, Unary, ValueId, Window, text};
use quadrille_compiler::rewrite::{CostModel, Cycles, Operand, random_inputs};
use quadrille_runtime::wafer as wafer_runtime;
use quadrille_tests::corpus;
use quadrille_tests::whole::prepared;
use quadrille_tsp::Packing;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Models whose operations are compiled one by one.
const MODELS: [&str; 9] = [
    "mtcnn-onet",
    "oww-embedding",
    "ppocrv2-cls",
    "pplcnet-orientation",
    "bert-tiny",
    "gpt2-tiny",
    "llama-tiny",
    "romanizer-encoder",
    "lstm-gru",
];

/// Operations of more multiply-adds or elements are left out: they take long to compile or to simulate.
fn too_large(g: &Graph, target: Target) -> bool {
    let elements = g.nodes()[0].inputs.iter().map(|&v| g.ty(v).elements()).max().unwrap_or(0);
    let (most_macs, most_elements) = match target {
        Target::Tsp => (60_000_000, 200_000),
        Target::Wafer => (5_000_000, 40_000),
    };
    macs(g) > most_macs || elements > most_elements
}

/// The node alone, its computed operands as inputs.
fn alone(g: &Graph, node: &Node) -> Graph {
    let mut one = Graph::new("one");
    let origin = one.add_origin("node");
    let mut made: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for &v in &node.inputs {
        made.entry(v).or_insert_with(|| match g.constant(v) {
            Some(t) => one.add_const("w", t.clone()),
            None => one.add_input(format!("x{}", v.0), g.ty(v).clone()),
        });
    }
    let inputs: Vec<ValueId> = node.inputs.iter().map(|v| made[v]).collect();
    let y = one.add_node(node.op.clone(), &inputs, origin).expect("it typed in the model");
    one.add_output("y", y);
    one
}

/// What tells two operations apart for a compiler.
fn key(g: &Graph) -> String {
    let n = &g.nodes()[0];
    let inputs: Vec<String> = (n.inputs.iter())
        .map(|&v| format!("{}{}", if g.constant(v).is_some() { "const " } else { "" }, g.ty(v)))
        .collect();
    format!("{} ({}) -> {}", text::operation(&n.op), inputs.join(", "), g.ty(n.output))
}

/// Operations of the corpus, each once, as the rewriter leaves them for a target.
fn real(target: Target) -> Vec<Graph> {
    let machine = Machine::full_size(target);
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for name in MODELS {
        let (graph, ..) = prepared(&corpus::model(name), &machine);
        for n in graph.nodes() {
            let one = alone(&graph, n);
            if !one.inputs.is_empty() && !too_large(&one, target) && seen.insert(key(&one)) {
                found.push(one);
            }
        }
    }
    found
}

fn macs(g: &Graph) -> usize {
    let n = &g.nodes()[0];
    match n.op {
        Op::Conv { .. } => g.ty(n.output).elements() * g.shape(n.inputs[1])[1..].iter().product::<usize>(),
        Op::MatMul { .. } => g.ty(n.output).elements() * g.shape(n.inputs[0]).last().copied().unwrap_or(1),
        _ => 0,
    }
}

/// An operation on inputs of the given shapes and constants of the others.
fn one(op: Op, inputs: &[&[usize]], constants: &[&[usize]]) -> Graph {
    let mut g = Graph::new("one");
    let origin = g.add_origin("node");
    let mut operands: Vec<ValueId> = Vec::new();
    for (i, s) in inputs.iter().enumerate() {
        operands.push(g.add_input(format!("x{i}"), TensorType::new(DType::F32, *s)));
    }
    for s in constants {
        let n: usize = s.iter().product();
        let values: Vec<f32> = (0..n).map(|i| ((i % 7) as f32 - 2.5) / 64.0).collect();
        operands.push(g.add_const("w", Tensor::from_f32(s, &values)));
    }
    let y = g.add_node(op, &operands, origin).expect("the shapes agree");
    g.add_output("y", y);
    g
}

/// Layers of usual sizes.
fn generated() -> Vec<Graph> {
    let mut all = Vec::new();
    for (c, m, size, k, stride, groups) in [
        (16, 16, 56, 3, 1, 1),
        (16, 64, 28, 1, 1, 1),
        (32, 32, 28, 3, 1, 1),
        (32, 64, 28, 3, 2, 1),
        (64, 64, 14, 3, 1, 1),
        (64, 64, 28, 1, 1, 1),
        (64, 256, 14, 1, 1, 1),
        (128, 128, 14, 3, 1, 1),
        (256, 64, 14, 1, 1, 1),
        (256, 256, 7, 3, 1, 1),
        (512, 128, 7, 1, 1, 1),
        (320, 320, 7, 1, 1, 1),
        (32, 32, 28, 3, 1, 32),
        (64, 64, 28, 5, 1, 64),
        (128, 128, 14, 3, 2, 128),
        (128, 128, 14, 3, 1, 32),
        (3, 32, 56, 3, 2, 1),
        (3, 16, 32, 5, 1, 1),
        (48, 96, 20, 3, 1, 1),
        (96, 24, 20, 1, 1, 1),
        (8, 8, 64, 3, 1, 1),
        (40, 40, 14, 5, 1, 40),
    ] {
        let p = k / 2;
        let window = Window {
            kernel: vec![k, k],
            stride: vec![stride; 2],
            dilation: vec![1, 1],
            before: vec![p, p],
            after: vec![p, p],
        };
        let op = Op::Conv { window, groups, epilogue: vec![] };
        all.push(one(op, &[&[1, c, size, size]], &[&[m, c / groups, k, k]]));
    }
    for (m, k, n) in [
        (1, 64, 64),
        (1, 512, 512),
        (1, 1024, 1000),
        (16, 128, 128),
        (16, 256, 1024),
        (64, 128, 512),
        (64, 512, 128),
        (128, 128, 128),
        (128, 384, 384),
        (128, 384, 1536),
        (256, 320, 320),
        (200, 64, 640),
    ] {
        all.push(one(Op::MatMul { epilogue: vec![] }, &[&[m, k]], &[&[k, n]]));
    }
    for (b, m, k, n) in [(2, 32, 64, 32), (4, 64, 32, 64), (8, 64, 64, 64), (12, 32, 32, 32), (1, 200, 400, 96)] {
        all.push(one(Op::MatMul { epilogue: vec![] }, &[&[b, m, k], &[b, k, n]], &[]));
    }
    for shape in [&[1usize, 32, 64][..], &[4, 16, 96], &[8, 128], &[64, 256], &[128, 512], &[1, 1024]] {
        for u in [Unary::Relu, Unary::Sigmoid, Unary::Exp, Unary::Erf] {
            all.push(one(Op::Unary(u), &[shape], &[]));
        }
        for b in ["add", "mul", "div"] {
            let op = || match b {
                "add" => Op::Binary(quadrille_compiler::ir::Binary::Add),
                "mul" => Op::Binary(quadrille_compiler::ir::Binary::Mul),
                _ => Op::Binary(quadrille_compiler::ir::Binary::Div),
            };
            all.push(one(op(), &[shape, shape], &[]));
            all.push(one(op(), &[shape], &[&vec![1; shape.len()]]));
        }
        all.push(one(Op::Softmax { axis: shape.len() - 1 }, &[shape], &[]));
        for axis in [0, shape.len() - 1] {
            all.push(one(Op::Reduce { kind: Reduce::Mean, axes: vec![axis], keep: true }, &[shape], &[]));
        }
    }
    for shape in [&[1usize, 32, 28, 28][..], &[1, 64, 28, 28], &[1, 128, 14, 14], &[1, 16, 56, 56]] {
        {
            for (kind, k, stride) in [(Pool::Max, 2, 2), (Pool::Max, 3, 2), (Pool::AverageIncludePad, 3, 1)] {
                let p = if stride == 1 { 1 } else { 0 };
                let window = Window {
                    kernel: vec![k; 2],
                    stride: vec![stride; 2],
                    dilation: vec![1, 1],
                    before: vec![p; 2],
                    after: vec![p; 2],
                };
                all.push(one(Op::Pool { kind, window }, &[shape], &[]));
            }
        }
    }
    all
}

/// An operation in a mapping: what was predicted, and what the program takes.
struct Pair {
    what: String,
    predicted: u64,
    scheduled: u64,
}

/// What the model says of an operation in a mapping; without a name, in the one that the compiler takes.
fn predicted(model: &dyn CostModel, g: &Graph, mapping: &str) -> Option<Cycles> {
    let n = &g.nodes()[0];
    let inputs: Vec<Operand<'_>> =
        n.inputs.iter().map(|&v| Operand { ty: g.ty(v), fixed: g.constant(v).is_some() }).collect();
    let ty = g.ty(n.output);
    let mappings = model.mappings(&n.op, &inputs, ty);
    match mappings.into_iter().find(|m| m.name == mapping) {
        Some(m) => Some(m.cycles),
        None if mapping.is_empty() => Some(model.cycles(&n.op, &inputs, ty)),
        None => None,
    }
}

fn on_tsp(g: &Graph) -> Vec<Pair> {
    let (model, machine) =
        (quadrille_tsp::Cost::default(), quadrille_isa::tsp::Machine::builtin("tsp").expect("it ships"));
    if matches!(g.nodes()[0].op, Op::MatMul { .. }) {
        return products_on_tsp(g, &model, &machine);
    }
    let mut pairs = Vec::new();
    let mut seen = None;
    for (packing, name) in [(Packing::Never, "a pixel a word"), (Packing::Always, "pixels packed, of one a word")] {
        let options = quadrille_tsp::Options { packing, quick: true, ..Default::default() };
        let Ok(c) = quadrille_tsp::compile(g, &machine, &options) else { continue };
        // Where nothing can be packed the two are one.
        if seen.as_ref() == Some(&c.tiled) {
            continue;
        }
        // An input of few channels is laid out by the host.
        let host = if packing == Packing::Never { "a pixel a word" } else { "pixels packed" };
        let host = format!("{host}, laid out by the host");
        let ways = [host.as_str(), name, ""];
        let cycles = ways.iter().find_map(|w| predicted(&model, g, w)).expect("every operation has a cost");
        pairs.push(Pair {
            what: format!("{name}: {}", key(g)),
            predicted: cycles.alone(),
            scheduled: c.estimate.cycles,
        });
        seen = Some(c.tiled);
    }
    pairs
}

/// A product in every way that the model enumerates, the scheduler made to take it.
fn products_on_tsp(g: &Graph, model: &quadrille_tsp::Cost, machine: &quadrille_isa::tsp::Machine) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for way in quadrille_tsp::ProductWay::all() {
        let name = way.to_string();
        // Inputs come with their last axes on lanes.
        let ways = [format!("{name}, right operand with its last axis on lanes"), name.clone()];
        let Some(cycles) = ways.iter().find_map(|w| predicted(model, g, w)) else { continue };
        let options = quadrille_tsp::Options { product: Some(way), quick: true, ..Default::default() };
        let Ok(c) = quadrille_tsp::compile(g, machine, &options) else { continue };
        let what = format!("{name}: {}", key(g));
        pairs.push(Pair { what, predicted: cycles.alone(), scheduled: c.estimate.cycles });
    }
    pairs
}

fn on_wafer(g: &Graph) -> Vec<Pair> {
    let (model, machine) =
        (quadrille_wafer::Cost::default(), quadrille_isa::wafer::Machine::builtin("wafer").expect("it ships"));
    let mut pairs: Vec<Pair> = Vec::new();
    let mut seen = BTreeSet::new();
    for most in [usize::MAX, 16, 4, 1] {
        let options = quadrille_wafer::Options {
            max_pes_per_kernel: Some(most),
            lanes: Some(1),
            bands: Some(1),
            groups: Some(1),
            sequence: Some(1),
            sums: Some(1),
        };
        let Ok(c) = quadrille_wafer::compile(g, &machine, &options) else { continue };
        if !seen.insert(c.estimate.pes) {
            continue;
        }
        let inputs = random_inputs(g, 1);
        let ran = wafer_runtime::simulate(&c.program, &machine, &inputs).unwrap_or_else(|e| panic!("{}: {e}", key(g)));
        let name = if most == usize::MAX { String::new() } else { format!("{most} PEs at most") };
        let cycles =
            predicted(&model, g, &name).or_else(|| predicted(&model, g, "")).expect("every operation has a cost");
        pairs.push(Pair {
            what: format!("{} PEs, {name}: {}", c.estimate.pes, key(g)),
            predicted: cycles.alone(),
            scheduled: ran.cycles,
        });
    }
    pairs
}

/// Spearman's rank correlation; equal values share the mean of their ranks.
fn correlation(pairs: &[Pair]) -> f64 {
    let ranks = |of: &dyn Fn(&Pair) -> u64| -> Vec<f64> {
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        order.sort_by_key(|&i| of(&pairs[i]));
        let mut ranks = vec![0.0; pairs.len()];
        let mut at = 0;
        while at < order.len() {
            let same = order[at..].iter().take_while(|&&i| of(&pairs[i]) == of(&pairs[order[at]])).count();
            order[at..at + same].iter().for_each(|&i| ranks[i] = at as f64 + (same - 1) as f64 / 2.0);
            at += same;
        }
        ranks
    };
    let (x, y) = (ranks(&|p| p.predicted), ranks(&|p| p.scheduled));
    let mean = (pairs.len() as f64 - 1.0) / 2.0;
    let sum = |f: &dyn Fn(usize) -> f64| (0..pairs.len()).map(f).sum::<f64>();
    let (xy, xx, yy) =
        (sum(&|i| (x[i] - mean) * (y[i] - mean)), sum(&|i| (x[i] - mean).powi(2)), sum(&|i| (y[i] - mean).powi(2)));
    xy / (xx * yy).sqrt()
}

fn predictions_rank_the_schedules(target: Target, step: usize, compile: fn(&Graph) -> Vec<Pair>) {
    let mut graphs = real(target);
    let from_models = graphs.len();
    graphs.extend(generated().into_iter().filter(|g| !too_large(g, target)));
    // Every so many of them: simulating a mesh takes its time.
    let graphs: Vec<Graph> = graphs.into_iter().step_by(step).collect();
    let pairs: Vec<Pair> = graphs.par_iter().flat_map_iter(compile).collect();
    for p in &pairs {
        println!("{:>9} predicted {:>9} scheduled  {}", p.predicted, p.scheduled, p.what);
    }
    let rho = correlation(&pairs);
    let ratios: Vec<f64> = pairs.iter().map(|p| (p.predicted as f64 / p.scheduled as f64).ln().abs()).collect();
    let within = ratios.iter().filter(|r| **r < 2f64.ln()).count();
    println!(
        "{}: {} pairs of {} operations, chosen from {from_models} of models and as many generated ones as fit; \
         Spearman {rho:.4}, {within} within a factor of two",
        target.name(),
        pairs.len(),
        graphs.len(),
    );
    assert!(pairs.len() >= 200, "only {} pairs", pairs.len());
    assert!(rho >= 0.9, "rank correlation {rho:.4}");
}

#[test]
fn of_the_tsp_model() {
    predictions_rank_the_schedules(Target::Tsp, 1, on_tsp);
}

#[test]
fn of_the_wafer_model() {
    predictions_rank_the_schedules(Target::Wafer, 4, on_wafer);
}

/// A row times constants on the whole mesh: the model ranks axes and grids as the simulator does.
#[test]
fn of_products_on_the_whole_mesh() {
    use quadrille_wafer::collective::gemv;
    let model = quadrille_wafer::Cost::default();
    let machine = quadrille_isa::wafer::Machine::builtin("wafer").expect("it ships");
    let mut pairs = Vec::new();
    for (k, n) in [(64, 64), (128, 512), (512, 128), (256, 256), (1024, 512)] {
        let g = one(Op::MatMul { epilogue: vec![] }, &[&[1, k]], &[&[k, n]]);
        let node = &g.nodes()[0];
        let inputs: Vec<Operand<'_>> =
            node.inputs.iter().map(|&v| Operand { ty: g.ty(v), fixed: g.constant(v).is_some() }).collect();
        for m in model.mappings(&node.op, &inputs, g.ty(node.output)) {
            // `whole mesh, W x H PEs: operand along y, result along x`
            let Some(rest) = m.name.strip_prefix("whole mesh, ") else { continue };
            let number = |at: usize| rest.split(' ').nth(at).and_then(|w| w.parse::<u16>().ok()).expect("a number");
            let (w, h) = (number(0), number(2));
            let (mut mesh, mut grid) = (machine.clone(), gemv::Grid { width: w, height: h });
            if rest.contains("operand along x") {
                // The program of the mesh turned by its diagonal.
                std::mem::swap(&mut mesh.geometry.width_pes, &mut mesh.geometry.height_pes);
                grid = gemv::Grid { width: h, height: w };
            }
            let mut product = gemv::compile(&mesh, &[k as u32, n as u32], grid).expect("it fits");
            product.fill(&vec![0x3C00; k], &[&vec![0x3800; k * n]]);
            let ran = wafer_runtime::simulate(&product.program, &mesh, &[]).expect("it runs");
            println!("{:>9} predicted {:>9} simulated  {k} x {n}, {}", m.cycles.alone(), ran.kernel_cycles, m.name);
            pairs.push(Pair { what: m.name, predicted: m.cycles.alone(), scheduled: ran.kernel_cycles });
        }
    }
    let rho = correlation(&pairs);
    println!("{} pairs, Spearman {rho:.4}", pairs.len());
    assert!(pairs.len() >= 40 && rho >= 0.9, "{} pairs, rank correlation {rho:.4}", pairs.len());
}

/// Copies of a kernel, each with some columns: the model ranks their numbers as the simulator does.
#[test]
fn of_lanes_on_the_mesh() {
    let model = quadrille_wafer::Cost::default();
    let machine = quadrille_isa::wafer::Machine::builtin("wafer").expect("it ships");
    let images = generated().into_iter().filter(|g| {
        let window = matches!(&g.nodes()[0].op, Op::Conv { .. } | Op::Pool { .. });
        window && !too_large(g, Target::Wafer) && g.ty(g.nodes()[0].output).shape[3] >= 16
    });
    let mut pairs = Vec::new();
    for g in images.step_by(3) {
        for lanes in [1, 2, 4] {
            let name = if lanes == 1 { String::new() } else { format!("{lanes} lanes of columns") };
            let Some(cycles) = predicted(&model, &g, &name) else { continue };
            let options = quadrille_wafer::Options {
                max_pes_per_kernel: None,
                lanes: Some(lanes),
                bands: Some(1),
                groups: Some(1),
                sequence: Some(1),
                sums: Some(1),
            };
            let Ok(c) = quadrille_wafer::compile(&g, &machine, &options) else { continue };
            let ran = wafer_runtime::simulate(&c.program, &machine, &random_inputs(&g, 1)).expect("it runs");
            let what = format!("{lanes} lanes, {} PEs: {}", c.estimate.pes, key(&g));
            println!("{:>9} predicted {:>9} simulated  {what}", cycles.alone(), ran.cycles);
            pairs.push(Pair { what, predicted: cycles.alone(), scheduled: ran.cycles });
        }
    }
    let rho = correlation(&pairs);
    println!("{} pairs, Spearman {rho:.4}", pairs.len());
    assert!(pairs.len() >= 9 && rho >= 0.9, "{} pairs, rank correlation {rho:.4}", pairs.len());
}
