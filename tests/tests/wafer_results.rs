//! docs/wafer-results.md: what every model of the corpus takes as a pipeline on the full-size mesh, and what binds.
//!
//! `QUADRILLE_BLESS=1 cargo test -p quadrille-tests --test wafer_results -- --ignored --nocapture` compiles, checks and simulates
//! every model and writes the page. `QUADRILLE_MODELS=a,b` finds the rows of some models and keeps them, in as many processes as
//! one likes; with `QUADRILLE_KEPT=1` the page is written of those that are kept. The ordinary test says that no model is left out.

use quadrille::compare::{Tolerance, compare};
use quadrille::machine::{Machine, Target};
use quadrille::pipeline::{self, Compiled};
use quadrille_isa::Tensor;
use quadrille_tests::corpus::{self, Model};
use quadrille_tests::kept::{self, Key};
use quadrille_tests::whole::prepared;
use serde_json::{Value, json};
use std::fmt::Write;

const HEAD: &str = "# Every model on the mesh\n\n\
    Written by `QUADRILLE_BLESS=1 cargo test -p quadrille-tests --test wafer_results -- --ignored --nocapture`; a row at a time with\n\
    `QUADRILLE_MODELS=name`, and the page of kept rows with `QUADRILLE_KEPT=1`. Pipelines on the full mesh of 750 x 994 PEs (`--target wafer`), as\n\
    the planner chooses them. Every program in the first table passed the checker and the simulator with data: its outputs have the\n\
    bits of the tiled graph and lie within the tolerance of ONNX Runtime's.\n\n\
    - `cycles`: from the first wavelet in to the last out; `interval`: between the ends of the last two images, where they follow each other.\n\
    - `expected`: what the planner expected.\n\
    - `bound`: multiply-adds over what all PEs do in a cycle; `mapping`: the busiest PE's datapath or the busiest stream of this plan, for all images.\n\
    - What binds: the three nodes or inputs that need longest of those; `port` is a stream at the edge of the mesh.\n";

/// Models whose programs are not simulated here, and why.
const LONG: [(&str, &str); 4] = [
    (
        "resnet50-int8-qdq",
        "half an hour of simulation for a batch of four images: its figures are in docs/wafer-mapping.md",
    ),
    ("smart-turn-v3.2-int8", "millions of cycles are expected"),
    ("voicefilter-lite-int8", "millions of cycles are expected"),
    ("dnsmos", "millions of cycles are expected"),
];

/// Models without a row, and why.
const WITHOUT: [(&str, &str); 8] = [
    ("gemm-1024", "one product: whole-mesh mode (docs/wafer-mapping.md)"),
    ("gemv-4096", "one product: whole-mesh mode (docs/wafer-mapping.md)"),
    ("bert-base", "110 million weights of 12 layers: the layer is here, and whole-mesh mode takes decoders"),
    ("decoder-llama-8b", "whole-mesh mode: `--test wafer_decoder`, 6,179 cycles a layer"),
    ("decoder-llama-8b-static", "whole-mesh mode: `--test wafer_decoder`"),
    ("bert-base-int8-qdq", "110 million weights of 12 layers: the layer is here"),
    ("resnet101-int8-qdq", "ResNet-50's blocks, more of them"),
    ("resnet152-int8-qdq", "ResNet-50's blocks, more of them"),
];

/// The program is what it should be: clean, with the bits of the tiled graph, and outputs that are right.
fn prove(
    c: &Compiled,
    machine: &Machine,
    inputs: &[Tensor],
    names: &[String],
    expected: &[&Tensor],
    tolerance: Tolerance,
) -> pipeline::Simulated {
    let checked = pipeline::check(&c.program, machine).expect("the checker runs");
    assert_eq!(checked.error_count, 0, "{:#?}", checked.errors);
    let simulated = pipeline::simulate(&c.program, machine, inputs).unwrap_or_else(|e| panic!("{e}"));
    let tiled = c.tiled.eval(inputs).expect("the tiled graph evaluates");
    assert!(tiled == simulated.outputs, "simulated bits differ from the tiled graph's");
    let triples: Vec<(&str, &Tensor, &Tensor)> =
        names.iter().zip(simulated.outputs.iter().zip(expected)).map(|(n, (got, e))| (n.as_str(), got, *e)).collect();
    let found = compare(&triples, tolerance).expect("types and shapes agree").expect("there are outputs");
    assert!(found.ok || found.cosine > 0.999, "too far from ONNX Runtime: {found:?}");
    simulated
}

