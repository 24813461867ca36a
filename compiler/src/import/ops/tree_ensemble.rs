//! `TreeEnsemble` of the `ai.onnx.ml` domain: every split becomes a choice between two vectors.

use crate::import::build::scalar_tensor;
use crate::import::call::{Call, Val, numbers, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, ml};
use crate::ir::{Binary, DType, Op, Tensor, Unary, ValueId};
use std::collections::BTreeMap;

pub(super) const OPS: &[OpDef] = &[ml("TreeEnsemble", 5, tree_ensemble)];

/// Splits that one ensemble may have, those of shared branches counted each time.
const MAX_SPLITS: usize = 1 << 20;
/// Splits one below the other.
const MAX_DEPTH: usize = 256;
/// Targets of an ensemble.
const MAX_TARGETS: usize = 1 << 16;

/// The ensemble as the attributes say it, checked.
struct Ensemble {
    features: Vec<usize>,
    modes: Vec<u8>,
    splits: Vec<f64>,
    /// Values of a set that the feature must be in, for splits by membership.
    members: Vec<Vec<f64>>,
    /// Child on true and on false, and whether it is a leaf.
    children: Vec<[(usize, bool); 2]>,
    missing_is_true: Vec<bool>,
    leaves: Vec<(usize, f64)>,
    targets: usize,
    /// What a target holds that a leaf says nothing of.
    neutral: f64,
}

fn index(v: i64, n: usize, what: &str) -> Result<usize, Fail> {
    usize::try_from(v).ok().filter(|&v| v < n).ok_or_else(|| Fail::invalid(format!("{what} {v} is out of range")))
}

impl Ensemble {
    fn read(c: &mut Call<'_, '_>, features: usize) -> Result<(Ensemble, Vec<usize>), Fail> {
        c.ignore(&["nodes_hitrates"]);
        let ints = |c: &mut Call<'_, '_>, name: &str| -> Result<Vec<i64>, Fail> {
            c.int_list(name)?.ok_or_else(|| Fail::invalid(format!("attribute '{name}' is missing")))
        };
        let tensor = |c: &mut Call<'_, '_>, name: &str| -> Result<Vec<f64>, Fail> {
            let t = c.tensor_attribute(name)?;
            t.map(|t| numbers(&t)).ok_or_else(|| Fail::invalid(format!("attribute '{name}' is missing")))
        };
        let splits = tensor(c, "nodes_splits")?;
        let modes = tensor(c, "nodes_modes")?;
        let (ids, roots) = (ints(c, "nodes_featureids")?, ints(c, "tree_roots")?);
        let (yes, no) = (ints(c, "nodes_truenodeids")?, ints(c, "nodes_falsenodeids")?);
        let (yes_leaf, no_leaf) = (ints(c, "nodes_trueleafs")?, ints(c, "nodes_falseleafs")?);
        let (leaf_targets, leaf_weights) = (ints(c, "leaf_targetids")?, tensor(c, "leaf_weights")?);
        let n = splits.len();
        let missing = c.int_list("nodes_missing_value_tracks_true")?.filter(|l| !l.is_empty());
        let missing = missing.unwrap_or_else(|| vec![0; n]);
        if [modes.len(), ids.len(), yes.len(), no.len(), yes_leaf.len(), no_leaf.len(), missing.len()] != [n; 7]
            || leaf_targets.len() != leaf_weights.len()
        {
            return Err(Fail::invalid("the attributes that describe nodes, or leaves, differ in length"));
        }
        let targets = c.int("n_targets", 1)?;
        let targets = index(targets, MAX_TARGETS + 1, "n_targets")?;
        // One set for each split by membership, in the order of the nodes, each ended by a NaN.
        let sets = c.tensor_attribute("membership_values")?.map(|t| numbers(&t)).unwrap_or_default();
        let mut sets = sets.split(|v| v.is_nan());
        let mut members = vec![Vec::new(); n];
        for (m, _) in members.iter_mut().zip(&modes).filter(|(_, mode)| **mode == 6.0) {
            *m = sets.next().ok_or_else(|| Fail::invalid("membership_values has too few sets"))?.to_vec();
        }
        let child = |v: i64, leaf: i64| -> Result<(usize, bool), Fail> {
            let leaf = leaf != 0;
            Ok((index(v, if leaf { leaf_targets.len() } else { n }, "child")?, leaf))
        };
        let children = (0..n).map(|i| Ok([child(yes[i], yes_leaf[i])?, child(no[i], no_leaf[i])?]));
        let ensemble = Ensemble {
            features: ids.iter().map(|&v| index(v, features, "feature")).collect::<Result<_, _>>()?,
            modes: modes.iter().map(|&m| m as u8).collect(),
            splits,
            members,
            children: children.collect::<Result<_, Fail>>()?,
            missing_is_true: missing.iter().map(|&v| v != 0).collect(),
            leaves: leaf_targets
                .iter()
                .zip(leaf_weights)
                .map(|(&t, w)| Ok((index(t, targets, "target")?, w)))
                .collect::<Result<_, Fail>>()?,
            targets,
            neutral: 0.0,
        };
        let roots = roots.iter().map(|&r| index(r, n, "root")).collect::<Result<_, _>>()?;
        Ok((ensemble, roots))
    }
}

