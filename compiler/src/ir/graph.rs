//! A graph of primitive operations in SSA form, with static shapes.
//!
//! Values are made in topological order: a node's inputs have smaller ids than its output, so
//! a walk over `nodes` in order is an evaluation order and cycles cannot be written down.

use super::op::Op;
use quadrille_isa::{DType, Tensor};
use std::fmt;

/// A value: an input, a constant or a node's result. Prints as `%7`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ValueId(pub u32);

/// A node. Prints as `@7`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NodeId(pub u32);

/// Index into [`Graph::origins`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct OriginId(pub u32);

/// Element type and static shape.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct TensorType {
    pub dtype: DType,
    pub shape: Vec<usize>,
}

impl TensorType {
    /// Joins element type and shape.
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>) -> TensorType {
        TensorType { dtype, shape: shape.into() }
    }

    /// Number of elements; `usize::MAX` when it overflows, which no type in a graph does.
    pub fn elements(&self) -> usize {
        quadrille_isa::tensor::element_count(&self.shape).unwrap_or(usize::MAX)
    }

    /// Bytes of a tensor of this type; `usize::MAX` when they overflow.
    pub fn bytes(&self) -> usize {
        self.elements().saturating_mul(self.dtype.size())
    }

    /// True when neither the bytes nor any product of extents exceeds [`MAX_BYTES`](super::MAX_BYTES).
    pub fn fits(&self) -> bool {
        let extents = self.shape.iter().try_fold(self.dtype.size(), |n, &d| n.checked_mul(d.max(1)));
        extents.is_some_and(|n| n <= super::MAX_BYTES)
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueDef {
    /// Graph input, by position.
    Input(u32),
    /// A constant; the bytes are shared, never copied.
    Const(Tensor),
    /// The result of a node.
    Node(NodeId),
}

/// A value with its type.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Value {
    pub ty: TensorType,
    pub def: ValueDef,
    /// Name in the user's model, for messages; need not be unique.
    pub name: String,
}

/// The user's node (or nodes, after fusion) that a primitive serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// Name of the node in the user's model; never empty (unnamed nodes get `Op_index`).
    pub name: String,
}

/// One primitive with its operands.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Node {
    pub op: Op,
    pub inputs: Vec<ValueId>,
    pub output: ValueId,
    pub origin: OriginId,
}

/// A named result.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Output {
    pub name: String,
    pub value: ValueId,
}

/// A tensor graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Name of the model.
    pub name: String,
    /// Input values, in the model's order; their `name` is the input's name.
    pub inputs: Vec<ValueId>,
    /// Results, in the model's order.
    pub outputs: Vec<Output>,
    // Visible to the verifier's tests, which break them one at a time.
    pub(super) values: Vec<Value>,
    pub(super) nodes: Vec<Node>,
    pub(super) origins: Vec<Origin>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Graph {
        Graph { name: name.into(), ..Graph::default() }
    }

    /// All values, by id.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// All nodes, in evaluation order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All origins, by id.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// A value.
    pub fn value(&self, v: ValueId) -> &Value {
        &self.values[v.0 as usize]
    }

    /// Type of a value.
    pub fn ty(&self, v: ValueId) -> &TensorType {
        &self.value(v).ty
    }

    /// Shape of a value.
    pub fn shape(&self, v: ValueId) -> &[usize] {
        &self.value(v).ty.shape
    }

    /// A node.
    pub fn node(&self, n: NodeId) -> &Node {
        &self.nodes[n.0 as usize]
    }

    /// The node that makes a value, if one does.
    pub fn producer(&self, v: ValueId) -> Option<&Node> {
        match self.value(v).def {
            ValueDef::Node(n) => Some(self.node(n)),
            _ => None,
        }
    }

    /// The constant that a value is, if it is one.
    pub fn constant(&self, v: ValueId) -> Option<&Tensor> {
        match &self.value(v).def {
            ValueDef::Const(t) => Some(t),
            _ => None,
        }
    }

    /// Name of the user's node that `n` serves.
    pub fn origin_name(&self, n: &Node) -> &str {
        &self.origins[n.origin.0 as usize].name
    }

    /// Adds an input.
    pub fn add_input(&mut self, name: impl Into<String>, ty: TensorType) -> ValueId {
        let v = self.add_value(ty, ValueDef::Input(self.inputs.len() as u32), name.into());
        self.inputs.push(v);
        v
    }

    /// Adds a constant.
    pub fn add_const(&mut self, name: impl Into<String>, t: Tensor) -> ValueId {
        let ty = TensorType::new(t.dtype, t.shape.clone());
        self.add_value(ty, ValueDef::Const(t), name.into())
    }

    /// Adds (or finds) an origin.
    pub fn add_origin(&mut self, name: &str) -> OriginId {
        // Nodes of one origin are made in a row, so the last few entries decide nearly always.
        if let Some(i) = self.origins.iter().rposition(|o| o.name == name) {
            return OriginId(i as u32);
        }
        self.origins.push(Origin { name: name.to_string() });
        OriginId(self.origins.len() as u32 - 1)
    }

    /// Adds an origin without looking whether there is one of that name already.
    pub fn push_origin(&mut self, name: impl Into<String>) -> OriginId {
        self.origins.push(Origin { name: name.into() });
        OriginId(self.origins.len() as u32 - 1)
    }

    /// Adds a node; its result type is computed, and a mismatch is the error.
    pub fn add_node(&mut self, op: Op, inputs: &[ValueId], origin: OriginId) -> Result<ValueId, TypeError> {
        let types: Vec<&TensorType> = inputs.iter().map(|&v| self.ty(v)).collect();
        let ty = op.result_type(&types)?;
        let n = NodeId(self.nodes.len() as u32);
        let output = self.add_value(ty, ValueDef::Node(n), String::new());
        self.nodes.push(Node { op, inputs: inputs.to_vec(), output, origin });
        Ok(output)
    }

    /// Names a value, for messages and for the text form.
    pub fn set_name(&mut self, v: ValueId, name: impl Into<String>) {
        self.values[v.0 as usize].name = name.into();
    }

    /// Adds an output.
    pub fn add_output(&mut self, name: impl Into<String>, value: ValueId) {
        self.outputs.push(Output { name: name.into(), value });
    }

    fn add_value(&mut self, ty: TensorType, def: ValueDef, name: String) -> ValueId {
        self.values.push(Value { ty, def, name });
        ValueId(self.values.len() as u32 - 1)
    }
}

/// Operands that an operation does not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{op}: {reason}")]
#[allow(missing_docs)]
pub struct TypeError {
    pub op: String,
    pub reason: String,
}

impl fmt::Display for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, d) in self.shape.iter().enumerate() {
            write!(f, "{}{d}", if i > 0 { "x" } else { "" })?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
