//! A softmax that one product takes is divided by its sums behind the product.
//!
//! `(e / s) v` is `e v / s`. So the exponentials, once made, go through planes that hold the right operand and through planes
//! that hold ones at the same time, and both sums meet in one sequence. Nothing is divided, written and read in between, and
//! the sums wait for nobody. The ones put the sum of a row into all lanes in which the product leaves that row's columns.

use super::Select;
use super::lane_sums::Ones;
use super::tiles::{Draft, joined_rows};
use super::view::View;
use crate::tiled::{Pass, Rows};
use quadrille_compiler::ir::{DType, Op, ValueDef, ValueId};
use std::collections::BTreeSet;

/// A plane row (lane of the activations), and the lanes that its sum goes to.
pub(super) type Spread = Vec<(usize, Vec<usize>)>;

impl Select<'_> {
    /// True when all that is wanted of a softmax along `axis` is its product with a computed right operand.
    pub(super) fn is_mixed(&self, output: ValueId, axis: usize) -> bool {
        let g = self.graph;
        self.wants.only_user(g, output).is_some_and(|n| {
            matches!(n.op, Op::MatMul { .. })
                && n.inputs[0] == output
                && n.inputs[1] != output
                && matches!(g.value(n.inputs[1]).def, ValueDef::Node(_))
                && g.ty(n.inputs[1]).dtype == DType::F32
                && axis + 1 == g.ty(output).rank()
        })
    }

    /// The exponentials of a softmax that a product may take as they are.
    pub(super) fn exponentials_of(&self, v: ValueId) -> Option<View> {
        self.powers.get(&v).cloned()
    }

    /// Passes that spread the sums of rows. Lanes that no sum goes to get one, too: what is zero there is zero over it.
    pub(super) fn spread_sums(&mut self, parts: Vec<(Rows, Spread)>) -> Vec<Pass> {
        let mut joined = joined_rows(parts, |s| s.0);
        let reached: BTreeSet<usize> = joined.iter().flat_map(|j| &j.1).flat_map(|(_, to)| to).copied().collect();
        let rest: Vec<usize> = (0..self.lanes).filter(|l| !reached.contains(l)).collect();
        let first: Vec<usize> = joined.first().and_then(|j| j.1.first()).map_or(Vec::new(), |s| s.1.clone());
        if let Some(part) = joined.first_mut() {
            part.1.iter_mut().filter(|s| s.1 == first).for_each(|s| s.1.extend(&rest));
        }
        self.spread(joined, 1)
    }

    /// Passes that put sums of rows, times a weight, into lanes; those that take the same rows from other lanes are one.
    pub(super) fn spread(&mut self, parts: Vec<(Rows, Spread)>, weight: i32) -> Vec<Pass> {
        let joined = joined_rows(parts, |s| s.0);
        joined
            .into_iter()
            .flat_map(|(act, spread)| {
                let ones = self.spread_weights(&act, spread, weight);
                self.passes_of(act, &ones)
            })
            .collect()
    }

    /// Weights of one number from lanes to lanes, kept for all that need the same.
    fn spread_weights(&mut self, act: &Rows, spread: Spread, weight: i32) -> Ones {
        let key = (spread, weight, self.is_bytes(act.tensor));
        if let Some(known) = self.spreads.get(&key) {
            return known.clone();
        }
        let row = |to: &[usize]| {
            let mut row = vec![0f32; self.lanes];
            to.iter().for_each(|&l| row[l] = weight as f32);
            row
        };
        let weights = key.0.iter().map(|(lane, to)| (*lane, row(to))).collect();
        let pass = self.chain(&[Draft { act: act.clone(), weights }], self.lanes);
        let made = (pass[0].weights, pass[0].loads.clone());
        self.spreads.insert(key, made.clone());
        made
    }
}
