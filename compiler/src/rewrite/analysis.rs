//! What is known of a class: its type, whether constants alone decide it, its value when it is
//! a small constant, and the user's nodes whose result it is.
//!
//! Also keeps the *birth* of every term: the rule that made it and the user's nodes that it
//! serves. Constants are folded lazily: a term over constants costs nothing and is evaluated
//! only if the extraction takes it, so alternatives never copy weights. Only small results are
//! evaluated at once, because preconditions look at them.

use super::fold;
use super::language::{ConstTable, Kind, OpTable, Term};
use crate::ir::{DType, Op, Tensor, TensorType, text};
use egg::{Analysis, DidMerge, EGraph, Id};
use smallvec::SmallVec;
use std::sync::Arc;

/// The e-graph of a region.
pub(crate) type Terms = EGraph<Term, Region>;

/// Results up to this size are evaluated at once.
const FOLDED_AT_ONCE_ELEMENTS: usize = 1024;

/// A result over constants stays an operation when it is larger than this and more than twice
/// its operands: a broadcast must not fill the memory.
const ALWAYS_FIXED_ELEMENTS: usize = 1 << 16;

/// The user's nodes, by number, sorted.
pub(crate) type Origins = SmallVec<[u32; 4]>;

/// Facts of a class.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Type of the value.
    pub(crate) ty: Arc<TensorType>,
    /// True when constants alone decide the value.
    pub(crate) fixed: bool,
    /// The constant, when it is known by number.
    pub(crate) value: Option<u32>,
    /// The value of all elements, when they are known, equal and exact as `f64`.
    pub(crate) splat: Option<f64>,
    /// The user's nodes whose result this is.
    pub(crate) origins: Origins,
    /// True when the value goes on to a rounding to whole numbers, so that its last bit counts.
    pub(crate) decides_a_step: bool,
}

/// How a term came to be.
#[derive(Clone, Debug)]
pub(crate) struct Birth {
    /// Rule by its place in the table; `None` for the user's own terms.
    pub(crate) rule: Option<u16>,
    /// Terms of the left-hand side, by number.
    pub(crate) from: SmallVec<[u32; 3]>,
    /// The user's nodes that it serves.
    pub(crate) serves: Origins,
}

/// The tables of a region, and the analysis over them.
#[derive(Default, Debug)]
pub(crate) struct Region {
    /// Operations with attributes.
    pub(crate) ops: OpTable,
    /// Constants.
    pub(crate) consts: ConstTable,
    /// Types of the leaves.
    pub(crate) leaves: Vec<Arc<TensorType>>,
    /// Births by term number.
    pub(crate) births: Vec<Birth>,
    /// The user's node being loaded.
    pub(crate) loading: Option<u32>,
    /// Rules that tried to join classes of different types: each is a bug of the rule.
    pub(crate) faults: Vec<String>,
    /// Rule applications that may still be made; `None` is no limit.
    pub(crate) fuel: Option<usize>,
    /// The application that used up the last of it.
    pub(crate) last: Option<Applied>,
}

/// An application of a rule, in words.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    /// Rule by its place in the table.
    pub(crate) rule: u16,
    /// The user's nodes that the term on the left-hand side serves.
    pub(crate) serves: Origins,
    /// The term on the left-hand side.
    pub(crate) before: String,
    /// The term that it was found equal to.
    pub(crate) after: String,
}

impl Analysis<Term> for Region {
    type Data = Facts;

