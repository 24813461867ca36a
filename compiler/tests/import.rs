//! The importer on small models made here: what it accepts, how it says no, and that a hostile
//! model costs bounded time and memory.

use prost::Message;
use quadrille_compiler::import::{ImportErrorKind, ImportErrors, ImportOptions, import, supported_ops};
use quadrille_compiler::ir::{DType, Graph, Tensor, eval};
use quadrille_onnx::proto::*;
use std::time::{Duration, Instant};

/// Far above what any of these takes, also on a busy machine; what it catches is no end at all.
const LIMIT: Duration = Duration::from_secs(300);

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: op.to_string(),
        input: inputs.iter().map(|s| s.to_string()).collect(),
        output: outputs.iter().map(|s| s.to_string()).collect(),
        ..NodeProto::default()
    }
}

fn int(name: &str, v: i64) -> AttributeProto {
    AttributeProto { name: name.to_string(), r#type: 2, i: Some(v), ..AttributeProto::default() }
}

fn with(n: NodeProto, attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto { attribute: attributes, ..n }
}

fn dim(d: &str) -> Dimension {
    match d.parse() {
        Ok(v) => Dimension { dim_value: Some(v), dim_param: None },
        Err(_) if d == "?" => Dimension::default(),
        Err(_) => Dimension { dim_value: None, dim_param: Some(d.to_string()) },
    }
}

fn value(name: &str, elem_type: i32, dims: &[&str]) -> ValueInfoProto {
    let shape = Some(TensorShapeProto { dim: dims.iter().map(|d| dim(d)).collect() });
    let tensor_type = Some(TensorTypeProto { elem_type, shape });
    ValueInfoProto { name: name.to_string(), r#type: Some(TypeProto { tensor_type, ..TypeProto::default() }) }
}

fn ints(name: &str, v: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_string(),
        dims: vec![v.len() as i64],
        data_type: 7,
        int64_data: v.to_vec(),
        ..TensorProto::default()
    }
}

fn scalar(name: &str, v: i64) -> TensorProto {
    TensorProto { dims: vec![], ..ints(name, &[v]) }
}

fn model(
    inputs: Vec<ValueInfoProto>,
    constants: Vec<TensorProto>,
    nodes: Vec<NodeProto>,
    outputs: &[&str],
) -> ModelProto {
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        graph: Some(GraphProto {
            node: nodes,
            input: inputs,
            initializer: constants,
            output: outputs.iter().map(|o| ValueInfoProto { name: o.to_string(), r#type: None }).collect(),
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

fn run_import(m: &ModelProto, options: &ImportOptions) -> Result<Graph, ImportErrors> {
    let m = quadrille_onnx::from_bytes(m.encode_to_vec().into(), None).expect("the model is well formed");
    import(&m, options)
}

fn dims(list: &[(&str, usize)]) -> ImportOptions {
    ImportOptions { dims: list.iter().map(|(n, d)| (n.to_string(), *d)).collect(), ..ImportOptions::default() }
}

fn errors(m: &ModelProto) -> ImportErrors {
    run_import(m, &ImportOptions::default()).expect_err("the model must be refused")
}

#[test]
fn a_dim_without_a_value_names_the_input_and_the_option() {
    let m = model(vec![value("x", 1, &["batch", "?", "3"])], vec![], vec![node("Relu", &["x"], &["y"])], &["y"]);
    let e = errors(&m);
    assert!(e.errors.iter().all(|e| e.kind == ImportErrorKind::NeedsDim));
    let text = e.to_string();
    assert!(text.contains("input 'x': axis 0 is the dim 'batch'") && text.contains("--dim batch=n"), "{text}");
    assert!(text.contains("--dim x.1=n"), "{text}");
    let g = run_import(&m, &dims(&[("batch", 2), ("x.1", 5)])).expect("all dims are bound");
    assert_eq!(g.shape(g.inputs[0]), [2, 5, 3]);
    let text =
        run_import(&m, &dims(&[("batch", 2), ("x.1", 5), ("bacth", 1)])).expect_err("a typing error").to_string();
    assert!(text.contains("'bacth'") && text.contains("'batch'"), "{text}");
}

#[test]
fn a_given_shape_binds_dims_and_must_agree() {
    let inputs = vec![value("x", 1, &["n", "3"]), value("y", 1, &["n", "3"])];
    let m = model(inputs, vec![], vec![node("Add", &["x", "y"], &["z"])], &["z"]);
    let mut o = ImportOptions::default();
    o.input_shapes.insert("x".to_string(), vec![4, 3]);
    let g = run_import(&m, &o).expect("the shape of x binds n for y too");
    assert_eq!(g.shape(g.inputs[1]), [4, 3]);
    o.input_shapes.insert("y".to_string(), vec![5, 3]);
    assert!(run_import(&m, &o).expect_err("n has two values").to_string().contains("'n' is 4"));
    o.input_shapes.insert("y".to_string(), vec![4, 2]);
    assert!(run_import(&m, &o).expect_err("a fixed extent differs").to_string().contains("the model says 3"));
}

#[test]
fn all_problems_are_reported_and_their_victims_are_not() {
    let nodes = vec![
        NodeProto { name: "first".to_string(), ..node("Bogus", &["x"], &["a"]) },
        NodeProto { name: "victim".to_string(), ..node("Relu", &["a"], &["b"]) },
        NodeProto { name: "second".to_string(), ..node("Bogus", &["x"], &["c"]) },
        NodeProto { name: "odd".to_string(), ..with(node("Relu", &["x"], &["d"]), vec![int("speed", 3)]) },
        NodeProto { name: "misfit".to_string(), ..node("MatMul", &["x", "x"], &["e"]) },
    ];
    let m = model(vec![value("x", 1, &["2", "3"])], vec![], nodes, &["b", "c", "d", "e"]);
    let e = errors(&m);
    let names: Vec<&str> = e.errors.iter().map(|e| e.node.as_str()).collect();
    assert_eq!(names, ["first", "second", "odd", "misfit"]);
    let text = e.to_string();
    assert!(text.contains("node 'first', 'second' (Bogus, ai.onnx 17, on f32[2x3])"), "{text}");
    assert!(text.contains("attribute 'speed' (int) is unknown"), "{text}");
    assert!(text.contains("'misfit' (MatMul") && text.contains("f32[2x3]"), "{text}");
    assert_eq!(e.grouped().len(), 3);
}

#[test]
fn shape_arithmetic_is_folded() {
    // y = reshape(x, concat(shape(x)[0:1], [-1]))
    let nodes = vec![
        node("Shape", &["x"], &["s"]),
        node("Slice", &["s", "zero", "one"], &["batch"]),
        node("Concat", &["batch", "rest"], &["target"]),
        node("Reshape", &["x", "target"], &["y"]),
    ];
    let nodes =
        nodes.into_iter().map(|n| if n.op_type == "Concat" { with(n, vec![int("axis", 0)]) } else { n }).collect();
    let constants = vec![ints("zero", &[0]), ints("one", &[1]), ints("rest", &[-1])];
    let m = model(vec![value("x", 1, &["2", "3", "4"])], constants, nodes, &["y"]);
    let g = run_import(&m, &ImportOptions::default()).expect("the shape is known");
    assert_eq!(g.nodes().len(), 1);
    assert_eq!(g.shape(g.outputs[0].value), [2, 12]);
}

#[test]
fn a_shape_that_is_an_input_asks_for_its_value() {
    let inputs = vec![value("x", 1, &["6"]), value("shape", 7, &["2"])];
    let m = model(inputs, vec![], vec![node("Reshape", &["x", "shape"], &["y"])], &["y"]);
    let e = errors(&m);
    assert_eq!((e.errors[0].kind, &e.errors[0].needs[..]), (ImportErrorKind::NeedsValue, &["shape".to_string()][..]));
    let mut o = ImportOptions::default();
    o.values.insert("shape".to_string(), Tensor::from_i64(&[2], &[2, -1]));
    let g = run_import(&m, &o).expect("the value is bound");
    assert_eq!(g.inputs.len(), 1);
    assert_eq!(g.shape(g.outputs[0].value), [2, 3]);
}

fn branch(op: &str) -> GraphProto {
    let output = vec![ValueInfoProto { name: "r".to_string(), r#type: None }];
    GraphProto { node: vec![node(op, &["x"], &["r"])], output, ..GraphProto::default() }
}

fn graph_attribute(name: &str, g: GraphProto) -> AttributeProto {
    AttributeProto { name: name.to_string(), r#type: 5, g: Some(g), ..AttributeProto::default() }
}

#[test]
fn an_if_on_a_constant_imports_one_branch() {
    for (cond, want) in [(1, 3.0f32), (0, -3.0)] {
        let n = node("If", &["cond"], &["y"]);
        let n = with(
            n,
            vec![graph_attribute("then_branch", branch("Abs")), graph_attribute("else_branch", branch("Identity"))],
        );
        let cond = TensorProto { data_type: 9, int64_data: vec![], int32_data: vec![cond], ..scalar("cond", 0) };
        let m = model(vec![value("x", 1, &["1"])], vec![cond], vec![n], &["y"]);
        let g = run_import(&m, &ImportOptions::default()).expect("the branch is known");
        let y = eval::eval(&g, &[Tensor::from_f32(&[1], &[-3.0])]).expect("it has a value");
        assert_eq!(y[0].as_f32(), Some(vec![want]));
    }
}

#[test]
fn a_branch_for_other_shapes_asks_for_the_condition() {
    let shaped = |target: &str| {
        let output = vec![ValueInfoProto { name: "r".to_string(), r#type: None }];
        GraphProto { node: vec![node("Reshape", &["x", target], &["r"])], output, ..GraphProto::default() }
    };
    let n = with(
        node("If", &["cond"], &["y"]),
        vec![graph_attribute("then_branch", shaped("six")), graph_attribute("else_branch", shaped("seven"))],
    );
    let inputs = vec![value("x", 1, &["6"]), value("cond", 9, &[])];
    let m = model(inputs, vec![ints("six", &[2, 3]), ints("seven", &[7, 1])], vec![n], &["y"]);
    let e = errors(&m);
    assert_eq!(e.errors.len(), 1, "{e}");
    assert_eq!((e.errors[0].kind, &e.errors[0].needs[..]), (ImportErrorKind::NeedsValue, &["cond".to_string()][..]));
    assert!(e.to_string().contains("in the branch"), "{e}");
    let mut o = ImportOptions::default();
    o.values.insert("cond".to_string(), Tensor { dtype: DType::Bool, shape: vec![], data: vec![1].into() });
    let g = run_import(&m, &o).expect("one branch is left");
    assert_eq!(g.shape(g.outputs[0].value), [2, 3]);
}

/// A loop whose body passes its condition through and does nothing else.
fn empty_loop(count: i64) -> ModelProto {
    let body = GraphProto {
        input: vec![value("i", 7, &[]), value("c", 9, &[])],
        output: vec![ValueInfoProto { name: "c".to_string(), r#type: None }],
        ..GraphProto::default()
    };
    let n = with(node("Loop", &["count", ""], &[]), vec![graph_attribute("body", body)]);
    model(vec![value("x", 1, &["1"])], vec![scalar("count", count)], vec![n, node("Relu", &["x"], &["y"])], &["y"])
}

#[test]
fn a_loop_counts_to_an_extent() {
    // Doubles y once for every row of x, whose number is known only once the dim is bound.
    let mut body = GraphProto {
        input: vec![value("i", 7, &[]), value("c", 9, &[]), value("state", 1, &["?"])],
        node: vec![node("Add", &["state", "state"], &["twice"])],
        ..GraphProto::default()
    };
    body.output = ["c", "twice"].map(|o| ValueInfoProto { name: o.to_string(), r#type: None }).to_vec();
    let nodes = vec![
        node("Shape", &["x"], &["s"]),
        node("Gather", &["s", "first"], &["count"]),
        with(node("Loop", &["count", "", "y"], &["z"]), vec![graph_attribute("body", body)]),
    ];
    let inputs = vec![value("x", 1, &["rows", "2"]), value("y", 1, &["1"])];
    let m = model(inputs, vec![scalar("first", 0)], nodes, &["z"]);
    for (rows, want) in [(0, 3.0), (1, 6.0), (4, 48.0)] {
        let g = run_import(&m, &dims(&[("rows", rows)])).expect("the trip count is known");
        assert_eq!(g.nodes().len(), rows, "one addition a row, and no counting");
        let x = Tensor::from_f32(&[rows, 2], &vec![0.0; 2 * rows]);
        let z = eval::eval(&g, &[x, Tensor::from_f32(&[1], &[3.0])]).expect("it has a value");
        assert_eq!(z[0].as_f32(), Some(vec![want]));
    }
}

#[test]
fn dims_called_by_a_question_mark_are_independent() {
    let m = model(vec![value("x", 1, &["3", "4"])], vec![], vec![node("Relu", &["x"], &["y"])], &["y"]);
    let mut unknown = m.clone();
    let graph = unknown.graph.as_mut().expect("the model has a graph");
    let tensor = graph.input[0].r#type.as_mut().and_then(|t| t.tensor_type.as_mut()).expect("a tensor");
    for d in &mut tensor.shape.as_mut().expect("a shape").dim {
        *d = Dimension { dim_value: None, dim_param: Some("?".to_string()) };
    }
    let g = run_import(&unknown, &dims(&[("x.0", 3), ("x.1", 4)])).expect("each is bound by its place");
    assert_eq!(g.shape(g.inputs[0]), [3, 4]);
}

#[test]
fn a_loop_of_too_many_trips_is_refused_in_bounded_time() {
    assert!(run_import(&empty_loop(1000), &ImportOptions::default()).is_ok());
    let start = Instant::now();
    let text = errors(&empty_loop(i64::MAX)).to_string();
    assert!(text.contains("once functions and loops are expanded"), "{text}");
    assert!(start.elapsed() < LIMIT);
}

#[test]
fn functions_that_double_sixty_times_are_refused_in_bounded_time() {
    let mut m = model(
        vec![value("x", 1, &["1"])],
        vec![],
        vec![NodeProto { domain: "local".to_string(), ..node("F0", &["x"], &["y"]) }],
        &["y"],
    );
    for i in 0..60 {
        let callee = format!("F{}", i + 1);
        let call = |a: &str, b: &str| NodeProto { domain: "local".to_string(), ..node(&callee, &[a], &[b]) };
        m.functions.push(FunctionProto {
            name: format!("F{i}"),
            domain: "local".to_string(),
            input: vec!["a".to_string()],
            output: vec!["c".to_string()],
            node: if i == 59 { vec![node("Relu", &["a"], &["c"])] } else { vec![call("a", "b"), call("b", "c")] },
            ..FunctionProto::default()
        });
    }
    let start = Instant::now();
    let text = errors(&m).to_string();
    assert!(text.contains("once functions and loops are expanded"), "{text}");
    assert!(start.elapsed() < LIMIT);
}

#[test]
fn huge_extents_are_refused_or_stay_lazy() {
    let full = |shape: &[i64]| {
        let nodes = vec![node("ConstantOfShape", &["s"], &["big"]), node("Relu", &["big"], &["y"])];
        model(vec![], vec![ints("s", shape)], nodes, &["y"])
    };
    // A large tensor of one value costs nothing until it is evaluated.
    let g = run_import(&full(&[1 << 20, 1 << 15]), &ImportOptions::default()).expect("it is only declared");
    assert_eq!(g.shape(g.outputs[0].value), [1 << 20, 1 << 15]);
    for shape in [&[1i64 << 62][..], &[1 << 30, 1 << 30], &[-5], &[0, 1 << 30, 1 << 30]] {
        errors(&full(shape));
    }
    let nodes = vec![node("Range", &["a", "b", "c"], &["y"])];
    let m = model(vec![], vec![scalar("a", 0), scalar("b", i64::MAX), scalar("c", 1)], nodes, &["y"]);
    assert!(errors(&m).to_string().contains("too long"));
}

#[test]
fn empty_and_scalar_tensors_pass() {
    let nodes =
        vec![node("Relu", &["x"], &["a"]), node("Concat", &["a", "a"], &["b"]), node("ReduceSum", &["b"], &["y"])];
    let nodes =
        nodes.into_iter().map(|n| if n.op_type == "Concat" { with(n, vec![int("axis", 0)]) } else { n }).collect();
    let m = model(vec![value("x", 1, &["0", "3"])], vec![], nodes, &["y"]);
    let g = run_import(&m, &ImportOptions::default()).expect("an empty tensor is a tensor");
    let y = eval::eval(&g, &[Tensor::from_f32(&[0, 3], &[])]).expect("it has a value");
    assert_eq!((y[0].dtype, y[0].as_f32()), (DType::F32, Some(vec![0.0])));
    let m = model(vec![value("x", 1, &[])], vec![], vec![node("Exp", &["x"], &["y"])], &["y"]);
    let g = run_import(&m, &ImportOptions::default()).expect("a scalar is a tensor");
    assert_eq!(g.shape(g.outputs[0].value), [0usize; 0]);
}

#[test]
fn a_million_nodes_import_in_bounded_time() {
    let n = 1_000_000;
    let name = |i| if i == 0 { "x".to_string() } else { format!("v{i}") };
    let nodes = (0..n).map(|i| node("Relu", &[&name(i)], &[&name(i + 1)])).collect();
    let m = model(vec![value("x", 1, &["1"])], vec![], nodes, &[&name(n)]);
    let m = quadrille_onnx::from_bytes(m.encode_to_vec().into(), None).expect("the model is well formed");
    let start = Instant::now();
    let g = import(&m, &ImportOptions::default()).expect("the model is good");
    assert_eq!(g.nodes().len(), n);
    assert_eq!(g.origin_name(&g.nodes()[7]), "Relu_7");
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
}

#[test]
fn the_table_in_the_docs_is_the_table_of_operators() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/onnx.md");
    let text = std::fs::read_to_string(&path).expect("docs/onnx.md exists");
    const BEGIN: &str = "<!-- operators: generated, UPDATE_DOCS=1 cargo test -p quadrille-compiler --test import -->\n";
    const END: &str = "<!-- end of operators -->\n";
    let (head, rest) = text.split_once(BEGIN).expect("the table has a beginning");
    let (old, tail) = rest.split_once(END).expect("the table has an end");
    let mut table = String::new();
    for domain in ["", "com.microsoft", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training"] {
        let shown = if domain.is_empty() { "ai.onnx" } else { domain };
        let names: Vec<String> = supported_ops()
            .iter()
            .filter(|o| o.domain == domain)
            .map(|o| if o.since > 1 { format!("`{}` ({})", o.name, o.since) } else { format!("`{}`", o.name) })
            .collect();
        table.push_str(&format!("\n**{shown}**, {} operators: {}.\n", names.len(), names.join(", ")));
    }
    table.push('\n');
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{table}{END}{tail}")).expect("docs/onnx.md is writable");
    } else {
        assert_eq!(old, table, "docs/onnx.md is out of date: run with UPDATE_DOCS=1");
    }
}

fn sequence(name: &str, of: ValueInfoProto) -> ValueInfoProto {
    let element = ElementTypeProto { elem_type: of.r#type.map(Box::new) };
    let r#type = TypeProto { sequence_type: Some(Box::new(element)), ..TypeProto::default() };
    ValueInfoProto { name: name.to_string(), r#type: Some(r#type) }
}

#[test]
fn a_sequence_becomes_its_elements() {
    let nodes = vec![node("SequenceInsert", &["s", "x"], &["t"]), node("SequenceLength", &["t"], &["n"])];
    let inputs = vec![sequence("s", value("", 1, &["?", "2"])), value("x", 1, &["3"])];
    let m = model(inputs, vec![], nodes, &["t", "n"]);
    let text = errors(&m).to_string();
    assert!(text.contains("input 's': is a sequence") && text.contains("shapes of its elements"), "{text}");
    let mut o = ImportOptions::default();
    o.sequences.insert("s".to_string(), vec![vec![1, 2], vec![4, 2]]);
    let g = run_import(&m, &o).expect("the elements are known");
    let names = |v: &[quadrille_compiler::ir::Output]| v.iter().map(|o| o.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&g.outputs), ["t.0", "t.1", "t.2", "n"]);
    let inputs: Vec<(&str, &[usize])> = g.inputs.iter().map(|&v| (g.value(v).name.as_str(), g.shape(v))).collect();
    assert_eq!(inputs, [("s.0", &[1, 2][..]), ("s.1", &[4, 2]), ("x", &[3])]);
    o.sequences.insert("s".to_string(), vec![vec![1, 3]]);
    let text = run_import(&m, &o).expect_err("the element type says 2").to_string();
    assert!(text.contains("'s.0'") && text.contains("the model says 2"), "{text}");
    o.sequences.insert("x".to_string(), vec![]);
    assert!(run_import(&m, &o).is_err(), "x is no sequence");
}

#[test]
fn names_of_elements_must_be_free() {
    let inputs = vec![sequence("s", value("", 1, &["2"])), value("s.0", 1, &["2"])];
    let m = model(inputs, vec![], vec![node("SequenceInsert", &["s", "s.0"], &["t"])], &["t"]);
    let mut o = ImportOptions::default();
    o.sequences.insert("s".to_string(), vec![vec![2]]);
    let text = run_import(&m, &o).expect_err("two inputs have one name").to_string();
    assert!(text.contains("two inputs are called 's.0'"), "{text}");
}

#[test]
fn version_6_broadcasts_only_when_asked_to() {
    let mut add = node("Add", &["x", "y"], &["z"]);
    let build = |n: &NodeProto, y: &[&str]| {
        let mut m = model(vec![value("x", 1, &["2", "3", "4"]), value("y", 1, y)], vec![], vec![n.clone()], &["z"]);
        m.opset_import[0].version = 6;
        m
    };
    assert!(errors(&build(&add, &["4"])).to_string().contains("version 6 broadcasting"));
    add.attribute.push(int("broadcast", 1));
    assert!(run_import(&build(&add, &["4"]), &ImportOptions::default()).is_ok(), "along the last axis");
    assert!(run_import(&build(&add, &["3"]), &ImportOptions::default()).is_err(), "not along the middle one");
    add.attribute.push(int("axis", 1));
    let g = run_import(&build(&add, &["3"]), &ImportOptions::default()).expect("along the middle axis");
    let x: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let inputs = [Tensor::from_f32(&[2, 3, 4], &x), Tensor::from_f32(&[3], &[100.0, 200.0, 300.0])];
    let z = eval::eval(&g, &inputs).expect("it has a value")[0].as_f32().expect("it is f32");
    let want: Vec<f32> = (0..24).map(|i| i as f32 + 100.0 * ((i / 4 % 3) + 1) as f32).collect();
    assert_eq!(z, want);
}

#[test]
fn packed_weights_are_unpacked_in_order() {
    // 1, -2, 7: the first element in the low bits.
    let weights = TensorProto {
        name: "w".to_string(),
        dims: vec![3],
        data_type: 22,
        raw_data: Some(vec![0xE1, 0x07].into()),
        ..TensorProto::default()
    };
    let nodes = vec![with(node("Cast", &["w"], &["f"]), vec![int("to", 1)]), node("Mul", &["f", "x"], &["y"])];
    let m = model(vec![value("x", 1, &["3"])], vec![weights], nodes, &["y"]);
    let g = run_import(&m, &ImportOptions::default()).expect("int4 weights are read");
    let y = eval::eval(&g, &[Tensor::from_f32(&[3], &[1.0, 10.0, 100.0])]).expect("it has a value");
    assert_eq!(y[0].as_f32(), Some(vec![1.0, -20.0, 700.0]));
}

/// The derivative of a formula with most of the operations that have one, against differences of its
/// values, in f64.
#[test]
fn gradients_are_slopes() {
    let strings = |name: &str, v: &[&str]| AttributeProto {
        name: name.to_string(),
        r#type: 8,
        strings: v.iter().map(|s| s.as_bytes().to_vec().into()).collect(),
        ..AttributeProto::default()
    };
    let y =
        AttributeProto { name: "y".to_string(), r#type: 3, s: Some(b"y".to_vec().into()), ..AttributeProto::default() };
    let nodes = vec![
        node("MatMul", &["a", "b"], &["ab"]),
        node("Tanh", &["ab"], &["t"]),
        node("Exp", &["c"], &["e"]),
        node("Add", &["t", "e"], &["s"]),
        node("Mul", &["s", "t"], &["m"]),
        node("Sqrt", &["e"], &["r"]),
        node("Div", &["m", "r"], &["d"]),
        with(node("Transpose", &["d"], &["dt"]), vec![]),
        node("Sigmoid", &["dt"], &["g"]),
        node("Sub", &["g", "dt"], &["u"]),
        with(node("ReduceMean", &["u"], &["y"]), vec![int("keepdims", 0)]),
        NodeProto {
            domain: "ai.onnx.preview.training".to_string(),
            ..with(node("Gradient", &["a", "b", "c"], &["da", "db", "dc"]), vec![strings("xs", &["a", "b", "c"]), y])
        },
    ];
    let inputs = vec![value("a", 11, &["2", "3"]), value("b", 11, &["3", "4"]), value("c", 11, &["4"])];
    let mut m = model(inputs, vec![], nodes, &["y", "da", "db", "dc"]);
    m.opset_import.push(OperatorSetIdProto { domain: "ai.onnx.preview.training".to_string(), version: 1 });
    let g = run_import(&m, &ImportOptions::default()).expect("every operation has a derivative");
    let tensor = |shape: &[usize], v: &[f64]| {
        let data: Vec<u8> = v.iter().flat_map(|x| x.to_le_bytes()).collect();
        Tensor::new(DType::F64, shape.to_vec(), data).expect("the values fill the shape")
    };
    let shapes: [&[usize]; 3] = [&[2, 3], &[3, 4], &[4]];
    let values: Vec<Vec<f64>> = shapes
        .iter()
        .map(|s| (0..s.iter().product::<usize>()).map(|i| ((i * 7 + s.len() * 3) % 11) as f64 / 7.0 - 0.6).collect())
        .collect();
    let run = |values: &[Vec<f64>]| -> Vec<Vec<f64>> {
        let inputs: Vec<Tensor> = shapes.iter().zip(values).map(|(s, v)| tensor(s, v)).collect();
        let out = eval::eval(&g, &inputs).expect("it has a value");
        out.iter()
            .map(|t| t.data.chunks(8).map(|c| f64::from_le_bytes(c.try_into().expect("eight bytes"))).collect())
            .collect()
    };
    let slopes = run(&values);
    const STEP: f64 = 1e-5;
    for (k, list) in values.iter().enumerate() {
        for i in 0..list.len() {
            let at = |d: f64| {
                let mut moved = values.clone();
                moved[k][i] += d;
                run(&moved)[0][0]
            };
            let want = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            let got = slopes[k + 1][i];
            assert!((got - want).abs() < 1e-7, "operand {k}, element {i}: got {got}, want {want}");
        }
    }
    assert!(slopes[1..].iter().all(|s| s.iter().any(|v| v.abs() > 1e-3)), "the slopes are not all zero");
}
