//! The binary form of a queue's instruction list: sixteen bytes an instruction.
//!
//! Byte 0 is the opcode ([`super::opcode`]), the operands follow as bit fields from bit 8 up,
//! everything after them is zero. `NOP n` and `REPEAT n, d, a` are instructions of their own:
//! issue cycles are not stored, they follow from the list as on the chip. The decoder accepts
//! only what the encoder can write, so unknown opcodes and reserved bits are errors.

use super::opcode::Opcode;
use super::*;

/// Bytes of an instruction.
pub const WORD: usize = 16;

/// Why a queue cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("queue {queue}, instruction {index} (`{inst}`): {reason}")]
#[allow(missing_docs)]
pub struct EncodeError {
    pub queue: QueueId,
    pub index: usize,
    pub inst: String,
    pub reason: &'static str,
}

/// Why bytes are not a queue's instruction list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instruction word {word}: {reason}")]
#[allow(missing_docs)]
pub struct DecodeError {
    pub word: usize,
    pub reason: String,
}

/// An issue without its node, which the binary text does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Timed {
    pub cycle: u32,
    pub inst: Inst,
    pub repeat: Repeat,
}

/// Encodes the instruction list of one queue. A repeat of `n == 0` is no repeat and leaves
/// nothing behind.
pub fn encode(queue: QueueId, issues: &[Issue]) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(issues.len() * WORD);
    let mut next = 0u32;
    for (index, issue) in issues.iter().enumerate() {
        let fail = |reason| EncodeError { queue, index, inst: format!("@{} {}", issue.cycle, issue.inst), reason };
        let Some(last) = issue.checked_last_cycle() else {
            return Err(fail("the last repetition is beyond the last cycle, or a repeat has distance 0"));
        };
        if issue.cycle < next {
            return Err(fail("issues before the instruction ahead of it has ended"));
        }
        if issue.cycle > next {
            word(&mut out, Opcode::Nop).put(issue.cycle - next, 32);
        }
        // An install lets the next instruction issue in its own cycle.
        let shares = matches!(issue.inst, Inst::InstallWeights)
            && issue.repeat.n == 0
            && issues.get(index + 1).is_some_and(|n| n.cycle == issue.cycle);
        word(&mut out, issue.inst.opcode()).inst(&issue.inst, shares).map_err(fail)?;
        if issue.repeat.n > 0 {
            let mut w = word(&mut out, Opcode::Repeat);
            w.put(issue.repeat.n, 32);
            w.put(issue.repeat.d, 32);
            w.put(issue.repeat.a as u32, 32);
        }
        next = if shares { issue.cycle } else { last + 1 };
    }
    Ok(out)
}

/// Decodes the instruction list of one queue.
pub fn decode(bytes: &[u8]) -> Result<Vec<Timed>, DecodeError> {
    let mut out: Vec<Timed> = Vec::new();
    let mut next = 0u32;
    // Whether the word before can be repeated, or must be followed by an issue (after a NOP).
    let (mut repeatable, mut pending_nop, mut shared) = (false, false, false);
    let words = bytes.chunks_exact(WORD);
    let (count, tail) = (bytes.len() / WORD, words.remainder().len());
    for (word, bytes) in words.enumerate() {
        let fail = |reason: String| DecodeError { word, reason };
        let mut r = Fields(u128::from_le_bytes(bytes.try_into().expect("sixteen bytes")) >> 8);
        let Some(opcode) = Opcode::from_byte(bytes[0]) else {
            return Err(fail(format!("{:#04x} is no opcode", bytes[0])));
        };
        if opcode.is_reserved() {
            return Err(fail(format!("`{}` is reserved: programs do not span chips yet", opcode.mnemonic())));
        }
        match opcode {
            Opcode::Nop => {
                let n = r.take(32);
                if n == 0 || pending_nop || shared {
                    return Err(fail("a nop of 0 cycles, or after another nop or a shared cycle".into()));
                }
                next = next
                    .checked_add(n)
                    .filter(|&c| c <= MAX_CYCLE)
                    .ok_or_else(|| fail("beyond the last cycle".into()))?;
                (repeatable, pending_nop) = (false, true);
            }
            Opcode::Repeat => {
                let repeat = Repeat { n: r.take(32), d: r.take(32), a: r.take(32) as i32 };
                let Some(last) = out.last_mut().filter(|_| repeatable && repeat.n > 0) else {
                    return Err(fail("a repeat of nothing, or 0 times".into()));
                };
                let end = repeat.n.checked_mul(repeat.d).and_then(|c| c.checked_add(last.cycle));
                let Some(end) = end.filter(|&c| c <= MAX_CYCLE && repeat.d > 0) else {
                    return Err(fail("a repeat beyond the last cycle, or of distance 0".into()));
                };
                last.repeat = repeat;
                next = end + 1;
                repeatable = false;
            }
            opcode => {
                let (inst, shares) = r.inst(opcode).map_err(|e| fail(e.into()))?;
                if next > MAX_CYCLE {
                    return Err(fail("beyond the last cycle".into()));
                }
                out.push(Timed { cycle: next, inst, repeat: Repeat::default() });
                next += u32::from(!shares);
                (repeatable, pending_nop, shared) = (!shares, false, shares);
            }
        }
        if r.0 != 0 {
            return Err(fail(format!("reserved bits of `{}` are not zero", opcode.mnemonic())));
        }
    }
    if tail != 0 || pending_nop || shared {
        return Err(DecodeError { word: count, reason: "the list ends in the middle".into() });
    }
    Ok(out)
}

