//! Protobuf messages to the typed model, piece by piece.
//!
//! Checks what one message says of itself: sizes, numbers of types, kinds of attributes.
//! What messages say of each other is for `check`.

use crate::error::Problem;
use crate::external::ExternalFiles;
use crate::model::*;
use crate::proto::*;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Problems after which the list is cut: a damaged file can have millions.
const MAX_PROBLEMS: usize = 1000;

/// Extents beyond this are errors: no machine holds such an axis, and products of a few of
/// them stay far from overflow.
const MAX_EXTENT: u64 = 1 << 40;

/// Converts messages and collects what is wrong with them.
pub(crate) struct Converter {
    external: ExternalFiles,
    problems: Vec<Problem>,
}

impl Converter {
    pub(crate) fn new(external: ExternalFiles) -> Converter {
        Converter { external, problems: Vec::new() }
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    fn problem(&mut self, place: impl Into<String>, reason: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { place: place.into(), reason: reason.into() });
        }
    }

    pub(crate) fn model(&mut self, m: ModelProto) -> Model {
        let opsets = self.opsets("the model", m.opset_import);
        let mut functions = BTreeMap::new();
        for f in m.functions {
            let f = self.function(f, &opsets);
            let place = format!("function '{}'", f.id.name);
            if functions.insert(f.id.clone(), f).is_some() {
                self.problem(place, "is defined twice");
            }
        }
        let graph = self.graph(m.graph.unwrap_or_default());
        let producer = format!("{} {}", m.producer_name, m.producer_version).trim().to_string();
        Model { ir_version: m.ir_version, opsets, producer, graph, functions }
    }

    fn opsets(&mut self, place: &str, list: Vec<OperatorSetIdProto>) -> BTreeMap<String, i64> {
        let mut opsets = BTreeMap::new();
        for o in list {
            let domain = standard(o.domain);
            match opsets.get(&domain) {
                Some(&v) if v != o.version => self.problem(
                    place,
                    format!("imports domain '{}' in two versions, {v} and {}", shown(&domain), o.version),
                ),
                _ => {
                    opsets.insert(domain, o.version);
                }
            }
        }
        opsets
    }

    fn function(&mut self, f: FunctionProto, model_opsets: &BTreeMap<String, i64>) -> Function {
        let place = format!("function '{}'", f.name);
        let mut opsets = self.opsets(&place, f.opset_import);
        if opsets.is_empty() {
            opsets = model_opsets.clone();
        }
        let mut defaults = BTreeMap::new();
        for a in f.attribute_proto {
            let name = a.name.clone();
            match self.attribute(a) {
                Ok(a) => {
                    defaults.insert(name, a);
                }
                Err(reason) => self.problem(&place, format!("default of attribute '{name}': {reason}")),
            }
        }
        Function {
            id: FunctionId { domain: standard(f.domain), name: f.name, overload: f.overload },
            opsets,
            inputs: f.input,
            outputs: f.output,
            required: f.attribute,
            defaults,
            nodes: self.nodes(f.node),
        }
    }

    fn graph(&mut self, g: GraphProto) -> Graph {
        let mut initializers = Vec::with_capacity(g.initializer.len());
        for t in g.initializer {
            let name = t.name.clone();
            match self.tensor(t) {
                Ok(t) => initializers.push((name, t)),
                Err(reason) => self.problem(format!("initializer '{name}'"), reason),
            }
        }
        for t in g.sparse_initializer {
            let name = t.values.map(|v| v.name).unwrap_or_default();
            self.problem(format!("initializer '{name}'"), "sparse initializers are not supported; make it dense");
        }
        let inputs = g.input.into_iter().map(|v| self.value_info("input", v)).collect();
        let outputs = g.output.into_iter().map(|v| self.value_info("output", v)).collect();
        // What is stated of inner values is a hint, so an unreadable one is no problem.
        let stated = |v: ValueInfoProto| Some(ValueInfo { ty: value_type(v.r#type).ok()?, name: v.name });
        let value_info = g.value_info.into_iter().filter_map(stated).collect();
        Graph { name: g.name, nodes: self.nodes(g.node), initializers, inputs, outputs, value_info }
    }

    fn nodes(&mut self, nodes: Vec<NodeProto>) -> Vec<Node> {
        nodes.into_iter().enumerate().map(|(i, n)| self.node(i, n)).collect()
    }

    fn node(&mut self, index: usize, n: NodeProto) -> Node {
        let name = if n.name.is_empty() { format!("{}_{index}", n.op_type) } else { n.name };
        let place = format!("node '{name}' ({})", n.op_type);
        if n.op_type.is_empty() {
            self.problem(&place, "names no operator");
        }
        let mut attributes = BTreeMap::new();
        for a in n.attribute {
            let attribute_name = a.name.clone();
            match self.attribute(a) {
                Ok(a) => {
                    if attributes.insert(attribute_name.clone(), a).is_some() {
                        self.problem(&place, format!("attribute '{attribute_name}' is given twice"));
                    }
                }
                Err(reason) => self.problem(&place, format!("attribute '{attribute_name}': {reason}")),
            }
        }
        Node {
            name,
            op: n.op_type,
            domain: standard(n.domain),
            overload: n.overload,
            inputs: n.input,
            outputs: n.output,
            attributes,
        }
    }

    fn attribute(&mut self, a: AttributeProto) -> Result<Attribute, String> {
        if !a.ref_attr_name.is_empty() {
            return Ok(Attribute::Reference(a.ref_attr_name));
        }
        // Files of IR version 1 may leave the type out; the field that is there then decides.
        let kind = match a.r#type {
            0 if a.f.is_some() => 1,
            0 if a.i.is_some() => 2,
            0 if a.s.is_some() => 3,
            0 if a.t.is_some() => 4,
            0 if a.g.is_some() => 5,
            0 if !a.floats.is_empty() => 6,
            0 if !a.ints.is_empty() => 7,
            0 if !a.strings.is_empty() => 8,
            k => k,
        };
        Ok(match kind {
            // The writer may leave out a field that has its default value.
            1 => Attribute::Float(a.f.unwrap_or_default()),
            2 => Attribute::Int(a.i.unwrap_or_default()),
            3 => Attribute::String(a.s.unwrap_or_default()),
            4 => Attribute::Tensor(self.tensor(a.t.ok_or("is a tensor, but holds none")?)?),
            5 => Attribute::Graph(Box::new(self.graph(a.g.ok_or("is a graph, but holds none")?))),
            6 => Attribute::Floats(a.floats),
            7 => Attribute::Ints(a.ints),
            8 => Attribute::Strings(a.strings),
            9 => Attribute::Tensors(a.tensors.into_iter().map(|t| self.tensor(t)).collect::<Result<_, _>>()?),
            10 => Attribute::Graphs(a.graphs.into_iter().map(|g| self.graph(g)).collect()),
            11 => Attribute::Other("sparse tensor"),
            12 => Attribute::Other("sparse tensors"),
            13 => Attribute::Type(value_type(a.tp)?),
            14 => Attribute::Other("types"),
            k => return Err(format!("is of unknown kind {k}")),
        })
    }

    fn value_info(&mut self, role: &str, v: ValueInfoProto) -> ValueInfo {
        let ty = value_type(v.r#type).unwrap_or_else(|reason| {
            self.problem(format!("{role} '{}'", v.name), reason);
            ValueType::Unknown
        });
        ValueInfo { name: v.name, ty }
    }

    /// A tensor with its data: raw, in typed fields, or external.
    pub(crate) fn tensor(&mut self, t: TensorProto) -> Result<Tensor, String> {
        let element = element_type(t.data_type)?;
        if t.segment.is_some() {
            return Err("tensors in segments are not supported".to_string());
        }
        let shape = t.dims.iter().map(|&d| extent(d)).collect::<Result<Vec<usize>, String>>()?;
        let count = elements(&shape).ok_or_else(|| format!("the size of shape {shape:?} overflows"))?;
        let Some(bits) = element.bits() else {
            if t.string_data.len() != count {
                return Err(format!("shape {shape:?} needs {count} strings, but {} are given", t.string_data.len()));
            }
            return Ok(Tensor { element, shape, data: TensorData::Strings(t.string_data) });
        };
        let want = count
            .checked_mul(bits)
            .map(|b| b.div_ceil(8))
            .ok_or_else(|| format!("the size of shape {shape:?} overflows"))?;
        let data = if t.data_location == 1 {
            self.external.data(&t, want)?
        } else if t.data_location != 0 {
            return Err(format!("unknown data location {}", t.data_location));
        } else if let Some(raw) = t.raw_data.filter(|r| !r.is_empty()) {
            raw
        } else {
            typed_data(element, count, &t.float_data, &t.int32_data, &t.int64_data, &t.double_data, &t.uint64_data)?
        };
        if data.len() != want {
            return Err(format!(
                "{} of shape {shape:?} needs {want} bytes, but {} are given",
                element.name(),
                data.len()
            ));
        }
        Ok(Tensor { element, shape, data: TensorData::Bytes(data) })
    }
}

