//! A class's operations with everything decided that is the same on all PEs of a region, and
//! the step from there to one execution on one PE: counts, addresses, circular offsets.
//!
//! Knows parameters, strides, steps and SRAM bounds; knows nothing of time or of values.

use super::kernel::Kernel;
use super::rule::Rule;
use super::typing;
use quadrille_isa::wafer::{
    Action, Dst, ElemType, IssueMode, Machine, Mem, Pe, PeClass, PeOp, Region, Src, Trigger, Val, VecOp,
};

/// A rule broken by one operation on one PE.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) rule: Rule,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(rule: Rule, message: impl Into<String>) -> Fault {
        Fault { rule, message: message.into() }
    }
}

/// Most tasks a class may have: ready sets are kept as words of 64 bits.
pub(crate) const MAX_TASKS: usize = 64;

/// How an operand is reached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Access {
    /// Not used.
    None,
    /// SRAM, element by element.
    Mem,
    /// SRAM, one element per outer row.
    MemRow,
    /// Input or output queue, element by element.
    Fabric(u8),
    /// Input queue, one element per outer row.
    FabricRow(u8),
    /// A constant: bits.
    Imm(u32),
}

impl Access {
    /// The queue, for fabric operands.
    pub(crate) fn queue(self) -> Option<u8> {
        match self {
            Access::Fabric(q) | Access::FabricRow(q) => Some(q),
            _ => None,
        }
    }

    pub(crate) fn is_mem(self) -> bool {
        matches!(self, Access::Mem | Access::MemRow)
    }
}

/// An operand of a lowered operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand {
    pub(crate) access: Access,
    pub(crate) ty: ElemType,
    mem: Option<Mem>,
    /// Slot of the circular offset among the PE's, for operands that step.
    step_slot: Option<u16>,
}

/// A lowered operation. Operand 3 is the destination.
#[derive(Clone, Debug)]
pub(crate) struct LowOp {
    pub(crate) op: PeOp,
    pub(crate) rate: u32,
    n0: Val,
    n1: Val,
    pub(crate) operands: [Operand; 4],
    pub(crate) issue: IssueMode,
    pub(crate) on_done: Vec<Action>,
    /// One bit per input queue (0-7) and per output queue (8-13) used.
    pub(crate) queues: u16,
    pub(crate) kernel: Kernel,
    /// The execution, when it is the same on all PEs at all times.
    pub(crate) fixed: Option<Execution>,
    /// A number for what is the same in operations that differ in counts and places only; whoever uses it gives it.
    pub(crate) shape: u32,
}

impl LowOp {
    /// True when no operand is on the fabric.
    pub(crate) fn memory_only(&self) -> bool {
        self.queues == 0
    }
}

/// A lowered task.
#[derive(Clone, Debug)]
pub(crate) struct LowTask {
    pub(crate) name: String,
    /// Input queue that triggers it, for data tasks.
    pub(crate) data: Option<u8>,
    pub(crate) active: bool,
    pub(crate) blocked: bool,
    pub(crate) repeat: Val,
    pub(crate) body: Vec<LowOp>,
    pub(crate) on_end: Vec<Action>,
}

/// A class lowered for one machine.
#[derive(Clone, Debug)]
pub(crate) struct LowClass {
    pub(crate) tasks: Vec<LowTask>,
    /// Circular offsets a PE keeps.
    pub(crate) step_slots: u16,
    /// First byte that operands may not touch: program text begins there.
    pub(crate) sram_limit: u32,
}

/// Where an operand's elements are in one execution: element (i1, i0) at byte
/// `start + i1*s1 + i0*s0`. A stride along a count of one is zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Addr {
    pub(crate) start: i32,
    pub(crate) s0: i32,
    pub(crate) s1: i32,
}

/// One execution of an operation on one PE.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Execution {
    pub(crate) n0: u32,
    pub(crate) n1: u32,
    pub(crate) addr: [Addr; 4],
}

impl Execution {
    /// Elements.
    pub(crate) fn n(&self) -> u64 {
        u64::from(self.n0) * u64::from(self.n1)
    }

