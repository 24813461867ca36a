//! Copies of a kernel: lanes of columns, each with PEs of its own; and products on the whole mesh, by the axis that each extent runs along.

use super::{Cost, Kernel, LANES};
use crate::collective::gemv;
use crate::widths;
use quadrille_compiler::ir::{Graph, Node, Op, TensorType};
use quadrille_compiler::rewrite::cost::graph_cost;
use quadrille_compiler::rewrite::{Cycles, Mapping, Operand, Product};

impl Cost {
    /// Cycles with the columns of the image in so many lanes; `None` where they have no lanes.
    pub(super) fn in_lanes(
        &self,
        op: &Op,
        inputs: &[Operand<'_>],
        result: &TensorType,
        lanes: usize,
    ) -> Option<Cycles> {
        let last = result.rank().checked_sub(1).filter(|&l| l >= 3)?;
        let width = result.shape[last];
        if width < lanes {
            return None;
        }
        let own = width.div_ceil(lanes);
        let looked_at = |x: &TensorType| match op {
            Op::Conv { window, .. } | Op::Pool { window, .. } => {
                let axis = window.kernel.len() - 1;
                let reach = window.dilation[axis] * (window.kernel[axis] - 1) + 1;
                Some(((own - 1) * window.stride[axis] + reach).min(x.shape[last]))
            }
            Op::Unary(_) | Op::Binary(_) if x.shape == result.shape => Some(own),
            _ => None,
        };
        let narrow = |x: &TensorType, columns: usize| {
            let mut x = x.clone();
            x.shape[last] = columns;
            x
        };
        let mut types: Vec<TensorType> = Vec::new();
        for i in inputs {
            types.push(if i.fixed { i.ty.clone() } else { narrow(i.ty, looked_at(i.ty)?) });
        }
        let operands: Vec<Operand<'_>> =
            types.iter().zip(inputs).map(|(ty, i)| Operand { ty, fixed: i.fixed }).collect();
        let mut c = self.within(op, &operands, &narrow(result, own), u64::MAX);
        c.busy[super::MESH] = c.busy[super::MESH].saturating_mul(lanes as u64);
        Some(c)
    }

    /// Numbers of lanes, with their cycles.
    pub(super) fn lanes(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Vec<Mapping> {
        let named = |n: usize| {
            let cycles = self.in_lanes(op, inputs, result, n)?;
            Some(Mapping { name: format!("{n} lanes of columns"), cycles, likely: true })
        };
        LANES.into_iter().filter_map(named).collect()
    }

    /// The lanes that the planner is expected to take for a graph: the fewest of those about as fast as the fastest, where
    /// these save enough.
    pub(super) fn lanes_of(&self, g: &Graph) -> Option<usize> {
        let image = |n: &Node| matches!(n.op, Op::Conv { .. } | Op::Pool { .. }) && g.shape(n.output).len() >= 4;
        if self.lanes > 1 || !g.nodes().iter().any(image) {
            return None;
        }
        let cycles = |lanes: usize| graph_cost(g, &Cost { lanes, ..self.clone() }).overlapped_cycles;
        let there = |n: &usize| n * 8 <= self.machine.geometry.height_pes as usize;
        let limit = widths::worth(cycles(1));
        let plans: Vec<(usize, u64)> = widths::LANES.into_iter().filter(there).map(|n| (n, cycles(n))).collect();
        let good = plans.iter().map(|p| p.1).min().unwrap_or(0) as f64 * widths::ENOUGH;
        plans.into_iter().find(|&(_, c)| c <= limit && c as f64 <= good).map(|(n, _)| n)
    }

    /// A row times constants on as much of the mesh as helps: its elements along one axis, the results along the other.
    pub(super) fn whole_mesh(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Vec<Mapping> {
        let Some(p) = Product::of(op, inputs, result).filter(|p| p.batch == 1 && p.m == 1) else { return Vec::new() };
        if !matches!(op, Op::MatMul { .. }) || !inputs[1].fixed {
            return Vec::new();
        }
        let (Ok(k), Ok(n)) = (u32::try_from(p.k), u32::try_from(p.n)) else { return Vec::new() };
        let turned = |t: bool| {
            let mut m = self.machine.clone();
            if t {
                std::mem::swap(&mut m.geometry.width_pes, &mut m.geometry.height_pes);
            }
            let named = |grid: gemv::Grid| {
                let cycles = gemv::cycles_on(&m, k, n, grid);
                let (w, h) = if t { (grid.height, grid.width) } else { (grid.width, grid.height) };
                let (of_k, of_n) = if t { ("x", "y") } else { ("y", "x") };
                let name = format!("whole mesh, {w} x {h} PEs: operand along {of_k}, result along {of_n}");
                let pes = u64::from(w) * u64::from(h);
                let bytes = 8 * p.k.div_ceil(u64::from(grid.height)) * p.n.div_ceil(u64::from(grid.width));
                let cycles = self.kernel_of_mesh(Kernel { pes, cycles, wavelets: 0, bytes });
                Mapping { name, cycles, likely: true }
            };
            // The best grid, and with larger blocks along one axis or both.
            let best = gemv::best_grid(&m, k, n);
            let coarser =
                |(x, y): (u16, u16)| gemv::Grid { width: best.width.div_ceil(x), height: best.height.div_ceil(y) };
            let grids = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 4)].map(coarser).into_iter();
            grids.filter(|g| g.width >= 3 && g.height >= 3).map(named).collect::<Vec<_>>()
        };
        if k < 3 || n < 3 { Vec::new() } else { [turned(false), turned(true)].concat() }
    }
}
