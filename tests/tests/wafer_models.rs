//! Real models on the full-size mesh: the checker finds nothing, simulated bits equal the tiled
//! graph's, and every output agrees with ONNX Runtime's.

use quadrille_compiler::import::{self, ImportOptions};
use quadrille_compiler::ir::Tensor;
use quadrille_compiler::rewrite::{self, RewriteOptions};
use quadrille_isa::wafer::Machine;
use quadrille_runtime::wafer as rt;
use quadrille_tests::corpus;
use quadrille_wafer::{self as wafer, Options};
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