    /// First and one past the last byte that operand `k` touches, reached in this way.
    pub(crate) fn bytes(&self, access: Access, ty: ElemType, k: usize) -> Option<(i64, i64)> {
        if !access.is_mem() || self.n() == 0 {
            return None;
        }
        let Addr { start, s0, s1 } = self.addr[k];
        let [start, s0, s1] = [start, s0, s1].map(i64::from);
        let (d0, d1) = (s0 * (i64::from(self.n0) - 1), s1 * (i64::from(self.n1) - 1));
        let end = start + d0.max(0) + d1.max(0) + i64::from(ty.bytes());
        Some((start + d0.min(0) + d1.min(0), end))
    }

    /// Counts and addresses as numbers.
    pub(crate) fn describe(&self, out: &mut Vec<u64>) {
        out.push(u64::from(self.n0) << 32 | u64::from(self.n1));
        for Addr { start, s0, s1 } in self.addr {
            out.extend([u64::from(start as u32) << 32 | u64::from(s0 as u32), u64::from(s1 as u32)]);
        }
    }

    /// First and one past the last byte that memory operand `k` touches; `None` when it
    /// touches nothing.
    pub(crate) fn extent(&self, op: &LowOp, k: usize) -> Option<(i64, i64)> {
        let operand = &op.operands[k];
        if !operand.access.is_mem() || self.n() == 0 {
            return None;
        }
        let Addr { start, s0, s1 } = self.addr[k];
        Some(extent(operand, [i64::from(start), i64::from(s0), i64::from(s1)], self.n0, self.n1))
    }
}

/// First and one past the last byte of an operand with this start and these strides in bytes.
fn extent(operand: &Operand, [start, s0, s1]: [i64; 3], n0: u32, n1: u32) -> (i64, i64) {
    let d1 = s1.saturating_mul(i64::from(n1) - 1);
    let d0 = s0.saturating_mul(i64::from(n0) - 1);
    let lo = start.saturating_add(d0.min(0)).saturating_add(d1.min(0));
    let hi = start.saturating_add(d0.max(0)).saturating_add(d1.max(0));
    (lo, hi.saturating_add(i64::from(operand.ty.bytes())))
}

fn constant(v: Val) -> Option<i32> {
    match v {
        Val::Const(c) => Some(c),
        Val::Param(_) => None,
    }
}

fn value(v: Val, params: &[i32]) -> Result<i32, Fault> {
    match v {
        Val::Const(c) => Ok(c),
        Val::Param(ix) => params
            .get(usize::from(ix))
            .copied()
            .ok_or_else(|| Fault::new(Rule::Param, format!("parameter {ix} does not exist in this region"))),
    }
}

/// Values of all parameters of `region` on PE `pe`.
pub(crate) fn params(region: &Region, pe: Pe) -> Result<Vec<i32>, Fault> {
    (0..region.params.len().min(usize::from(u16::MAX) + 1))
        .map(|ix| {
            region.value(Val::Param(ix as u16), pe).ok_or_else(|| {
                Fault::new(Rule::Param, format!("parameter {ix} has no value here (table too short, or overflow)"))
            })
        })
        .collect()
}

