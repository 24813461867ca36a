//! A rule and what it may see and do.
//!
//! Knows: how a rule's function is run on each matching term, and what it needs to read the
//! e-graph and to add terms. Must not know: any particular rule, or what a term costs.

use super::RewriteOptions;
use super::analysis::{Applied, Birth, Facts, Origins, Read, Terms, words};
use super::cost::CostModel;
use super::fold;
use super::language::{Kind, Term};
use crate::ir::{Binary, DType, Op, Tensor, TensorType, Unary};
use egg::{Applier, Id, Language, SearchMatches, Searcher, Subst, Symbol, Var};
use smallvec::SmallVec;
use std::fmt;

/// A family of rules; each has a file of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Theme {
    Algebra,
    Layout,
    Convolution,
    Fusion,
    Merging,
}

impl Theme {
    /// Every theme, in the order of the documentation.
    pub const ALL: [Theme; 5] = [Theme::Algebra, Theme::Layout, Theme::Convolution, Theme::Fusion, Theme::Merging];

    /// Name as given to `--disable-rule`, where it stands for all its rules.
    pub fn name(self) -> &'static str {
        match self {
            Theme::Algebra => "algebra",
            Theme::Layout => "layout",
            Theme::Convolution => "convolution",
            Theme::Fusion => "fusion",
            Theme::Merging => "merging",
        }
    }
}

impl fmt::Display for Theme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a rule changes bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rounding {
    /// The results are the same, on every type, but for NaN payloads and the sign of a zero.
    Exact,
    /// Results may differ by rounding; the text says when. With `strict_float` the rule fires
    /// only where they do not.
    Rounds(&'static str),
}

/// A rewrite rule: data for the documentation and the switches, and its function.
pub struct Rule {
    /// Name as given to `--disable-rule`.
    pub name: &'static str,
    /// Family.
    pub theme: Theme,
    /// Whether it changes bits.
    pub rounding: Rounding,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// Picture in text form: before and after.
    pub picture: &'static str,
    /// Preconditions, as its code checks them.
    pub when: &'static str,
    /// Kinds of term that it looks at.
    pub(crate) roots: &'static [Kind],
    /// Looks at a term; what it finds goes to [`Cx::equate`]. `None` is "no match".
    pub(crate) apply: fn(&mut Cx<'_>, &Term) -> Option<()>,
    /// Random graphs on which it should fire, for its property test.
    #[cfg(test)]
    pub(crate) example: fn(&mut super::testing::Gen) -> Option<crate::ir::Graph>,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What the rules may use, and how far they may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Rules that change bits fire only where they do not.
    pub(crate) strict_float: bool,
    /// Steps that the target accepts in one epilogue.
    pub(crate) epilogue_steps: usize,
    /// Whether the target accepts epilogue operands that are not constants.
    pub(crate) epilogue_operands: bool,
    /// Terms that the e-graph may hold.
    pub(crate) terms: usize,
}

impl Limits {
    /// Those of a target; a region sets the number of terms.
    pub(crate) fn of(model: &dyn CostModel, options: &RewriteOptions) -> Limits {
        Limits {
            strict_float: options.strict_float,
            epilogue_steps: model.epilogue_steps(),
            epilogue_operands: model.epilogue_operands(),
            terms: 0,
        }
    }
}

/// A rule at work on one term: reads the e-graph, adds terms, and says what is equal.
pub(crate) struct Cx<'a> {
    egraph: &'a mut Terms,
    root: Id,
    rule: u16,
    limits: Limits,
    equal: Vec<(Id, Id)>,
}

impl Cx<'_> {
    /// True when bits must not change: of any value, or of one that goes on to a rounding to whole numbers.
    pub(crate) fn strict(&self) -> bool {
        self.limits.strict_float || self.facts(self.root).decides_a_step
    }

    /// What the target accepts.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Facts of a class.
    pub(crate) fn facts(&self, id: Id) -> &Facts {
        self.egraph.facts(id)
    }

