//! Models made of bytes: every byte is a choice, so a fuzzer that changes bytes changes operators,
//! shapes, attributes and edges rather than the encoding.
//!
//! What comes out is a message that reads as ONNX and is often nearly right: names are mostly
//! defined, attributes mostly have the kind that the operator wants. Some choices are hostile: extents
//! near 2^63, negative ones, data that is not there, cycles, functions that call themselves.

use prost::Message;
use quadrille_compiler::import::{OpInfo, supported_ops};
use quadrille_onnx::proto::{
    AttributeProto, Dimension, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// Choices read from bytes; zeros when they are used up.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn below(&mut self, n: usize) -> usize {
        let byte = |c: &mut Self| usize::from(*c.0.next().unwrap_or(&0));
        let v = if n > 256 { byte(self) << 8 | byte(self) } else { byte(self) };
        v % n.max(1)
    }

    /// True once in `n`.
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

const OPSETS: [i64; 9] = [7, 9, 11, 13, 17, 18, 21, 24, 28];
/// float, float, int64, int32, bool, float16, int8, uint8, double, bfloat16, int4, string.
const ELEMENTS: [i32; 12] = [1, 1, 7, 6, 9, 10, 3, 2, 11, 16, 22, 8];
const EXTENTS: [i64; 12] = [1, 2, 3, 4, 2, 1, 8, 5, 0, -1, 1 << 31, i64::MAX];
const INTS: [i64; 12] = [0, 1, 2, -1, 3, 4, -2, 5, 7, 1 << 31, i64::MAX, i64::MIN];
const NAMES: [&str; 40] = [
    "axis",
    "axes",
    "kernel_shape",
    "strides",
    "pads",
    "dilations",
    "group",
    "auto_pad",
    "ceil_mode",
    "keepdims",
    "perm",
    "to",
    "shape",
    "value",
    "mode",
    "alpha",
    "beta",
    "epsilon",
    "transA",
    "transB",
    "hidden_size",
    "direction",
    "split",
    "num_outputs",
    "k",
    "largest",
    "exclusive",
    "equation",
    "body",
    "then_branch",
    "else_branch",
    "num_scan_inputs",
    "batch_dims",
    "output_padding",
    "output_shape",
    "blocksize",
    "size",
    "dtype",
    "value_ints",
    "num_heads",
];
const STRINGS: [&str; 12] = [
    "SAME_UPPER",
    "VALID",
    "constant",
    "nearest",
    "linear",
    "bidirectional",
    "reverse",
    "ij,jk->ik",
    "add",
    "bij->jib",
    "reflect",
    "",
];

/// The serialised model of some bytes.
pub fn model_bytes(data: &[u8]) -> Vec<u8> {
    model(data).encode_to_vec()
}

/// The model of some bytes.
pub fn model(data: &[u8]) -> ModelProto {
    let mut c = Choices(data.iter());
    let ops = supported_ops();
    let version = c.pick(&OPSETS);
    let mut m = ModelProto {
        ir_version: 8,
        opset_import: vec![set("", version), set("com.microsoft", 1), set("ai.onnx.preview", 1), set("own", 1)],
        ..ModelProto::default()
    };
    for i in 0..c.below(3) {
        m.functions.push(function(&mut c, &ops, i, version));
    }
    let mut names = Vec::new();
    m.graph = Some(graph(&mut c, &ops, &mut names, 0));
    m
}