/// Lowers a class; the faults are of the class as written and hold on every PE that runs it.
pub(crate) fn lower(class: &PeClass, machine: &Machine, faults: &mut Vec<Fault>) -> LowClass {
    let text = u64::from(machine.program.vector_op_bytes)
        * class.tasks.iter().map(|t| t.body.len() as u64).sum::<u64>()
        + u64::from(machine.program.task_bytes) * class.tasks.len() as u64;
    let sram = u64::from(machine.geometry.sram_bytes_per_pe);
    if text > sram {
        faults.push(Fault::new(
            Rule::Sram,
            format!("class `{}`: {text} bytes of program text in {sram} bytes of SRAM", class.name),
        ));
    }
    if class.tasks.len() > MAX_TASKS {
        faults.push(Fault::new(
            Rule::Reference,
            format!("class `{}` has {} tasks, at most {MAX_TASKS} are possible", class.name, class.tasks.len()),
        ));
    }
    let mut low = LowClass { tasks: Vec::new(), step_slots: 0, sram_limit: sram.saturating_sub(text) as u32 };
    let tasks = class.tasks.len().min(MAX_TASKS);
    for task in &class.tasks[..tasks] {
        let place = |op: usize| format!("class `{}`, task `{}`, operation {op}", class.name, task.name);
        let check_actions = |actions: &[Action], what: &str, faults: &mut Vec<Fault>| {
            for action in actions {
                let (Action::Activate(t) | Action::Block(t) | Action::Unblock(t)) = action;
                match class.tasks.get(usize::from(t.0)) {
                    None => faults.push(Fault::new(Rule::Reference, format!("{what}: {action:?}: no such task"))),
                    Some(target) => {
                        if matches!((action, target.trigger), (Action::Activate(_), Trigger::Data(_))) {
                            faults.push(Fault::new(
                                Rule::Activation,
                                format!("{what}: task `{}` starts on data and cannot be activated", target.name),
                            ));
                        }
                    }
                }
            }
        };
        let mut body = Vec::with_capacity(task.body.len());
        for (ix, op) in task.body.iter().enumerate() {
            check_actions(&op.on_done, &place(ix), faults);
            match lower_op(op, machine, &mut low.step_slots) {
                Ok(lowered) => body.push(lowered),
                Err(f) => faults.push(Fault { rule: f.rule, message: format!("{}: {}", place(ix), f.message) }),
            }
        }
        check_actions(&task.on_end, &format!("class `{}`, task `{}`, at its end", class.name, task.name), faults);
        let data = match task.trigger {
            Trigger::Data(q) if usize::from(q.0) >= machine.queues.input_depth_words.len() => {
                faults.push(Fault::new(
                    Rule::QueueColor,
                    format!("class `{}`, task `{}`: input queue {} does not exist", class.name, task.name, q.0),
                ));
                None
            }
            Trigger::Data(q) => Some(q.0),
            Trigger::Local => None,
        };
        low.tasks.push(LowTask {
            name: task.name.clone(),
            data,
            active: task.active && matches!(task.trigger, Trigger::Local),
            blocked: task.blocked,
            repeat: task.repeat,
            body,
            on_end: task.on_end.clone(),
        });
    }
    low
}

