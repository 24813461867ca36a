//! The typed model: what the checks leave of the protobuf messages.

use bytes::Bytes;
use std::collections::BTreeMap;

/// A model that passed the checks.
#[derive(Clone, Debug)]
pub struct Model {
    /// Version of the file format.
    pub ir_version: i64,
    /// Operator set version by domain; the standard domain is the empty string.
    pub opsets: BTreeMap<String, i64>,
    /// Name and version of the tool that wrote the file.
    pub producer: String,
    /// The main graph.
    pub graph: Graph,
    /// Functions of the model, by domain, name and overload; none calls itself, however indirectly.
    pub functions: BTreeMap<FunctionId, Function>,
}

/// What a node names when it calls a function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub struct FunctionId {
    pub domain: String,
    pub name: String,
    pub overload: String,
}

/// A graph. Its nodes are in evaluation order, and every name they use is defined: in the
/// graph, or (for the body of a control flow operator) in a graph around it.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Name, possibly empty.
    pub name: String,
    /// The nodes, in an order in which they can be evaluated.
    pub nodes: Vec<Node>,
    /// Constants with their names.
    pub initializers: Vec<(String, Tensor)>,
    /// Inputs. Older files list the initializers here too: an input that has an initializer
    /// is a constant.
    pub inputs: Vec<ValueInfo>,
    /// Outputs.
    pub outputs: Vec<ValueInfo>,
    /// Types that the file states for values inside. Hints only: nothing checks them.
    pub value_info: Vec<ValueInfo>,
}

/// A function defined by the model.
#[derive(Clone, Debug)]
pub struct Function {
    /// Domain, name, overload.
    pub id: FunctionId,
    /// Operator set versions the body is written for.
    pub opsets: BTreeMap<String, i64>,
    /// Names of the inputs.
    pub inputs: Vec<String>,
    /// Names of the outputs.
    pub outputs: Vec<String>,
    /// Attributes without a default.
    pub required: Vec<String>,
    /// Attributes with their defaults.
    pub defaults: BTreeMap<String, Attribute>,
    /// The body, in evaluation order.
    pub nodes: Vec<Node>,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name; where the file gives none, the operator and the node's index, as in `Conv_3`.
    pub name: String,
    /// Operator or function.
    pub op: String,
    /// Its domain; the standard domain is the empty string.
    pub domain: String,
    /// Distinguishes functions of the same name.
    pub overload: String,
    /// Names of the operands; empty for an optional one that is not given.
    pub inputs: Vec<String>,
    /// Names of the results; empty for one that is not wanted.
    pub outputs: Vec<String>,
    /// Attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
}

/// Value of an attribute.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Attribute {
    Float(f32),
    Int(i64),
    String(Bytes),
    Tensor(Tensor),
    Graph(Box<Graph>),
    Type(ValueType),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Strings(Vec<Bytes>),
    Tensors(Vec<Tensor>),
    Graphs(Vec<Graph>),
    /// Sparse tensors and lists of types: known, not read.
    Other(&'static str),
    /// In a function body: the value of the function's attribute of that name.
    Reference(String),
}

impl Attribute {
    /// The kind, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Attribute::Float(_) => "float",
            Attribute::Int(_) => "int",
            Attribute::String(_) => "string",
            Attribute::Tensor(_) => "tensor",
            Attribute::Graph(_) => "graph",
            Attribute::Type(_) => "type",
            Attribute::Floats(_) => "floats",
            Attribute::Ints(_) => "ints",
            Attribute::Strings(_) => "strings",
            Attribute::Tensors(_) => "tensors",
            Attribute::Graphs(_) => "graphs",
            Attribute::Other(kind) => kind,
            Attribute::Reference(_) => "reference",
        }
    }
}

/// A named, typed input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ValueInfo {
    pub name: String,
    pub ty: ValueType,
}

/// Type of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ValueType {
    /// Shape is `None` when the file does not say.
    Tensor {
        element: ElementType,
        shape: Option<Vec<Dim>>,
    },
    Sequence(Box<ValueType>),
    Optional(Box<ValueType>),
    /// Maps, sparse tensors and opaque types: named, not read.
    Other(&'static str),
    /// The file does not say.
    Unknown,
}

/// Extent of an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Known.
    Fixed(usize),
    /// Named.
    Symbol(String),
    /// Neither known nor named.
    Unknown,
}

/// Element types of the format, with their numbers in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
#[repr(i32)]
pub enum ElementType {
    F32 = 1,
    U8 = 2,
    I8 = 3,
    U16 = 4,
    I16 = 5,
    I32 = 6,
    I64 = 7,
    String = 8,
    Bool = 9,
    F16 = 10,
    F64 = 11,
    U32 = 12,
    U64 = 13,
    Complex64 = 14,
    Complex128 = 15,
    BF16 = 16,
    F8E4M3FN = 17,
    F8E4M3FNUZ = 18,
    F8E5M2 = 19,
    F8E5M2FNUZ = 20,
    U4 = 21,
    I4 = 22,
    F4E2M1 = 23,
    F8E8M0 = 24,
    U2 = 25,
    I2 = 26,
}

impl ElementType {
    /// Every element type.
    pub const ALL: [ElementType; 26] = {
        use ElementType::*;
        [
            F32, U8, I8, U16, I16, I32, I64, String, Bool, F16, F64, U32, U64, Complex64, Complex128, BF16, F8E4M3FN,
            F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, U4, I4, F4E2M1, F8E8M0, U2, I2,
        ]
    };

    /// The type with a number in the file.
    pub fn from_number(n: i32) -> Option<ElementType> {
        ElementType::ALL.into_iter().find(|t| *t as i32 == n)
    }

    /// Size of an element in bits, `None` for strings.
    pub fn bits(self) -> Option<usize> {
        use ElementType::*;
        Some(match self {
            String => return None,
            U2 | I2 => 2,
            U4 | I4 | F4E2M1 => 4,
            U8 | I8 | Bool | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 => 8,
            U16 | I16 | F16 | BF16 => 16,
            F32 | I32 | U32 => 32,
            F64 | I64 | U64 | Complex64 => 64,
            Complex128 => 128,
        })
    }

    /// The format's name, for messages.
    pub fn name(self) -> &'static str {
        use ElementType::*;
        match self {
            F32 => "float",
            U8 => "uint8",
            I8 => "int8",
            U16 => "uint16",
            I16 => "int16",
            I32 => "int32",
            I64 => "int64",
            String => "string",
            Bool => "bool",
            F16 => "float16",
            F64 => "double",
            U32 => "uint32",
            U64 => "uint64",
            Complex64 => "complex64",
            Complex128 => "complex128",
            BF16 => "bfloat16",
            F8E4M3FN => "float8e4m3fn",
            F8E4M3FNUZ => "float8e4m3fnuz",
            F8E5M2 => "float8e5m2",
            F8E5M2FNUZ => "float8e5m2fnuz",
            U4 => "uint4",
            I4 => "int4",
            F4E2M1 => "float4e2m1",
            F8E8M0 => "float8e8m0",
            U2 => "uint2",
            I2 => "int2",
        }
    }
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Element type.
    pub element: ElementType,
    /// Extents; their product does not overflow.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: TensorData,
}

/// A value as a data file holds it.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Data {
    Tensor(Tensor),
    Sequence(Vec<Tensor>),
}

/// The elements of a constant.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// Row-major, little-endian; types below 8 bits are packed, the first element in the low bits.
    Bytes(Bytes),
    /// Strings.
    Strings(Vec<Bytes>),
}