/// Changes a model as bytes say: operators, edges, attributes, extents, element types.
pub fn mutate(m: &mut ModelProto, choices: &[u8]) {
    let mut c = Choices(choices.iter());
    let ops = supported_ops();
    let version = c.pick(&OPSETS);
    if c.one_in(8) {
        m.opset_import.iter_mut().for_each(|o| o.version = version);
    }
    let Some(g) = m.graph.as_mut() else { return };
    let names: Vec<String> = g.input.iter().map(|v| v.name.clone()).collect();
    for _ in 0..1 + c.below(3) {
        let at = c.below(g.node.len());
        let Some(n) = g.node.get_mut(at) else { continue };
        match c.below(7) {
            0 => n.op_type = ops[c.below(ops.len())].name.to_string(),
            1 if !n.input.is_empty() => {
                let i = c.below(n.input.len());
                n.input[i] = names.get(c.below(names.len())).cloned().unwrap_or_default();
            }
            2 => _ = n.input.pop(),
            3 if !n.attribute.is_empty() => {
                let i = c.below(n.attribute.len());
                change(&mut n.attribute[i], &mut c);
            }
            4 => n.attribute.push(attribute(&mut c, &ops, &mut names.clone(), 2)),
            5 => {
                let i = c.below(g.input.len());
                if let Some(v) = g.input.get_mut(i) {
                    *v = info(&mut c, v.name.clone());
                }
            }
            _ => {
                let i = c.below(g.initializer.len());
                if let Some(t) = g.initializer.get_mut(i) {
                    *t = tensor(&mut c, t.name.clone());
                }
            }
        }
    }
}

/// Another value of the same kind.
fn change(a: &mut AttributeProto, c: &mut Choices<'_>) {
    let i = c.below(a.ints.len());
    match a.r#type {
        1 => a.f = Some(c.pick(&[0.0, -1.0, 1e30, f32::NAN, f32::NEG_INFINITY])),
        2 => a.i = Some(c.pick(&INTS)),
        3 => a.s = Some(c.pick(&STRINGS).as_bytes().into()),
        7 if !a.ints.is_empty() => a.ints[i] = c.pick(&INTS),
        7 => a.ints.push(c.pick(&INTS)),
        _ => a.r#type = c.pick(&[0, 1, 2, 3, 7]),
    }
}

fn set(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: domain.into(), version }
}

fn shape(c: &mut Choices<'_>) -> Vec<i64> {
    // Hostile extents are a matter of few shapes, or nothing else is seen.
    let extents = if c.one_in(12) { EXTENTS.len() } else { 8 };
    (0..c.below(5)).map(|_| EXTENTS[c.below(extents)]).collect()
}

fn element(c: &mut Choices<'_>) -> i32 {
    let n = if c.one_in(4) { ELEMENTS.len() } else { 3 };
    ELEMENTS[c.below(n)]
}

fn info(c: &mut Choices<'_>, name: String) -> ValueInfoProto {
    let dims = shape(c);
    let dim = |&d: &i64| match d {
        -1 => Dimension { dim_value: None, dim_param: Some("n".into()) },
        d => Dimension { dim_value: Some(d), dim_param: None },
    };
    let shape = (!c.one_in(30)).then(|| TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor_type = Some(TensorTypeProto { elem_type: element(c), shape });
    ValueInfoProto { name, r#type: Some(TypeProto { tensor_type, ..TypeProto::default() }) }
}

fn tensor(c: &mut Choices<'_>, name: String) -> TensorProto {
    let ints = c.one_in(2);
    let mut t = TensorProto { name, data_type: if ints { 7 } else { element(c) }, ..TensorProto::default() };
    if ints {
        // What decides about shapes: a short list of numbers.
        let n = c.below(5);
        t.dims = if n == 0 { vec![] } else { vec![n as i64] };
        let count = if c.one_in(8) { INTS.len() } else { 8 };
        t.int64_data = (0..n.max(1)).map(|_| INTS[c.below(count)]).collect();
        return t;
    }
    t.dims = shape(c);
    let elements = t.dims.iter().try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?)).unwrap_or(1);
    let width = match t.data_type {
        7 | 11 => 8,
        1 | 6 => 4,
        10 | 16 => 2,
        _ => 1,
    };
    let bytes = elements.min(1 << 12) * width;
    let fill = [0u8, 0, 0x3F, 0x80][c.below(4)];
    t.raw_data = Some((0..bytes).map(|i| if i % width + 1 == width { fill } else { 0 }).collect::<Vec<u8>>().into());
    t
}

