//! The chosen terms become nodes of the new graph.
//!
//! Nodes come in the order of the user's graph as far as it goes, constants that rules left as
//! operations are evaluated here, and each node names the user's nodes that it serves.

use super::RewriteError;
use super::analysis::{Read, Terms, words};
use super::fold;
use super::language::{Kind, Term};
use super::load::Loaded;
use crate::ir::{Graph, NodeId, OriginId, Tensor, ValueId};
use crate::passes::fold_constants::fold_budget;
use egg::{Id, Language};
use std::collections::{BTreeSet, HashMap};

/// What the extraction chose for a class.
pub(crate) type Chosen = HashMap<Id, Term>;

/// How a node of the new graph came to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lineage {
    /// The node, in the rewritten graph.
    pub node: NodeId,
    /// The user's nodes that it serves.
    pub serves: Vec<String>,
    /// Applications of rules from the user's nodes to it, in order of use.
    pub steps: Vec<Step>,
}

/// One application of a rule on the way to a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The rule.
    pub rule: &'static str,
    /// The term that it made: operation, attributes and type.
    pub made: String,
}

/// The graph being put together from regions.
pub(crate) struct Builder<'a> {
    from: &'a Graph,
    /// The new graph.
    pub(crate) out: Graph,
    /// New values by old.
    map: Vec<Option<ValueId>>,
    origins: HashMap<Vec<u32>, OriginId>,
    consts: HashMap<(usize, usize, Vec<usize>), ValueId>,
    /// How the nodes came to be that rules made.
    pub(crate) lineage: Vec<Lineage>,
    /// Bytes of constants that may still be made.
    budget: usize,
    /// Rule applications that the new graph rests on: (region, term), by rule.
    pub(crate) used: Vec<usize>,
}

