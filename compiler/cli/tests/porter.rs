//! What a porter does with a model that gives trouble: check it, find the node that departs,
//! reduce it.

use prost::Message;
use quadrille_onnx::proto::{
    Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TensorTypeProto,
    TypeProto, ValueInfoProto,
};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/models/digits.onnx")
}

fn read(path: &Path) -> ModelProto {
    ModelProto::decode(std::fs::read(path).expect("the model").as_slice()).expect("it is ONNX")
}

fn write(folder: &Path, name: &str, m: &ModelProto) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, m.encode_to_vec()).expect("the folder is writable");
    path
}

fn quadrille(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quadrille")).args(args).output().expect("the binary runs")
}

/// The object on standard output, and the exit code.
fn json(args: &[&str]) -> (Value, Option<i32>) {
    let out = quadrille(args);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let v = serde_json::from_str(&text).unwrap_or_else(|e| {
        panic!("{args:?}: {e}: {text}{}", String::from_utf8_lossy(&out.stderr));
    });
    (v, out.status.code())
}

fn path(p: &Path) -> &str {
    p.to_str().expect("UTF-8")
}

fn float(name: &str, shape: &[i64]) -> ValueInfoProto {
    value(name, 1, shape)
}

/// A value of ONNX's element type number `elem_type`.
fn value(name: &str, elem_type: i32, shape: &[i64]) -> ValueInfoProto {
    let dim = |&d: &i64| Dimension { dim_value: Some(d), dim_param: None };
    let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
    let tensor_type = Some(TensorTypeProto { elem_type, shape: Some(shape) });
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type, ..Default::default() }) }
}

fn node(name: &str, op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: name.into(),
        op_type: op.into(),
        input: inputs.iter().map(|i| i.to_string()).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

fn support<'a>(report: &'a Value, node: &str) -> &'a Value {
    let nodes = report["nodes"].as_array().expect("a list");
    nodes.iter().find(|n| n["node"] == node).unwrap_or_else(|| panic!("{node} in {report}"))
}

/// The digits model with two operators that there are not, at `relu1` and at `softmax`.
fn two_unknown() -> ModelProto {
    let mut m = read(&digits());
    for n in &mut m.graph.as_mut().expect("a graph").node {
        match n.name.as_str() {
            "relu1" => n.op_type = "Frobnicate".into(),
            "softmax" => n.op_type = "Defrobnicate".into(),
            _ => {}
        }
    }
    m
}

#[test]
fn check_goes_on_behind_a_node_that_failed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The model says nothing of inner values: what depends on them is blocked, and said to be.
    let mut model = two_unknown();
    model.graph.as_mut().expect("a graph").value_info.clear();
    let bare = write(folder.path(), "bare.onnx", &model);
    let (r, code) = json(&["check", path(&bare), "--format=json"]);
    assert_eq!(code, Some(3));
    assert_eq!((&support(&r, "conv1")["tsp"], &support(&r, "relu1")["tsp"]), (&Value::Bool(true), &Value::Bool(false)));
    let blocked = support(&r, "pool1");
    assert_eq!((&blocked["tsp"], &blocked["wafer"]), (&Value::Null, &Value::Null));
    assert_eq!(blocked["reason"], "not looked at: depends on 'relu1', which failed");
    let ops: Vec<&str> = r["groups"][0]["ops"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(ops, ["Frobnicate", "Defrobnicate"], "the second is found though the first is in its way");
    assert_eq!(r["groups"][0]["nodes"], serde_json::json!(["relu1", "softmax"]));
    assert_eq!(r["facts"]["complete"], false);

    // With the type of relu1's result, everything behind it is looked at.
    model.graph.as_mut().expect("a graph").value_info.push(float("a1", &[1, 16, 8, 8]));
    let stated = write(folder.path(), "stated.onnx", &model);
    let (r, _) = json(&["check", path(&stated), "--format=json"]);
    for n in ["conv1", "pool1", "conv2", "relu2", "pool2", "dense"] {
        assert_eq!((&support(&r, n)["tsp"], &support(&r, n)["wafer"]), (&Value::Bool(true), &Value::Bool(true)), "{n}");
    }
    assert_eq!(r["problems"].as_array().map(Vec::len), Some(2), "{r}");
}

