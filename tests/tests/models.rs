//! Real models on both machines at full size: compiled, checked, simulated, compared.
//!
//! For every model and target: the checker finds nothing, the simulated bits are those of the tiled
//! graph, and the outputs are ONNX Runtime's within the stated f16 tolerance. The snapshots pin
//! what a compiler engineer wants to see move: cycles, bounds, text and memory.

use insta::assert_snapshot;
use quadrille::compare::{Precision, Tolerance, compare};
use quadrille::machine::Machine;
use quadrille::pipeline::{self, Simulated};
use quadrille_isa::Tensor;
use quadrille_tests::corpus;
use quadrille_tests::whole::{Whole, whole};

/// One model all the way, and the figures of the program as text.
struct Ran {
    outputs: Vec<Tensor>,
    figures: String,
}

/// The checker finds nothing, and the simulator gives the tiled graph's bits; the outputs.
fn proven(w: &Whole) -> Simulated {
    let checked = pipeline::check(&w.compiled.program, &w.machine).expect("the checker runs");
    assert_eq!(checked.error_count, 0, "{:#?}", checked.errors);
    let simulated = pipeline::simulate(&w.compiled.program, &w.machine, &w.inputs).expect("the simulation ends");
    let tiled = w.compiled.tiled.eval(&w.inputs).expect("the tiled graph evaluates");
    assert_eq!(tiled.len(), simulated.outputs.len());
    for (name, (a, b)) in w.outputs.iter().zip(tiled.iter().zip(&simulated.outputs)) {
        assert!(a == b, "output `{name}`: simulated bits differ from the tiled graph's");
    }
    simulated
}

fn run(files: &corpus::Model, machine_name: &str) -> Ran {
    let w = whole(files, machine_name);
    assert_eq!(w.feeds.expected.len(), w.outputs.len(), "every output has an expected value");
    let simulated = proven(&w);
    let (outs, feeds, compiled, machine) = (&w.outputs, &w.feeds, &w.compiled, &w.machine);

    let triples: Vec<(&str, &Tensor, &Tensor)> =
        outs.iter().zip(&simulated.outputs).map(|(n, got)| (n.as_str(), got, &feeds.expected[n])).collect();
    let comparison = compare(&triples, Tolerance::of(Precision::F16)).expect("types and shapes agree");
    let comparison = comparison.expect("there are outputs");
    assert!(comparison.ok, "too far from ONNX Runtime: {comparison:?}");

    let estimate = compiled.estimate;
    assert!(estimate.bound_cycles <= simulated.cycles, "nothing beats the bound");
    let mut figures = format!(
        "cycles {}\nbound_cycles {}\nmapping_bound_cycles {}\nsram_bytes {}\nprogram_bytes {}\n",
        simulated.cycles,
        estimate.bound_cycles,
        estimate.mapping_bound_cycles,
        estimate.sram_bytes,
        pipeline::text_bytes(&compiled.program, machine),
    );
    if let Some(pes) = pipeline::pes(&compiled.program) {
        figures += &format!("pes {pes}\n");
    }
    Ran { outputs: simulated.outputs, figures }
}

/// Compiles a model for the full mesh; the checker finds nothing. Its simulation is too long for a test.
fn placed(files: &corpus::Model) -> String {
    let w = whole(files, "wafer");
    let checked = pipeline::check(&w.compiled.program, &w.machine).expect("the checker runs");
    assert_eq!(checked.error_count, 0, "{:#?}", checked.errors);
    let (e, pes) = (w.compiled.estimate, pipeline::pes(&w.compiled.program).expect("a program of PEs"));
    let (cycles, bound) = (e.cycles, e.mapping_bound_cycles);
    format!("expected cycles {cycles}\nmapping_bound_cycles {bound}\nsram_bytes {}\npes {pes}\n", e.sram_bytes)
}

/// A quantised model in its own integers: the checker finds nothing, and tiled graph and simulator give the bits of
/// the integer graph's oracle.
fn run_int8(files: &corpus::Model) -> String {
    let w = whole(files, "tsp");
    let simulated = proven(&w);
    let oracle = quadrille_compiler::ir::eval::eval(&w.graph, &w.inputs).expect("the integer graph evaluates");
    assert!(simulated.outputs == oracle, "simulated bits differ from the oracle's");
    format!("cycles {}\nbound_cycles {}\n", simulated.cycles, w.compiled.estimate.bound_cycles)
}