/// A word being filled, from the low bits up; written out when dropped.
struct Word<'a> {
    out: &'a mut Vec<u8>,
    bits: u128,
    at: u32,
}

fn word(out: &mut Vec<u8>, opcode: Opcode) -> Word<'_> {
    Word { out, bits: u128::from(opcode as u8), at: 8 }
}

impl Drop for Word<'_> {
    fn drop(&mut self) {
        self.out.extend_from_slice(&self.bits.to_le_bytes());
    }
}

impl Word<'_> {
    fn put(&mut self, value: u32, width: u32) {
        debug_assert!(self.at + width <= 128 && u64::from(value) >> width == 0);
        self.bits |= u128::from(value) << self.at;
        self.at += width;
    }

    fn id(&mut self, id: u8) -> Result<(), &'static str> {
        if id >= STREAM_IDS {
            return Err("no such stream id");
        }
        self.put(u32::from(id), 5);
        Ok(())
    }

    fn stream(&mut self, s: Stream) -> Result<(), &'static str> {
        self.put((s.dir == Dir::West).into(), 1);
        self.id(s.id)
    }

    fn group(&mut self, g: StreamGroup) -> Result<(), &'static str> {
        self.stream(Stream { dir: g.dir, id: g.base })?;
        match g.width {
            1 | 2 | 4 => self.put(g.width.trailing_zeros(), 2),
            _ => return Err("a stream group has 1, 2 or 4 streams"),
        }
        Ok(())
    }

    fn inst(&mut self, inst: &Inst, shares: bool) -> Result<(), &'static str> {
        match *inst {
            Inst::Read { addr, stream } | Inst::Write { stream, addr } => {
                self.put(addr.into(), 16);
                self.stream(stream)?;
            }
            Inst::Gather { map, lo, hi, stream } | Inst::Scatter { stream, map, lo, hi } => {
                self.stream(map)?;
                self.put(lo.into(), 16);
                self.put(hi.into(), 16);
                self.stream(stream)?;
            }
            Inst::Alu { op, ty, a, b, c, dst } => {
                self.put(op.code().into(), 6);
                self.put(ty.code().into(), 3);
                let mut imm = None;
                for o in [a, b, c] {
                    match o {
                        Operand::None => self.put(0, 2),
                        Operand::Stream(g) => {
                            self.put(1, 2);
                            self.group(g)?;
                        }
                        Operand::Imm(bits) => {
                            self.put(2, 2);
                            if imm.replace(bits).is_some() {
                                return Err("an instruction has room for one immediate");
                            }
                        }
                        Operand::Alu(n) => {
                            self.put(3, 2);
                            self.put(n.into(), 8);
                        }
                    }
                }
                self.put(dst.is_some().into(), 1);
                if let Some(d) = dst {
                    self.group(d)?;
                }
                self.put(imm.unwrap_or(0), 32);
            }
            Inst::LoadWeights { k0, streams } => {
                self.put(k0.into(), 16);
                for id in streams {
                    self.id(id)?;
                }
            }
            Inst::InstallWeights => self.put(shares.into(), 1),
            Inst::Activations { base, ty } => {
                self.id(base)?;
                self.put(ty as u32, 2);
            }
            Inst::Accumulate { row, mode, emit } => {
                self.put(row.into(), 16);
                self.put(mode as u32, 2);
                self.put(emit.is_some().into(), 1);
                self.id(emit.unwrap_or(0))?;
            }
            Inst::Shift { from, to, lanes } => {
                self.put((lanes as u16).into(), 16);
                self.stream(from)?;
                self.stream(to)?;
            }
            Inst::Select { a, b, map, to } => {
                self.put(map.into(), 16);
                self.stream(a)?;
                self.stream(b)?;
                self.stream(to)?;
            }
            Inst::Permute { map, from, to } | Inst::Distribute { map, from, to } => {
                self.put(map.into(), 16);
                self.stream(from)?;
                self.stream(to)?;
            }
            Inst::Rotate { n, from, to } => {
                self.put(n.into(), 8);
                self.stream(from)?;
                self.stream(to)?;
            }
            Inst::Transpose { from, to } => {
                self.stream(from)?;
                self.stream(to)?;
            }
            Inst::Sync | Inst::Notify => {}
        }
        Ok(())
    }
}

