//! Builds the program, the parameters and the SRAM contents of one PE.
//!
//! Knows the instruction types and how SRAM is given out; knows nothing of graphs, places or
//! colors. All operations are synchronous: a PE does one thing at a time, so no two of its
//! operations are ever in flight together.

use quadrille_compiler::ir::Binary;
use quadrille_isa::wafer::{
    Action, Dst, ElemType, InQueue, IssueMode, Machine, Mem, OutQueue, PeClass, PeOp, Src, Task, TaskIx, Trigger, Val,
    VecOp,
};

/// SRAM contents of one PE at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) addr: u32,
    pub(crate) bytes: Vec<u8>,
}

/// What one PE runs and holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PeCode {
    pub(crate) class: PeClass,
    pub(crate) params: Vec<i32>,
    pub(crate) data: Vec<Piece>,
    /// Bytes of SRAM given out for data.
    pub(crate) data_bytes: u32,
}

/// Gives out SRAM from address 0 up and collects tasks, parameters and data.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    /// Without data, code is made for its cost and size alone.
    with_data: bool,
    top: u64,
    params: Vec<i32>,
    data: Vec<Piece>,
    tasks: Vec<Task>,
}

/// A memory operand with constant fields.
pub(crate) fn mem(ty: ElemType, base: u32, stride1: usize, stride0: usize) -> Mem {
    Mem {
        ty,
        base: num(base as usize),
        stride0: num(stride0),
        stride1: num(stride1),
        step: Val::Const(0),
        modulo: Val::Const(0),
    }
}

/// A constant field. Extents on a PE are bounded by its SRAM and the stream's length.
pub(crate) fn num(n: usize) -> Val {
    Val::Const(i32::try_from(n).unwrap_or(i32::MAX))
}

/// The operand moving by `step` elements each time, modulo `modulo` elements.
pub(crate) fn stepped(m: Mem, step: usize, modulo: usize) -> Mem {
    Mem { step: num(step), modulo: num(modulo), ..m }
}

/// A synchronous operation over n1 x n0 elements.
pub(crate) fn op(op: PeOp, n1: Val, n0: Val, dst: Dst, args: [Src; 3]) -> VecOp {
    let [a, b, c] = args;
    VecOp { op, n0, n1, dst, a, b, c, issue: IssueMode::Sync, on_done: Vec::new() }
}

/// A copy or cast.
pub(crate) fn mov(n1: Val, n0: Val, dst: Dst, a: Src) -> VecOp {
    op(PeOp::Mov, n1, n0, dst, [a, Src::None, Src::None])
}

/// An f32 constant.
pub(crate) fn imm(v: f32) -> Src {
    Src::Imm(v.to_bits(), ElemType::F32)
}

impl Builder {
    /// A builder; without data only cost and size of the code are wanted.
    pub(crate) fn new(with_data: bool) -> Builder {
        Builder { with_data, ..Builder::default() }
    }

    /// `n` elements of SRAM, starting as zeros.
    pub(crate) fn zeros(&mut self, ty: ElemType, n: usize) -> u32 {
        self.filled(ty, n, |b, n| b.resize(n * ty.bytes() as usize, 0))
    }

    /// `n` f32 elements.
    pub(crate) fn f32s(&mut self, n: usize, values: impl FnOnce() -> Vec<f32>) -> u32 {
        self.filled(ElemType::F32, n, |b, n| {
            let v = values();
            debug_assert_eq!(v.len(), n);
            b.extend(v.iter().flat_map(|x| x.to_le_bytes()));
        })
    }

    /// `n` f16 elements, given by their bits.
    pub(crate) fn f16s(&mut self, n: usize, values: impl FnOnce() -> Vec<u16>) -> u32 {
        self.filled(ElemType::F16, n, |b, n| {
            let v = values();
            debug_assert_eq!(v.len(), n);
            b.extend(v.iter().flat_map(|x| x.to_le_bytes()));
        })
    }

    /// `n` elements of a type, given by their bits, one word each.
    pub(crate) fn words(&mut self, ty: ElemType, n: usize, values: impl FnOnce() -> Vec<u32>) -> u32 {
        self.filled(ty, n, |b, n| {
            let v = values();
            debug_assert_eq!(v.len(), n);
            b.extend(v.iter().flat_map(|x| x.to_le_bytes()[..ty.bytes() as usize].to_vec()));
        })
    }

    fn filled(&mut self, ty: ElemType, n: usize, fill: impl FnOnce(&mut Vec<u8>, usize)) -> u32 {
        let addr = self.top as u32;
        self.top += (n as u64 * u64::from(ty.bytes())).next_multiple_of(4);
        // Bytes beyond any SRAM are never made: the size alone is the error then.
        if self.with_data && n > 0 && self.top < 1 << 20 {
            let mut bytes = Vec::new();
            fill(&mut bytes, n);
            self.data.push(Piece { addr, bytes });
        }
        addr
    }

    /// A field whose value differs from PE to PE of a kernel.
    pub(crate) fn param(&mut self, v: usize) -> Val {
        self.params.push(i32::try_from(v).unwrap_or(i32::MAX));
        Val::Param(self.params.len() as u16 - 1)
    }

