//! The commands on a real model, from outside: what they print, write and return.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/models")
}

fn quadrille(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quadrille")).args(args).output().expect("the binary runs")
}

fn json(args: &[&str]) -> Value {
    let out = quadrille(args);
    assert!(out.status.success(), "{args:?}: {}{}", text(&out.stdout), text(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("one JSON object")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(p: &Path) -> &str {
    p.to_str().expect("UTF-8")
}

/// The contract, word for word and in order.
const KEYS: [&str; 19] = [
    "model",
    "target",
    "machine",
    "precision",
    "cycles",
    "bound_cycles",
    "mapping_bound_cycles",
    "clock_mhz",
    "check",
    "exact",
    "compare",
    "sram_bytes",
    "program_bytes",
    "pes",
    "interval_cycles",
    "losses",
    "busiest",
    "timings",
    "peak_memory_bytes",
];

fn keys(v: &Value) -> Vec<String> {
    let mut keys: Vec<String> = v.as_object().expect("an object").keys().cloned().collect();
    keys.sort();
    keys
}

fn sorted(names: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
    names.sort();
    names
}

#[test]
fn run_keeps_its_contract_on_both_targets() {
    let (model, data) = (examples().join("digits.onnx"), examples().join("digits/test_data_set_3"));
    for target in ["tsp", "wafer"] {
        let r = json(&["run", path(&model), "--target", target, "--data", path(&data), "--format", "json"]);
        assert_eq!(keys(&r), sorted(&KEYS));
        assert_eq!(keys(&r["check"]), ["errors", "ok"]);
        assert_eq!(keys(&r["compare"]), sorted(&["ok", "worst_output", "max_abs", "max_rel", "max_ulp", "cosine"]));
        assert_eq!(keys(&r["timings"]), sorted(&["import_s", "compile_s", "check_s", "simulate_s"]));
        assert_eq!((&r["target"], &r["machine"], &r["precision"]), (&target.into(), &target.into(), &"f16".into()));
        assert_eq!((&r["check"]["ok"], &r["exact"], &r["compare"]["ok"]), (&true.into(), &true.into(), &true.into()));
        let binds = r["busiest"].as_array().map_or(0, Vec::len);
        assert_eq!(binds, if target == "wafer" { 3 } else { 0 }, "{r}");
        let most = r["busiest"][0]["cycles"].as_u64().unwrap_or_default();
        assert!(target == "tsp" || Some(most) == r["mapping_bound_cycles"].as_u64(), "{r}");
        assert!(r["cycles"].as_u64() >= r["mapping_bound_cycles"].as_u64(), "{r}");
        assert!(r["mapping_bound_cycles"].as_u64() >= r["bound_cycles"].as_u64(), "{r}");
        assert_eq!(r["pes"].is_null(), target == "tsp");
    }
}

#[test]
fn a_program_file_runs_as_its_model_does() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| folder.path().join(name);
    let (model, data) = (examples().join("digits.onnx"), examples().join("digits/test_data_set_7"));
    for target in ["tsp", "wafer"] {
        let (program, listing, again) = (file("digits.quad"), file("digits.txt"), file("again.quad"));
        let whole = json(&["run", path(&model), "--target", target, "--data", path(&data), "--format=json"]);
        json(&["compile", path(&model), "--target", target, "-o", path(&program), "--format=json"]);
        assert_eq!(json(&["verify", path(&program), "--format=json"])["ok"], true);
        let y = file("y.npy");
        let output = format!("--output={}", path(&y));
        let alone = json(&["run", path(&program), "--data", path(&data), "--format=json", &output]);
        for key in ["cycles", "compare", "check", "program_bytes", "pes"] {
            assert_eq!(alone[key], whole[key], "{key}");
        }
        assert_eq!((&alone["exact"], &alone["bound_cycles"]), (&Value::Null, &Value::Null));
        // Text and back is the same file, byte for byte.
        quadrille(&["disasm", path(&program), "-o", path(&listing)]);
        quadrille(&["disasm", path(&listing), "--assemble", "-o", path(&again)]);
        assert_eq!(std::fs::read(&program).expect("written"), std::fs::read(&again).expect("written"));
        // What was written can be expected, exactly.
        let expect = format!("--expect=digit={}", path(&y));
        let r = json(&["run", path(&program), "--data", path(&data), "--format=json", &expect, "--atol", "0"]);
        assert_eq!((&r["compare"]["ok"], &r["compare"]["max_ulp"]), (&true.into(), &0.into()));
        let out = quadrille(&["run", path(&program), "--format=json", &expect, "--atol", "0"]);
        assert_eq!(out.status.code(), Some(1), "seeded inputs give another result");
    }
}

#[test]
fn digits_are_told_apart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (model, y) = (examples().join("digits.onnx"), folder.path().join("y.pb"));
    for digit in 0..10 {
        let data = examples().join(format!("digits/test_data_set_{digit}"));
        let output = format!("--output=digit={}", path(&y));
        json(&["run", path(&model), "--target=tsp", "--data", path(&data), &output, "--format=json"]);
        let (_, t) = quadrille::data::pb::read(&y).expect("a tensor");
        let p = t.as_f32().expect("probabilities");
        let best = (0..p.len()).max_by(|&a, &b| p[a].total_cmp(&p[b]));
        assert_eq!(best, Some(digit));
    }
}

#[test]
fn every_stage_can_be_printed() {
    let model = examples().join("digits.onnx");
    for (emit, start) in [
        ("imported", "graph \"digits\""),
        ("optimized", "graph \"digits\""),
        ("tiled", ""),
        ("scheduled", "tsp program"),
    ] {
        let out = quadrille(&["compile", path(&model), "--target=tsp", &format!("--emit={emit}")]);
        let printed = text(&out.stdout);
        assert!(out.status.success() && printed.starts_with(start) && printed.lines().count() > 5, "{emit}: {printed}");
        let twice = quadrille(&["compile", path(&model), "--target=tsp", &format!("--emit={emit}")]);
        assert_eq!(out.stdout, twice.stdout, "the same input gives the same bytes");
    }
}

#[test]
fn traces_name_the_users_nodes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = examples().join("digits.onnx");
    for target in ["tsp", "wafer"] {
        let out = folder.path().join("digits.pftrace");
        let r = quadrille(&["trace", path(&model), "--target", target, "-o", path(&out)]);
        assert!(r.status.success(), "{}", text(&r.stderr));
        let bytes = text(&std::fs::read(&out).expect("written"));
        for name in ["conv1", "conv2", "pool1", "softmax"] {
            assert!(bytes.contains(name), "{target}: {name}");
        }
    }
}

