//! What an operation in flight needs of its text: the same for many operations of many classes, so that the few there
//! are stay in the caches.

use super::super::kernel::Kernel;
use super::super::lower::{Access, LowClass, LowOp};
use quadrille_isa::wafer::{Action, ElemType, IssueMode, PeOp};
use std::collections::HashMap;

/// An operand without its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Operand {
    pub(super) access: Access,
    pub(super) ty: ElemType,
}

/// An operation without counts and addresses. Operand 3 is the destination.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Shape {
    pub(super) op: PeOp,
    pub(super) rate: u32,
    pub(super) operands: [Operand; 4],
    pub(super) issue: IssueMode,
    pub(super) on_done: Vec<Action>,
    /// One bit per input queue (0-7) and per output queue (8-13) used.
    pub(super) queues: u16,
    pub(super) kernel: Kernel,
}

impl Shape {
    pub(super) fn of(op: &LowOp) -> Shape {
        Shape {
            op: op.op,
            rate: op.rate,
            operands: op.operands.map(|o| Operand { access: o.access, ty: o.ty }),
            issue: op.issue,
            on_done: op.on_done.clone(),
            queues: op.queues,
            kernel: op.kernel,
        }
    }

    /// True when no operand is on the fabric.
    pub(super) fn memory_only(&self) -> bool {
        self.queues == 0
    }

    /// True when the fabric gives nothing but row scalars.
    pub(super) fn scalar_rows(&self) -> bool {
        self.operands[..3].iter().all(|o| !matches!(o.access, Access::Fabric(_)))
    }
}

/// The shapes of all operations, each once, in the order in which they come; operations are told theirs.
pub(super) fn collect(classes: &mut [LowClass]) -> Vec<Shape> {
    let mut shapes = Vec::new();
    let mut known = HashMap::new();
    for op in classes.iter_mut().flat_map(|c| &mut c.tasks).flat_map(|t| &mut t.body) {
        let shape = Shape::of(op);
        op.shape = *known.entry(shape).or_insert_with_key(|shape| {
            shapes.push(shape.clone());
            shapes.len() as u32 - 1
        });
    }
    shapes
}
