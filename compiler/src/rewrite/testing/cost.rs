//! Costs of no machine: enough to tell a fused graph from one that is not.

use super::super::cost::{CostModel, Cycles, Mapping, Operand, Product, RESOURCES, Target};
use crate::ir::{Op, TensorType};

/// Multiply-adds and elements at fixed rates.
pub(crate) struct PlainCost {
    /// Epilogues take operands that are not constants.
    pub(crate) operands: bool,
}

impl CostModel for PlainCost {
    fn target(&self) -> Target {
        if self.operands { Target::Tsp } else { Target::Wafer }
    }

    fn resources(&self) -> [&'static str; RESOURCES] {
        ["products", "elements", "moves", "-"]
    }

    fn mappings(&self, _: &Op, _: &[Operand<'_>], _: &TensorType) -> Vec<Mapping> {
        Vec::new()
    }

    fn cycles(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Cycles {
        let out = result.elements() as u64;
        let busy = match (Product::of(op, inputs, result), op) {
            (Some(p), Op::Conv { epilogue, .. } | Op::MatMul { epilogue }) => {
                [p.batch * p.m * p.k * p.n / 64, out * epilogue.len() as u64 / 64, 0, 0]
            }
            (Some(p), _) => [p.batch * p.m * p.k * p.n / 64, 0, 0, 0],
            (None, Op::Reshape { .. }) => return Cycles::default(),
            (None, Op::Transpose { .. } | Op::Concat { .. } | Op::Slice { .. } | Op::Pad { .. }) => [0, 0, out / 4, 0],
            (None, Op::Unary(_) | Op::Binary(_) | Op::Cast(_)) => [0, out / 8, 0, 0],
            (None, _) => [0, out, 0, 0],
        };
        Cycles { busy, fill: 20 }
    }

    fn epilogue_steps(&self) -> usize {
        8
    }

    fn epilogue_operands(&self) -> bool {
        self.operands
    }
}
