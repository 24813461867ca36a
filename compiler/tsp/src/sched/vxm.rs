//! Which step of an ALU sequence issues when: chained operands must meet exactly.
//!
//! Times are multiples of the ALU latency from the first step. Where paths differ in length, copies
//! hold a value back one latency each. Knows nothing of streams and rows.

use crate::tiled::{Src, Step};
use quadrille_isa::tsp::{AluOp, AluType};

/// Operand of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SlotArg {
    None,
    Imm(u32),
    /// Operand rows by number, taken from their stream.
    In(u16),
    /// Result of another slot.
    Slot(u16),
}

/// One ALU instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot {
    pub(crate) op: AluOp,
    pub(crate) ty: AluType,
    pub(crate) args: [SlotArg; 3],
    /// In ALU latencies.
    pub(crate) at: u32,
}

/// A sequence in time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) slots: Vec<Slot>,
    /// Slot that holds the result of each step.
    pub(crate) of_step: Vec<u16>,
    /// When each operand is sampled, in ALU latencies (`None`: not used).
    pub(crate) ins_at: Vec<Option<u32>>,
}

fn carrier(bytes: u8) -> AluType {
    match bytes {
        1 => AluType::I8,
        2 => AluType::I16,
        _ => AluType::I32,
    }
}

/// A copy that moves bits and changes none.
fn copy(bytes: u8, arg: SlotArg, at: u32) -> Slot {
    Slot { op: AluOp::Or, ty: carrier(bytes), args: [arg, SlotArg::Imm(0), SlotArg::None], at }
}

/// Bytes of operand `k` of a step.
pub(crate) fn operand_bytes(s: &Step) -> u8 {
    s.ty.bytes()
}

/// Which steps wait for what takes them, rather than start as soon as they can.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Late {
    /// Those that only take streams.
    Streams,
    /// Trees of these.
    Trees,
    /// All.
    All,
}

/// Slots from which on other orders are tried.
const LONG: usize = 15;

/// Plans steps over `ins` operands, with as few ALUs as a few orders find.
pub(crate) fn plan(steps: &[Step], ins: usize) -> Plan {
    let mut best = plan_as(steps, ins, Late::Streams);
    if best.slots.len() < LONG {
        return best;
    }
    for late in [Late::Trees, Late::All] {
        let other = plan_as(steps, ins, late);
        if other.slots.len() < best.slots.len() {
            best = other;
        }
    }
    best
}

fn plan_as(steps: &[Step], ins: usize, late: Late) -> Plan {
    let n = steps.len();
    let mut at = vec![0u32; n];
    for (i, s) in steps.iter().enumerate() {
        for src in s.src {
            if let Src::Op(j) = src {
                at[i] = at[i].max(at[usize::from(j)] + 1);
            }
        }
    }
    let users = |i: usize| steps.iter().filter(|s| s.src.contains(&Src::Op(i as u16))).count();
    let mut waits = vec![late == Late::All; n];
    for (i, s) in steps.iter().enumerate() {
        let own = |x: &Src| match x {
            Src::Op(j) => late == Late::Trees && waits[usize::from(*j)] && users(usize::from(*j)) == 1,
            _ => true,
        };
        waits[i] |= s.src.iter().all(own);
    }
    for i in (0..n).rev() {
        let first = (i + 1..n).filter(|&u| steps[u].src.contains(&Src::Op(i as u16))).map(|u| at[u]).min();
        if let (true, Some(first)) = (waits[i], first) {
            at[i] = first - 1;
        }
    }
    let mut ins_at: Vec<Option<u32>> = vec![None; ins];
    let mut in_bytes = vec![4u8; ins];
    for (i, s) in steps.iter().enumerate() {
        for src in s.src {
            if let Src::In(k) = src {
                let k = usize::from(k);
                ins_at[k] = Some(ins_at[k].map_or(at[i], |t| t.min(at[i])));
                in_bytes[k] = operand_bytes(s);
            }
        }
    }
    let mut p = Plan { slots: Vec::new(), of_step: vec![0; n], ins_at };
    // held[v] = slots of the value one, two, … latencies later.
    let mut held_op: Vec<Vec<u16>> = vec![Vec::new(); n];
    let mut held_in: Vec<Vec<u16>> = vec![Vec::new(); ins];
    for (i, s) in steps.iter().enumerate() {
        let mut args = [SlotArg::None; 3];
        for (a, src) in args.iter_mut().zip(s.src) {
            *a = match src {
                Src::None => SlotArg::None,
                Src::Imm(v) => SlotArg::Imm(v),
                Src::Op(j) => {
                    let j = usize::from(j);
                    let wait = (at[i] - at[j] - 1) as usize;
                    let bytes = steps[j].op.result(steps[j].ty).bytes();
                    while held_op[j].len() < wait {
                        let k = held_op[j].len();
                        let from = if k == 0 { p.of_step[j] } else { held_op[j][k - 1] };
                        p.slots.push(copy(bytes, SlotArg::Slot(from), at[j] + 1 + k as u32));
                        held_op[j].push(p.slots.len() as u16 - 1);
                    }
                    SlotArg::Slot(if wait == 0 { p.of_step[j] } else { held_op[j][wait - 1] })
                }
                Src::In(k) => {
                    let number = usize::from(k);
                    let first = p.ins_at[number].unwrap_or(at[i]);
                    let wait = (at[i] - first) as usize;
                    while held_in[number].len() < wait {
                        let h = held_in[number].len();
                        let from = if h == 0 { SlotArg::In(k) } else { SlotArg::Slot(held_in[number][h - 1]) };
                        p.slots.push(copy(in_bytes[number], from, first + h as u32));
                        held_in[number].push(p.slots.len() as u16 - 1);
                    }
                    if wait == 0 { SlotArg::In(k) } else { SlotArg::Slot(held_in[number][wait - 1]) }
                }
            };
        }
        p.slots.push(Slot { op: s.op, ty: s.ty, args, at: at[i] });
        p.of_step[i] = p.slots.len() as u16 - 1;
    }
    p
}
