//! The oracle against ONNX Runtime on whole models: every output within 1e-4 of its range, and quantised
//! models to the quantum, step by step.
//!
//! Each test prints one row (`--nocapture`): nodes of the file, primitives imported, multiplications,
//! seconds of import and evaluation, the largest error.

use quadrille::bound::Work;
use quadrille_compiler::import::{self, ImportOptions};
use quadrille_compiler::ir::{DType, Graph, Tensor, ValueDef, eval, verify};
use quadrille_compiler::passes;
use quadrille_tests::corpus;
use std::path::Path;
use std::time::Instant;

/// Error allowed, as a part of the range (largest minus smallest) of the expected output.
const OF_RANGE: f64 = 1e-4;
/// Part of the quantised elements that may be off by one quantum, every step seen by itself.
const OFF_BY_ONE: f64 = 1e-3;

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

/// The graph, with the shapes of the inputs bound, the nodes of the file, and the seconds it took.
fn import(path: &Path, inputs: &[Tensor]) -> (Graph, usize, f64) {
    let start = Instant::now();
    let onnx = quadrille_onnx::load(path).expect("the model loads");
    let shapes = onnx.graph.inputs.iter().zip(inputs).map(|(v, t)| (v.name.clone(), t.shape.clone()));
    let options = ImportOptions { input_shapes: shapes.collect(), ..ImportOptions::default() };
    let graph = import::import(&onnx, &options).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let seconds = start.elapsed().as_secs_f64();
    verify::verify(&graph).expect("an import verifies");
    (graph, onnx.graph.nodes.len(), seconds)
}

/// Nothing that only shapes and constants decide is left: every 64-bit integer and every mask computed comes
/// from an input's data, and so does any small vector of integers. (Larger ones are weights, which passes treat.)
fn assert_folded(name: &str, graph: &Graph) {
    let mut fed = vec![false; graph.values().len()];
    for (i, v) in graph.values().iter().enumerate() {
        fed[i] = match &v.def {
            ValueDef::Input(_) => true,
            ValueDef::Const(_) => false,
            ValueDef::Node(n) => graph.node(*n).inputs.iter().any(|o| fed[o.0 as usize]),
        };
        let decides = matches!(v.ty.dtype, DType::I64 | DType::Bool) || !v.ty.dtype.is_float() && v.ty.elements() < 64;
        let is_result = matches!(v.def, ValueDef::Node(_));
        assert!(fed[i] || !decides || !is_result, "{name}: '{}' ({}) is not folded", v.name, v.ty);
    }
}

/// Largest difference over the range of `want`; integers must be equal.
fn error_of_range(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!((got.dtype, &got.shape), (want.dtype, &want.shape));
    if !got.dtype.is_float() {
        assert!(got == want, "integers differ");
        return 0.0;
    }
    let (got, want) = (got.as_f32().expect("f32"), want.as_f32().expect("f32"));
    assert!(want.iter().chain(&got).all(|v| v.is_finite()));
    let worst = got.iter().zip(&want).map(|(&g, &w)| (f64::from(g) - f64::from(w)).abs()).fold(0.0, f64::max);
    worst / range(&want)
}

/// Largest minus smallest. An output of one element has no range; its size stands in.
fn range(want: &[f32]) -> f64 {
    let (lo, hi) = want.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    if hi > lo { f64::from(hi - lo) } else { f64::from(hi.abs()).max(1.0) }
}

/// The worst error of the outputs.
fn worst_error(got: &[Tensor], want: &[Tensor]) -> f64 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).map(|(g, w)| error_of_range(g, w)).fold(0.0, f64::max)
}

