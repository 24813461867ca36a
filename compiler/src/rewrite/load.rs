//! A region of the graph becomes an e-graph.

use super::analysis::{Birth, Origins, Region, Terms};
use super::language::{Kind, Term};
use crate::ir::{Graph, ValueDef, ValueId};
use egg::Id;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// A region as an e-graph, and where its values went.
pub(crate) struct Loaded {
    /// The e-graph.
    pub(crate) egraph: Terms,
    /// Values of the region, in evaluation order, with the class and the number of the term of each.
    pub(crate) values: Vec<(ValueId, Id)>,
    /// Values from outside the region, by the number of their leaf.
    pub(crate) leaves: Vec<ValueId>,
}

/// Loads the nodes of a region. Equal terms become one. `decides_a_step` tells it by value.
pub(crate) fn load(g: &Graph, region: &Range<usize>, decides_a_step: &[bool]) -> Loaded {
    let mut egraph = Terms::new(Region::default());
    let mut class: HashMap<ValueId, Id> = HashMap::new();
    let mut leaves = Vec::new();
    let mut values = Vec::new();
    for node in &g.nodes()[region.clone()] {
        let mut children = SmallVec::new();
        for &v in &node.inputs {
            let id = *class.entry(v).or_insert_with(|| {
                let (kind, payload) = match &g.value(v).def {
                    ValueDef::Const(t) => (Kind::Const, egraph.analysis.consts.intern(t.clone(), &g.value(v).name)),
                    // A value of the region is in the map already: nodes come in order.
                    ValueDef::Input(_) | ValueDef::Node(_) => {
                        leaves.push(v);
                        egraph.analysis.leaves.push(Arc::new(g.ty(v).clone()));
                        (Kind::Leaf, leaves.len() as u32 - 1)
                    }
                };
                add(&mut egraph, Term { kind, payload, children: SmallVec::new() }, None)
            });
            children.push(id);
        }
        let payload = egraph.analysis.ops.intern(node.op.clone());
        let id = add(&mut egraph, Term { kind: Kind::of(&node.op), payload, children }, Some(node.origin.0));
        egraph[id].data.decides_a_step |= decides_a_step[node.output.0 as usize];
        class.insert(node.output, id);
        values.push((node.output, id));
    }
    egraph.rebuild();
    Loaded { egraph, values, leaves }
}

fn add(egraph: &mut Terms, term: Term, origin: Option<u32>) -> Id {
    let before = egraph.nodes().len();
    egraph.analysis.loading = origin;
    let id = egraph.add_uncanonical(term);
    egraph.analysis.loading = None;
    let serves: Origins = origin.into_iter().collect();
    let after = egraph.nodes().len();
    let births = &mut egraph.analysis.births;
    let births_len = births.len();
    births.resize(after.max(births_len), Birth { rule: None, from: SmallVec::new(), serves: serves.clone() });
    if after == before {
        // The same term again: it serves this node of the user, too.
        if let (Some(o), Some(b)) = (origin, births.get_mut(usize::from(id)))
            && let Err(i) = b.serves.binary_search(&o)
        {
            b.serves.insert(i, o);
        }
    }
    egraph.find(id)
}
