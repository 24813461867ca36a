//! The way to map a product: of those that the cost model enumerates the one that costs least here, where it is known how
//! operands lie and what takes the result.

use super::Select;
use super::view::{Axis, View};
use crate::cost::product::Laid;
use crate::cost::{alu_steps, one_after_the_other};
use crate::way::{Columns, Held, Inner, ProductWay};
use quadrille_compiler::ir::{Node, Tensor};
use quadrille_compiler::rewrite::Cycles;
use std::collections::BTreeSet;

/// Rows of a product of bytes at most whose passes are halved: they take less time than loading weights for them.
const FEW_ROWS: u64 = 16;

/// Passes of a product of bytes from which on they are halved: with fewer the other tensors need the slices more.
const MANY_PASSES: u64 = 32;

/// An operand of a product, its last two axes free and inner, or inner and free.
#[derive(Clone, Debug)]
pub(super) enum Factor {
    Const(Tensor),
    View(View),
}

impl Factor {
    pub(super) fn shape(&self) -> Vec<usize> {
        match self {
            Factor::Const(t) => t.shape.clone(),
            Factor::View(v) => v.shape(),
        }
    }

    fn fixed(&self) -> bool {
        matches!(self, Factor::Const(_))
    }
}

/// The last two axes exchanged.
pub(super) fn exchanged(v: &View) -> View {
    let rank = v.axes.len();
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 1, rank - 2);
    v.transpose(&perm)
}

/// True where an axis steps rows alone.
fn on_rows(a: &Axis) -> bool {
    a.digits.iter().all(|d| d.lane == 0 || d.extent == 1)
}

/// True where a left operand can move past planes as it lies: its inner axis on lanes, the others on rows.
pub(super) fn moves(x: &View, batch_lanes: bool) -> bool {
    let rank = x.axes.len();
    let bad = |i: usize| i != rank - 1 && x.axes[i].on_lanes() && !(batch_lanes && i + 2 < rank);
    let inner = &x.axes[rank - 1];
    let inner_ok = inner.extent == 1 || inner.on_lanes();
    !(0..rank).any(bad) && inner_ok && inner.digits.iter().all(|d| d.lane >= 0)
}

/// True where planes can hold a right operand as it lies: its inner axis on rows, its columns on lanes.
pub(super) fn stands(b: &View) -> bool {
    let rank = b.axes.len();
    on_rows(&b.axes[rank - 2])
        && (b.axes[rank - 1].extent == 1 || b.axes[rank - 1].digits.iter().all(|d| d.row == 0 && d.lane > 0))
        && b.axes[..rank - 2].iter().all(|a| a.digits.iter().all(|d| d.row == 0 || d.lane == 0))
        && b.axes[..rank - 2].iter().all(|a| on_rows(a) || a.digits.iter().all(|d| d.row == 0))
}

