//! Damaged and malicious files: each is an error that says where and why, never a panic.

use proptest::prelude::*;
use prost::Message;
use quadrille_onnx::proto::*;
use quadrille_onnx::{LoadError, from_bytes, load};

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: op.to_string(),
        name: format!("{}_of_{}", op.to_lowercase(), outputs.first().unwrap_or(&"nothing")),
        input: inputs.iter().map(|s| s.to_string()).collect(),
        output: outputs.iter().map(|s| s.to_string()).collect(),
        ..NodeProto::default()
    }
}

fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&d| Dimension { dim_value: Some(d), dim_param: None }).collect();
    let tensor_type = Some(TensorTypeProto { elem_type: 1, shape: Some(TensorShapeProto { dim }) });
    ValueInfoProto { name: name.to_string(), r#type: Some(TypeProto { tensor_type, ..TypeProto::default() }) }
}

fn weights(name: &str, dims: &[i64], bytes: usize) -> TensorProto {
    TensorProto {
        name: name.to_string(),
        dims: dims.to_vec(),
        data_type: 1,
        raw_data: Some(vec![0; bytes].into()),
        ..TensorProto::default()
    }
}

fn model(nodes: Vec<NodeProto>) -> ModelProto {
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        graph: Some(GraphProto {
            name: "g".to_string(),
            node: nodes,
            input: vec![value("x", &[2, 3])],
            output: vec![value("y", &[2, 3])],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

fn small() -> ModelProto {
    let mut m = model(vec![node("MatMul", &["x", "w"], &["h"]), node("Relu", &["h"], &["y"])]);
    let g = m.graph.as_mut().expect("there is a graph");
    g.initializer.push(weights("w", &[3, 3], 36));
    m
}

fn graph(m: &mut ModelProto) -> &mut GraphProto {
    m.graph.as_mut().expect("there is a graph")
}

fn problem(m: &ModelProto) -> String {
    match from_bytes(m.encode_to_vec().into(), None) {
        Ok(_) => panic!("the model was accepted"),
        Err(e) => e.to_string(),
    }
}

#[test]
fn a_good_model_is_read() {
    let m = from_bytes(small().encode_to_vec().into(), None).expect("the model is good");
    assert_eq!(m.graph.nodes.len(), 2);
    assert_eq!(m.graph.initializers[0].1.shape, [3, 3]);
}

#[test]
fn every_truncation_is_an_error_or_a_smaller_model() {
    let bytes = small().encode_to_vec();
    for n in 0..bytes.len() {
        // Cutting between two fields leaves a readable message; it must then pass every check.
        let _ = from_bytes(bytes[..n].to_vec().into(), None);
    }
    assert!(from_bytes(bytes[..bytes.len() / 2].to_vec().into(), None).is_err());
    assert!(from_bytes(Vec::new().into(), None).is_err());
}

#[test]
fn raw_data_is_shared_with_the_file() {
    let bytes: bytes::Bytes = small().encode_to_vec().into();
    let range = bytes.as_ptr_range();
    let m = from_bytes(bytes.clone(), None).expect("the model is good");
    let quadrille_onnx::TensorData::Bytes(w) = &m.graph.initializers[0].1.data else { panic!("numbers expected") };
    assert!(range.contains(&w.as_ptr()), "the weights were copied");
}

#[test]
fn a_cycle_names_its_nodes() {
    let text = problem(&model(vec![
        node("Add", &["x", "b"], &["a"]),
        node("Relu", &["a"], &["b"]),
        node("Neg", &["b"], &["y"]),
    ]));
    assert!(text.contains("cycle") && text.contains("add_of_a") && text.contains("relu_of_b"), "{text}");
}

#[test]
fn nodes_out_of_order_are_put_in_order() {
    let m = model(vec![node("Relu", &["h"], &["y"]), node("Neg", &["x"], &["h"])]);
    let m = from_bytes(m.encode_to_vec().into(), None).expect("the order is repaired");
    assert_eq!(m.graph.nodes.iter().map(|n| n.op.as_str()).collect::<Vec<_>>(), ["Neg", "Relu"]);
}

#[test]
fn a_missing_initializer_is_named() {
    let mut m = small();
    graph(&mut m).initializer.clear();
    let text = problem(&m);
    assert!(text.contains("'matmul_of_h' (MatMul)") && text.contains("'w'"), "{text}");
}

#[test]
fn duplicate_definitions_are_named() {
    let text = problem(&model(vec![node("Relu", &["x"], &["y"]), node("Neg", &["x"], &["y"])]));
    assert!(text.contains("neg_of_y") && text.contains("already defined"), "{text}");
    let mut m = small();
    let again = graph(&mut m).initializer[0].clone();
    graph(&mut m).initializer.push(again);
    assert!(problem(&m).contains("initializer 'w': is defined twice"));
}

#[test]
fn impossible_sizes_are_errors() {
    for dims in
        [vec![i64::MAX], vec![i64::MAX, i64::MAX], vec![1 << 32, 1 << 32, 2], vec![-1], vec![0, 1 << 39, 1 << 39]]
    {
        let mut m = small();
        graph(&mut m).initializer[0].dims = dims.clone();
        let text = problem(&m);
        assert!(text.contains("initializer 'w'"), "{dims:?}: {text}");
    }
    let mut m = small();
    graph(&mut m).initializer[0] = weights("w", &[3, 3], 35);
    assert!(problem(&m).contains("needs 36 bytes, but 35 are given"));
}

#[test]
fn versions_outside_the_range_are_refused() {
    for (ir, opset) in [(2, 17), (15, 17), (8, 0), (8, 29), (-1, 17), (8, i64::MAX)] {
        let mut m = small();
        m.ir_version = ir;
        m.opset_import[0].version = opset;
        let e = from_bytes(m.encode_to_vec().into(), None).expect_err("the version is out of range");
        assert!(matches!(e, LoadError::Version { .. }), "{e}");
    }
}

fn function(name: &str, calls: &[&str]) -> FunctionProto {
    let mut nodes: Vec<NodeProto> = Vec::new();
    let mut last = "a".to_string();
    for (i, callee) in calls.iter().enumerate() {
        let out = format!("t{i}");
        nodes.push(NodeProto { domain: "local".to_string(), ..node(callee, &[&last], &[&out]) });
        last = out;
    }
    nodes.push(node("Identity", &[&last], &["b"]));
    FunctionProto {
        name: name.to_string(),
        domain: "local".to_string(),
        input: vec!["a".to_string()],
        output: vec!["b".to_string()],
        node: nodes,
        ..FunctionProto::default()
    }
}

#[test]
fn functions_that_call_themselves_are_refused() {
    let mut m = small();
    m.functions = vec![function("F", &["F"])];
    assert!(problem(&m).contains("function 'F': calls itself"));
    m.functions = vec![function("F", &["G"]), function("G", &["H"]), function("H", &["F"])];
    assert!(problem(&m).contains("calls itself"));
}

#[test]
fn deep_nesting_ends_at_the_decoders_limit() {
    let mut body = GraphProto::default();
    for _ in 0..200 {
        let attribute =
            AttributeProto { name: "body".to_string(), r#type: 5, g: Some(body), ..AttributeProto::default() };
        let n = NodeProto { attribute: vec![attribute], ..node("Loop", &[], &[]) };
        body = GraphProto { node: vec![n], ..GraphProto::default() };
    }
    let m = ModelProto { graph: Some(body), ..small() };
    assert!(problem(&m).contains("recursion"));
}

#[test]
fn a_million_nodes_are_read_in_bounded_time() {
    let n = 1_000_000;
    let names: Vec<String> = (0..=n)
        .map(|i| {
            if i == 0 {
                "x".into()
            } else if i == n {
                "y".into()
            } else {
                format!("v{i}")
            }
        })
        .collect();
    // In reverse, so that they have to be ordered as well.
    let nodes = (0..n).rev().map(|i| node("Relu", &[&names[i]], &[&names[i + 1]])).collect();
    let bytes = model(nodes).encode_to_vec();
    let start = std::time::Instant::now();
    let m = from_bytes(bytes.into(), None).expect("the model is good");
    assert_eq!(m.graph.nodes.len(), n);
    assert!(start.elapsed().as_secs() < 300, "{:?}", start.elapsed());
}

fn external(location: &str, offset: &str, length: &str) -> ModelProto {
    let mut m = small();
    let t = &mut graph(&mut m).initializer[0];
    t.raw_data = None;
    t.data_location = 1;
    for (key, value) in [("location", location), ("offset", offset), ("length", length)] {
        if !value.is_empty() {
            t.external_data.push(StringStringEntryProto { key: key.to_string(), value: value.to_string() });
        }
    }
    m
}

#[test]
fn external_data_stays_in_the_models_folder() {
    let root = tempfile::tempdir().expect("a folder");
    let dir = root.path().join("model");
    std::fs::create_dir(&dir).expect("a folder");
    std::fs::write(root.path().join("secret.bin"), vec![0; 64]).expect("a file");
    std::fs::write(dir.join("w.bin"), (0..64u8).collect::<Vec<_>>()).expect("a file");
    let try_load = |m: ModelProto| {
        let path = dir.join("m.onnx");
        std::fs::write(&path, m.encode_to_vec()).expect("a file");
        load(&path).map_err(|e| e.to_string())
    };
    let good = try_load(external("w.bin", "4", "36")).expect("data inside the folder is read");
    let quadrille_onnx::TensorData::Bytes(w) = &good.graph.initializers[0].1.data else { panic!("numbers expected") };
    assert_eq!(w[..], (4..40u8).collect::<Vec<_>>()[..]);
    assert!(try_load(external("./w.bin", "", "")).is_ok());

    let absolute = root.path().join("secret.bin");
    for location in
        ["../secret.bin", "a/../../secret.bin", absolute.to_str().expect("a plain path"), "", "..", "/etc/passwd"]
    {
        let text = try_load(external(location, "", "")).expect_err("the location leaves the folder");
        assert!(text.contains("initializer 'w'"), "{location}: {text}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&absolute, dir.join("link.bin")).expect("a link");
        let text = try_load(external("link.bin", "", "")).expect_err("the link leaves the folder");
        assert!(text.contains("leaves the folder"), "{text}");
    }
    for (offset, length) in [("29", ""), ("18446744073709551615", ""), ("-1", ""), ("0", "35"), ("zero", "")] {
        let text = try_load(external("w.bin", offset, length)).expect_err("the range is wrong");
        assert!(text.contains("initializer 'w'"), "{offset} {length}: {text}");
    }
    let in_memory = from_bytes(external("w.bin", "", "").encode_to_vec().into(), None).expect_err("there is no folder");
    assert!(in_memory.to_string().contains("no folder"));
}

proptest! {
    #[test]
    fn mutated_models_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = small().encode_to_vec();
        for (at, b) in edits {
            let i = at.index(bytes.len());
            bytes[i] = b;
        }
        let _ = from_bytes(bytes.into(), None);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = from_bytes(bytes.into(), None);
    }
}