#[test]
fn what_targets_do_not_do_is_found_behind_a_failure_too() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let g = GraphProto {
        node: vec![node("frob", "Frobnicate", &["x"], "a"), node("square", "Mul", &["a", "a"], "y")],
        input: vec![float("x", &[2, 8])],
        // The mesh multiplies no integers of 32 bits.
        output: vec![value("y", 6, &[2, 8])],
        value_info: vec![value("a", 6, &[2, 8])],
        ..Default::default()
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
    let m = ModelProto { ir_version: 8, opset_import, graph: Some(g), ..Default::default() };
    let (r, code) = json(&["check", path(&write(folder.path(), "m.onnx", &m)), "--target=wafer", "--format=json"]);
    assert_eq!(code, Some(3));
    let reasons = |n: &str| support(&r, n)["reason"].as_str().unwrap_or_default().to_string();
    assert_eq!(reasons("frob"), "the operator is not supported");
    assert!(!reasons("square").is_empty() && support(&r, "square")["wafer"] == false, "{r}");
    assert_eq!(support(&r, "square")["tsp"], Value::Null, "not asked for");
}

#[test]
fn check_has_figures_of_the_model() {
    let (r, code) = json(&["check", path(&digits()), "--format=json"]);
    let f = &r["facts"];
    assert_eq!(code, Some(0));
    // 1x16x8x8x9 + 16x32x4x4x9 + 128x10
    assert_eq!((&f["macs"], &f["complete"]), (&(9_216 + 73_728 + 1_280).into(), &true.into()));
    assert_eq!(f["parameters"], 16 * 9 + 16 + 32 * 16 * 9 + 32 + 1280 + 10);
    assert_eq!(f["opsets"]["ai.onnx"], 17);
    for t in r["targets"].as_array().expect("a list") {
        assert_eq!((&t["ok"], &t["estimated_by"]), (&true.into(), &"compiled".into()));
        assert!(t["sram_bytes"].as_u64() <= t["sram_capacity_bytes"].as_u64(), "{t}");
        assert!(t["cycles"].as_u64() >= t["bound_cycles"].as_u64(), "{t}");
    }
    let (r, _) = json(&["check", path(&digits()), "--estimate=bound", "--format=json"]);
    for t in r["targets"].as_array().expect("a list") {
        assert_eq!((&t["ok"], &t["estimated_by"], &t["cycles"]), (&true.into(), &"bound".into(), &Value::Null));
        assert_eq!(t["sram_bytes"], 2 * (16 * 9 + 32 * 16 * 9 + 1280));
    }
}

/// The digits' optimised graph with one line changed.
fn edited(folder: &Path, line: &str, from: &str, to: &str) -> PathBuf {
    let out = quadrille(&["compile", path(&digits()), "--target=tsp", "--emit=optimized"]);
    let text = String::from_utf8(out.stdout).expect("text");
    let lines: Vec<String> =
        text.lines().map(|l| if l.contains(line) { l.replace(from, to) } else { l.to_string() }).collect();
    let wrong = lines.join("\n");
    assert_ne!(wrong.trim(), text.trim(), "{line}");
    let path = folder.join("wrong.qir");
    std::fs::write(&path, wrong).expect("the folder is writable");
    path
}

#[test]
fn a_wrong_rewrite_is_found_at_its_node() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = digits();
    let base = ["run", path(&model), "--target=tsp", "--compare-nodes", "--format=json"];
    let (r, code) = json(&base);
    assert_eq!((code, &r["first_departure"]), (Some(0), &Value::Null));
    let all = r["nodes"].as_array().expect("a list").clone();
    for n in ["a1", "p1", "a2", "p2", "logits", "digit"] {
        let one = all.iter().find(|v| v["value"] == n).unwrap_or_else(|| panic!("{n} keeps its name"));
        assert_eq!(one["optimized"]["ok"], true, "{n}");
        assert_eq!(one["machine"]["ok"], true, "{n}");
    }
    // relu of conv2 forgotten; pooling with the wrong stride would not type.
    let wrong = edited(folder.path(), "as \"a2\"", "epilogue=[add, relu]", "epilogue=[add]");
    let option = format!("--optimized={}", path(&wrong));
    let (r, code) = json(&[&base[..], &[&option]].concat());
    let first = &r["first_departure"];
    assert_eq!((code, &first["stage"], &first["value"]), (Some(1), &"optimized".into(), &"a2".into()), "{first}");
    assert!(first["node"].as_str().is_some_and(|n| n.contains("conv2")), "{first}");
    // And another one: the pooling reads the wrong way round.
    let wrong = edited(folder.path(), "as \"p1\"", "max_pool", "average_pool");
    let option = format!("--optimized={}", path(&wrong));
    let (r, _) = json(&[&base[..], &[&option]].concat());
    assert_eq!(r["first_departure"]["node"], "pool1");
}

