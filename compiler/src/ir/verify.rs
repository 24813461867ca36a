//! What a well-formed graph is.
//!
//! Runs after every pass and takes nothing on trust: types are computed anew, not compared with
//! what a builder stored. The rules, by the id that an error carries:
//!
//! | id | rule |
//! |---|---|
//! | `value-def` | a value that a node makes is that node's output, and each node makes one value |
//! | `order` | operands exist and have smaller ids than the node's output; outputs ascend with the nodes |
//! | `types` | a node's stored result type is the one its operands give, and they give one |
//! | `constants` | a constant's tensor has the declared type and as many bytes as it says; each is a code of the type |
//! | `inputs` | `inputs` lists each input value once, at its position; names are unique and not empty |
//! | `outputs` | outputs are values of the graph; names are unique and not empty |
//! | `origins` | a node's origin exists and has a name |
//! | `sizes` | no type exceeds [`MAX_BYTES`](super::MAX_BYTES) |
//!
//! Values that nothing uses are allowed: the dead-code pass removes them, and a pass may leave some
//! behind.

use super::{Graph, NodeId, TensorType, ValueDef, ValueId};
use quadrille_isa::narrow;
use std::collections::BTreeSet;
use std::fmt;

/// A rule of the list above.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Rule {
    ValueDef,
    Order,
    Types,
    Constants,
    Inputs,
    Outputs,
    Origins,
    Sizes,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Rule; 8] = [
        Rule::ValueDef,
        Rule::Order,
        Rule::Types,
        Rule::Constants,
        Rule::Inputs,
        Rule::Outputs,
        Rule::Origins,
        Rule::Sizes,
    ];

    /// The id in messages.
    pub fn id(self) -> &'static str {
        match self {
            Rule::ValueDef => "value-def",
            Rule::Order => "order",
            Rule::Types => "types",
            Rule::Constants => "constants",
            Rule::Inputs => "inputs",
            Rule::Outputs => "outputs",
            Rule::Origins => "origins",
            Rule::Sizes => "sizes",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// A broken rule.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{rule}: {message}")]
#[allow(missing_docs)]
pub struct VerifyError {
    pub rule: Rule,
    /// What is wrong, with the value or node.
    pub message: String,
}

/// Checks every rule; the errors are in the order of values, then nodes, then outputs.
pub fn verify(graph: &Graph) -> Result<(), Vec<VerifyError>> {
    let mut v = Verifier { graph, errors: Vec::new() };
    v.values();
    v.nodes();
    v.inputs();
    v.outputs();
    if v.errors.is_empty() { Ok(()) } else { Err(v.errors) }
}

struct Verifier<'a> {
    graph: &'a Graph,
    errors: Vec<VerifyError>,
}