/// The fields of a word that are not read yet, lowest first.
struct Fields(u128);

impl Fields {
    fn take(&mut self, width: u32) -> u32 {
        let v = self.0 & ((1 << width) - 1);
        self.0 >>= width;
        v as u32
    }

    fn id(&mut self) -> u8 {
        self.take(5) as u8
    }

    fn stream(&mut self) -> Stream {
        let dir = if self.take(1) == 1 { Dir::West } else { Dir::East };
        Stream { dir, id: self.id() }
    }

    fn group(&mut self) -> Result<StreamGroup, &'static str> {
        let first = self.stream();
        match self.take(2) {
            3 => Err("a stream group of width code 3"),
            log => Ok(StreamGroup { dir: first.dir, base: first.id, width: 1 << log }),
        }
    }

    /// The instruction, and whether the next one shares its cycle.
    fn inst(&mut self, opcode: Opcode) -> Result<(Inst, bool), &'static str> {
        let inst = match opcode {
            Opcode::Read | Opcode::Write => {
                let (addr, stream) = (self.take(16) as u16, self.stream());
                if opcode == Opcode::Read { Inst::Read { addr, stream } } else { Inst::Write { stream, addr } }
            }
            Opcode::Gather | Opcode::Scatter => {
                let (map, lo, hi) = (self.stream(), self.take(16) as u16, self.take(16) as u16);
                let stream = self.stream();
                if opcode == Opcode::Gather {
                    Inst::Gather { map, lo, hi, stream }
                } else {
                    Inst::Scatter { stream, map, lo, hi }
                }
            }
            Opcode::Alu => {
                let (op, ty) = (self.take(6) as u8, self.take(3) as u8);
                let op = ALU_OPS.iter().find(|r| r.0 == op).ok_or("no such ALU operation")?.1;
                let ty = ALU_TYPES.iter().find(|r| r.0 == ty).ok_or("no such ALU type")?.1;
                let mut operands = [Operand::None; 3];
                for o in &mut operands {
                    *o = match self.take(2) {
                        0 => Operand::None,
                        1 => Operand::Stream(self.group()?),
                        2 => Operand::Imm(0),
                        _ => Operand::Alu(self.take(8) as u8),
                    };
                }
                let dst = if self.take(1) == 1 { Some(self.group()?) } else { None };
                let bits = self.take(32);
                let mut imms = operands.iter_mut().filter(|o| matches!(o, Operand::Imm(_)));
                match imms.next() {
                    Some(o) => *o = Operand::Imm(bits),
                    None if bits != 0 => return Err("an immediate that no operand takes"),
                    None => {}
                }
                if imms.next().is_some() {
                    return Err("an instruction has room for one immediate");
                }
                let [a, b, c] = operands;
                Inst::Alu { op, ty, a, b, c, dst }
            }
            Opcode::LoadWeights => {
                let k0 = self.take(16) as u16;
                Inst::LoadWeights { k0, streams: std::array::from_fn(|_| self.id()) }
            }
            Opcode::InstallWeights => return Ok((Inst::InstallWeights, self.take(1) == 1)),
            Opcode::Activations => {
                let base = self.id();
                let ty = match self.take(2) {
                    0 => ActType::I8,
                    1 => ActType::U8,
                    2 => ActType::F16,
                    _ => return Err("no such activation type"),
                };
                Inst::Activations { base, ty }
            }
            Opcode::Accumulate => {
                let row = self.take(16) as u16;
                let mode = match self.take(2) {
                    0 => AccMode::Over,
                    1 => AccMode::Add,
                    2 => AccMode::Bypass,
                    _ => return Err("no such accumulator mode"),
                };
                let (emits, id) = (self.take(1) == 1, self.id());
                if !emits && id != 0 {
                    return Err("a stream id without emission");
                }
                Inst::Accumulate { row, mode, emit: emits.then_some(id) }
            }
            Opcode::Shift => {
                let lanes = self.take(16) as u16 as i16;
                Inst::Shift { lanes, from: self.stream(), to: self.stream() }
            }
            Opcode::Select => {
                let map = self.take(16) as u16;
                Inst::Select { map, a: self.stream(), b: self.stream(), to: self.stream() }
            }
            Opcode::Permute => Inst::Permute { map: self.take(16) as u16, from: self.stream(), to: self.stream() },
            Opcode::Distribute => {
                Inst::Distribute { map: self.take(16) as u16, from: self.stream(), to: self.stream() }
            }
            Opcode::Rotate => Inst::Rotate { n: self.take(8) as u8, from: self.stream(), to: self.stream() },
            Opcode::Transpose => Inst::Transpose { from: self.stream(), to: self.stream() },
            Opcode::Sync => Inst::Sync,
            Opcode::Notify => Inst::Notify,
            Opcode::Nop | Opcode::Repeat | Opcode::Send | Opcode::Receive => {
                return Err("not an instruction that issues");
            }
        };
        Ok((inst, false))
    }
}