    /// The tasks of a PE, run one after the other for every unit of work: the first starts when
    /// the stream `on` has something to offer, and waits again after the last has ended. Each
    /// is (name, repeat, body); those that do nothing are left out.
    pub(crate) fn sequence(&mut self, on: InQueue, parts: Vec<(String, usize, Vec<VecOp>)>) {
        let parts: Vec<_> = parts.into_iter().filter(|(_, n, body)| *n > 0 && !body.is_empty()).collect();
        let last = parts.len().saturating_sub(1);
        for (i, (name, repeat, body)) in parts.into_iter().enumerate() {
            let mut on_end = Vec::new();
            if i == 0 && last > 0 {
                on_end.push(Action::Block(TaskIx(0)));
            }
            if i < last {
                on_end.push(Action::Activate(TaskIx(i as u8 + 1)));
            } else if last > 0 {
                on_end.push(Action::Unblock(TaskIx(0)));
            }
            self.tasks.push(Task {
                name,
                trigger: if i == 0 { Trigger::Data(on) } else { Trigger::Local },
                active: false,
                blocked: false,
                repeat: num(repeat),
                body,
                on_end,
            });
        }
    }

    /// Tasks with triggers and actions of their own.
    pub(crate) fn tasks(&mut self, tasks: Vec<Task>) {
        self.tasks.extend(tasks);
    }

    /// The finished code.
    pub(crate) fn finish(self, name: &str) -> PeCode {
        PeCode {
            class: PeClass { name: name.to_string(), tasks: self.tasks },
            params: self.params,
            data: self.data,
            data_bytes: u32::try_from(self.top).unwrap_or(u32::MAX),
        }
    }
}

impl PeCode {
    /// Value of a field on this PE.
    fn value(&self, v: Val) -> u64 {
        let v = match v {
            Val::Const(c) => c,
            Val::Param(i) => self.params[usize::from(i)],
        };
        v.max(0) as u64
    }

    /// SRAM for data and text, bytes.
    pub(crate) fn sram_bytes(&self, m: &Machine) -> u64 {
        u64::from(self.data_bytes) + u64::from(self.class.text_bytes(m.program.vector_op_bytes, m.program.task_bytes))
    }

    /// Cycles that one run of all tasks takes when nothing has to wait: vector rates, and one
    /// wavelet a cycle in and out.
    pub(crate) fn busy_cycles(&self, m: &Machine) -> u64 {
        self.cycles(m, true)
    }

    /// Cycles of the datapath alone: queues may have gathered or take up what a link cannot.
    pub(crate) fn datapath_cycles(&self, m: &Machine) -> u64 {
        self.cycles(m, false)
    }

    fn cycles(&self, m: &Machine, links: bool) -> u64 {
        let task = |t: &Task| {
            let body: u64 = t.body.iter().map(|o| self.op_cycles(o, m, links)).sum();
            body * self.value(t.repeat) + u64::from(m.latency.task_switch)
        };
        self.class.tasks.iter().map(task).sum()
    }

    /// Cycles of an operation; with links, all its streams take the ramp in turns, a wavelet a cycle each way.
    fn op_cycles(&self, o: &VecOp, m: &Machine, links: bool) -> u64 {
        let n = self.value(o.n0) * self.value(o.n1);
        let mut cycles = n.div_ceil(u64::from(rate(o, m)));
        if links {
            let wavelets = |t: ElemType| n.div_ceil(t.per_wavelet() as u64);
            let taken = |s: Src| if let Src::Fabric(_, t) = s { wavelets(t) } else { 0 };
            let sent = if let Dst::Fabric(_, t) = o.dst { wavelets(t) } else { 0 };
            cycles = cycles.max([o.a, o.b, o.c].into_iter().map(taken).sum()).max(sent);
        }
        u64::from(m.latency.vector_launch) + cycles
    }
}

/// Element type of a source.
fn src_type(s: Src) -> Option<ElemType> {
    match s {
        Src::None => None,
        Src::Mem(m) | Src::RowScalar(m) => Some(m.ty),
        Src::Fabric(_, t) | Src::FabricRowScalar(_, t) | Src::Imm(_, t) => Some(t),
    }
}

/// The operation of a PE that is an elementwise operation of two, if one is.
pub(crate) fn simple(b: Binary) -> Option<PeOp> {
    Some(match b {
        Binary::Add => PeOp::Add,
        Binary::Sub => PeOp::Sub,
        Binary::Mul => PeOp::Mul,
        Binary::Max => PeOp::Max,
        Binary::Min => PeOp::Min,
        _ => return None,
    })
}

/// Elements a cycle of an operation by its types, memory permitting.
fn rate(o: &VecOp, m: &Machine) -> u32 {
    let r = &m.rate;
    let dst = match o.dst {
        Dst::Mem(m) => Some(m.ty),
        Dst::Fabric(_, t) => Some(t),
        Dst::None => None,
    };
    let f16 = src_type(o.a) == Some(ElemType::F16) && dst == Some(ElemType::F16);
    match o.op {
        PeOp::Mov if src_type(o.a) != dst => r.cast,
        PeOp::Mov if f16 => r.f16_mov,
        PeOp::Mov => r.f32_mov,
        PeOp::Add | PeOp::Sub if f16 => r.f16_add,
        PeOp::Add | PeOp::Sub => r.f32_add,
        PeOp::Mul if f16 => r.f16_mul,
        PeOp::Mul => r.f32_mul,
        PeOp::Fma if f16 => r.f16_fma,
        PeOp::Fma if src_type(o.a) == Some(ElemType::F16) => r.f16_mixed_fma,
        PeOp::Fma => r.f32_fma,
        PeOp::Max => r.f32_max,
        PeOp::Min => r.min,
        PeOp::CmpLt | PeOp::CmpEq => r.compare,
        PeOp::Select => r.select,
        PeOp::Exp2 => r.exp2,
        PeOp::Recip => r.recip,
        PeOp::Rsqrt => r.rsqrt,
    }
}

/// An operand read from the stream of queue `q`.
pub(crate) fn fabric(q: InQueue, ty: ElemType) -> Src {
    Src::Fabric(q, ty)
}

/// An operand written to queue `q`.
pub(crate) fn to_fabric(q: OutQueue, ty: ElemType) -> Dst {
    Dst::Fabric(q, ty)
}