fn lower_op(op: &VecOp, machine: &Machine, slots: &mut u16) -> Result<LowOp, Fault> {
    let operand_fault = |m: String| Fault::new(Rule::Operand, m);
    let arity = op.op.arity();
    let row_scalars =
        [&op.a, &op.b, &op.c].iter().filter(|s| matches!(s, Src::RowScalar(_) | Src::FabricRowScalar(..))).count();
    if row_scalars > 1 || (row_scalars == 1 && op.op != PeOp::Fma) {
        return Err(operand_fault(format!(
            "{:?} has {row_scalars} row scalars; only Fma takes one, and only one",
            op.op
        )));
    }
    for (k, s) in [&op.a, &op.b, &op.c].into_iter().enumerate() {
        if k >= arity && *s != Src::None {
            return Err(operand_fault(format!("{:?} takes {arity} source operands, operand {k} is extra", op.op)));
        }
    }
    let rate = typing::rate(op, machine).map_err(|m| Fault::new(Rule::Type, m))?;
    let mut queues = 0u16;
    let mut use_queue = |bit: u16, what: String| {
        if queues >> bit & 1 == 1 {
            return Err(Fault::new(Rule::QueueUse, format!("{what} is used twice by one operation")));
        }
        queues |= 1 << bit;
        Ok(())
    };
    let mut mem_operand = |mem: &Mem, access: Access| {
        let steps = constant(mem.step) != Some(0);
        let step_slot = steps.then(|| {
            *slots += 1;
            *slots - 1
        });
        Operand { access, ty: mem.ty, mem: Some(*mem), step_slot }
    };
    let plain = |access: Access, ty: ElemType| Operand { access, ty, mem: None, step_slot: None };
    let mut operands = [plain(Access::None, ElemType::F32); 4];
    for (k, s) in [&op.a, &op.b, &op.c].into_iter().enumerate() {
        operands[k] = match s {
            Src::None => continue,
            Src::Mem(m) => mem_operand(m, Access::Mem),
            Src::RowScalar(m) => mem_operand(m, Access::MemRow),
            Src::Fabric(q, ty) | Src::FabricRowScalar(q, ty) => {
                if usize::from(q.0) >= machine.queues.input_depth_words.len() {
                    return Err(Fault::new(Rule::QueueColor, format!("input queue {} does not exist", q.0)));
                }
                use_queue(u16::from(q.0), format!("input queue {}", q.0))?;
                let row = matches!(s, Src::FabricRowScalar(..));
                plain(if row { Access::FabricRow(q.0) } else { Access::Fabric(q.0) }, *ty)
            }
            Src::Imm(bits, ty) => plain(Access::Imm(*bits), *ty),
        };
    }
    operands[3] = match &op.dst {
        Dst::None => plain(Access::None, ElemType::F32),
        Dst::Mem(m) => mem_operand(m, Access::Mem),
        Dst::Fabric(q, ty) => {
            if usize::from(q.0) >= machine.queues.output_depth_words.len() {
                return Err(Fault::new(Rule::QueueColor, format!("output queue {} does not exist", q.0)));
            }
            use_queue(8 + u16::from(q.0), format!("output queue {}", q.0))?;
            plain(Access::Fabric(q.0), *ty)
        }
    };
    if let IssueMode::Async(k) = op.issue
        && u32::from(k) >= machine.queues.microthreads
    {
        return Err(Fault::new(
            Rule::Microthread,
            format!("microthread {k} does not exist, there are {}", machine.queues.microthreads),
        ));
    }
    let mut low = LowOp {
        op: op.op,
        rate,
        n0: op.n0,
        n1: op.n1,
        operands,
        issue: op.issue,
        on_done: op.on_done.clone(),
        queues,
        kernel: Kernel::of(op.op, &operands),
        fixed: None,
        shape: 0,
    };
    // Without parameters and steps every execution is the same; a fault then is left to the
    // first execution, which knows the PE.
    let limit = machine.geometry.sram_bytes_per_pe;
    if operands.iter().all(|o| o.step_slot.is_none()) {
        low.fixed = execute(&low, &[], &mut [], limit).ok();
    }
    Ok(low)
}

/// Counts and addresses of the next execution of `op` on a PE with these parameters and
/// circular offsets (which it advances). Addresses must be below `sram_limit`.
pub(crate) fn execute(op: &LowOp, params: &[i32], offsets: &mut [i32], sram_limit: u32) -> Result<Execution, Fault> {
    if let Some(fixed) = &op.fixed {
        for k in 0..4 {
            if let Some((_, hi)) = fixed.extent(op, k)
                && hi > i64::from(sram_limit)
            {
                return Err(bounds(k, fixed.extent(op, k).unwrap_or_default(), sram_limit));
            }
        }
        return Ok(*fixed);
    }
    let (n0, n1) = (value(op.n0, params)?, value(op.n1, params)?);
    if n0 < 0 || n1 < 0 || i64::from(n0) * i64::from(n1) > i64::from(i32::MAX) {
        return Err(Fault::new(Rule::Operand, format!("element count {n1} x {n0} is not in 0..2^31")));
    }
    let mut e = Execution { n0: n0 as u32, n1: n1 as u32, addr: Default::default() };
    for (k, operand) in op.operands.iter().enumerate() {
        let Some(mem) = &operand.mem else { continue };
        let size = i64::from(operand.ty.bytes());
        let base = i64::from(value(mem.base, params)?);
        if base % size != 0 {
            return Err(Fault::new(
                Rule::Align,
                format!("operand {}: byte address {base} is not aligned to {size} bytes", operand_name(k)),
            ));
        }
        let mut offset = 0;
        if let Some(slot) = operand.step_slot {
            let (step, modulo) = (value(mem.step, params)?, value(mem.modulo, params)?);
            if modulo < 0 {
                return Err(Fault::new(Rule::Operand, format!("operand {}: modulo {modulo}", operand_name(k))));
            }
            let current = &mut offsets[usize::from(slot)];
            offset = i64::from(*current);
            let next = offset + i64::from(step);
            let next = if modulo == 0 { next } else { next.rem_euclid(i64::from(modulo)) };
            *current = i32::try_from(next).map_err(|_| {
                Fault::new(Rule::Sram, format!("operand {}: its circular offset overflows", operand_name(k)))
            })?;
        }
        let start = base + offset * size;
        let row = operand.access == Access::MemRow;
        let s0 = if row { 0 } else { i64::from(value(mem.stride0, params)?) * size };
        let s1 = i64::from(value(mem.stride1, params)?) * size;
        if e.n() == 0 {
            continue;
        }
        let bytes = extent(operand, [start, s0, s1], e.n0, e.n1);
        if bytes.0 < 0 || bytes.1 > i64::from(sram_limit) {
            return Err(bounds(k, bytes, sram_limit));
        }
        // In bounds, so that strides that matter fit.
        let stride = |s: i64, n: u32| if n > 1 { s as i32 } else { 0 };
        e.addr[k] = Addr { start: start as i32, s0: stride(s0, e.n0), s1: stride(s1, e.n1) };
    }
    Ok(e)
}