/// Bytes of a tensor whose elements are in the typed fields.
fn typed_data(
    element: ElementType,
    count: usize,
    float: &[f32],
    int32: &[i32],
    int64: &[i64],
    double: &[f64],
    uint64: &[u64],
) -> Result<Bytes, String> {
    use ElementType as E;
    let check = |given: usize, per_element: usize| {
        if count.checked_mul(per_element) == Some(given) {
            Ok(())
        } else {
            Err(format!("the shape needs {count} elements, but {} are given", given / per_element))
        }
    };
    let bytes: Vec<u8> = match element {
        E::F32 | E::Complex64 => {
            check(float.len(), if element == E::F32 { 1 } else { 2 })?;
            float.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        E::F64 | E::Complex128 => {
            check(double.len(), if element == E::F64 { 1 } else { 2 })?;
            double.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        E::I64 => {
            check(int64.len(), 1)?;
            int64.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        E::U64 => {
            check(uint64.len(), 1)?;
            uint64.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        E::U32 => {
            check(uint64.len(), 1)?;
            uint64.iter().flat_map(|&v| (v as u32).to_le_bytes()).collect()
        }
        E::I32 => {
            check(int32.len(), 1)?;
            int32.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        E::U16 | E::I16 | E::F16 | E::BF16 => {
            check(int32.len(), 1)?;
            int32.iter().flat_map(|&v| (v as u16).to_le_bytes()).collect()
        }
        E::U8 | E::I8 | E::Bool | E::F8E4M3FN | E::F8E4M3FNUZ | E::F8E5M2 | E::F8E5M2FNUZ | E::F8E8M0 => {
            check(int32.len(), 1)?;
            int32.iter().map(|&v| v as u8).collect()
        }
        // Packed in the file too: each int32 carries one byte of packed elements.
        E::U4 | E::I4 | E::F4E2M1 | E::U2 | E::I2 => {
            let per_byte = if matches!(element, E::U2 | E::I2) { 4 } else { 2 };
            if int32.len() != count.div_ceil(per_byte) {
                return Err(format!("the shape needs {count} packed elements, but {} bytes are given", int32.len()));
            }
            int32.iter().map(|&v| v as u8).collect()
        }
        E::String => Vec::new(),
    };
    Ok(Bytes::from(bytes))
}

fn value_type(t: Option<TypeProto>) -> Result<ValueType, String> {
    let Some(t) = t else { return Ok(ValueType::Unknown) };
    let element = |e: Option<Box<TypeProto>>| value_type(e.map(|b| *b)).map(Box::new);
    if let Some(t) = t.tensor_type {
        if t.elem_type == 0 {
            return Ok(ValueType::Unknown);
        }
        let shape = t.shape.map(|s| s.dim.into_iter().map(dimension).collect::<Result<Vec<_>, _>>()).transpose()?;
        Ok(ValueType::Tensor { element: element_type(t.elem_type)?, shape })
    } else if let Some(s) = t.sequence_type {
        Ok(ValueType::Sequence(element(s.elem_type)?))
    } else if let Some(o) = t.optional_type {
        Ok(ValueType::Optional(element(o.elem_type)?))
    } else if t.map_type.is_some() {
        Ok(ValueType::Other("map"))
    } else if t.sparse_tensor_type.is_some() {
        Ok(ValueType::Other("sparse tensor"))
    } else if t.opaque_type.is_some() {
        Ok(ValueType::Other("opaque"))
    } else {
        Ok(ValueType::Unknown)
    }
}

fn dimension(d: Dimension) -> Result<Dim, String> {
    match (d.dim_value, d.dim_param) {
        // Some exporters write -1 or 0-with-a-name for "unknown".
        (Some(-1), _) => Ok(Dim::Unknown),
        (Some(v), _) => extent(v).map(Dim::Fixed),
        // Paddle's exporter names every unknown extent "?", which says nothing about their being equal.
        (None, Some(p)) if !p.is_empty() && p != "?" => Ok(Dim::Symbol(p)),
        _ => Ok(Dim::Unknown),
    }
}

fn element_type(n: i32) -> Result<ElementType, String> {
    ElementType::from_number(n).ok_or_else(|| format!("unknown element type {n}"))
}

fn extent(d: i64) -> Result<usize, String> {
    match u64::try_from(d) {
        Ok(d) if d <= MAX_EXTENT => Ok(d as usize),
        Ok(d) => Err(format!("extent {d} is too large")),
        Err(_) => Err(format!("extent {d} is negative")),
    }
}

/// Number of elements, `None` when it is beyond any machine.
fn elements(shape: &[usize]) -> Option<usize> {
    // Extents beside a zero are bounded too: operators multiply some extents of a shape.
    let product = shape.iter().filter(|&&d| d > 0).try_fold(1usize, |n, &d| n.checked_mul(d))?;
    if product as u64 > MAX_EXTENT {
        return None;
    }
    Some(if shape.contains(&0) { 0 } else { product })
}

/// The standard domain has two spellings.
fn standard(domain: String) -> String {
    if domain == "ai.onnx" { String::new() } else { domain }
}

fn shown(domain: &str) -> &str {
    if domain.is_empty() { "ai.onnx" } else { domain }
}
