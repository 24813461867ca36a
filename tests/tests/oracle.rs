//! The oracle against ONNX Runtime on whole models: every output within 1e-4 of its range.

use quadrille_compiler::import::{self, ImportOptions};
use quadrille_compiler::ir::{Graph, Tensor, eval, verify};
use quadrille_compiler::passes;
use quadrille_tests::corpus;
use std::path::Path;
use std::time::Instant;

/// Error allowed, as a part of the range (largest minus smallest) of the expected output.
const OF_RANGE: f64 = 1e-4;

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

fn import(model: &corpus::Model, inputs: &[Tensor]) -> Graph {
    let onnx = quadrille_onnx::load(&model.path).expect("the model loads");
    let shapes = onnx.graph.inputs.iter().zip(inputs).map(|(v, t)| (v.name.clone(), t.shape.clone()));
    let options = ImportOptions { input_shapes: shapes.collect(), ..ImportOptions::default() };
    let graph = import::import(&onnx, &options).unwrap_or_else(|e| panic!("{}: {e}", model.path.display()));
    verify::verify(&graph).expect("an import verifies");
    graph
}

/// Largest difference over the range of `want`.
fn error_of_range(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!((got.dtype, &got.shape), (want.dtype, &want.shape));
    let (got, want) = (got.as_f32().expect("f32"), want.as_f32().expect("f32"));
    assert!(want.iter().chain(&got).all(|v| v.is_finite()));
    let (lo, hi) = want.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    let worst = got.iter().zip(&want).map(|(&g, &w)| (f64::from(g) - f64::from(w)).abs()).fold(0.0, f64::max);
    // An output of one element has no range; its size stands in.
    let range = if hi > lo { f64::from(hi - lo) } else { f64::from(hi.abs()).max(1.0) };
    worst / range
}

fn check(name: &str) {
    let model = corpus::model(name);
    let (inputs, want) = (tensors(&model.data, "input"), tensors(&model.data, "output"));
    let graph = import(&model, &inputs);
    let mut clean = graph.clone();
    passes::run_pipeline(&mut clean, &["clean"]).expect("the pipeline runs");
    assert!(clean.nodes().len() <= graph.nodes().len());
    for (stage, graph) in [("imported", &graph), ("clean", &clean)] {
        let got = eval::eval(graph, &inputs).expect("the model evaluates");
        // For the reader only (`--nocapture`): the best of a few runs.
        let time = || {
            let start = Instant::now();
            eval::eval(graph, &inputs).map(|_| start.elapsed().as_secs_f64())
        };
        let seconds = (0..5).filter_map(|_| time().ok()).fold(f64::INFINITY, f64::min);
        assert_eq!(got.len(), want.len());
        for (o, (got, want)) in graph.outputs.iter().zip(got.iter().zip(&want)) {
            let error = error_of_range(got, want);
            println!("{name}, {stage}, {}: error {error:.2e} of the range, {:.2} ms", o.name, seconds * 1e3);
            assert!(error <= OF_RANGE, "{name}, {stage}, {}: {error}", o.name);
        }
    }
}

#[test]
fn mtcnn_pnet() {
    check("mtcnn-pnet");
}

#[test]
fn mtcnn_rnet() {
    check("mtcnn-rnet");
}

#[test]
fn mtcnn_onet() {
    check("mtcnn-onet");
}

#[test]
fn oww_embedding() {
    check("oww-embedding");
}

#[test]
fn bert_tiny() {
    check("bert-tiny");
}
