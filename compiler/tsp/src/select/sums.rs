//! Sums of bytes over rows, on planes: one pass a row, all with the identity as weights, into one accumulator.
//!
//! A plane adds a row a cycle where a fold on the VXM reads and writes the tensor in halves, four bytes an
//! element. Knows the graph and the rows of views.

use super::expr::Why;
use super::tiles::Draft;
use super::view::{Axis, View};
use super::{MatBase, MatBlock, Select, Val};
use crate::tiled::{Pass, Rows};
use quadrille_compiler::ir::{Node, Op, Reduce, ValueDef, ValueId};
use quadrille_isa::DType;
use quadrille_isa::tsp::AluType;

/// Rows of one sum at most: each is a burst of its own.
const MAX_ROWS: usize = 1024;

impl Select<'_> {
    /// The bytes behind a sum in `i32` that reads nothing else, if the node is one.
    fn summed_bytes(&self, node: &Node) -> Option<ValueId> {
        if !matches!(node.op, Op::Reduce { kind: Reduce::Sum, .. }) {
            return None;
        }
        let ValueDef::Node(n) = self.graph.value(node.inputs[0]).def else { return None };
        let cast = self.graph.node(n);
        let bytes = matches!(self.graph.ty(cast.inputs[0]).dtype, DType::I8 | DType::U8);
        let computed = matches!(self.graph.value(cast.inputs[0]).def, ValueDef::Node(_));
        (cast.op == Op::Cast(DType::I32) && bytes && computed).then_some(cast.inputs[0])
    }

    /// True for a cast that [`Self::sum_of_bytes`] takes over from its one reader.
    pub(super) fn summed_cast(&self, node: &Node) -> bool {
        self.wants.only_user(self.graph, node.output).is_some_and(|n| self.summed_bytes(n).is_some())
    }

    /// A sum over rows of bytes as one product, if the node is one; a cast that was left out is made up for.
    pub(super) fn sum_of_bytes(&mut self, node: &Node, axes: &[usize], keep: bool) -> Result<Option<Val>, Why> {
        let Some(q) = self.summed_bytes(node) else { return Ok(None) };
        let cast = node.inputs[0];
        if !matches!(self.vals[cast.0 as usize], Val::None) {
            return Ok(None);
        }
        let x = self.plain_form(q, self.ty(q))?;
        let sum = self.plane_sum(node, &x, axes, keep);
        if sum.is_none() {
            let from = super::Form { ty: self.ty(q), view: x };
            let view = self.converted(cast, from, AluType::I32)?;
            self.vals[cast.0 as usize] = Val::Forms(vec![super::Form { ty: AluType::I32, view }]);
        }
        Ok(sum)
    }

    /// The product, where the axes lie on rows.
    fn plane_sum(&mut self, node: &Node, x: &View, axes: &[usize], keep: bool) -> Option<Val> {
        let on_rows = |a: &usize| x.axes[*a].digits.iter().all(|d| d.lane == 0);
        let exact = |a: &usize| x.axes[*a].digits.iter().map(|d| d.extent).product::<usize>() == x.axes[*a].extent;
        let count: usize = axes.iter().map(|&a| x.axes[a].extent).product();
        let lanes = Self::reach(&x.axes, x.lane0);
        if !axes.iter().all(|a| on_rows(a) && exact(a)) || count > MAX_ROWS || lanes > self.lanes {
            return None;
        }
        let mut steps = vec![0i64];
        for &a in axes {
            let table = x.axes[a].table();
            steps = steps.iter().flat_map(|s| table.iter().map(move |t| s + t.0)).collect();
        }
        let mut left = x.clone();
        axes.iter().for_each(|&a| left.axes[a] = Axis::unit());
        let (mut out_axes, rows) = Self::compact(&left);
        let template = View { axes: out_axes.clone(), row0: 0, ..left.clone() };
        let (own, mut theirs) = template.row_pairs(&[&left])?;
        let first = theirs.remove(0);
        let identity: Vec<(usize, Vec<f32>)> =
            (0..lanes).map(|k| (k, (0..lanes).map(|l| f32::from(u8::from(k == l))).collect())).collect();
        let act = Rows { tensor: x.tensor, rows: first.clone() };
        let pass = self.chain(&[Draft { act, weights: identity }], lanes);
        let at = |p: &Pass, step: i64| {
            let rows = first.iter().map(|&r| (i64::from(r) + step) as u32).collect();
            Pass { act: Rows { tensor: x.tensor, rows }, ..p.clone() }
        };
        let chain: Vec<Pass> = pass.iter().flat_map(|p| steps.iter().map(move |&s| at(p, s))).collect();
        if !keep {
            out_axes = super::reduce::without(&out_axes, axes);
        }
        let blocks = vec![MatBlock { out_rows: own, chains: vec![chain] }];
        let mut lazy = self.start(self.graph.shape(node.output));
        lazy.mat = Some(MatBase {
            blocks,
            axes: out_axes,
            lane0: x.lane0,
            rows,
            lanes,
            chains: 1,
            pixels: 1,
            quotient: false,
        });
        self.joined(&mut lazy);
        lazy.ty = AluType::I32;
        Some(Val::Lazy(Box::new(lazy)))
    }
}
