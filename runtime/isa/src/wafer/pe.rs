//! What one PE runs: tasks of vector operations over memory and fabric operands.
//!
//! A PE's program is a [`PeClass`] shared by all PEs of a region; fields that differ from PE
//! to PE are [`Val::Param`]s, functions of the PE's place that the region declares.

/// A color: the name of a static route, 0 to 23.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Color(pub u8);

/// Input queue, 0 to 7.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct InQueue(pub u8);

/// Output queue, 0 to 5.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct OutQueue(pub u8);

/// Index into [`PeClass::tasks`]; lower ids run first when several are ready.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TaskIx(pub u8);

/// A constant, or a parameter of the region that may differ from PE to PE.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Val {
    /// The same on every PE.
    Const(i32),
    /// Parameter by index ([`super::Region::params`]).
    Param(u16),
}

/// Element type of an operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum ElemType {
    I8,
    I16,
    F16,
    I32,
    F32,
}

impl ElemType {
    /// Bytes of an element in SRAM.
    #[inline]
    pub const fn bytes(self) -> u32 {
        match self {
            ElemType::I8 => 1,
            ElemType::I16 | ElemType::F16 => 2,
            ElemType::I32 | ElemType::F32 => 4,
        }
    }

    /// Elements in one 32-bit wavelet: two for 16-bit types, one for others (an 8-bit element
    /// travels alone, sign-extended).
    #[inline]
    pub const fn per_wavelet(self) -> u32 {
        match self {
            ElemType::I16 | ElemType::F16 => 2,
            _ => 1,
        }
    }
}

/// A memory operand: element (i1, i0) of the operation's n1 x n0 space is at byte
/// `base + (i1*stride1 + i0*stride0) * element size`, plus what the step has added so far.
///
/// `base` is a byte address aligned to the element; strides are in elements and may be zero
/// (a destination with stride 0 accumulates) or negative. After each execution of the
/// operation `step` elements are added to the offset, modulo `modulo` elements when that is
/// not zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub struct Mem {
    pub ty: ElemType,
    pub base: Val,
    pub stride0: Val,
    pub stride1: Val,
    pub step: Val,
    pub modulo: Val,
}

/// Source operand of a vector operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Src {
    /// Not used.
    None,
    /// From SRAM.
    Mem(Mem),
    /// One scalar per outer row from SRAM: element i1 (its `stride0` is ignored).
    RowScalar(Mem),
    /// The whole n1 x n0 space from an input queue, in order.
    Fabric(InQueue, ElemType),
    /// One scalar per outer row from an input queue.
    FabricRowScalar(InQueue, ElemType),
    /// A constant: bits of the type given.
    Imm(u32, ElemType),
}

/// Destination operand of a vector operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dst {
    /// None (an operation run for its completion actions alone).
    None,
    /// To SRAM.
    Mem(Mem),
    /// To an output queue.
    Fabric(OutQueue, ElemType),
}

/// Vector operations. Value computation is by the operand types: `Fma` of f16, f16, f32 is the
/// mixed one (the product exact, one rounding to f32); a result is rounded to the destination
/// type once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum PeOp {
    /// a, converted to the destination's type (equal types: a copy; unequal: a cast).
    Mov,
    /// a + b.
    Add,
    /// a - b.
    Sub,
    /// a * b.
    Mul,
    /// a * b + c, rounded once.
    Fma,
    /// The smaller.
    Min,
    /// The larger.
    Max,
    /// a < b, as 1 or 0 in the destination's type.
    CmpLt,
    /// a == b, as 1 or 0 in the destination's type.
    CmpEq,
    /// a != 0 ? b : c.
    Select,
    /// 2 to the a.
    Exp2,
    /// 1 / a.
    Recip,
    /// 1 / sqrt(a).
    Rsqrt,
}

impl PeOp {
    /// Number of source operands.
    pub const fn arity(self) -> usize {
        match self {
            PeOp::Mov | PeOp::Exp2 | PeOp::Recip | PeOp::Rsqrt => 1,
            PeOp::Fma | PeOp::Select => 3,
            _ => 2,
        }
    }
}

/// What happens when an operation completes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// The task becomes active (a local task runs once per activation).
    Activate(TaskIx),
    /// The task may not start.
    Block(TaskIx),
    /// The task may start.
    Unblock(TaskIx),
}

/// How an operation is issued.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IssueMode {
    /// Holds the task until it is complete.
    Sync,
    /// Runs as microthread k while the task goes on.
    Async(u8),
}

/// One vector operation over `n1` outer rows of `n0` elements, inner fastest.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub struct VecOp {
    pub op: PeOp,
    pub n0: Val,
    pub n1: Val,
    pub dst: Dst,
    pub a: Src,
    pub b: Src,
    pub c: Src,
    pub issue: IssueMode,
    pub on_done: Vec<Action>,
}

/// What starts a task.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Trigger {
    /// A wavelet waiting in the queue (which the task's operations then take).
    Data(InQueue),
    /// An activation.
    Local,
}

/// A task: runs its body `repeat` times from start to end, then ends.
///
/// `active` and `blocked` are the state at the start; a data task needs no activation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub struct Task {
    pub name: String,
    pub trigger: Trigger,
    pub active: bool,
    pub blocked: bool,
    pub repeat: Val,
    pub body: Vec<VecOp>,
    /// After the last repetition, in order.
    pub on_end: Vec<Action>,
}

/// The program that all PEs of a region share.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
#[allow(missing_docs)]
pub struct PeClass {
    pub name: String,
    pub tasks: Vec<Task>,
}

impl PeClass {
    /// Bytes of program text.
    pub fn text_bytes(&self, vector_op_bytes: u32, task_bytes: u32) -> u32 {
        let ops: usize = self.tasks.iter().map(|t| t.body.len()).sum();
        ops as u32 * vector_op_bytes + self.tasks.len() as u32 * task_bytes
    }
}

/// Every operation with its number in the binary form and its name in text.
pub const PE_OPS: [(u8, PeOp, &str); 13] = [
    (1, PeOp::Mov, "mov"),
    (2, PeOp::Add, "add"),
    (3, PeOp::Sub, "sub"),
    (4, PeOp::Mul, "mul"),
    (5, PeOp::Fma, "fma"),
    (6, PeOp::Min, "min"),
    (7, PeOp::Max, "max"),
    (8, PeOp::CmpLt, "cmp_lt"),
    (9, PeOp::CmpEq, "cmp_eq"),
    (10, PeOp::Select, "select"),
    (11, PeOp::Exp2, "exp2"),
    (12, PeOp::Recip, "recip"),
    (13, PeOp::Rsqrt, "rsqrt"),
];

/// Every element type with its number in the binary form and its name in text.
pub const ELEM_TYPES: [(u8, ElemType, &str); 5] = [
    (1, ElemType::I8, "i8"),
    (2, ElemType::I16, "i16"),
    (3, ElemType::F16, "f16"),
    (4, ElemType::I32, "i32"),
    (5, ElemType::F32, "f32"),
];

impl PeOp {
    fn row(self) -> &'static (u8, PeOp, &'static str) {
        PE_OPS.iter().find(|r| r.1 == self).expect("the table has every operation; a test walks it")
    }

    /// Name in text.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Number in the binary form.
    pub fn code(self) -> u8 {
        self.row().0
    }
}

impl ElemType {
    fn row(self) -> &'static (u8, ElemType, &'static str) {
        ELEM_TYPES.iter().find(|r| r.1 == self).expect("the table has every type")
    }

    /// Name in text.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Number in the binary form.
    pub fn code(self) -> u8 {
        self.row().0
    }
}