fn attribute(c: &mut Choices<'_>, ops: &[OpInfo], names: &mut [String], depth: usize) -> AttributeProto {
    let name = c.pick(&NAMES);
    let ints = if c.one_in(8) { INTS.len() } else { 8 };
    let mut a = AttributeProto { name: name.into(), ..AttributeProto::default() };
    let usual = match name {
        "axes" | "kernel_shape" | "strides" | "pads" | "dilations" | "perm" | "shape" | "split" | "output_padding"
        | "output_shape" | "value_ints" => 7,
        "auto_pad" | "mode" | "direction" | "equation" => 3,
        "alpha" | "beta" | "epsilon" => 1,
        "value" => 4,
        "body" | "then_branch" | "else_branch" => 5,
        _ => 2,
    };
    a.r#type = if c.one_in(10) { c.pick(&[1, 2, 3, 4, 5, 6, 7, 8, 13]) } else { usual };
    match a.r#type {
        1 => a.f = Some(c.pick(&[0.0, 1.0, 1e-5, -1.0, f32::NAN, f32::INFINITY])),
        2 => a.i = Some(INTS[c.below(ints)]),
        3 => a.s = Some(c.pick(&STRINGS).as_bytes().into()),
        4 => a.t = Some(tensor(c, String::new())),
        5 if depth < 3 => a.g = Some(graph(c, ops, &mut names.to_vec(), depth + 1)),
        7 => a.ints = (0..c.below(5)).map(|_| INTS[c.below(ints)]).collect(),
        _ => {}
    }
    a
}

fn node(c: &mut Choices<'_>, ops: &[OpInfo], names: &mut Vec<String>, depth: usize) -> NodeProto {
    let mut n = NodeProto::default();
    if c.one_in(16) {
        (n.domain, n.op_type) = ("own".into(), format!("f{}", c.below(3)));
    } else {
        let op = &ops[c.below(ops.len())];
        (n.domain, n.op_type) = (op.domain.into(), op.name.into());
    }
    for _ in 0..1 + c.below(4) {
        let at = c.below(names.len());
        // A name of the future makes a cycle, or is undefined.
        let name =
            if c.one_in(40) { format!("v{}", names.len() + 1) } else { names.get(at).cloned().unwrap_or_default() };
        n.input.push(if c.one_in(24) { String::new() } else { name });
    }
    for _ in 0..c.below(4) {
        let a = attribute(c, ops, names, depth);
        if !n.attribute.iter().any(|b| b.name == a.name) {
            n.attribute.push(a);
        }
    }
    for _ in 0..1 + c.below(8) / 6 {
        let name = if c.one_in(60) { "v0".to_string() } else { format!("v{}", names.len()) };
        names.push(name.clone());
        n.output.push(name);
    }
    n
}

fn graph(c: &mut Choices<'_>, ops: &[OpInfo], names: &mut Vec<String>, depth: usize) -> GraphProto {
    let mut g = GraphProto { name: "g".into(), ..GraphProto::default() };
    let inputs = if depth == 0 { 1 + c.below(3) } else { c.below(4) };
    for _ in 0..inputs {
        let name = format!("v{}", names.len());
        names.push(name.clone());
        g.input.push(info(c, name));
    }
    for _ in 0..c.below(4) {
        let name = format!("v{}", names.len());
        names.push(name.clone());
        g.initializer.push(tensor(c, name));
    }
    for _ in 0..1 + c.below(if depth == 0 { 10 } else { 3 }) {
        g.node.push(node(c, ops, names, depth));
    }
    for _ in 0..1 + c.below(2) {
        let back = c.below(3).min(names.len() - 1);
        let name = names[names.len() - 1 - back].clone();
        let mut v = info(c, name);
        if !c.one_in(4) {
            v.r#type = None;
        }
        g.output.push(v);
    }
    g
}

fn function(c: &mut Choices<'_>, ops: &[OpInfo], number: usize, version: i64) -> FunctionProto {
    let mut names = vec!["v0".to_string(), "v1".to_string()];
    let node = (0..1 + c.below(3)).map(|_| node(c, ops, &mut names, 2)).collect();
    FunctionProto {
        name: format!("f{number}"),
        domain: "own".into(),
        input: vec!["v0".into(), "v1".into()],
        output: vec![names.last().cloned().unwrap_or_default()],
        node,
        opset_import: vec![set("", version), set("own", 1), set("com.microsoft", 1), set("ai.onnx.preview", 1)],
        ..FunctionProto::default()
    }
}
