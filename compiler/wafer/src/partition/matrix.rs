//! Products with a constant matrix.

use super::{Obstacle, Partitioner, Source};
use crate::kernels::Dense;
use crate::layout::{Layout, Loop};
use quadrille_compiler::ir::{EpilogueStep, Node};
use quadrille_isa::numerics::f32_to_f16;
use std::sync::Arc;

impl Partitioner<'_> {
    pub(super) fn matmul(&mut self, node: &Node, epilogue: &[EpilogueStep]) -> Result<Source, Obstacle> {
        let (a, b) = (node.inputs[0], node.inputs[1]);
        let Some(weights) = self.constant_f32(b) else {
            return Err(Obstacle::new(
                "the right operand is not constant; products of two streams have no kernel yet",
                "use --target tsp",
            ));
        };
        let shape = self.g.shape(b).to_vec();
        if shape[..shape.len() - 2].iter().any(|&d| d != 1) {
            return Err(Obstacle::new(
                "the constant operand differs from batch to batch",
                "split the node into one product a batch, or use --target tsp",
            ));
        }
        let (k, n) = (shape[shape.len() - 2], shape[shape.len() - 1]);
        // Any order in which rows arrive whole will do.
        let x_shape = self.g.shape(a).to_vec();
        let arrives = self.arrives(a)?.and_then(|l| l.split_at(k));
        let (outer, order) = match arrives {
            Some(s) => s,
            None => Layout::row_major(&x_shape)
                .split_at(k)
                .ok_or_else(|| Obstacle::new("rows of the left operand cannot be told apart", "reshape the operand"))?,
        };
        let wanted = Layout { loops: outer.loops.iter().chain(&order.loops).copied().collect() };
        let input = self.want(a, &wanted)?;
        let mut loops: Vec<Loop> = outer.loops.iter().map(|l| Loop { count: l.count, step: l.step / k * n }).collect();
        loops.extend([Loop { count: 1, step: 0 }, Loop { count: n, step: 1 }]);
        let core = Dense {
            rows: outer.elements(),
            k,
            n,
            weights: Arc::new(weights.iter().map(|&v| f32_to_f16(v)).collect()),
            bias: None,
            order,
            layout: Layout { loops },
            summed: 0..k,
            adds: false,
        };
        let (_, source) = self.add(node, Box::new(core), vec![input]);
        self.epilogue(node, source, epilogue)
    }
}