/// Imports, evaluates before and after the clean pipeline, prints the row; the outputs of both, which are
/// compared with those in a folder of the model.
fn measure(name: &str, expected: &str) -> f64 {
    let model = corpus::model(name);
    let inputs = tensors(&model.data, "input");
    let want = tensors(&model.folder().join(expected), "output");
    let (graph, nodes, seconds) = import(&model.path, &inputs);
    assert_folded(name, &graph);
    let mut clean = graph.clone();
    passes::run_pipeline(&mut clean, &["clean"]).expect("the pipeline runs");
    assert!(clean.nodes().len() <= graph.nodes().len());
    let (mut worst, mut took) = (0.0f64, f64::INFINITY);
    for graph in [&graph, &clean] {
        let start = Instant::now();
        let got = eval::eval(graph, &inputs).expect("the model evaluates");
        took = took.min(start.elapsed().as_secs_f64());
        worst = worst.max(worst_error(&got, &want));
    }
    println!(
        "{name:<24}{nodes:>5} nodes{:>6} primitives{:>6} clean{:>9.1} M MACs  import {seconds:.3} s  eval {took:.3} s  \
         error {worst:.1e} of the range of {expected}",
        graph.nodes().len(),
        clean.nodes().len(),
        Work::of(&graph).macs as f64 / 1e6,
    );
    worst
}

fn check(name: &str) {
    let error = measure(name, "test_data_set_0");
    assert!(error <= OF_RANGE, "{name}: {error}");
}

/// Every quantised tensor, each step fed with ONNX Runtime's integers: off by one at most, and seldom.
fn check_steps(name: &str) {
    let folder = corpus::model(name).folder().join("steps");
    let data = folder.join("test_data_set_0");
    let (inputs, want) = (tensors(&data, "input"), tensors(&data, "output"));
    let (graph, ..) = import(&folder.join("model.onnx"), &inputs);
    count_off_by_one(name, "float", &graph, &inputs, &want);
    let mut integer = graph;
    passes::run_pipeline(&mut integer, &["integer-kernels", "clean"]).expect("the pipeline runs");
    count_off_by_one(name, "integer", &integer, &inputs, &want);
}

/// The quantised outputs of a graph against those expected.
fn count_off_by_one(name: &str, kind: &str, graph: &Graph, inputs: &[Tensor], want: &[Tensor]) {
    let got = eval::eval(graph, inputs).expect("the model evaluates");
    assert_eq!(got.len(), want.len());
    let (mut off, mut all) = (0, 0);
    for ((o, got), want) in graph.outputs.iter().zip(&got).zip(want) {
        assert_eq!((got.dtype, &got.shape), (want.dtype, &want.shape));
        let signed = got.dtype == DType::I8;
        let number = |b: u8| if signed { i32::from(b.cast_signed()) } else { i32::from(b) };
        let far = |&(&g, &w): &(&u8, &u8)| (number(g) - number(w)).abs();
        let worst = got.data.iter().zip(&want.data[..]).map(|p| far(&p)).max().unwrap_or(0);
        assert!(worst <= 1, "{name}, {kind}, {}: {worst} quanta", o.name);
        off += got.data.iter().zip(&want.data[..]).filter(|p| far(p) > 0).count();
        all += got.data.len();
    }
    println!("{name}, {kind}, step by step: {off} of {all} elements in {} tensors are off by one", want.len());
    assert!((off as f64) <= OFF_BY_ONE * all as f64, "{name}, {kind}: {off} of {all} elements are off by one");
}

macro_rules! models {
    ($($test:ident $name:literal)*) => {$(
        #[test]
        fn $test() {
            check($name);
        }
    )*};
}

models! {
    bert_tiny "bert-tiny"
    dnsmos "dnsmos"
    gemm "gemm-1024"
    gpt2_tiny "gpt2-tiny"
    llama_tiny "llama-tiny"
    lstm_gru "lstm-gru"
    magika "magika-v3_3"
    minilm "minilm-l3-fp32"
    mtcnn_onet "mtcnn-onet"
    mtcnn_pnet "mtcnn-pnet"
    mtcnn_rnet "mtcnn-rnet"
    oww_embedding "oww-embedding"
    pplcnet "pplcnet-orientation"
    ppocr_cls "ppocrv2-cls"
    ppocr_det "ppocrv4-det"
    romanizer "romanizer-encoder"
    silero_vad "silero-vad-op18-ifless"
    voicefilter "voicefilter-lite-int8"
}