impl<'a> Builder<'a> {
    /// Starts with the inputs of the old graph.
    pub(crate) fn new(from: &'a Graph, rules: usize) -> Builder<'a> {
        let mut out = Graph::new(from.name.clone());
        let mut map = vec![None; from.values().len()];
        for &v in &from.inputs {
            map[v.0 as usize] = Some(out.add_input(from.value(v).name.clone(), from.ty(v).clone()));
        }
        Builder {
            from,
            out,
            map,
            origins: HashMap::new(),
            consts: HashMap::new(),
            lineage: Vec::new(),
            budget: fold_budget(from),
            used: vec![0; rules],
        }
    }

    /// Adds what a region's roots need.
    pub(crate) fn region(
        &mut self,
        loaded: &mut Loaded,
        chosen: &Chosen,
        roots: &[ValueId],
        rule_name: impl Fn(u16) -> &'static str,
    ) -> Result<(), RewriteError> {
        let wanted: BTreeSet<ValueId> = roots.iter().copied().collect();
        let class_of: HashMap<ValueId, Id> = loaded.values.iter().map(|&(v, id)| (v, loaded.egraph.find(id))).collect();
        let needed = self.needed(&loaded.egraph, chosen, roots.iter().map(|v| class_of[v]));
        let mut names: HashMap<Id, String> = HashMap::new();
        for &(v, id) in &loaded.values {
            let name = &self.from.value(v).name;
            if !name.is_empty() {
                names.entry(loaded.egraph.find(id)).or_insert_with(|| name.clone());
            }
        }
        let mut made: HashMap<Id, ValueId> = HashMap::new();
        let mut values: HashMap<Id, Option<Tensor>> = HashMap::new();
        let mut counted = BTreeSet::new();
        for i in 0..loaded.values.len() {
            let root = loaded.egraph.find(loaded.values[i].1);
            if !needed.contains(&root) {
                continue;
            }
            let mut stack = vec![root];
            while let Some(&c) = stack.last() {
                if made.contains_key(&c) {
                    stack.pop();
                    continue;
                }
                let term = chosen[&c].clone().map_children(|k| loaded.egraph.find(k));
                if let Some(t) = self.constant(&loaded.egraph, chosen, c, &mut values) {
                    let name = match term.kind {
                        Kind::Const => loaded.egraph.analysis.consts.name(term.payload).to_string(),
                        _ => names.get(&c).cloned().unwrap_or_default(),
                    };
                    made.insert(c, self.add_const(t, name));
                    continue;
                }
                let missing: Vec<Id> = term.children.iter().rev().copied().filter(|k| !made.contains_key(k)).collect();
                if !missing.is_empty() {
                    stack.extend(missing);
                    continue;
                }
                let v = match term.kind {
                    Kind::Leaf => {
                        let old = loaded.leaves[term.payload as usize];
                        self.map[old.0 as usize]
                            .ok_or_else(|| RewriteError::bug(format!("{old} is used before its region was made")))?
                    }
                    _ => {
                        let number = usize::from(loaded.egraph.add_uncanonical(term.clone())) as u32;
                        let history = history(&loaded.egraph, number);
                        let serves = loaded.egraph.analysis.births.get(number as usize).map(|b| b.serves.to_vec());
                        let origin = self.origin(serves.unwrap_or_default());
                        let op = loaded.egraph.op(&term).expect("neither leaf nor constant").clone();
                        let inputs: Vec<ValueId> = term.children.iter().map(|k| made[k]).collect();
                        let v = self
                            .out
                            .add_node(op, &inputs, origin)
                            .map_err(|e| RewriteError::bug(format!("a chosen term does not type: {e}")))?;
                        if self.out.ty(v) != &*loaded.egraph.facts(c).ty {
                            return Err(RewriteError::bug(format!("{v} does not have the type of its class")));
                        }
                        if let Some(name) = names.get(&c) {
                            self.out.set_name(v, name.clone());
                        }
                        let mut steps: Vec<Step> = Vec::new();
                        for (n, rule) in history {
                            if counted.insert(n) {
                                self.used[rule as usize] += 1;
                            }
                            let id = Id::from(n as usize);
                            let (egraph, ty) = (&loaded.egraph, &loaded.egraph.facts(id).ty);
                            let made = words(egraph, &egraph.nodes()[n as usize], ty);
                            steps.push(Step { rule: rule_name(rule), made });
                        }
                        if !steps.is_empty() {
                            let node = NodeId(self.out.nodes().len() as u32 - 1);
                            let serves = &self.out.origins()[origin.0 as usize].name;
                            let serves = serves.split(JOINT).map(str::to_string).collect();
                            self.lineage.push(Lineage { node, serves, steps });
                        }
                        v
                    }
                };
                made.insert(c, v);
            }
        }
        for v in wanted {
            let id = class_of[&v];
            self.map[v.0 as usize] = Some(made[&id]);
        }
        Ok(())
    }

    /// Adds the outputs; the graph is then whole.
    pub(crate) fn finish(&mut self) -> Result<(), RewriteError> {
        for o in &self.from.outputs {
            let v = match (self.map[o.value.0 as usize], self.from.constant(o.value)) {
                (Some(v), _) => v,
                (None, Some(t)) => self.add_const(t.clone(), self.from.value(o.value).name.clone()),
                (None, None) => return Err(RewriteError::bug(format!("output {} was lost", o.name))),
            };
            self.out.add_output(o.name.clone(), v);
        }
        Ok(())
    }

    fn needed(&self, egraph: &Terms, chosen: &Chosen, roots: impl Iterator<Item = Id>) -> BTreeSet<Id> {
        let mut needed = BTreeSet::new();
        let mut stack: Vec<Id> = roots.collect();
        while let Some(c) = stack.pop() {
            if needed.insert(c) {
                stack.extend(chosen[&c].children.iter().map(|&k| egraph.find(k)));
            }
        }
        needed
    }

    /// The value of a class that constants alone decide, if the oracle can tell it.
    fn constant(
        &mut self,
        egraph: &Terms,
        chosen: &Chosen,
        class: Id,
        values: &mut HashMap<Id, Option<Tensor>>,
    ) -> Option<Tensor> {
        let mut stack = vec![class];
        while let Some(&c) = stack.last() {
            if values.contains_key(&c) {
                stack.pop();
                continue;
            }
            let term = &chosen[&c];
            let value = if term.kind == Kind::Const {
                Some(egraph.analysis.consts.get(term.payload).clone())
            } else if !is_folded(egraph, c, term) {
                None
            } else {
                let kids: Vec<Id> = term.children.iter().map(|&k| egraph.find(k)).collect();
                let missing: Vec<Id> = kids.iter().copied().filter(|k| !values.contains_key(k)).collect();
                if !missing.is_empty() {
                    stack.extend(missing);
                    continue;
                }
                let inputs: Option<Vec<&Tensor>> = kids.iter().map(|k| values[k].as_ref()).collect();
                let bytes = egraph.facts(c).ty.bytes();
                let value = inputs.filter(|_| bytes <= self.budget).and_then(|i| fold::evaluate(egraph.op(term)?, &i));
                if value.is_some() {
                    self.budget -= bytes;
                }
                value
            };
            values.insert(c, value);
        }
        values[&class].clone()
    }

    fn add_const(&mut self, t: Tensor, name: String) -> ValueId {
        let key = (t.data.as_ptr() as usize, t.data.len(), t.shape.clone());
        match self.consts.get(&key) {
            Some(&v) if self.out.constant(v).is_some_and(|have| have.dtype == t.dtype) => v,
            _ => {
                let v = self.out.add_const(name, t);
                self.consts.insert(key, v);
                v
            }
        }
    }

    fn origin(&mut self, serves: Vec<u32>) -> OriginId {
        if let Some(&o) = self.origins.get(&serves) {
            return o;
        }
        let names: Vec<&str> = serves.iter().map(|&o| self.from.origins()[o as usize].name.as_str()).collect();
        let name = if names.is_empty() { "rewrite".to_string() } else { join(&names) };
        let o = self.out.add_origin(&name);
        self.origins.insert(serves, o);
        o
    }
}

/// Joins the names of the user's nodes that one primitive serves.
fn join(names: &[&str]) -> String {
    // A second sweep sees joined names; each user's node is named once.
    let mut parts: Vec<&str> = Vec::new();
    for n in names.iter().flat_map(|n| n.split(JOINT)) {
        if !parts.contains(&n) {
            parts.push(n);
        }
    }
    parts.join(JOINT)
}

/// Stands between the names of the user's nodes in the origin of a fused node.
pub const JOINT: &str = " + ";

/// True when the chosen term of a class is evaluated at compile time.
pub(crate) fn is_folded(egraph: &Terms, class: Id, term: &Term) -> bool {
    egraph.facts(class).fixed && !term.children.is_empty() && term.children.iter().all(|&k| egraph.facts(k).fixed)
}

/// Applications of rules that a term rests on, the first first: (number of the term, rule).
fn history(egraph: &Terms, term: u32) -> Vec<(u32, u16)> {
    let births = &egraph.analysis.births;
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    let mut stack = vec![(term, false)];
    while let Some((n, below)) = stack.pop() {
        let Some(b) = births.get(n as usize) else { continue };
        let Some(rule) = b.rule else { continue };
        if below {
            found.push((n, rule));
        } else if seen.insert(n) {
            stack.push((n, true));
            stack.extend(b.from.iter().rev().map(|&f| (f, false)));
        }
    }
    found
}