fn bounds(k: usize, (lo, hi): (i64, i64), limit: u32) -> Fault {
    Fault::new(
        Rule::Sram,
        format!(
            "operand {} touches bytes {lo}..{hi}, but only 0..{limit} of SRAM is free of program text",
            operand_name(k)
        ),
    )
}

/// Name of operand `k` in messages.
pub(crate) fn operand_name(k: usize) -> &'static str {
    ["a", "b", "c", "dst"][k]
}

/// `repeat` of a task on a PE.
pub(crate) fn repeat(task: &LowTask, params: &[i32]) -> Result<u32, Fault> {
    let n = value(task.repeat, params)?;
    u32::try_from(n).map_err(|_| Fault::new(Rule::Operand, format!("task `{}` repeats {n} times", task.name)))
}

/// Elements of one execution of `op`, when the counts have values.
pub(crate) fn element_count(op: &LowOp, params: &[i32]) -> Option<u64> {
    let n = |v| value(v, params).ok().and_then(|n| u64::try_from(n).ok());
    n(op.n0)?.checked_mul(n(op.n1)?)
}

/// One past the highest byte that a class's operands can reach on a PE with these parameters,
/// over all positions of circular offsets, within SRAM.
pub(crate) fn reach(class: &LowClass, params: &[i32]) -> u32 {
    let limit = i64::from(class.sram_limit);
    let mut high = 0i64;
    for op in class.tasks.iter().flat_map(|t| &t.body) {
        if let Some(fixed) = &op.fixed {
            high = (0..4).filter_map(|k| fixed.extent(op, k)).fold(high, |h, e| h.max(e.1));
            continue;
        }
        // An operand without a value traps when it is executed.
        let (Ok(n0), Ok(n1)) = (value(op.n0, params), value(op.n1, params)) else { continue };
        let (Ok(n0), Ok(n1)) = (u32::try_from(n0), u32::try_from(n1)) else { continue };
        for operand in &op.operands {
            let Some(mem) = &operand.mem else { continue };
            let fields = [mem.base, mem.stride0, mem.stride1, mem.step, mem.modulo].map(|v| value(v, params));
            let [Ok(base), Ok(s0), Ok(s1), Ok(step), Ok(modulo)] = fields else { continue };
            let size = i64::from(operand.ty.bytes());
            if n0 == 0 || n1 == 0 {
                continue;
            }
            let s0 = if operand.access == Access::MemRow { 0 } else { s0 };
            let (_, end) = extent(operand, [i64::from(base), i64::from(s0) * size, i64::from(s1) * size], n0, n1);
            let moved = match (step, modulo) {
                (0, _) => 0,
                (_, m) if m > 0 => (i64::from(m) - 1) * size,
                _ => limit,
            };
            high = high.max(end.saturating_add(moved));
        }
    }
    high.clamp(0, limit) as u32
}
