//! Real models on the full-size mesh: the checker finds nothing, simulated bits equal the tiled
//! graph's, and every output agrees with ONNX Runtime's. ResNet-50 for a batch of images.

use quadrille::machine::Target;
use quadrille::pipeline::{self, Preparation};
use quadrille_compiler::import::{self, ImportOptions};
use quadrille_compiler::ir::Tensor;
use quadrille_compiler::ir::{DType, Graph, eval};
use quadrille_compiler::rewrite::{self, RewriteOptions};
use quadrille_isa::wafer::{Machine, Program};
use quadrille_onnx::{Dim, ValueInfo, ValueType};
use quadrille_runtime::wafer as rt;
use quadrille_tests::corpus;
use quadrille_wafer::{self as wafer, Options};
use std::collections::BTreeMap;
use std::path::Path;

fn tensors(data: &Path, stem: &str) -> Vec<Tensor> {
    (0..)
        .map(|i| data.join(format!("{stem}_{i}.pb")))
        .take_while(|p| p.exists())
        .map(|p| {
            let (_, t) = quadrille_onnx::load_tensor(&p).expect("the corpus holds tensors");
            import::tensor(&t).expect("of ordinary types")
        })
        .collect()
}

/// Compiles a model, with and without rewriting, checks, simulates and compares; outputs may
/// differ from ONNX Runtime's by `tolerance` of their largest value, for f16 products.
fn check(name: &str, tolerance: f32) {
    let model = corpus::model(name);
    let (inputs, want) = (tensors(&model.data, "input"), tensors(&model.data, "output"));
    let onnx = quadrille_onnx::load(&model.path).expect("the model loads");
    let shapes = onnx.graph.inputs.iter().zip(&inputs).map(|(v, t)| (v.name.clone(), t.shape.clone()));
    let options = ImportOptions { input_shapes: shapes.collect(), ..ImportOptions::default() };
    let graph = import::import(&onnx, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
    let (graph, _) = rewrite::optimize(&graph, &wafer::Cost::default(), &RewriteOptions::default())
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    let m = Machine::builtin("wafer").expect("built in");
    let c = wafer::compile(&graph, &m, &Options::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let report = rt::check(&c.program, &m);
    assert!(report.ok(), "{name}: {:?}\n{}", report.errors.first().map(ToString::to_string), c.tiled);
    let sim = rt::simulate(&c.program, &m, &inputs).unwrap_or_else(|e| panic!("{name}: {e}"));
    let tiled = c.tiled.eval(&inputs).expect("inputs fit");
    assert_eq!(sim.outputs.len(), want.len());
    for (i, ((s, t), w)) in sim.outputs.iter().zip(&tiled).zip(&want).enumerate() {
        assert!(s.shape == t.shape && s.data == t.data, "{name}: output {i} differs from the tiled graph");
        let (s, w) = (s.as_f32().expect("f32"), w.as_f32().expect("f32"));
        assert_eq!(s.len(), w.len());
        let scale = w.iter().fold(0f32, |m, v| m.max(v.abs()));
        let worst = s.iter().zip(&w).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        println!("{name}: output {i} off by {worst:.2e} of {scale:.2e}");
        assert!(worst <= tolerance * scale, "{name}: output {i} off by {worst} of {scale}");
    }
    let e = c.estimate;
    println!("{name}: {} cycles, expected {}, at least {}", sim.cycles, e.cycles, e.mapping_bound_cycles);
    assert!(sim.cycles >= e.mapping_bound_cycles && sim.cycles <= 2 * e.cycles);
}

#[test]
fn mtcnn_pnet() {
    check("mtcnn-pnet", 5e-3);
}

#[test]
fn mtcnn_rnet() {
    check("mtcnn-rnet", 5e-3);
}

#[test]
fn mtcnn_onet() {
    check("mtcnn-onet", 5e-3);
}

#[test]
fn oww_embedding() {
    check("oww-embedding", 5e-3);
}

/// ResNet-50 for so many images of so many rows and columns, rewritten for the wafer.
fn resnet50(images: usize, side: usize) -> Graph {
    let mut onnx = quadrille_onnx::load(&corpus::model("resnet50-int8-qdq").path).expect("the model loads");
    let extent = |v: &mut ValueInfo, axis: usize, n: usize| {
        if let ValueType::Tensor { shape: Some(dims), .. } = &mut v.ty {
            dims[axis] = Dim::Fixed(n);
        }
    };
    for v in &mut onnx.graph.inputs {
        [(0, images), (2, side), (3, side)].into_iter().for_each(|(axis, n)| extent(v, axis, n));
    }
    onnx.graph.outputs.iter_mut().for_each(|v| extent(v, 0, images));
    let graph = import::import(&onnx, &ImportOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let machine = quadrille::machine::Machine::full_size(Target::Wafer);
    pipeline::prepare(&graph, &machine, &Preparation::default()).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
#[ignore = "a plan for 470,000 PEs and its check: three minutes on a quiet core"]
fn resnet50_for_four_images_fills_three_fifths_of_the_mesh_and_is_sound() {
    let m = Machine::builtin("wafer").expect("built in");
    let c = wafer::compile(&resnet50(4, 224), &m, &Options::default()).unwrap_or_else(|e| panic!("{e}"));
    let e = c.estimate;
    let all = u64::from(m.geometry.width_pes) * u64::from(m.geometry.height_pes);
    println!(
        "{} of {all} PEs, interval {} expected, {} at least",
        e.pes,
        e.interval_cycles,
        e.mapping_bound_cycles / 4
    );
    assert!(5 * e.pes > 3 * all && e.interval_cycles < 20_000 && e.mapping_bound_cycles <= 4 * e.interval_cycles);
    let report = rt::check(&c.program, &m);
    assert!(report.ok(), "{:?}", report.errors.first().map(ToString::to_string));
    println!("checked: {} PEs with programs or routes, {} operations", report.pes, report.operations);
}

/// Parts of a run that samples are counted in.
const PARTS: u64 = 40;

/// What the PEs of each node did in each part of a run: percent of them that worked, waited for words, waited for room.
fn print_samples(program: &Program, samples: &[rt::Sample], cycles: u64) {
    let part = cycles.div_ceil(PARTS);
    let mut by_node: BTreeMap<&str, Vec<[u64; 4]>> = BTreeMap::new();
    for s in samples {
        let name = program.nodes[s.node as usize].split(" + ").next().unwrap_or_default();
        let parts = by_node.entry(name).or_insert_with(|| vec![[0; 4]; PARTS as usize]);
        let seen = [s.works, s.waits_for_words, s.waits_for_room, s.idle];
        parts[(s.cycle / part) as usize].iter_mut().zip(seen).for_each(|(all, n)| *all += u64::from(n));
    }
    println!("in parts of {part} cycles:");
    for (node, parts) in by_node {
        for (k, what) in ["works", "words", "room"].into_iter().enumerate() {
            let percent = |c: &[u64; 4]| format!("{:4}", 100 * c[k] / c.iter().sum::<u64>().max(1));
            println!("{node:28} {what:5} {}", parts.iter().map(percent).collect::<String>());
        }
    }
}

/// Four images of so many rows and columns, simulated: bits of the tiled graph, numbers of the oracle, and an image every twice the
/// bound's time at most.
fn keeps_twice_its_bound(side: usize, options: &Options) {
    let m = Machine::builtin("wafer").expect("built in");
    let graph = resnet50(4, side);
    let c = wafer::compile(&graph, &m, options).unwrap_or_else(|e| panic!("{e}"));
    println!("{:?}", c.estimate);
    assert!(rt::check(&c.program, &m).ok());
    let mut state = 1u32;
    let values: Vec<f32> = (0..4 * 3 * side * side)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 22) as f32 - 2.0
        })
        .collect();
    let inputs = [Tensor::from_f32(&[4, 3, side, side], &values)];
    let start = std::time::Instant::now();
    let options = rt::Options { sample_every: Some(2048), ..rt::Options::default() };
    let sim = rt::simulate_with(&c.program, &m, &inputs, &options).unwrap_or_else(|e| panic!("{e}"));
    let interval = sim.interval_cycles.expect("four images");
    println!("{} cycles, interval {interval}, simulated in {:.0?}", sim.cycles, start.elapsed());
    print_samples(&c.program, &sim.samples, sim.cycles);
    let tiled = c.tiled.eval(&inputs).expect("inputs fit");
    assert!(sim.outputs[0].dtype == DType::F32 && sim.outputs[0].data == tiled[0].data, "not the tiled graph's bits");
    let oracle = eval::eval(&graph, &inputs).expect("the oracle evaluates");
    let (s, w) = (sim.outputs[0].as_f32().expect("f32"), oracle[0].as_f32().expect("f32"));
    let scale = w.iter().fold(0f32, |m, v| m.max(v.abs()));
    let worst = s.iter().zip(&w).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    println!("off by {worst:.2e} of {scale:.2e}");
    // Whole numbers, whose sums f32 holds.
    assert!(worst == 0.0, "off by {worst} of {scale}");
    assert!(4 * interval <= 2 * c.estimate.mapping_bound_cycles);
}

#[test]
#[ignore = "twelve minutes on two cores"]
fn resnet50_on_four_small_images_keeps_twice_its_bound() {
    keeps_twice_its_bound(64, &Options { lanes: Some(16), bands: Some(2), ..Options::default() });
}

#[test]
#[ignore = "an hour of one core"]
fn resnet50_on_four_images_keeps_twice_its_bound() {
    keeps_twice_its_bound(224, &Options::default());
}