impl Verifier<'_> {
    fn error(&mut self, rule: Rule, message: String) {
        self.errors.push(VerifyError { rule, message });
    }

    fn exists(&self, v: ValueId) -> bool {
        (v.0 as usize) < self.graph.values.len()
    }

    fn values(&mut self) {
        for (i, value) in self.graph.values.iter().enumerate() {
            let id = ValueId(i as u32);
            if !value.ty.fits() {
                self.error(Rule::Sizes, format!("{id} has the type {}, which is too large", value.ty));
            }
            match &value.def {
                ValueDef::Node(n) => {
                    if self.graph.nodes.get(n.0 as usize).is_none_or(|node| node.output != id) {
                        self.error(Rule::ValueDef, format!("{id} says that {n} makes it, but {n} does not"));
                    }
                }
                ValueDef::Input(p) => {
                    if self.graph.inputs.get(*p as usize) != Some(&id) {
                        self.error(Rule::Inputs, format!("{id} says that it is input {p}, but it is not"));
                    }
                }
                ValueDef::Const(t) => {
                    let ty = TensorType::new(t.dtype, t.shape.clone());
                    if ty != value.ty {
                        self.error(Rule::Constants, format!("{id} is declared {}, but its tensor is {ty}", value.ty));
                    } else if t.data.len() != ty.bytes() {
                        self.error(
                            Rule::Constants,
                            format!("{id} of type {ty} has {} bytes instead of {}", t.data.len(), ty.bytes()),
                        );
                    } else if narrow::has_other_bytes(t.dtype) && t.data.iter().any(|&b| !narrow::is_code(t.dtype, b)) {
                        self.error(Rule::Constants, format!("{id} of type {ty} holds a byte that is no {}", t.dtype));
                    }
                }
            }
        }
    }

    fn nodes(&mut self) {
        let mut previous = None;
        for (i, node) in self.graph.nodes.iter().enumerate() {
            let id = NodeId(i as u32);
            let op = node.op.name();
            match self.graph.origins.get(node.origin.0 as usize) {
                None => self.error(
                    Rule::Origins,
                    format!("{id} ({op}) has the origin {}, which does not exist", node.origin.0),
                ),
                Some(o) if o.name.is_empty() => {
                    self.error(Rule::Origins, format!("the origin of {id} ({op}) has no name"))
                }
                Some(_) => {}
            }
            if !self.exists(node.output) || self.graph.value(node.output).def != ValueDef::Node(id) {
                self.error(Rule::ValueDef, format!("{id} ({op}) makes {}, which is not its value", node.output));
                continue;
            }
            if previous.is_some_and(|p| p >= node.output) {
                self.error(
                    Rule::Order,
                    format!("{id} ({op}) makes {}, before the value of the node above it", node.output),
                );
            }
            previous = Some(node.output);
            if let Some(&bad) = node.inputs.iter().find(|&&v| !self.exists(v) || v >= node.output) {
                self.error(
                    Rule::Order,
                    format!("{id} ({op}) makes {} but reads {bad}, which is not above it", node.output),
                );
                continue;
            }
            let types: Vec<&TensorType> = node.inputs.iter().map(|&v| self.graph.ty(v)).collect();
            // Oversized operands are reported where they are made; rules may count on sizes that fit.
            if types.iter().any(|t| !t.fits()) {
                continue;
            }
            match node.op.result_type(&types) {
                Err(e) => self.error(Rule::Types, format!("{id} (of `{}`): {e}", self.origin_name(id))),
                Ok(ty) if ty != *self.graph.ty(node.output) => {
                    let stored = self.graph.ty(node.output);
                    self.error(
                        Rule::Types,
                        format!("{id} ({op}) gives {ty}, but {} is declared {stored}", node.output),
                    );
                }
                Ok(_) => {}
            }
        }
    }

    fn origin_name(&self, n: NodeId) -> &str {
        self.graph.origins.get(self.graph.node(n).origin.0 as usize).map_or("", |o| o.name.as_str())
    }

    fn inputs(&mut self) {
        let mut names = BTreeSet::new();
        for (p, &v) in self.graph.inputs.iter().enumerate() {
            if !self.exists(v) || self.graph.value(v).def != ValueDef::Input(p as u32) {
                self.error(Rule::Inputs, format!("input {p} is {v}, which is not that input"));
                continue;
            }
            let name = self.graph.value(v).name.as_str();
            if name.is_empty() || !names.insert(name) {
                self.error(Rule::Inputs, format!("the name {name:?} of input {p} is empty or taken"));
            }
        }
    }

    fn outputs(&mut self) {
        let mut names = BTreeSet::new();
        for o in &self.graph.outputs {
            if !self.exists(o.value) {
                self.error(Rule::Outputs, format!("output `{}` is {}, which does not exist", o.name, o.value));
            }
            if o.name.is_empty() || !names.insert(o.name.as_str()) {
                self.error(Rule::Outputs, format!("the name {:?} of an output is empty or taken", o.name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, Op, Origin, OriginId, Tensor, Unary, Value};

    fn good() -> Graph {
        let mut g = Graph::new("g");
        let x = g.add_input("x", TensorType::new(DType::F32, [2]));
        let c = g.add_const("c", Tensor::new(DType::Bool, vec![1], vec![1u8]).unwrap());
        let o = g.add_origin("n");
        let a = g.add_node(Op::Unary(Unary::Neg), &[x], o).unwrap();
        let b = g.add_node(Op::Unary(Unary::Abs), &[a], o).unwrap();
        let s = g.add_node(Op::Select, &[c, a, b], o).unwrap();
        g.add_output("y", s);
        verify(&g).unwrap();
        g
    }

    fn broken(breakage: impl FnOnce(&mut Graph)) -> Vec<Rule> {
        let mut g = good();
        breakage(&mut g);
        verify(&g).unwrap_err().iter().map(|e| e.rule).collect()
    }

    #[test]
    fn value_def() {
        assert_eq!(broken(|g| g.values[2].def = ValueDef::Node(NodeId(9))), [Rule::ValueDef, Rule::ValueDef]);
        assert!(broken(|g| g.nodes[0].output = ValueId(3)).contains(&Rule::ValueDef));
        assert!(broken(|g| g.nodes[0].output = ValueId(99)).contains(&Rule::ValueDef));
    }

    #[test]
    fn order() {
        assert_eq!(broken(|g| g.nodes[0].inputs[0] = ValueId(3)), [Rule::Order]);
        assert_eq!(broken(|g| g.nodes[0].inputs[0] = ValueId(77)), [Rule::Order]);
        assert!(
            broken(|g| {
                g.nodes.swap(0, 1);
                g.values[2].def = ValueDef::Node(NodeId(1));
                g.values[3].def = ValueDef::Node(NodeId(0));
            })
            .contains(&Rule::Order)
        );
    }

    #[test]
    fn types() {
        assert_eq!(broken(|g| g.values[4].ty.shape[0] = 3), [Rule::Types]);
        assert_eq!(broken(|g| g.nodes[0].op = Op::Softmax { axis: 4 }), [Rule::Types]);
        assert_eq!(broken(|g| g.nodes[1].inputs.clear()), [Rule::Types]);
    }

    #[test]
    fn constants() {
        let constant = |g: &mut Graph, t: Tensor| g.values[1].def = ValueDef::Const(t);
        let bool1 = |shape: Vec<usize>, data: &'static [u8]| Tensor { dtype: DType::Bool, shape, data: data.into() };
        assert_eq!(broken(|g| constant(g, bool1(vec![1, 1], &[1]))), [Rule::Constants]);
        assert_eq!(broken(|g| constant(g, bool1(vec![1], &[1, 0]))), [Rule::Constants]);
        assert_eq!(broken(|g| constant(g, bool1(vec![1], &[2]))), [Rule::Constants]);
    }

    #[test]
    fn inputs() {
        assert_eq!(broken(|g| g.inputs[0] = ValueId(1)), [Rule::Inputs, Rule::Inputs]);
        assert_eq!(broken(|g| g.inputs.push(ValueId(0))), [Rule::Inputs]);
        assert_eq!(broken(|g| g.values[0].name.clear()), [Rule::Inputs]);
        assert_eq!(broken(|g| _ = g.add_input("x", TensorType::new(DType::F32, [2]))), [Rule::Inputs]);
    }

    #[test]
    fn outputs() {
        assert_eq!(broken(|g| g.add_output("z", ValueId(55))), [Rule::Outputs]);
        assert_eq!(broken(|g| g.add_output("y", ValueId(0))), [Rule::Outputs]);
        assert_eq!(broken(|g| g.add_output("", ValueId(0))), [Rule::Outputs]);
    }

    #[test]
    fn origins() {
        assert_eq!(broken(|g| g.nodes[2].origin = OriginId(3)), [Rule::Origins]);
        assert_eq!(
            broken(|g| {
                g.origins.push(Origin { name: String::new() });
                g.nodes[2].origin = OriginId(1);
            }),
            [Rule::Origins]
        );
    }

    #[test]
    fn sizes() {
        let huge = || TensorType::new(DType::F32, [1 << 40, 1 << 40]);
        assert_eq!(broken(|g| _ = g.add_input("huge", huge())), [Rule::Sizes]);
        // An empty tensor whose other extents overflow is refused as well.
        assert_eq!(broken(|g| _ = g.add_input("e", TensorType::new(DType::I8, [0, 1 << 40, 1 << 40]))), [Rule::Sizes]);
    }

    #[test]
    fn what_nothing_uses_is_allowed() {
        let mut g = good();
        g.values.push(Value {
            ty: TensorType::new(DType::F32, [1]),
            def: ValueDef::Const(Tensor::from_f32(&[1], &[1.0])),
            name: String::new(),
        });
        verify(&g).unwrap();
    }
}
