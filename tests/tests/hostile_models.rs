//! Models that mean harm, one kind a test: whatever they ask for, the answer is an error or a result, and
//! neither time nor memory go with what they claim.
//!
//! What `onnx/tests/hostile.rs` does for the reader, this does for import, the oracle and `check`.

use prost::Message;
use quadrille::check::{CheckReport, Estimate, Question, check};
use quadrille::machine::{Machine, Target};
use quadrille::pipeline::{Feeds, Preparation};
use quadrille_compiler::import::{self, ImportOptions};
use quadrille_compiler::ir::{Tensor, eval, verify::verify};
use quadrille_onnx::proto::{
    AttributeProto, Dimension, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use std::collections::BTreeMap;
use std::path::Path;

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let list = |l: &[&str]| l.iter().map(|s| s.to_string()).collect();
    NodeProto { op_type: op.into(), input: list(inputs), output: list(outputs), ..Default::default() }
}

fn with(mut n: NodeProto, a: AttributeProto) -> NodeProto {
    n.attribute.push(a);
    n
}

fn int(name: &str, v: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 2, i: Some(v), ..Default::default() }
}

fn ints(name: &str, v: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 7, ints: v.to_vec(), ..Default::default() }
}

fn body(name: &str, g: GraphProto) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 5, g: Some(g), ..Default::default() }
}

fn value(name: &str, element: i32, dims: &[i64]) -> ValueInfoProto {
    let dim = |&d: &i64| Dimension { dim_value: Some(d), dim_param: None };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor_type = Some(TensorTypeProto { elem_type: element, shape });
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type, ..Default::default() }) }
}

fn constant(name: &str, dims: &[i64], v: &[i64]) -> TensorProto {
    TensorProto { dims: dims.to_vec(), data_type: 7, name: name.into(), int64_data: v.to_vec(), ..Default::default() }
}

