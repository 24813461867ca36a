//! What the pieces of a model say of each other.
//!
//! Rules: every domain that a node uses is imported or defined by a function; a value is
//! defined once in its graph; every name a node or an output uses is defined, in the graph or
//! around it; nodes can be ordered so that each comes after what it uses (they are put in such
//! an order if they are not); no function calls itself, however indirectly; an attribute
//! reference stands in a function body only and names an attribute of that function.

use crate::error::Problem;
use crate::model::*;
use std::collections::{BTreeMap, HashMap, HashSet};

const MAX_PROBLEMS: usize = 1000;

/// Checks a model and puts its nodes in evaluation order; returns everything that is wrong.
pub(crate) fn check(model: &mut Model) -> Vec<Problem> {
    let mut c = Checker { problems: Vec::new() };
    let function_domains: HashSet<String> = model.functions.keys().map(|f| f.domain.clone()).collect();
    let mut functions = std::mem::take(&mut model.functions);
    for f in functions.values_mut() {
        c.function(f, &function_domains);
    }
    c.recursion(&functions);
    c.domains(&model.graph, &model.opsets, &function_domains);
    c.graph(&mut model.graph, &[], None);
    model.functions = functions;
    c.problems
}

struct Checker {
    problems: Vec<Problem>,
}

/// Names defined around a graph, innermost last.
type Scopes<'a> = [&'a HashSet<String>];