#[test]
fn references_from_outside_are_compared_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (model, refs) = (digits(), folder.path().join("refs"));
    std::fs::create_dir(&refs).expect("a folder");
    // The right values of the model's own output, then one that is off.
    let output = format!("--output=digit={}", path(&refs.join("digit.npy")));
    json(&["run", path(&model), "--target=tsp", "--format=json", &output]);
    let reference = format!("--reference={}", path(&refs));
    let base = ["run", path(&model), "--target=tsp", "--compare-nodes", "--format=json", "--atol=0.02", &reference];
    let (r, code) = json(&base);
    assert_eq!((code, &r["first_departure"]), (Some(0), &Value::Null));
    let zeros = quadrille::data::npy::encode(&quadrille_compiler::ir::Tensor::from_f32(&[1, 32, 2, 2], &[9.0; 128]));
    std::fs::write(refs.join("p2.npy"), zeros.expect("an array")).expect("the folder is writable");
    let (r, code) = json(&base);
    assert_eq!(
        (code, &r["first_departure"]["node"], &r["first_departure"]["stage"]),
        (Some(1), &"pool2".into(), &"imported".into())
    );
}

#[test]
fn reduce_finds_the_node_that_is_not_supported() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = write(folder.path(), "two.onnx", &two_unknown());
    let small = folder.path().join("small.onnx");
    let args = ["reduce", path(&model), "--fails=check", "--about=Defrob", "--format=json", "-o", path(&small)];
    let (r, code) = json(&args);
    assert_eq!((code, &r["nodes_before"]), (Some(0), &9.into()));
    assert_eq!(r["nodes"], serde_json::json!([{"node": "softmax", "op": "Defrobnicate"}]));
    let first = std::fs::read(&small).expect("it is written");
    json(&args);
    assert_eq!(first, std::fs::read(&small).expect("it is written"), "the same call gives the same file");
    let (r, code) = json(&["check", path(&small), "--format=json"]);
    assert_eq!((code, &r["nodes"][0]["reason"]), (Some(3), &"the operator is not supported".into()));
}

/// A chain of `n` nodes, in the middle of which a difference of two products cancels: right in f32, lost
/// in f16.
fn cancelling(n: usize) -> ModelProto {
    let weights = |name: &str, last: f32| {
        let data: Vec<f32> = (0..64).map(|i| if i == 63 { last } else { 1.0 + (i % 7) as f32 * 0.37 }).collect();
        TensorProto { dims: vec![8, 8], data_type: 1, name: name.into(), float_data: data, ..Default::default() }
    };
    let mut nodes = Vec::new();
    let mut last = "x".to_string();
    for i in 0..n {
        let next = format!("v{i}");
        if i == n / 2 {
            nodes.push(node("left", "MatMul", &[&last, "w0"], "l"));
            nodes.push(node("right", "MatMul", &[&last, "w1"], "r"));
            nodes.push(node("difference", "Sub", &["l", "r"], &next));
        } else {
            nodes.push(node(&format!("abs{i}"), "Abs", &[&last], &next));
        }
        last = next;
    }
    let g = GraphProto {
        node: nodes,
        initializer: vec![weights("w0", 1.0), weights("w1", 1.0004)],
        input: vec![float("x", &[4, 8])],
        output: vec![ValueInfoProto { name: last, r#type: float("", &[4, 8]).r#type }],
        ..Default::default()
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
    ModelProto { ir_version: 8, opset_import, graph: Some(g), ..Default::default() }
}

#[test]
fn reduce_keeps_a_wrong_result() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = write(folder.path(), "chain.onnx", &cancelling(40));
    let small = folder.path().join("small.onnx");
    let (r, code) =
        json(&["reduce", path(&model), "--target=tsp", "--fails=wrong", "--format=json", "-o", path(&small)]);
    assert_eq!((code, &r["nodes_before"]), (Some(0), &42.into()));
    let names: Vec<&str> = r["nodes"].as_array().expect("a list").iter().filter_map(|n| n["node"].as_str()).collect();
    assert_eq!(names, ["left", "right", "difference"]);
    let (r, code) = json(&["run", path(&small), "--target=tsp", "--format=json"]);
    assert_eq!((code, &r["exact"], &r["compare"]["ok"]), (Some(1), &true.into(), &false.into()));
}

#[test]
fn reduce_takes_any_command() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let small = folder.path().join("small.onnx");
    let digits = digits();
    // Fails as long as the file holds the operator Gemm.
    let fails = "--fails=! grep -q Gemm {}";
    let (r, code) = json(&["reduce", path(&digits), fails, "--format=json", "-o", path(&small)]);
    assert_eq!(code, Some(0));
    assert_eq!(r["nodes"], serde_json::json!([{"node": "dense", "op": "Gemm"}]));
    // 128 and 10, the extents of its matrix, are gone as well.
    assert!(r["bytes"].as_u64().is_some_and(|b| b < 400), "{r}");
    let out = quadrille(&["reduce", path(&digits), "--fails=check", "-o", path(&small)]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2));
    assert!(said.contains("the model does not fail this way: it gives exit code 0"), "{said}");
}
