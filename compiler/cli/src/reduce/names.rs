//! Which values a node uses, bodies of control flow included.

use quadrille_onnx::proto::{GraphProto, NodeProto};
use std::collections::HashSet;

/// Names that a node uses from the graph that it stands in (and what its bodies use from further
/// out), in order, each once.
pub(super) fn uses(n: &NodeProto) -> Vec<String> {
    let mut names = Vec::new();
    collect(n, &HashSet::new(), &mut names);
    let mut seen = HashSet::new();
    names.retain(|n| seen.insert(n.clone()));
    names
}

fn collect(n: &NodeProto, own: &HashSet<&str>, names: &mut Vec<String>) {
    names.extend(n.input.iter().filter(|i| !i.is_empty() && !own.contains(i.as_str())).cloned());
    for g in n.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)) {
        body(g, own, names);
    }
}

fn body(g: &GraphProto, around: &HashSet<&str>, names: &mut Vec<String>) {
    let mut own = around.clone();
    own.extend(g.input.iter().map(|v| v.name.as_str()));
    own.extend(g.initializer.iter().map(|t| t.name.as_str()));
    own.extend(g.node.iter().flat_map(|n| n.output.iter().map(String::as_str)));
    g.node.iter().for_each(|n| collect(n, &own, names));
    names.extend(g.output.iter().map(|v| &v.name).filter(|n| !n.is_empty() && !own.contains(n.as_str())).cloned());
}

/// Functions that a node may call: (domain, name, overload), bodies included.
pub(super) fn calls(n: &NodeProto, called: &mut HashSet<(String, String, String)>) {
    let domain = if n.domain == "ai.onnx" { String::new() } else { n.domain.clone() };
    called.insert((domain, n.op_type.clone(), n.overload.clone()));
    for g in n.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)) {
        g.node.iter().for_each(|n| calls(n, called));
    }
}