impl Checker {
    fn problem(&mut self, place: impl Into<String>, reason: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { place: place.into(), reason: reason.into() });
        }
    }

    fn function(&mut self, f: &mut Function, function_domains: &HashSet<String>) {
        let place = format!("function '{}'", f.id.name);
        let mut defined = HashSet::new();
        for name in &f.inputs {
            if !name.is_empty() && !defined.insert(name.clone()) {
                self.problem(&place, format!("input '{name}' is defined twice"));
            }
        }
        let attributes: HashSet<&str> = f.required.iter().chain(f.defaults.keys()).map(String::as_str).collect();
        for n in &f.nodes {
            self.node_domain(n, &f.opsets, function_domains);
        }
        let defined = self.nodes(&mut f.nodes, defined, &[], Some(&attributes));
        for name in &f.outputs {
            if !defined.contains(name) {
                self.problem(&place, format!("output '{name}' is not computed"));
            }
        }
    }

    fn domains(&mut self, g: &Graph, opsets: &BTreeMap<String, i64>, function_domains: &HashSet<String>) {
        for n in &g.nodes {
            self.node_domain(n, opsets, function_domains);
        }
    }

    fn node_domain(&mut self, n: &Node, opsets: &BTreeMap<String, i64>, function_domains: &HashSet<String>) {
        if !opsets.contains_key(&n.domain) && !function_domains.contains(&n.domain) {
            let domain = if n.domain.is_empty() { "ai.onnx" } else { &n.domain };
            self.problem(place(n), format!("the model does not import the operator domain '{domain}'"));
        }
        for g in graphs(n) {
            self.domains(g, opsets, function_domains);
        }
    }

    fn graph(&mut self, g: &mut Graph, around: &Scopes<'_>, attributes: Option<&HashSet<&str>>) {
        let mut defined = HashSet::new();
        for v in &g.inputs {
            if !defined.insert(v.name.clone()) {
                self.problem(format!("input '{}'", v.name), "is defined twice");
            }
        }
        let mut initialized = HashSet::new();
        for (name, _) in &g.initializers {
            if !initialized.insert(name.clone()) {
                self.problem(format!("initializer '{name}'"), "is defined twice");
            }
        }
        defined.extend(initialized);
        let defined = self.nodes(&mut g.nodes, defined, around, attributes);
        for v in &g.outputs {
            if !defined.contains(&v.name) && !around.iter().any(|s| s.contains(&v.name)) {
                self.problem(format!("output '{}'", v.name), "is not computed by any node");
            }
        }
    }

    /// Checks and orders nodes; returns all the names defined.
    fn nodes(
        &mut self,
        nodes: &mut Vec<Node>,
        mut defined: HashSet<String>,
        around: &Scopes<'_>,
        attributes: Option<&HashSet<&str>>,
    ) -> HashSet<String> {
        let mut made_by: HashMap<String, usize> = HashMap::new();
        for (i, n) in nodes.iter().enumerate() {
            for out in n.outputs.iter().filter(|o| !o.is_empty()) {
                if defined.contains(out) || made_by.insert(out.clone(), i).is_some() {
                    self.problem(place(n), format!("defines '{out}', which is already defined"));
                }
            }
        }
        // What each node waits for: names made by nodes of this graph, also those its bodies use.
        let mut uses = Vec::with_capacity(nodes.len());
        for n in nodes.iter() {
            let mut names: Vec<&str> = n.inputs.iter().map(String::as_str).filter(|s| !s.is_empty()).collect();
            for g in graphs(n) {
                free_names(g, &mut names);
            }
            let mut waits = Vec::new();
            for name in names {
                match made_by.get(name) {
                    Some(&i) => waits.push(i),
                    None if defined.contains(name) || around.iter().any(|s| s.contains(name)) => {}
                    None => self.problem(
                        place(n),
                        format!("uses '{name}', which is no input, initializer or result of another node"),
                    ),
                }
            }
            uses.push(waits);
        }
        self.order(nodes, &uses);
        defined.extend(made_by.into_keys());
        let mut scopes: Vec<&HashSet<String>> = around.to_vec();
        scopes.push(&defined);
        for n in nodes.iter_mut() {
            let shown = place(n);
            for (name, a) in &mut n.attributes {
                match a {
                    Attribute::Reference(r) if !attributes.is_some_and(|known| known.contains(r.as_str())) => {
                        self.problem(&shown, format!("attribute '{name}' refers to '{r}', which no function defines"));
                    }
                    Attribute::Graph(g) => self.graph(g, &scopes, attributes),
                    Attribute::Graphs(list) => list.iter_mut().for_each(|g| self.graph(g, &scopes, attributes)),
                    _ => {}
                }
            }
        }
        defined
    }

    /// Puts nodes after what they use, keeping the given order where it is right already.
    fn order(&mut self, nodes: &mut Vec<Node>, uses: &[Vec<usize>]) {
        if uses.iter().enumerate().all(|(i, w)| w.iter().all(|&j| j < i)) {
            return;
        }
        let mut missing: Vec<usize> = uses.iter().map(Vec::len).collect();
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
        for (i, w) in uses.iter().enumerate() {
            w.iter().for_each(|&j| users[j].push(i));
        }
        let mut ready: std::collections::BinaryHeap<std::cmp::Reverse<usize>> =
            (0..nodes.len()).filter(|&i| missing[i] == 0).map(std::cmp::Reverse).collect();
        let mut order = Vec::with_capacity(nodes.len());
        while let Some(std::cmp::Reverse(i)) = ready.pop() {
            order.push(i);
            for &u in &users[i] {
                missing[u] -= 1;
                if missing[u] == 0 {
                    ready.push(std::cmp::Reverse(u));
                }
            }
        }
        if order.len() < nodes.len() {
            let cycle = cycle(uses, &missing);
            let names: Vec<String> = cycle.iter().take(8).map(|&i| format!("'{}'", nodes[i].name)).collect();
            let more = if cycle.len() > 8 { " -> …" } else { "" };
            self.problem(
                place(&nodes[cycle[0]]),
                format!("the graph has a cycle: {}{more} -> '{}'", names.join(" -> "), nodes[cycle[0]].name),
            );
            return;
        }
        let mut slots: Vec<Option<Node>> = std::mem::take(nodes).into_iter().map(Some).collect();
        *nodes = order.into_iter().filter_map(|i| slots[i].take()).collect();
    }

    fn recursion(&mut self, functions: &BTreeMap<FunctionId, Function>) {
        let index: HashMap<&FunctionId, usize> = functions.keys().enumerate().map(|(i, f)| (f, i)).collect();
        let ids: Vec<&FunctionId> = functions.keys().collect();
        let calls: Vec<Vec<usize>> = functions
            .values()
            .map(|f| {
                let mut called = Vec::new();
                f.nodes.iter().for_each(|n| callees(n, &index, &mut called));
                called.sort_unstable();
                called.dedup();
                called
            })
            .collect();
        // Kahn's algorithm from the leaves: what remains takes part in, or calls into, a cycle.
        let mut missing: Vec<usize> = calls.iter().map(Vec::len).collect();
        let mut callers: Vec<Vec<usize>> = vec![Vec::new(); ids.len()];
        for (i, c) in calls.iter().enumerate() {
            c.iter().for_each(|&j| callers[j].push(i));
        }
        let mut ready: Vec<usize> = (0..ids.len()).filter(|&i| missing[i] == 0).collect();
        let mut done = 0;
        while let Some(i) = ready.pop() {
            done += 1;
            for &u in &callers[i] {
                missing[u] -= 1;
                if missing[u] == 0 {
                    ready.push(u);
                }
            }
        }
        if done < ids.len() {
            let cycle = cycle(&calls, &missing);
            let names: Vec<String> = cycle.iter().take(8).map(|&i| format!("'{}'", ids[i].name)).collect();
            self.problem(format!("function '{}'", ids[cycle[0]].name), format!("calls itself: {}", names.join(" -> ")));
        }
    }
}

