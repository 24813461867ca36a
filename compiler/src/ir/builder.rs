//! Copying a graph while changing it.
//!
//! A pass never edits a graph in place: it walks the old nodes in order and makes the new graph
//! from what it wants to keep. Inputs stay as they are, constants come along when first used, and
//! what nothing refers to is left behind.

use super::{DType, Graph, Node, NodeId, Op, OriginId, Tensor, TensorType, TypeError, ValueDef, ValueId};
use half::{bf16, f16};

/// A new graph that grows beside the old one.
pub struct Rebuild<'a> {
    old: &'a Graph,
    new: Graph,
    map: Vec<Option<ValueId>>,
    origins: Vec<Option<OriginId>>,
}

impl<'a> Rebuild<'a> {
    /// Starts with the old graph's name and inputs.
    pub fn new(old: &'a Graph) -> Rebuild<'a> {
        let mut r = Rebuild {
            old,
            new: Graph::new(old.name.clone()),
            map: vec![None; old.values().len()],
            origins: vec![None; old.origins().len()],
        };
        for &v in &old.inputs {
            let value = old.value(v);
            r.map[v.0 as usize] = Some(r.new.add_input(value.name.clone(), value.ty.clone()));
        }
        r
    }

    /// The new graph so far.
    pub fn graph(&self) -> &Graph {
        &self.new
    }

    /// The new value for an old one: an input, a constant (which is copied when first asked for) or the
    /// result of a node that was [kept](Rebuild::keep) or [replaced](Rebuild::replace) before.
    ///
    /// Panics when the old value's node was passed over: a pass's bug.
    pub fn value(&mut self, old: ValueId) -> ValueId {
        if let Some(v) = self.map[old.0 as usize] {
            return v;
        }
        let value = self.old.value(old);
        let ValueDef::Const(t) = &value.def else { panic!("{old} is read, but nothing was made of its node") };
        let v = self.new.add_const(value.name.clone(), t.clone());
        self.map[old.0 as usize] = Some(v);
        v
    }

    /// The new values for old ones.
    pub fn values(&mut self, old: &[ValueId]) -> Vec<ValueId> {
        old.iter().map(|&v| self.value(v)).collect()
    }

    /// The new origin for the origin of an old node.
    pub fn origin(&mut self, node: &Node) -> OriginId {
        let slot = &mut self.origins[node.origin.0 as usize];
        *slot.get_or_insert_with(|| self.new.push_origin(self.old.origin_name(node)))
    }

    /// Copies an old node.
    pub fn keep(&mut self, node: &Node) -> Result<ValueId, TypeError> {
        let inputs = self.values(&node.inputs);
        let v = self.add(node.op.clone(), &inputs, node)?;
        self.replace(node, v);
        Ok(v)
    }

    /// Adds a node to the new graph, on behalf of an old one.
    pub fn add(&mut self, op: Op, inputs: &[ValueId], behalf: &Node) -> Result<ValueId, TypeError> {
        let origin = self.origin(behalf);
        self.new.add_node(op, inputs, origin)
    }

    /// Adds a constant to the new graph.
    pub fn constant(&mut self, name: impl Into<String>, t: Tensor) -> ValueId {
        self.new.add_const(name, t)
    }

    /// Makes a new value stand for the result of an old node; it takes over the name if it has none.
    pub fn replace(&mut self, node: &Node, new: ValueId) {
        let name = &self.old.value(node.output).name;
        if self.new.value(new).name.is_empty() && !name.is_empty() {
            self.new.set_name(new, name.clone());
        }
        self.map[node.output.0 as usize] = Some(new);
    }

    /// Adds the outputs and gives the new graph.
    pub fn finish(mut self) -> Graph {
        let old = self.old;
        for o in &old.outputs {
            let v = self.value(o.value);
            self.new.add_output(o.name.clone(), v);
        }
        self.new
    }
}

/// Rebuilds a graph node by node: `step` gives the new value for an old node's result, or `None` to
/// copy the node. What is dead afterwards is removed.
pub fn rebuild(
    graph: &Graph,
    mut step: impl FnMut(&mut Rebuild<'_>, &Node) -> Result<Option<ValueId>, TypeError>,
) -> Result<Graph, TypeError> {
    let mut r = Rebuild::new(graph);
    for node in graph.nodes() {
        match step(&mut r, node)? {
            Some(v) => r.replace(node, v),
            None => _ = r.keep(node)?,
        }
    }
    Ok(remove_dead(&r.finish()))
}

/// For each node whether an output depends on it.
pub fn live_nodes(graph: &Graph) -> Vec<bool> {
    let mut live = vec![false; graph.nodes().len()];
    let mut wanted: Vec<bool> = vec![false; graph.values().len()];
    for o in &graph.outputs {
        wanted[o.value.0 as usize] = true;
    }
    for (i, node) in graph.nodes().iter().enumerate().rev() {
        if wanted[node.output.0 as usize] {
            live[i] = true;
            for v in &node.inputs {
                wanted[v.0 as usize] = true;
            }
        }
    }
    live
}

/// How often each value is read, by nodes and as an output.
pub fn use_counts(graph: &Graph) -> Vec<usize> {
    let mut counts = vec![0; graph.values().len()];
    let reads = graph.nodes().iter().flat_map(|n| &n.inputs).chain(graph.outputs.iter().map(|o| &o.value));
    for v in reads {
        counts[v.0 as usize] += 1;
    }
    counts
}

/// The graph without nodes, constants and origins that no output depends on. Inputs stay.
pub fn remove_dead(graph: &Graph) -> Graph {
    let live = live_nodes(graph);
    let mut r = Rebuild::new(graph);
    for (i, node) in graph.nodes().iter().enumerate() {
        if live[i] {
            // The node was well-typed in the old graph with the same operand types.
            r.keep(node).unwrap_or_else(|e| panic!("{} was well-typed before it was copied: {e}", NodeId(i as u32)));
        }
    }
    r.finish()
}

/// A constant of shape `[]`: `value` rounded to `dtype` (saturating for integers, non-zero is true).
pub fn scalar(dtype: DType, value: f64) -> Tensor {
    splat(&TensorType::new(dtype, []), value)
}

/// A constant with all elements equal: `value` rounded as in [`scalar`].
pub fn splat(ty: &TensorType, value: f64) -> Tensor {
    let one: Vec<u8> = match ty.dtype {
        DType::F16 => f16::from_f64(value).to_le_bytes().to_vec(),
        DType::BF16 => bf16::from_f64(value).to_le_bytes().to_vec(),
        DType::F32 => (value as f32).to_le_bytes().to_vec(),
        DType::F64 => value.to_le_bytes().to_vec(),
        DType::I8 => (value as i8).to_le_bytes().to_vec(),
        DType::I16 => (value as i16).to_le_bytes().to_vec(),
        DType::I32 => (value as i32).to_le_bytes().to_vec(),
        DType::I64 => (value as i64).to_le_bytes().to_vec(),
        DType::U8 => vec![value as u8],
        DType::U16 => (value as u16).to_le_bytes().to_vec(),
        DType::U32 => (value as u32).to_le_bytes().to_vec(),
        DType::U64 => (value as u64).to_le_bytes().to_vec(),
        DType::Bool => vec![u8::from(value != 0.0)],
        narrow => vec![quadrille_isa::narrow::encode(narrow, value)],
    };
    Tensor { dtype: ty.dtype, shape: ty.shape.clone(), data: one.repeat(ty.elements()).into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::verify::verify;
    use crate::ir::{Binary, Unary};

    #[test]
    fn replaces_and_drops_what_dies() {
        let mut g = Graph::new("g");
        let x = g.add_input("x", TensorType::new(DType::F32, [2]));
        let unused = g.add_input("unused", TensorType::new(DType::F32, [2]));
        let o = g.add_origin("double_neg");
        let p = g.add_origin("keep");
        let c = g.add_const("c", scalar(DType::F32, 2.0));
        let a = g.add_node(Op::Unary(Unary::Neg), &[x], o).unwrap();
        let b = g.add_node(Op::Unary(Unary::Neg), &[a], o).unwrap();
        let y = g.add_node(Op::Binary(Binary::Mul), &[b, c], p).unwrap();
        g.set_name(y, "y");
        g.add_output("y", y);
        let _ = unused;
        let new = rebuild(&g, |r, node| {
            let double = |n: &Node| n.op == Op::Unary(Unary::Neg);
            match g.producer(node.inputs[0]).filter(|p| double(p) && double(node)) {
                Some(inner) => Ok(Some(r.value(inner.inputs[0]))),
                None => Ok(None),
            }
        })
        .unwrap();
        verify(&new).unwrap();
        assert_eq!(new.nodes().len(), 1);
        assert_eq!(new.inputs.len(), 2);
        assert_eq!(new.value(new.outputs[0].value).name, "y");
        assert_eq!(new.origins().len(), 1);
        assert_eq!(new.origin_name(&new.nodes()[0]), "keep");
    }
}