    /// Type of a class.
    pub(crate) fn ty(&self, id: Id) -> &TensorType {
        &self.egraph.facts(id).ty
    }

    /// Shape of a class.
    pub(crate) fn shape(&self, id: Id) -> &[usize] {
        self.egraph.shape(id)
    }

    /// Element type of a class.
    pub(crate) fn dtype(&self, id: Id) -> DType {
        self.egraph.dtype(id)
    }

    /// Operation of a term.
    pub(crate) fn op(&self, t: &Term) -> Option<&Op> {
        self.egraph.op(t)
    }

    /// True when constants alone decide a class.
    pub(crate) fn fixed(&self, id: Id) -> bool {
        self.facts(id).fixed
    }

    /// The value of all elements of a class, when known and equal.
    pub(crate) fn splat(&self, id: Id) -> Option<f64> {
        self.facts(id).splat
    }

    /// The constant that a class is, when it is known.
    pub(crate) fn constant(&self, id: Id) -> Option<&Tensor> {
        Some(self.egraph.analysis.consts.get(self.facts(id).value?))
    }

    /// The class of the term.
    pub(crate) fn root(&self) -> Id {
        self.root
    }

    /// Canonical name of a class.
    pub(crate) fn find(&self, id: Id) -> Id {
        self.egraph.find(id)
    }

    /// Terms of a kind in a class.
    pub(crate) fn terms(&self, id: Id, kind: Kind) -> Vec<Term> {
        canonical(self.egraph, id, |k| k == kind)
    }

    /// Terms of a class that apply `op`, with their operand.
    pub(crate) fn unaries(&self, id: Id, op: Unary) -> Vec<(Term, Id)> {
        let mut v = self.terms(id, Kind::Unary);
        v.retain(|t| matches!(self.op(t), Some(Op::Unary(u)) if *u == op));
        v.into_iter().map(|t| (t.clone(), t.children[0])).collect()
    }

    /// Terms of a class that apply `op`, with their operands.
    pub(crate) fn binaries(&self, id: Id, op: Binary) -> Vec<(Term, Id, Id)> {
        let mut v = self.terms(id, Kind::Binary);
        v.retain(|t| matches!(self.op(t), Some(Op::Binary(b)) if *b == op));
        v.into_iter().map(|t| (t.clone(), t.children[0], t.children[1])).collect()
    }

    /// Terms of a kind that use a class as operand, with their classes, in order of making.
    pub(crate) fn users(&self, id: Id, kind: Kind) -> Vec<(Term, Id)> {
        let mut seen: Vec<(Term, Id)> = Vec::new();
        for p in self.egraph[id].parents() {
            let t = self.egraph.id_to_node(p).clone().map_children(|c| self.egraph.find(c));
            if t.kind == kind && !seen.iter().any(|(s, _)| *s == t) {
                seen.push((t, self.egraph.find(p)));
            }
        }
        seen.sort();
        seen
    }

    /// True when a term rests on an application of the rule at work. Rules that gather what is
    /// alike must leave out what they made.
    pub(crate) fn made_by_this_rule(&mut self, t: &Term) -> bool {
        let births = |cx: &Self, n: u32| cx.egraph.analysis.births.get(n as usize).map(|b| (b.rule, b.from.clone()));
        let mut stack = vec![usize::from(self.egraph.add_uncanonical(t.clone())) as u32];
        let mut seen = std::collections::BTreeSet::new();
        while let Some(n) = stack.pop() {
            match births(self, n) {
                Some((Some(r), _)) if r == self.rule => return true,
                Some((Some(_), from)) if seen.insert(n) => stack.extend(from),
                _ => {}
            }
        }
        false
    }