/// A model whose products with weights are of bytes and whose rest is of floats: the checker finds nothing, the simulated bits
/// are those of the tiled graph. Rounding differently in floats moves bytes by one, so the outputs are near ONNX Runtime's, not equal.
fn run_mixed(files: &corpus::Model) -> String {
    let w = whole(files, "tsp");
    let simulated = proven(&w);
    let triples: Vec<(&str, &Tensor, &Tensor)> =
        w.outputs.iter().zip(&simulated.outputs).map(|(n, got)| (n.as_str(), got, &w.feeds.expected[n])).collect();
    let comparison = compare(&triples, Tolerance::of(Precision::Int8)).expect("types and shapes agree");
    let comparison = comparison.expect("there are outputs");
    assert!(comparison.cosine > 0.999, "too far from ONNX Runtime: {comparison:?}");
    let e = w.compiled.estimate;
    format!(
        "cycles {}\nbound_cycles {}\nmapping_bound_cycles {}\nsram_bytes {}\nprogram_bytes {}\n",
        simulated.cycles,
        e.bound_cycles,
        e.mapping_bound_cycles,
        e.sram_bytes,
        pipeline::text_bytes(&w.compiled.program, &w.machine),
    )
}

#[test]
fn bert_layer_on_tsp() {
    assert_snapshot!(run(&corpus::model("bert-layer"), "tsp").figures);
}

#[test]
fn bert_layer_int8_on_tsp() {
    assert_snapshot!(run_mixed(&corpus::model("bert-layer-int8-qdq")));
}

/// BERT-base with its table of words. It takes a minute, and a model of 180 MB.
#[test]
#[ignore = "makes a model of 180 MB"]
fn bert_base_int8_on_tsp() {
    let figures = run_mixed(&corpus::model("bert-base-int8-qdq"));
    println!("{figures}");
    assert_snapshot!(figures);
}

/// Activations with a zero point of -128, so padding is with that byte.
#[test]
fn resnet50_int8_on_tsp() {
    assert_snapshot!(run_int8(&corpus::model("resnet50-int8-qdq")));
}

/// One of 257 classes for each byte: an element is spread over a row before it is compared.
#[test]
fn magika_on_tsp() {
    assert_snapshot!(run(&corpus::model("magika-v3_3"), "tsp").figures);
}

/// 400 positions attend to each other; fill words of late tensors are written by instructions.
#[test]
#[ignore = "a minute of compilation and simulation"]
fn smart_turn_int8_on_tsp() {
    assert_snapshot!(run_mixed(&corpus::model("smart-turn-v3.2-int8")));
}

/// Images of more words than a bank has, whose program text fits in long chunks alone.
#[test]
#[ignore = "half a minute of compilation and simulation"]
fn dnsmos_on_tsp() {
    let figures = run(&corpus::model("dnsmos"), "tsp").figures;
    println!("{figures}");
    assert_snapshot!(figures);
}

/// Its first maximum is made in parts, each of other rows, that are scheduled side by side.
#[test]
fn resnet18_int8_on_tsp() {
    assert_snapshot!(run_int8(&corpus::model("resnet18-int8-qdq")));
}

#[test]
fn mobilenet_v2_int8_on_tsp() {
    assert_snapshot!(run_int8(&corpus::model("mobilenet-v2-int8-qdq")));
}

#[test]
fn mtcnn_pnet_on_tsp() {
    assert_snapshot!(run(&corpus::model("mtcnn-pnet"), "tsp").figures);
}

#[test]
fn mtcnn_rnet_on_tsp() {
    assert_snapshot!(run(&corpus::model("mtcnn-rnet"), "tsp").figures);
}

#[test]
fn mtcnn_onet_on_tsp() {
    assert_snapshot!(run(&corpus::model("mtcnn-onet"), "tsp").figures);
}

#[test]
fn oww_embedding_on_tsp() {
    assert_snapshot!(run(&corpus::model("oww-embedding"), "tsp").figures);
}

#[test]
fn bert_tiny_on_tsp() {
    assert_snapshot!(run(&corpus::model("bert-tiny"), "tsp").figures);
}

#[test]
fn mtcnn_pnet_on_wafer() {
    assert_snapshot!(run(&corpus::model("mtcnn-pnet"), "wafer").figures);
}

#[test]
fn mtcnn_onet_on_wafer() {
    assert_snapshot!(run(&corpus::model("mtcnn-onet"), "wafer").figures);
}

#[test]
fn mtcnn_rnet_on_wafer() {
    assert_snapshot!(run(&corpus::model("mtcnn-rnet"), "wafer").figures);
}

#[test]
fn oww_embedding_on_wafer() {
    assert_snapshot!(run(&corpus::model("oww-embedding"), "wafer").figures);
}