impl Select<'_> {
    /// The way of a product of floats.
    pub(super) fn way_of_floats(&self, node: &Node, a: &Factor, b: &Factor) -> ProductWay {
        let (shape, a_shape) = (self.graph.shape(node.output), a.shape());
        let rank = shape.len();
        let u = |x: usize| x as u64;
        let (m, n, inner) = (u(shape[rank - 2]), u(shape[rank - 1]), u(a_shape[a_shape.len() - 1]));
        let batch: u64 = shape[..rank - 2].iter().map(|&d| u(d)).product();
        let shared = |s: &[usize]| s[..s.len() - 2].iter().all(|&d| d == 1);
        let times = |f: &Factor| if shared(&f.shape()) { 1 } else { batch };
        // What does not lie as it is wanted is turned, an operand or what others make of the result.
        let moved = |held: Held| {
            let (moving, standing) = if held == Held::Right { (a, b) } else { (b, a) };
            let (rows, columns) = if held == Held::Right { (m, n) } else { (n, m) };
            let mut all = Cycles::default();
            let mut add = |rows: u64, lanes: u64| {
                all = one_after_the_other(all, self.cost.turned(rows, lanes));
            };
            if let Factor::View(v) = moving {
                let v = if held == Held::Right { v.clone() } else { exchanged(v) };
                if !moves(&v, !standing.fixed()) {
                    add(times(moving) * inner, times(moving) * rows);
                }
            }
            if let Factor::View(v) = standing {
                let v = if held == Held::Right { v.clone() } else { exchanged(v) };
                if !stands(&v) {
                    add(times(standing) * columns, times(standing) * inner);
                }
            }
            let lanes = if held == Held::Right { rank - 1 } else { rank - 2 };
            if self.wants.used(self.graph, node.output)
                && self.wants.lane_axis(self.graph, node.output).is_some_and(|axis| axis != lanes)
            {
                add(batch * columns, batch * rows);
            }
            all
        };
        let laid = |held: Held| {
            let standing = if held == Held::Right { b } else { a };
            let (rows, columns) = if held == Held::Right { (m, n) } else { (n, m) };
            let one = standing.fixed() && shared(&standing.shape());
            Laid {
                held,
                batch: if one { 1 } else { batch },
                rows: if one { rows * batch } else { rows },
                inner,
                columns,
                fixed: standing.fixed(),
                bytes: false,
                steps: alu_steps(&node.op, &[]),
                operands: 0,
                moved: moved(held),
            }
        };
        let ways = [Held::Right, Held::Left].into_iter().flat_map(|h| self.cost.product_ways(&laid(h))).collect();
        self.cheapest(node, ways)
    }

    /// The way of a product of bytes by constants.
    pub(super) fn way_of_bytes(&self, node: &Node, x: &View, w_shape: &[usize]) -> ProductWay {
        let shape = self.graph.shape(node.output);
        let u = |x: usize| x as u64;
        let (rank, w_rank) = (shape.len(), w_shape.len());
        let one = w_shape[..w_rank - 2].iter().all(|&d| d == 1);
        let all: u64 = shape[..rank - 2].iter().map(|&d| u(d)).product();
        let (m, inner, columns) = (u(shape[rank - 2]), u(w_shape[w_rank - 2]), u(shape[rank - 1]));
        let (batch, rows) = if one { (1, m * all) } else { (all, m) };
        let laid = Laid {
            held: Held::Right,
            batch,
            rows,
            inner,
            columns,
            fixed: true,
            bytes: true,
            steps: alu_steps(&node.op, &[]),
            operands: 0,
            moved: Cycles::default(),
        };
        let mut ways = self.cost.product_ways(&laid);
        let blocks: BTreeSet<i64> = x.axes.last().into_iter().flat_map(|a| a.table()).map(|t| t.0).collect();
        let passes = batch * blocks.len() as u64 * columns.div_ceil(self.lanes as u64);
        let few = self.two_loads && rows <= FEW_ROWS && passes >= MANY_PASSES;
        ways.retain(|(w, _)| w.inner == Inner::Whole || few || self.product_way.is_some());
        self.cheapest(node, ways)
    }

    /// The one that is wanted, if it is among them, else the cheapest, of equals the first.
    fn cheapest(&self, node: &Node, mut ways: Vec<(ProductWay, Cycles)>) -> ProductWay {
        if let Some(wanted) = self.product_way.filter(|p| ways.iter().any(|(w, _)| w == p)) {
            return wanted;
        }
        // Blocks that do not divide the columns are in the way of whoever cuts or joins them.
        if !self.wants.lanes_stay(self.graph, node.output) {
            ways.retain(|(w, _)| w.columns == Columns::Even);
        }
        let first = ProductWay { held: Held::Right, inner: Inner::Whole, columns: Columns::Even, parts: 1 };
        ways.into_iter().min_by_key(|(_, c)| c.alone()).map_or(first, |(w, _)| w)
    }
}