    fn make(egraph: &mut Terms, term: &Term, _: Id) -> Facts {
        let origins: Origins = egraph.analysis.loading.iter().copied().collect();
        match term.kind {
            Kind::Leaf => {
                let ty = egraph.analysis.leaves[term.payload as usize].clone();
                Facts { ty, fixed: false, value: None, splat: None, origins: Origins::new(), decides_a_step: false }
            }
            Kind::Const => {
                let t = egraph.analysis.consts.get(term.payload);
                Facts {
                    ty: Arc::new(TensorType::new(t.dtype, t.shape.clone())),
                    fixed: true,
                    value: Some(term.payload),
                    splat: fold::splat(t),
                    origins: Origins::new(),
                    decides_a_step: false,
                }
            }
            _ => {
                let op = egraph.analysis.ops.get(term.payload);
                let types: SmallVec<[&TensorType; 3]> = term.children.iter().map(|&c| &*egraph[c].data.ty).collect();
                // Terms are added after their operands were checked, and joins keep the type.
                let ty = op.result_type(&types).expect("a term's operands were checked when it was added");
                let fixed = !term.children.is_empty()
                    && term.children.iter().all(|&c| egraph[c].data.fixed)
                    && (ty.elements() <= ALWAYS_FIXED_ELEMENTS
                        || ty.elements() <= 2 * types.iter().map(|t| t.elements()).sum::<usize>());
                Facts { ty: Arc::new(ty), fixed, value: None, splat: None, origins, decides_a_step: false }
            }
        }
    }

    fn merge(&mut self, a: &mut Facts, b: Facts) -> DidMerge {
        if a.ty != b.ty {
            self.faults.push(format!("{} joined with {}", a.ty, b.ty));
        }
        let mut did = DidMerge(false, false);
        if a.fixed != b.fixed {
            did = did | DidMerge(!a.fixed, a.fixed);
            a.fixed = true;
        }
        if a.value.is_none() && b.value.is_some() {
            did.0 = true;
            a.value = b.value;
        } else if a.value != b.value {
            did.1 = true;
        }
        if a.splat.is_none() && b.splat.is_some() {
            did.0 = true;
            a.splat = b.splat;
        }
        a.decides_a_step |= b.decides_a_step;
        for o in b.origins {
            if let Err(i) = a.origins.binary_search(&o) {
                a.origins.insert(i, o);
            }
        }
        did
    }

    fn modify(egraph: &mut Terms, id: Id) {
        let facts = &egraph[id].data;
        if facts.value.is_some() || !facts.fixed || facts.ty.elements() > FOLDED_AT_ONCE_ELEMENTS {
            return;
        }
        let region = &egraph.analysis;
        let folded = egraph[id].nodes.iter().find_map(|t| {
            let inputs: Option<Vec<&Tensor>> =
                t.children.iter().map(|&c| Some(region.consts.get(egraph[c].data.value?))).collect();
            fold::evaluate(region.ops.get(t.payload), &inputs?)
        });
        if let Some(t) = folded {
            let c = egraph.analysis.consts.intern(t, "");
            let added = egraph.add(Term { kind: Kind::Const, payload: c, children: SmallVec::new() });
            egraph.union(id, added);
        }
    }
}

/// A term in words: operation, attributes and type.
pub(crate) fn words(egraph: &Terms, t: &Term, ty: &TensorType) -> String {
    match egraph.op(t) {
        Some(op) => format!("{} : {ty}", text::operation(op)),
        None if t.kind == Kind::Const => format!("constant : {ty}"),
        None => format!("value : {ty}"),
    }
}

/// Reading a region's e-graph.
pub(crate) trait Read {
    /// Facts of a class.
    fn facts(&self, id: Id) -> &Facts;
    /// Operation of a term; leaves and constants have none.
    fn op(&self, t: &Term) -> Option<&Op>;
    /// Element type of a class.
    fn dtype(&self, id: Id) -> DType {
        self.facts(id).ty.dtype
    }
    /// Shape of a class.
    fn shape(&self, id: Id) -> &[usize] {
        &self.facts(id).ty.shape
    }
}

impl Read for Terms {
    fn facts(&self, id: Id) -> &Facts {
        &self[id].data
    }

    fn op(&self, t: &Term) -> Option<&Op> {
        (!matches!(t.kind, Kind::Leaf | Kind::Const)).then(|| self.analysis.ops.get(t.payload))
    }
}
