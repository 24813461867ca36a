//! Padding that a convolution takes over: a constant around bytes, such as the zero point, is the fill
//! row of the tensor inside, and nothing is copied. Knows the graph and which of its nodes then need no kernel.

use super::Select;
use quadrille_compiler::ir::{Op, ValueDef, ValueId, Window};
use quadrille_compiler::legalize::taken_over;

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
        let Some(fill) = taken_over(self.graph, node) else { return own };
        let Op::Pad { before, after, .. } = &node.op else { return own };
        let mut window = window.clone();
        for (i, (b, a)) in before.iter().zip(after).skip(2).enumerate() {
            window.before[i] += *b as usize;
            window.after[i] += *a as usize;
        }
        Padded { x: node.inputs[0], window, fill: u32::from(fill) }
    }
}