fn graph(nodes: Vec<NodeProto>, inputs: Vec<ValueInfoProto>, output: &str) -> GraphProto {
    let output = vec![ValueInfoProto { name: output.into(), r#type: None }];
    GraphProto { node: nodes, input: inputs, output, name: "hostile".into(), ..Default::default() }
}

fn model(g: GraphProto) -> ModelProto {
    let opset_import = vec![
        OperatorSetIdProto { domain: String::new(), version: 21 },
        OperatorSetIdProto { domain: "own".into(), version: 1 },
    ];
    ModelProto { ir_version: 10, opset_import, graph: Some(g), ..Default::default() }
}

/// One node on a 2x3 input and constants of integers.
fn one(n: NodeProto, constants: Vec<TensorProto>) -> ModelProto {
    let mut g = graph(vec![n], vec![value("x", 1, &[2, 3])], "y");
    g.initializer = constants;
    model(g)
}

/// Import's words; evaluates and checks what imports.
fn answer(m: &ModelProto) -> Result<CheckReport, String> {
    let loaded = quadrille_onnx::from_bytes(m.encode_to_vec().into(), None).map_err(|e| e.to_string())?;
    let graph = import::import(&loaded, &ImportOptions::default()).map_err(|e| e.to_string());
    if let Ok(g) = &graph {
        verify(g).expect("an imported graph verifies");
        let bytes: usize = g.values().iter().map(|v| v.ty.bytes()).fold(0, usize::saturating_add);
        if bytes < 1 << 26 {
            let inputs: Vec<Tensor> = g
                .inputs
                .iter()
                .map(|&v| (g.ty(v).dtype, g.shape(v).to_vec()))
                .map(|(d, s)| Tensor::new(d, s.clone(), vec![0; g_bytes(&s) * d.size()]).expect("zeros"))
                .collect();
            let _ = eval::eval(g, &inputs);
        }
    }
    let machines = [Machine::full_size(Target::Tsp), Machine::full_size(Target::Wafer)];
    let question = Question {
        path: Path::new("hostile.onnx"),
        model: &loaded,
        dims: &BTreeMap::new(),
        feeds: &Feeds::default(),
        machines: &machines,
        precision: None,
        preparation: &Preparation::default(),
        estimate: Estimate::Auto,
    };
    let report = check(&question, &mut |_, work| work());
    graph.map(|_| report)
}

fn g_bytes(shape: &[usize]) -> usize {
    shape.iter().product()
}

fn refused(m: &ModelProto, words: &str) {
    let said = answer(m).map(|_| "it is accepted".to_string()).unwrap_or_else(|e| e);
    assert!(said.contains(words), "{said:?} instead of {words:?}");
}

#[test]
fn shapes_beyond_all_machines() {
    for (dims, words) in [
        (&[i64::MAX][..], "is too large"),
        (&[i64::MIN], "is negative"),
        (&[-2], "is negative"),
        (&[1 << 40, 1 << 40], "too large"),
        (&[0, 1 << 40, 1 << 40], "too large"),
    ] {
        let m = model(graph(vec![node("Relu", &["x"], &["y"])], vec![value("x", 1, dims)], "y"));
        refused(&m, words);
    }
}

#[test]
fn operators_that_ask_for_much() {
    const BIG: i64 = 1 << 62;
    let vector = |v: &[i64]| vec![constant("s", &[v.len() as i64], v)];
    let scalar = |v: i64| vec![constant("s", &[], &[v])];
    let range = vec![constant("s", &[], &[0]), constant("l", &[], &[BIG]), constant("d", &[], &[1])];
    let cases = [
        one(node("ConstantOfShape", &["s"], &["y"]), vector(&[BIG, BIG])),
        one(node("ConstantOfShape", &["s"], &["y"]), vector(&[1 << 38])),
        one(node("Expand", &["x", "s"], &["y"]), vector(&[BIG, 2, 3])),
        one(node("Tile", &["x", "s"], &["y"]), vector(&[BIG, BIG])),
        one(node("Reshape", &["x", "s"], &["y"]), vector(&[BIG, -1])),
        one(node("Range", &["s", "l", "d"], &["y"]), range),
        one(node("Pad", &["x", "s"], &["y"]), vector(&[BIG, BIG, BIG, BIG])),
        one(node("Pad", &["x", "s"], &["y"]), vector(&[i64::MIN, 0, 0, 0])),
        one(node("TopK", &["x", "s"], &["y", "i"]), vector(&[BIG])),
        one(node("Unsqueeze", &["x", "s"], &["y"]), vector(&[BIG])),
        one(node("Slice", &["x", "s", "s", "s", "s"], &["y"]), vector(&[i64::MIN, i64::MAX])),
        one(with(node("EyeLike", &["x"], &["y"]), int("k", i64::MIN)), vec![]),
        one(with(node("Concat", &["x", "x"], &["y"]), int("axis", i64::MIN)), vec![]),
        one(with(node("Softmax", &["x"], &["y"]), int("axis", i64::MAX)), vec![]),
        one(with(node("Split", &["x"], &["y"]), int("num_outputs", i64::MAX)), vec![]),
        one(with(node("Transpose", &["x"], &["y"]), ints("perm", &[i64::MIN, i64::MAX])), vec![]),
        one(with(node("DepthToSpace", &["x"], &["y"]), int("blocksize", BIG)), vec![]),
        one(with(node("Flatten", &["x"], &["y"]), int("axis", BIG)), vec![]),
        one(with(node("Trilu", &["x", "s"], &["y"]), int("upper", 1)), scalar(i64::MIN)),
        one(with(node("HannWindow", &["s"], &["y"]), int("periodic", 1)), scalar(BIG)),
        one(with(node("Cast", &["x"], &["y"]), int("to", i64::MAX)), vec![]),
    ];
    for m in &cases {
        // An answer is enough; where it is a graph, its types are within the limits.
        let op = &m.graph.as_ref().expect("a graph").node[0].op_type;
        println!("{op}: {:?}", answer(m).map(|r| r.exit_code));
    }
}

#[test]
fn windows_that_ask_for_much() {
    const BIG: i64 = 1 << 62;
    for (name, list) in [
        ("kernel_shape", [BIG, BIG]),
        ("strides", [BIG, 0]),
        ("strides", [i64::MIN, -1]),
        ("dilations", [BIG, BIG]),
        ("dilations", [0, 0]),
    ] {
        for op in ["MaxPool", "AveragePool", "LpPool"] {
            let mut n = node(op, &["x"], &["y"]);
            n.attribute = vec![ints(name, &list)];
            if name != "kernel_shape" {
                n.attribute.push(ints("kernel_shape", &[2, 2]));
            }
            for pads in [[0, 0, 0, 0], [BIG, BIG, BIG, BIG], [-1, -1, -1, -1]] {
                let mut n = n.clone();
                n.attribute.push(ints("pads", &pads));
                let _ = answer(&model(graph(vec![n], vec![value("x", 1, &[1, 2, 8, 8])], "y")));
            }
        }
    }
}

#[test]
fn loops_without_end() {
    let trips = |n: i64| {
        let inner = GraphProto {
            input: vec![value("i", 7, &[]), value("c", 9, &[]), value("s", 1, &[2, 3])],
            output: vec![value("c", 9, &[]), value("t", 1, &[2, 3])],
            node: vec![node("Neg", &["s"], &["t"])],
            ..Default::default()
        };
        one(with(node("Loop", &["n", "", "x"], &["y"]), body("body", inner)), vec![constant("n", &[], &[n])])
    };
    assert!(answer(&trips(3)).is_ok());
    refused(&trips(i64::MAX), "");
}

#[test]
fn functions_that_double_at_every_level() {
    let function = |i: usize| FunctionProto {
        name: format!("f{i}"),
        domain: "own".into(),
        input: vec!["a".into()],
        output: vec!["c".into()],
        node: if i == 0 {
            vec![node("Relu", &["a"], &["c"])]
        } else {
            let call =
                |x: &str, y: &str| NodeProto { domain: "own".into(), ..node(&format!("f{}", i - 1), &[x], &[y]) };
            vec![call("a", "b"), call("b", "c")]
        },
        opset_import: vec![
            OperatorSetIdProto { domain: String::new(), version: 21 },
            OperatorSetIdProto { domain: "own".into(), version: 1 },
        ],
        ..Default::default()
    };
    let levels = |n: usize| {
        let call = NodeProto { domain: "own".into(), ..node(&format!("f{}", n - 1), &["x"], &["y"]) };
        let mut m = model(graph(vec![call], vec![value("x", 1, &[2])], "y"));
        m.functions = (0..n).map(function).collect();
        m
    };
    assert!(answer(&levels(5)).is_ok());
    refused(&levels(60), "more than");
    refused(&levels(100), "deeper than");
}

#[test]
fn constants_that_double() {
    // Each node makes twice the bytes of the one before it, all known at import.
    let mut nodes = vec![node("Identity", &["s"], &["v0"])];
    for i in 0..60 {
        let v = format!("v{i}");
        nodes.push(with(node("Concat", &[&v, &v], &[&format!("v{}", i + 1)]), int("axis", 0)));
    }
    let mut g = graph(nodes, vec![], "v60");
    g.initializer = vec![constant("s", &[4], &[1, 2, 3, 4])];
    refused(&model(g), "too large");
}

#[test]
fn nothing_and_one_element_go_through() {
    for (dims, op) in [(&[][..], "Relu"), (&[0], "Relu"), (&[0, 3], "Softmax"), (&[2, 0, 4], "Exp"), (&[1], "Abs")] {
        let m = model(graph(vec![node(op, &["x"], &["y"])], vec![value("x", 1, dims)], "y"));
        let report = answer(&m).unwrap_or_else(|e| panic!("{op} on {dims:?}: {e}"));
        assert!([0, 3, 4].contains(&report.exit_code), "{op} on {dims:?}: {report:?}");
    }
    let empty = one(
        node("MatMul", &["x", "w"], &["y"]),
        vec![TensorProto { dims: vec![3, 0], data_type: 1, name: "w".into(), ..Default::default() }],
    );
    assert!(answer(&empty).is_ok());
}

#[test]
fn a_million_nodes() {
    let nodes = (0..1_000_000).map(|i| node("Relu", &[&format!("v{i}")], &[&format!("v{}", i + 1)])).collect();
    let m = model(graph(nodes, vec![value("v0", 1, &[4])], "v1000000"));
    let report = answer(&m).expect("it imports");
    assert_eq!((report.facts.nodes, report.nodes.len(), report.exit_code), (1_000_000, 1_000_000, 3));
    assert!(report.problems[0].reason.contains("1000000 primitives"), "{:?}", report.problems[0]);
    // And as many that fail, each at its own.
    let nodes = (0..1_000_000).map(|i| node("Frob", &[&format!("v{i}")], &[&format!("v{}", i + 1)])).collect();
    let m = model(graph(nodes, vec![value("v0", 1, &[4])], "v1000000"));
    refused(&m, "the operator is not supported");
}