    /// Adds a term that serves the user's nodes of `lhs`; `None` when the operands do not fit.
    pub(crate) fn add(&mut self, op: Op, operands: &[Id], lhs: &[&Term]) -> Option<Id> {
        {
            let types: SmallVec<[&TensorType; 3]> = operands.iter().map(|&c| self.ty(c)).collect();
            op.result_type(&types).ok()?;
        }
        let (mut from, mut serves) = (SmallVec::new(), Origins::new());
        for t in lhs {
            // Adding a term that is there gives its number.
            let n = usize::from(self.egraph.add_uncanonical((*t).clone())) as u32;
            from.push(n);
            if let Some(birth) = self.egraph.analysis.births.get(n as usize) {
                for &o in &birth.serves {
                    if let Err(i) = serves.binary_search(&o) {
                        serves.insert(i, o);
                    }
                }
            }
        }
        let term = Term {
            kind: Kind::of(&op),
            payload: self.egraph.analysis.ops.intern(op),
            children: operands.iter().map(|&c| self.egraph.find(c)).collect(),
        };
        let id = self.egraph.add(term);
        self.record(Birth { rule: Some(self.rule), from, serves });
        // What stands between the operands and the root decides what the root decides.
        let decides = self.egraph.facts(self.root).decides_a_step;
        self.egraph[id].data.decides_a_step |= decides;
        Some(id)
    }

    /// Adds a constant.
    pub(crate) fn add_const(&mut self, t: Tensor) -> Id {
        let payload = self.egraph.analysis.consts.intern(t, "");
        let id = self.egraph.add(Term { kind: Kind::Const, payload, children: SmallVec::new() });
        self.record(Birth { rule: Some(self.rule), from: SmallVec::new(), serves: Origins::new() });
        id
    }

    /// Adds a scalar constant; `None` when the value is not exact in the type.
    pub(crate) fn add_scalar(&mut self, dtype: DType, v: f64) -> Option<Id> {
        Some(self.add_const(fold::scalar(dtype, v)?))
    }

    /// Adds a reshape, or nothing when the shape is there already.
    pub(crate) fn reshape(&mut self, x: Id, shape: &[usize], lhs: &[&Term]) -> Option<Id> {
        if self.shape(x) == shape {
            return Some(x);
        }
        self.add(Op::Reshape { shape: shape.to_vec() }, &[x], lhs)
    }

    /// Adds a transpose, or nothing when it is the identity.
    pub(crate) fn transpose(&mut self, x: Id, perm: &[usize], lhs: &[&Term]) -> Option<Id> {
        if perm.iter().enumerate().all(|(i, &p)| i == p) {
            return Some(x);
        }
        self.add(Op::Transpose { perm: perm.to_vec() }, &[x], lhs)
    }

    /// Says that the matched term equals a class.
    pub(crate) fn equate(&mut self, id: Id) {
        let root = self.root;
        self.equate_both(root, id);
    }

    /// Says that two classes are equal.
    pub(crate) fn equate_both(&mut self, a: Id, b: Id) {
        self.equal.push((a, b));
    }

    fn record(&mut self, birth: Birth) {
        let n = self.egraph.nodes().len();
        let births = &mut self.egraph.analysis.births;
        births.resize(n.max(births.len()), birth);
    }
}

/// Terms of a class, each once, with canonical operands, in order.
fn canonical(egraph: &Terms, id: Id, wanted: impl Fn(Kind) -> bool) -> Vec<Term> {
    let here = egraph[id].nodes.iter().filter(|t| wanted(t.kind));
    let mut terms: Vec<Term> = here.map(|t| t.clone().map_children(|c| egraph.find(c))).collect();
    terms.sort_unstable();
    terms.dedup();
    terms
}

/// A rule as egg sees it.
#[derive(Clone, Copy, Debug)]
struct Adapter {
    rule: &'static Rule,
    number: u16,
    limits: Limits,
}