/// Builds the choices of one ensemble.
struct Growth<'e> {
    ensemble: &'e Ensemble,
    x: ValueId,
    columns: BTreeMap<usize, ValueId>,
    left: usize,
}

impl Growth<'_> {
    fn column(&mut self, c: &mut Call<'_, '_>, feature: usize) -> Result<ValueId, Fail> {
        if let Some(&v) = self.columns.get(&feature) {
            return Ok(v);
        }
        let v = c.slice_axis(self.x, 1, feature, 1)?;
        self.columns.insert(feature, v);
        Ok(v)
    }

    /// `[N or 1, targets]`.
    fn grow(&mut self, c: &mut Call<'_, '_>, at: usize, leaf: bool, depth: usize) -> Result<ValueId, Fail> {
        let e = self.ensemble;
        if leaf {
            let (target, weight) = e.leaves[at];
            let dtype = c.dtype(self.x);
            let one = |i: usize| scalar_tensor(dtype, if i == target { weight } else { e.neutral }).data.to_vec();
            let data: Vec<u8> = (0..e.targets).flat_map(one).collect();
            return Ok(c.add_tensor(Tensor { dtype, shape: vec![1, e.targets], data: data.into() }));
        }
        self.left = self.left.checked_sub(1).filter(|_| depth < MAX_DEPTH).ok_or_else(|| {
            let reason = format!("more than {MAX_SPLITS} splits, or {MAX_DEPTH} below one another, are not supported");
            Fail::unsupported(reason, "use smaller trees")
        })?;
        let column = self.column(c, e.features[at])?;
        let compare = |c: &mut Call<'_, '_>, b: Binary, v: f64| {
            let v = c.scalar_like(column, v);
            c.binary(b, column, v)
        };
        let mut cond = match e.modes[at] {
            0 => compare(c, Binary::Le, e.splits[at])?,
            1 => compare(c, Binary::Lt, e.splits[at])?,
            2 => compare(c, Binary::Ge, e.splits[at])?,
            3 => compare(c, Binary::Gt, e.splits[at])?,
            4 => compare(c, Binary::Eq, e.splits[at])?,
            5 => {
                let same = compare(c, Binary::Eq, e.splits[at])?;
                c.unary(Unary::Not, same)?
            }
            6 => {
                let mut any = c.scalar(DType::Bool, 0.0);
                for &m in &e.members[at] {
                    let hit = compare(c, Binary::Eq, m)?;
                    any = c.binary(Binary::Or, any, hit)?;
                }
                any
            }
            m => return Err(Fail::invalid(format!("nodes_modes {m} is not defined"))),
        };
        if e.missing_is_true[at] {
            let nan = c.unary(Unary::IsNan, column)?;
            cond = c.binary(Binary::Or, cond, nan)?;
        }
        let [(yes, yes_leaf), (no, no_leaf)] = e.children[at];
        let yes = self.grow(c, yes, yes_leaf, depth + 1)?;
        let no = self.grow(c, no, no_leaf, depth + 1)?;
        c.select(cond, yes, no)
    }
}

/// The leaves that a row of features reaches, one a tree, summed up by target.
fn tree_ensemble(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let (aggregate, transform) = (c.int("aggregate_function", 1)?, c.int("post_transform", 0)?);
    let x = c.x(0)?;
    let xs = c.shape(x);
    let dtype = c.dtype(x);
    if xs.len() != 2 || !dtype.is_float() {
        return Err(Fail::invalid(format!("{} is no matrix of float features", c.ty(x))));
    }
    let (mut ensemble, roots) = Ensemble::read(c, xs[1])?;
    let largest = match dtype {
        DType::F16 => 65504.0,
        DType::F64 => f64::MAX,
        _ => f64::from(f32::MAX),
    };
    let join = match aggregate {
        0 | 1 => Binary::Add,
        2 => Binary::Min,
        3 => Binary::Max,
        a => return Err(Fail::invalid(format!("aggregate_function {a} is not defined"))),
    };
    ensemble.neutral = match aggregate {
        2 => largest,
        3 => -largest,
        _ => 0.0,
    };
    let mut growth = Growth { ensemble: &ensemble, x, columns: BTreeMap::new(), left: MAX_SPLITS };
    let mut y = c.full(dtype, &[xs[0], ensemble.targets], ensemble.neutral)?;
    for &root in &roots {
        let v = growth.grow(c, root, false, 0)?;
        y = c.binary(join, y, v)?;
    }
    if aggregate == 0 {
        let n = c.scalar(dtype, roots.len().max(1) as f64);
        y = c.div(y, n)?;
    }
    one(match transform {
        0 => y,
        1 => c.op(Op::Softmax { axis: 1 }, &[y])?,
        2 => c.unary(Unary::Sigmoid, y)?,
        t => {
            return Err(Fail::unsupported(
                format!("post_transform {t} is not supported"),
                "use none, softmax or logistic",
            ));
        }
    })
}