/// What the page says of a model, or why it says nothing.
fn row(name: &str, files: &Model, machine: &Machine) -> Value {
    let (graph, feeds, precision, outputs) = prepared(files, machine);
    let c = match pipeline::compile(&graph, machine) {
        Ok(c) => c,
        Err(e) => return json!({ "why": e.to_string() }),
    };
    let e = c.estimate;
    let binds: Vec<String> = c.busiest.iter().map(ToString::to_string).collect();
    let mut row = json!({
        "pes": e.pes, "expected": e.cycles, "bound": e.bound_cycles, "mapping": e.mapping_bound_cycles, "binds": binds.join("; "),
    });
    if LONG.iter().all(|l| l.0 != name) {
        let inputs = feeds.for_graph(&graph, 0).expect("inputs for every input of the graph");
        let expected: Vec<&Tensor> = outputs.iter().map(|o| &feeds.expected[o]).collect();
        let simulated = prove(&c, machine, &inputs, &outputs, &expected, Tolerance::of(precision));
        row["cycles"] = json!(simulated.cycles);
        row["interval"] = json!(simulated.interval_cycles.filter(|_| e.images_in_turn > 1));
    }
    row
}

/// A line of a table.
fn line(name: &str, row: &Value) -> String {
    let number = |key: &str| row[key].as_u64().map_or(String::new(), |n| n.to_string());
    let over = row["cycles"].as_u64().or(row["expected"].as_u64()).unwrap_or(0) as f64
        / row["mapping"].as_u64().unwrap_or(1).max(1) as f64;
    let figures = ["pes", "cycles", "interval", "expected", "bound", "mapping"].map(number).join(" | ");
    format!("| {name} | {figures} | {over:.2} | {} |", row["binds"].as_str().unwrap_or_default())
}

#[test]
fn every_model_of_the_corpus_is_on_the_page() {
    corpus::assert_all_are_on("wafer-results.md", &[&WITHOUT[..], &LONG].concat());
}

#[test]
#[ignore = "compiles, checks and simulates every model on the full mesh: an hour"]
fn the_page() {
    let machine = Machine::full_size(Target::Wafer);
    let only = std::env::var("QUADRILLE_MODELS").ok();
    let mut rows: Vec<(String, Value)> = Vec::new();
    for name in corpus::all_names() {
        let asked = only.as_ref().is_none_or(|o| o.split(',').any(|n| n == name));
        if !asked || WITHOUT.iter().any(|(n, _)| *n == name) {
            continue;
        }
        let files = corpus::any(&name);
        let model = std::fs::read(&files.path).expect("the model is a file");
        let long = LONG.iter().any(|l| l.0 == name);
        let key = Key::of_compiler(Target::Wafer).and_graph_sources().and("wafer-results").and(&name).and(&model);
        let key = if long { key } else { key.and(env!("RUNTIME_SOURCES")) };
        let text = kept::figure(key, || row(&name, &files, &machine).to_string());
        let row = serde_json::from_str(&text).unwrap_or_else(|_| json!({ "why": text }));
        println!("{}", if row["why"].is_null() { line(&name, &row) } else { format!("{name}: {}", row["why"]) });
        rows.push((name, row));
    }
    let mut page = HEAD.to_string();
    const COLUMNS: &str = "| model | PEs | cycles | interval | expected | bound | mapping | cycles / mapping | what binds |\n|---|---|---|---|---|---|---|---|---|\n";
    let _ = write!(page, "\n## Simulated\n\n{COLUMNS}");
    let of = |kind: fn(&Value) -> bool| rows.iter().filter(move |r| kind(&r.1));
    of(|r| !r["cycles"].is_null()).for_each(|(n, r)| _ = writeln!(page, "{}", line(n, r)));
    let expected: Vec<_> = of(|r| r["cycles"].is_null() && r["why"].is_null()).collect();
    if !expected.is_empty() {
        let _ = write!(page, "\n## Placed and routed, not simulated\n\n{COLUMNS}");
        expected.iter().for_each(|(n, r)| _ = writeln!(page, "{}", line(n, r)));
        let reasons = LONG.iter().map(|(n, w)| format!("\n- {n}: {w}."));
        page.push_str(&reasons.collect::<String>());
        page.push('\n');
    }
    page.push_str("\n## Models without a row\n\n| model | why |\n|---|---|\n");
    let refused =
        of(|r| !r["why"].is_null()).map(|(n, r)| (n.clone(), r["why"].as_str().unwrap_or_default().to_string()));
    let known = WITHOUT.iter().map(|(n, w)| (n.to_string(), w.to_string()));
    for (name, why) in known.chain(refused) {
        let _ = writeln!(page, "| {name} | {} |", why.replace('\n', " ").replace('|', "\\|"));
    }
    if only.is_none() && std::env::var_os("QUADRILLE_BLESS").is_some() {
        std::fs::write(corpus::repository().join("docs/wafer-results.md"), page).expect("the docs are writable");
    }
}