impl Adapter {
    /// Counts an application, and keeps the last that is allowed.
    fn burn(&self, egraph: &mut Terms, lhs: &Term, rhs: Id, ty: &TensorType) {
        let Some(fuel) = egraph.analysis.fuel else { return };
        egraph.analysis.fuel = Some(fuel - 1);
        if fuel == 1 {
            let number = usize::from(egraph.add_uncanonical(lhs.clone()));
            let serves = egraph.analysis.births.get(number).map_or_else(Origins::new, |b| b.serves.clone());
            let lhs_ty = egraph.facts(Id::from(number)).ty.clone();
            let before = words(egraph, lhs, &lhs_ty);
            let after = words(egraph, &egraph.nodes()[usize::from(rhs)], ty);
            egraph.analysis.last = Some(Applied { rule: self.number, serves, before, after });
        }
    }
}

impl Searcher<Term, super::analysis::Region> for Adapter {
    fn search_eclass_with_limit(&self, egraph: &Terms, class: Id, limit: usize) -> Option<SearchMatches<'_, Term>> {
        let hit = limit > 0 && egraph[class].nodes.iter().any(|t| self.rule.roots.contains(&t.kind));
        hit.then(|| SearchMatches { eclass: class, substs: vec![Subst::default()], ast: None })
    }

    fn search_with_limit(&self, egraph: &Terms, limit: usize) -> Vec<SearchMatches<'_, Term>> {
        let mut ids: Vec<Id> = self
            .rule
            .roots
            .iter()
            .filter_map(|k| egraph.classes_for_op(k))
            .flatten()
            .map(|id| egraph.find(id))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(limit);
        ids.into_iter().map(|eclass| SearchMatches { eclass, substs: vec![Subst::default()], ast: None }).collect()
    }

    fn vars(&self) -> Vec<Var> {
        Vec::new()
    }
}

impl Applier<Term, super::analysis::Region> for Adapter {
    fn apply_matches(&self, egraph: &mut Terms, matches: &[SearchMatches<'_, Term>], _: Symbol) -> Vec<Id> {
        // Joins wait until the rule has seen all its matches: until then the e-graph is congruent,
        // and a term that is there already is found again.
        let mut equal = Vec::new();
        if egraph.analysis.fuel == Some(0) {
            return Vec::new();
        }
        'matches: for m in matches {
            let root = egraph.find(m.eclass);
            let terms = canonical(egraph, root, |k| self.rule.roots.contains(&k));
            for t in terms {
                // egg looks at its limit only between rules.
                if egraph.total_size() > self.limits.terms {
                    break 'matches;
                }
                let mut cx = Cx { egraph, root, rule: self.number, limits: self.limits, equal: Vec::new() };
                // A rule that gives up midway has made no claim; what it said before stands.
                let _ = (self.rule.apply)(&mut cx, &t);
                equal.extend(cx.equal.into_iter().map(|(a, b)| (a, b, t.clone())));
            }
        }
        let mut changed = Vec::new();
        for (a, b, lhs) in equal {
            if egraph.find(a) == egraph.find(b) {
                continue;
            }
            let (ta, tb) = (egraph.facts(a).ty.clone(), egraph.facts(b).ty.clone());
            if ta != tb {
                egraph.analysis.faults.push(format!("{}: {ta} is not {tb}", self.rule.name));
            } else if egraph.analysis.fuel != Some(0) && egraph.union(a, b) {
                changed.push(egraph.find(a));
                self.burn(egraph, &lhs, b, &tb);
            }
        }
        changed
    }

    fn apply_one(&self, _: &mut Terms, _: Id, _: &Subst, _: Option<&egg::PatternAst<Term>>, _: Symbol) -> Vec<Id> {
        // All matches go through `apply_matches`, which has what a match needs.
        Vec::new()
    }
}

/// The rule in egg's form; `number` is its place in the table.
pub(crate) fn adapt(rule: &'static Rule, number: usize, limits: Limits) -> egg::Rewrite<Term, super::analysis::Region> {
    let a = Adapter { rule, number: number as u16, limits };
    egg::Rewrite::new(rule.name, a, a).expect("an adapter binds no variables")
}