#[test]
fn gpt2_tiny_on_wafer() {
    assert_snapshot!(run(&corpus::model("gpt2-tiny"), "wafer").figures);
}

#[test]
fn llama_tiny_on_wafer() {
    assert_snapshot!(run(&corpus::model("llama-tiny"), "wafer").figures);
}

#[test]
fn silero_vad_on_wafer() {
    assert_snapshot!(run(&corpus::model("silero-vad-op18-ifless"), "wafer").figures);
}

#[test]
fn lstm_gru_on_wafer() {
    assert_snapshot!(run(&corpus::model("lstm-gru"), "wafer").figures);
}

/// Minutes of simulation: `cargo test -p quadrille-tests --test models -- --ignored ppocrv2_cls_on_wafer`.
#[test]
#[ignore = "minutes of simulation"]
fn ppocrv2_cls_on_wafer() {
    assert_snapshot!(run(&corpus::model("ppocrv2-cls"), "wafer").figures);
}

/// Minutes of simulation: `cargo test -p quadrille-tests --test models -- --ignored pplcnet_orientation_on_wafer`.
#[test]
#[ignore = "minutes of simulation"]
fn pplcnet_orientation_on_wafer() {
    assert_snapshot!(run(&corpus::model("pplcnet-orientation"), "wafer").figures);
}

#[test]
fn romanizer_encoder_on_wafer() {
    assert_snapshot!(run(&corpus::model("romanizer-encoder"), "wafer").figures);
}

#[test]
fn bert_tiny_on_wafer() {
    assert_snapshot!(run(&corpus::model("bert-tiny"), "wafer").figures);
}

/// Digits of the held-out set, classified rightly by both machines.
#[test]
fn digits_on_both() {
    for target in ["tsp", "wafer"] {
        for digit in 0..10 {
            let ran = run(&corpus::digits(digit), target);
            let scores = ran.outputs[0].as_f32().expect("probabilities");
            let best = (0..10).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            assert_eq!(best, Some(digit), "on {target}: {scores:?}");
        }
    }
}

/// The small machines hold the digits model, too.
#[test]
fn digits_on_small_machines() {
    assert_snapshot!(run(&corpus::digits(7), "tsp-small").figures);
    assert_snapshot!(run(&corpus::digits(7), "wafer-small").figures);
}

/// What a schedule looks like: a small product with its activation, as every queue issues it. That it is
/// right is for the run beside it to show.
#[test]
fn the_schedule_of_a_small_product() {
    use quadrille_compiler::ir::{EpilogueStep, Graph, Op, TensorType};
    let mut g = Graph::new("product");
    let origin = g.add_origin("dense");
    let x = g.add_input("x", TensorType::new(quadrille_isa::DType::F32, [3, 16]));
    let weights: Vec<f32> = (0..16 * 8).map(|i| ((i * 7 % 13) as f32 - 6.0) / 8.0).collect();
    let w = g.add_const("w", Tensor::from_f32(&[16, 8], &weights));
    let product = Op::MatMul { epilogue: vec![EpilogueStep::Relu] };
    let y = g.add_node(product, &[x, w], origin).expect("types agree");
    g.add_output("y", y);

    let machine = Machine::load("tsp-small").expect("a machine that ships with the compiler");
    let compiled = pipeline::compile(&g, &machine).unwrap_or_else(|e| panic!("{e}"));
    let checked = pipeline::check(&compiled.program, &machine).expect("the checker runs");
    assert_eq!(checked.error_count, 0, "{:#?}", checked.errors);
    let rows: Vec<f32> = (0..48).map(|i| ((i * 5 % 11) as f32 - 5.0) / 4.0).collect();
    let got = pipeline::simulate(&compiled.program, &machine, &[Tensor::from_f32(&[3, 16], &rows)]).expect("runs");
    // Every product and sum of these eighths and quarters is exact.
    let want: Vec<f32> =
        (0..24).map(|i| (0..16).map(|k| rows[i / 8 * 16 + k] * weights[k * 8 + i % 8]).sum::<f32>().max(0.0)).collect();
    assert_eq!(got.outputs[0].as_f32().expect("f32"), want);
    assert_snapshot!(compiled.program.print());
}

#[test]
fn magika_is_placed_on_wafer() {
    assert_snapshot!(placed(&corpus::model("magika-v3_3")));
}

#[test]
fn minilm_is_placed_on_wafer() {
    assert_snapshot!(placed(&corpus::model("minilm-l3-fp32")));
}