/// A cycle among the nodes that were never ready (`missing` > 0), each of which waits for another.
fn cycle(uses: &[Vec<usize>], missing: &[usize]) -> Vec<usize> {
    let Some(mut at) = missing.iter().position(|&m| m > 0) else { return vec![0] };
    let mut seen: HashMap<usize, usize> = HashMap::new();
    let mut path = Vec::new();
    loop {
        if let Some(&from) = seen.get(&at) {
            return path[from..].to_vec();
        }
        seen.insert(at, path.len());
        path.push(at);
        match uses[at].iter().find(|&&j| missing[j] > 0) {
            Some(&next) => at = next,
            None => return path,
        }
    }
}

fn callees(n: &Node, index: &HashMap<&FunctionId, usize>, called: &mut Vec<usize>) {
    let id = FunctionId { domain: n.domain.clone(), name: n.op.clone(), overload: n.overload.clone() };
    if let Some(&i) = index.get(&id) {
        called.push(i);
    }
    for g in graphs(n) {
        g.nodes.iter().for_each(|n| callees(n, index, called));
    }
}

/// Names that a body uses from the graphs around it (and, harmlessly, some of its own).
fn free_names<'a>(g: &'a Graph, names: &mut Vec<&'a str>) {
    let mut own: HashSet<&str> = g.inputs.iter().map(|v| v.name.as_str()).collect();
    own.extend(g.initializers.iter().map(|(n, _)| n.as_str()));
    own.extend(g.nodes.iter().flat_map(|n| n.outputs.iter().map(String::as_str)));
    let mut used: Vec<&str> = Vec::new();
    for n in &g.nodes {
        used.extend(n.inputs.iter().map(String::as_str));
        for inner in graphs(n) {
            free_names(inner, &mut used);
        }
    }
    used.extend(g.outputs.iter().map(|v| v.name.as_str()));
    names.extend(used.into_iter().filter(|u| !u.is_empty() && !own.contains(u)));
}

/// The bodies of a control flow node.
fn graphs(n: &Node) -> impl Iterator<Item = &Graph> {
    n.attributes.values().flat_map(|a| -> Box<dyn Iterator<Item = &Graph>> {
        match a {
            Attribute::Graph(g) => Box::new(std::iter::once(g.as_ref())),
            Attribute::Graphs(list) => Box::new(list.iter()),
            _ => Box::new(std::iter::empty()),
        }
    })
}

fn place(n: &Node) -> String {
    format!("node '{}' ({})", n.name, n.op)
}
