//! Drops what no result needs: constants that were folded away, results that nobody uses.

use crate::ir::{Graph, OriginId, ValueDef, ValueId};

/// The part of a graph that its outputs need, with all its inputs.
pub(crate) fn prune(g: &Graph) -> Graph {
    let mut needed = vec![false; g.values().len()];
    for o in &g.outputs {
        needed[o.value.0 as usize] = true;
    }
    // Operands have smaller ids than results, so one walk from the end marks everything.
    for n in g.nodes().iter().rev() {
        if needed[n.output.0 as usize] {
            n.inputs.iter().for_each(|i| needed[i.0 as usize] = true);
        }
    }
    let mut out = Graph::new(g.name.clone());
    let mut map: Vec<Option<ValueId>> = vec![None; g.values().len()];
    let mut origins: Vec<Option<OriginId>> = vec![None; g.origins().len()];
    for (i, v) in g.values().iter().enumerate() {
        map[i] = match &v.def {
            ValueDef::Input(_) => Some(out.add_input(v.name.clone(), v.ty.clone())),
            _ if !needed[i] => None,
            ValueDef::Const(t) => Some(out.add_const(v.name.clone(), t.clone())),
            ValueDef::Node(id) => {
                let n = g.node(*id);
                let origin = *origins[n.origin.0 as usize]
                    .get_or_insert_with(|| out.push_origin(g.origins()[n.origin.0 as usize].name.clone()));
                let inputs: Vec<ValueId> = n.inputs.iter().filter_map(|x| map[x.0 as usize]).collect();
                let new = out.add_node(n.op.clone(), &inputs, origin).expect("the same node was accepted before");
                out.set_name(new, v.name.clone());
                Some(new)
            }
        };
    }
    for o in &g.outputs {
        let v = map[o.value.0 as usize].expect("outputs are needed");
        out.add_output(o.name.clone(), v);
    }
    out
}
