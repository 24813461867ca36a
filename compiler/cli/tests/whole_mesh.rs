//! Whole-mesh mode from outside: two small decoder layers through every command, and what is refused.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/models")
}

fn quadrille(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quadrille")).args(args).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(args: &[&str]) -> Value {
    let out = quadrille(args);
    assert!(out.status.success(), "{args:?}: {}{}", text(&out.stdout), text(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("one JSON object")
}

fn refused(args: &[&str], code: i32) -> String {
    let out = quadrille(args);
    assert_eq!(out.status.code(), Some(code), "{args:?}: {}{}", text(&out.stdout), text(&out.stderr));
    text(&out.stderr)
}

/// The command on the decoder, 16 x 12 PEs of the full machine.
fn with<'a>(command: &'a str, model: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    let way = ["--target", "wafer", "--mode", "whole-mesh", "--grid", "16x12"];
    [command, model].into_iter().chain(way).chain(rest.iter().copied()).collect()
}

#[test]
fn every_command_takes_a_decoder() {
    let (model, data) = (models().join("decoder.onnx"), models().join("decoder/test_data_set_0"));
    let (model, data) = (model.to_str().unwrap(), data.to_str().unwrap());
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_string();

    let run = json(&with("run", model, &["--data", data, "--format", "json"]));
    assert_eq!((&run["check"]["ok"], &run["exact"], &run["compare"]["ok"]), (&true.into(), &true.into(), &true.into()));
    assert_eq!((&run["pes"], &run["grid"], &run["interval_cycles"]), (&192.into(), &"16x12".into(), &Value::Null));
    let cycles = run["cycles"].as_u64().unwrap();
    assert!(cycles >= run["mapping_bound_cycles"].as_u64().unwrap());
    assert!(run["mapping_bound_cycles"].as_u64() >= run["bound_cycles"].as_u64());
    let table = quadrille(&with("run", model, &["--data", data]));
    assert!(text(&table.stdout).contains("192 (whole mesh of 16x12)"), "{}", text(&table.stdout));

    // The declared cycles of the steps are those of the run, but for words that wait for each other.
    let told = json(&with("explain", model, &["--format", "json"]));
    let declared = told["cycles"].as_u64().unwrap();
    assert!(declared.abs_diff(cycles) <= (cycles / 25).max(8), "declared {declared}, simulated {cycles}");
    let steps = told["steps"].as_array().unwrap();
    let sum: u64 = steps.iter().map(|s| s["cycles"].as_u64().unwrap()).sum();
    assert_eq!((sum, steps.last().unwrap()["end_cycle"].as_u64()), (declared, Some(declared)));
    let longest = |k: usize| told["longest_context"][k]["positions"].as_u64().unwrap();
    assert!(longest(0) > longest(1) && longest(1) > 12);
    let one = json(&with("explain", model, &["layers.1/q", "--format", "json"]));
    assert!(
        one["steps"].as_array().unwrap().iter().all(|s| s["node"].as_str().unwrap().starts_with("layers.1/q/")),
        "{one}"
    );
    let even = json(&with("run", model, &["--even-memory", "--data", data, "--format", "json"]));
    assert_eq!((&even["exact"], &even["compare"]["ok"]), (&true.into(), &true.into()));
    // Columns and rows exchanged: as if the mesh were mirrored, the grid too.
    let turned = json(&with("run", model, &["--turned", "--data", data, "--format", "json"]));
    assert_eq!(
        (&turned["check"]["ok"], &turned["exact"], &turned["compare"]["ok"]),
        (&true.into(), &true.into(), &true.into())
    );
    assert_eq!((&turned["pes"], &turned["grid"]), (&192.into(), &"16x12".into()));
    let other = ["run", model, "--target", "wafer", "--mode", "whole-mesh", "--grid", "12x16", "--turned"];
    let mirrored = json(&[&other[..], &["--data", data, "--format", "json"]].concat());
    assert_eq!((&mirrored["cycles"], &mirrored["exact"]), (&run["cycles"], &true.into()));
    assert_ne!(turned["cycles"], run["cycles"]);

    let checked = json(&with("check", model, &["--format", "json"]));
    assert_eq!(checked["targets"].as_array().unwrap().len(), 1);
    assert_eq!((&checked["targets"][0]["ok"], &checked["targets"][0]["cycles"]), (&true.into(), &declared.into()));

    // A program file has all: its inputs and outputs are found in SRAM.
    let program = file("decoder.qdl");
    let compiled = json(&with("compile", model, &["-o", &program, "--format", "json"]));
    assert_eq!((&compiled["cycles"], &compiled["sram_bytes"]), (&declared.into(), &run["sram_bytes"]));
    assert!(quadrille(&["verify", &program]).status.success());
    let loaded = json(&["run", &program, "--data", data, "--rtol", "0.02", "--atol", "0.02", "--format", "json"]);
    assert_eq!((&loaded["cycles"], &loaded["compare"]["ok"]), (&cycles.into(), &true.into()));
    let read = file("decoder.txt");
    std::fs::write(&read, quadrille(&["disasm", &program]).stdout).expect("written");
    assert_eq!(json(&["run", &read, "--data", data, "--format", "json"])["compare"], loaded["compare"]);

    let (page, trace) = (file("report.html"), file("trace.pb"));
    assert!(quadrille(&with("report", model, &["-o", &page])).status.success());
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.contains(r#""phases":[{"#) && page.contains("layers.1/q"));
    assert!(quadrille(&with("trace", model, &["-o", &trace])).status.success());
    let same = json(&["diff", &program, &program, "--format", "json"]);
    assert_eq!(same["first_difference"], Value::Null, "{same}");
}

/// Without --grid, the square of least declared cycles.
#[test]
fn a_grid_is_found() {
    let model = models().join("decoder.onnx");
    let model = model.to_str().unwrap();
    let way = ["--target", "wafer", "--mode", "whole-mesh", "--format", "json"];
    let of = |grid: &[&str]| json(&[&["check", model], &way[..], grid].concat())["targets"][0]["cycles"].as_u64();
    let found = of(&[]);
    for grid in ["8x8", "16x16", "64x64"] {
        assert!(found <= of(&["--grid", grid]), "{grid}");
    }
    let small = json(&["run", model, "--machine", "wafer-small", "--mode", "whole-mesh", "--format", "json"]);
    assert_eq!(small["exact"], true);
}

/// Node, operation, shape, reason and remedy; and which options go with what.
#[test]
fn what_does_not_fit_the_mode_is_refused() {
    let digits = models().join("digits.onnx");
    let digits = digits.to_str().unwrap();
    let e = refused(&with("run", digits, &[]), 3);
    assert!(e.contains("not supported on `wafer` (1 problem)"), "{e}");
    assert!(e.contains("f32[1, ") && e.contains("compile the model as a pipeline"), "{e}");
    let seen = quadrille(&with("check", digits, &["--format", "json"]));
    assert_eq!(seen.status.code(), Some(3));
    let seen: Value = serde_json::from_slice(&seen.stdout).expect("one object");
    let problem = &seen["problems"][0];
    for field in ["node", "op", "shape", "reason", "remedy"] {
        assert!(problem[field].as_str().is_some_and(|t| !t.is_empty()), "{field}: {problem}");
    }

    let decoder = models().join("decoder.onnx");
    let decoder = decoder.to_str().unwrap();
    let wide = refused(&["run", decoder, "--target", "wafer", "--mode", "whole-mesh", "--grid", "751x16"], 4);
    assert!(wide.contains("750 x 994") && wide.contains("choose another grid"), "{wide}");
    for (args, want) in [
        (&["--target", "tsp", "--mode", "whole-mesh"][..], "--mode whole-mesh is for --target wafer, not for tsp"),
        (&["--target", "tsp", "--lanes", "2"], "--lanes is for --target wafer, not for tsp"),
        (&["--target", "wafer", "--grid", "9x9"], "--grid is for --mode whole-mesh"),
        (&["--target", "wafer", "--even-memory"], "--even-memory is for --mode whole-mesh"),
        (&["--target", "wafer", "--mode", "whole-mesh", "--lanes", "2"], "--lanes is for --mode pipeline"),
        (&["--target", "wafer", "--mode", "whole-mesh", "--grid", "9"], "as in 420x420"),
    ] {
        let e = refused(&[&["run", decoder], args].concat(), 2);
        assert!(e.contains(want), "{args:?}: {e}");
    }
    let unknown = refused(&with("explain", decoder, &["nowhere"]), 2);
    assert!(unknown.contains("no step is for node `nowhere`"), "{unknown}");
}

/// The plan as text: what lies where, and what all PEs do in turn.
#[test]
fn the_plan_is_printed() {
    let decoder = models().join("decoder.onnx");
    let out = quadrille(&with("compile", decoder.to_str().unwrap(), &["--emit", "tiled"]));
    insta::assert_snapshot!(text(&out.stdout));
}