/// Root of the mean square difference, over the range of `want`; of the outputs the worst.
fn rms_error(got: &[Tensor], want: &[Tensor]) -> f64 {
    let of = |(got, want): (&Tensor, &Tensor)| {
        let (got, want) = (got.as_f32().expect("f32"), want.as_f32().expect("f32"));
        let squares = got.iter().zip(&want).map(|(&g, &w)| (f64::from(g) - f64::from(w)).powi(2)).sum::<f64>();
        (squares / want.len().max(1) as f64).sqrt() / range(&want)
    };
    got.iter().zip(want).map(of).fold(0.0, f64::max)
}

/// A quantised model: its steps, and the whole. ONNX Runtime's kernels differ among themselves (integers, floats
/// between the quantisations, floats in another order) in a fifth of the elements and more: a rounding that falls
/// otherwise spreads from layer to layer. The oracle must be no farther from its plain float kernels than any two of
/// its kernels are from each other, in the mean of all elements: the worst element is an accident of one draw.
fn check_quantised(name: &str) {
    check_steps(name);
    let model = corpus::model(name);
    let outputs = |folder: &str| tensors(&model.folder().join(folder), "output");
    let kernels = ["unfused", "test_data_set_0", "reordered"].map(outputs);
    let inputs = tensors(&model.data, "input");
    let (graph, ..) = import(&model.path, &inputs);
    let got = eval::eval(&graph, &inputs).expect("the model evaluates");
    let error = rms_error(&got, &kernels[0]);
    let own = [(0, 1), (0, 2), (1, 2)].map(|(a, b)| rms_error(&kernels[a], &kernels[b]));
    println!(
        "{name:<24}the oracle is {error:.2e} of the range (rms) from ONNX Runtime's plain float kernels (at most {:.1e}); \
         plain and integer kernels are {:.2e} apart, plain and optimised floats {:.2e}, integers and those {:.2e}; \
         {} of {} elements of plain and integer kernels differ",
        measure(name, "unfused"),
        own[0],
        own[1],
        own[2],
        differing(&kernels[0], &kernels[1]),
        kernels[0].iter().map(|t| t.shape.iter().product::<usize>()).sum::<usize>(),
    );
    // A quantum has the same size on both sides up to the rounding of its last product.
    let allowed = own.into_iter().fold(OF_RANGE, f64::max) * 1.001;
    assert!(error <= allowed, "{name}: {error}, but {own:?} among ONNX Runtime's kernels");
}

/// Elements that differ by more than the rounding of a last product.
fn differing(a: &[Tensor], b: &[Tensor]) -> usize {
    let of = |(a, b): (&Tensor, &Tensor)| {
        let (a, b) = (a.as_f32().expect("f32"), b.as_f32().expect("f32"));
        a.iter().zip(&b).filter(|(a, b)| (*a - *b).abs() > 1e-6 * a.abs()).count()
    };
    a.iter().zip(b).map(of).sum()
}

macro_rules! quantised {
    ($($test:ident $name:literal)*) => {$(
        #[test]
        fn $test() {
            check_quantised($name);
        }
    )*};
}

quantised! {
    mobilenet_v2_int8 "mobilenet-v2-int8-qdq"
    resnet50_int8 "resnet50-int8-qdq"
    smart_turn_int8 "smart-turn-v3.2-int8"
}

/// 12 layers of width 768; made in half a minute.
#[test]
#[ignore = "a model of 434 MB"]
fn bert_base() {
    check("bert-base");
}

/// Its products with weights quantised; made in two minutes.
#[test]
#[ignore = "a model of 180 MB, and its data"]
fn bert_base_int8() {
    check_quantised("bert-base-int8-qdq");
}