#[test]
fn nothing_is_left_behind_by_a_failure() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let good = std::fs::read(examples().join("digits.onnx")).expect("the model");
    let (bad, out) = (folder.path().join("bad.onnx"), folder.path().join("out.quad"));
    std::fs::write(&bad, &good[..good.len() / 2]).expect("a file");
    let r = quadrille(&["compile", path(&bad), "--target=tsp", "-o", path(&out)]);
    assert_eq!(r.status.code(), Some(1));
    let r = quadrille(&[
        "compile",
        path(&examples().join("digits.onnx")),
        "--target=tsp",
        "--machine=tsp",
        "-o",
        "/proc/nowhere/x",
    ]);
    assert_eq!(r.status.code(), Some(2), "{}", text(&r.stderr));
    let names: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["bad.onnx"]);
}

#[test]
fn check_lists_every_node() {
    let r = json(&["check", path(&examples().join("digits.onnx")), "--format=json"]);
    let nodes = r["nodes"].as_array().expect("a list");
    assert_eq!(keys(&nodes[0]), sorted(&["node", "op", "tsp", "wafer", "reason"]));
    assert!(nodes.iter().any(|n| n["node"] == "conv1" && n["op"] == "Conv" && n["tsp"] == true && n["wafer"] == true));
    assert_eq!(r["problems"], Value::Array(vec![]));
}
