//! Padding that a convolution takes over: a constant around bytes, such as the zero point, is the fill
//! row of the tensor inside, and nothing is copied. Knows the graph and which of its nodes then need no kernel.

use super::Select;
use quadrille_compiler::ir::{Node, Op, PadMode, ValueDef, ValueId, Window};
use quadrille_isa::DType;

/// What a window reads: a value of the graph and what lies around it.
#[derive(Clone, Debug)]
pub(super) struct Padded {
    /// The value inside.
    pub(super) x: ValueId,
    /// The window over it, its own padding and what was taken over.
    pub(super) window: Window,
    /// Bits of the element outside.
    pub(super) fill: u32,
}

impl Select<'_> {
    /// The operand of a convolution behind a constant padding.
    pub(super) fn behind_padding(&self, v: ValueId, window: &Window) -> Padded {
        let own = Padded { x: v, window: window.clone(), fill: 0 };
        let ValueDef::Node(n) = self.graph.value(v).def else { return own };
        let node = self.graph.node(n);
        let Some(fill) = self.taken_over(node) else { return own };
        let Op::Pad { before, after, .. } = &node.op else { return own };
        let mut window = window.clone();
        for (i, (b, a)) in before.iter().zip(after).skip(2).enumerate() {
            window.before[i] += *b as usize;
            window.after[i] += *a as usize;
        }
        Padded { x: node.inputs[0], window, fill }
    }

    /// The fill of a padding of bytes along spatial axes that convolutions alone read, none of which pads again.
    pub(super) fn taken_over(&self, node: &Node) -> Option<u32> {
        let Op::Pad { mode: PadMode::Constant, before, after } = &node.op else { return None };
        if !matches!(self.graph.ty(node.output).dtype, DType::I8 | DType::U8) {
            return None;
        }
        let fill = self.graph.constant(node.inputs[1]).filter(|t| t.len() == 1)?;
        let outer = before.iter().chain(after).any(|&p| p < 0)
            || before.iter().take(2).chain(after.iter().take(2)).any(|&p| p != 0);
        let exposed = self.graph.outputs.iter().any(|o| o.value == node.output);
        let reads = |n: &&Node| n.inputs.contains(&node.output);
        let taken = self.graph.nodes().iter().filter(reads).all(|n| match &n.op {
            Op::Conv { window, .. } => {
                n.inputs.iter().filter(|v| **v == node.output).count() == 1
                    && n.inputs[0] == node.output
                    && window.before.iter().chain(&window.after).all(|&p| p == 0)
            }
            _ => false,
        });
        (!outer && !exposed && taken).then(|| u32::from(fill.data[0]))
    }
}
