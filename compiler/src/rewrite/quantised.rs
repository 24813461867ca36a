//! Which float values go on to a rounding to whole numbers.
//!
//! There the last bit of a float decides between two whole steps: where `x / s` lies half-way, `x * (1 / s)` may
//! fall on the other side, and a step of a quantised model is a hundredth of its range. So rules that round
//! leave these values alone.

use crate::ir::{Graph, Node, Op, Unary};

/// For each value of a graph whether it is a float that decides the outcome of a rounding.
pub(super) fn decides_a_step(g: &Graph) -> Vec<bool> {
    let mut decides = vec![false; g.values().len()];
    for n in g.nodes().iter().rev() {
        if rounds(g, n) || decides[n.output.0 as usize] {
            for v in &n.inputs {
                decides[v.0 as usize] |= g.ty(*v).dtype.is_float();
            }
        }
    }
    decides
}

fn rounds(g: &Graph, n: &Node) -> bool {
    match n.op {
        Op::Unary(Unary::Round | Unary::Floor | Unary::Ceil) => true,
        Op::Cast(to) => !to.is_float() && to != crate::ir::DType::Bool && g.ty(n.inputs[0]).dtype.is_float(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::text;

    #[test]
    fn what_is_before_a_rounding_decides_and_what_is_after_the_last_does_not() {
        let g = text::parse(
            "graph \"q\" {\n  %0 = input : f32[2] as \"x\"\n  %1 = const [3.0] : f32[1]\n  \
             %2 = div %0, %1 : f32[2] from \"q\"\n  %3 = round %2 : f32[2] from \"q\"\n  \
             %4 = mul %3, %1 : f32[2] from \"dq\"\n  output \"y\" = %4\n}\n",
        )
        .unwrap();
        assert_eq!(decides_a_step(&g), [true, true, true, false, false]);
    }
}
