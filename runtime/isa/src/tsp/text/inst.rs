//! How an instruction is written: mnemonic and operands, as in the instruction table.

use crate::text::{Scanner, TextError, print_runs};
use crate::tsp::opcode::Opcode;
use crate::tsp::*;
use std::fmt;

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operand::None => f.write_str("_"),
            Operand::Stream(g) => g.fmt(f),
            Operand::Imm(bits) => write!(f, "{bits:#x}"),
            Operand::Alu(n) => write!(f, "alu{n}"),
        }
    }
}

/// Names of the row types, in text.
pub(crate) const ACT_TYPES: [(ActType, &str); 3] = [(ActType::I8, "i8"), (ActType::U8, "u8"), (ActType::F16, "f16")];

/// Names of the accumulator modes, in text.
pub(crate) const ACC_MODES: [(AccMode, &str); 3] =
    [(AccMode::Over, "over"), (AccMode::Add, "add"), (AccMode::Bypass, "bypass")];

fn name_of<T: PartialEq>(table: &[(T, &'static str)], value: T) -> &'static str {
    table.iter().find(|r| r.0 == value).map_or("", |r| r.1)
}

impl fmt::Display for Inst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.opcode().mnemonic())?;
        match self {
            Inst::Read { addr, stream } => write!(f, " {addr}, {stream}"),
            Inst::Write { stream, addr } => write!(f, " {stream}, {addr}"),
            Inst::Gather { map, lo, hi, stream } => write!(f, " {map}, [{lo}, {hi}), {stream}"),
            Inst::Scatter { stream, map, lo, hi } => write!(f, " {stream}, {map}, [{lo}, {hi})"),
            Inst::Alu { op, ty, a, b, c, dst } => {
                write!(f, " {}.{}", op.name(), ty.name())?;
                let operands = [a, b, c];
                // Operands that the operation does not take are shown if someone gave them.
                let given = operands.iter().rposition(|&o| *o != Operand::None).map_or(0, |i| i + 1);
                for (i, o) in operands[..given.max(op.arity())].iter().enumerate() {
                    write!(f, "{} {o}", if i > 0 { "," } else { "" })?;
                }
                dst.map_or(Ok(()), |d| write!(f, " -> {d}"))
            }
            Inst::LoadWeights { k0, streams } => {
                let mut runs = String::new();
                print_runs(&mut runs, &streams.map(u16::from), None);
                write!(f, " {k0}, {runs}")
            }
            Inst::Activations { base, ty } => write!(f, " {base}, {}", name_of(&ACT_TYPES, *ty)),
            Inst::Accumulate { row, mode, emit } => {
                write!(f, " {row}, {}", name_of(&ACC_MODES, *mode))?;
                emit.map_or(Ok(()), |e| write!(f, ", emit {e}"))
            }
            Inst::Shift { from, to, lanes } => write!(f, " {lanes}, {from}, {to}"),
            Inst::Select { a, b, map, to } => write!(f, " map{map}, {a}, {b}, {to}"),
            Inst::Permute { map, from, to } | Inst::Distribute { map, from, to } => {
                write!(f, " map{map}, {from}, {to}")
            }
            Inst::Rotate { n, from, to } => write!(f, " {n}, {from}, {to}"),
            Inst::Transpose { from, to } => write!(f, " {from}, {to}"),
            Inst::InstallWeights | Inst::Sync | Inst::Notify => Ok(()),
        }
    }
}

fn stream(s: &mut Scanner<'_>) -> Result<Stream, TextError> {
    let at = s.here();
    let word = s.peek();
    let dir = match word.bytes().next() {
        Some(b'e') => Dir::East,
        Some(b'w') => Dir::West,
        _ => return s.expected("a stream such as `e5` or `w17`"),
    };
    let id = s.prefixed(&word[..1], "a stream such as `e5` or `w17`")?;
    if id >= STREAM_IDS {
        return Err(s.error_at(at, format!("stream ids end at {}", STREAM_IDS - 1)));
    }
    Ok(Stream { dir, id })
}

fn group(s: &mut Scanner<'_>) -> Result<StreamGroup, TextError> {
    let first = stream(s)?;
    let at = s.here();
    let width = if s.eat(":") { s.number("a width")? } else { 1 };
    if !matches!(width, 1 | 2 | 4) {
        return Err(s.error_at(at, "a stream group has 1, 2 or 4 streams"));
    }
    Ok(StreamGroup { dir: first.dir, base: first.id, width })
}

fn stream_id(s: &mut Scanner<'_>) -> Result<u8, TextError> {
    let at = s.here();
    let id = s.number("a stream id")?;
    if id >= STREAM_IDS {
        return Err(s.error_at(at, format!("stream ids end at {}", STREAM_IDS - 1)));
    }
    Ok(id)
}

fn operand(s: &mut Scanner<'_>) -> Result<Operand, TextError> {
    let w = s.peek();
    if s.eat_word("_") {
        Ok(Operand::None)
    } else if w.starts_with("alu") {
        Ok(Operand::Alu(s.prefixed("alu", "an ALU such as `alu3`")?))
    } else if w.starts_with("0x") {
        Ok(Operand::Imm(s.hex_u32("an immediate of up to 32 bits")?))
    } else if w.starts_with(['e', 'w']) {
        Ok(Operand::Stream(group(s)?))
    } else {
        s.expected("an operand: a stream group, `0x…`, `aluN` or `_`")
    }
}

fn alu(s: &mut Scanner<'_>) -> Result<Inst, TextError> {
    let at = s.here();
    let word = s.word("an operation such as `fma.f32`")?;
    let row = word.rsplit_once('.').and_then(|(op, ty)| {
        let op = ALU_OPS.iter().find(|r| r.2 == op)?.1;
        Some((op, ALU_TYPES.iter().find(|r| r.2 == ty)?.1))
    });
    let Some((op, ty)) = row else {
        return Err(s.error_at(at, format!("`{word}` is no operation and type such as `fma.f32`")));
    };
    let mut operands = [Operand::None; 3];
    for (i, o) in operands.iter_mut().enumerate() {
        if i > 0 && !s.eat(",") {
            break;
        }
        *o = operand(s)?;
    }
    let dst = if s.eat("->") { Some(group(s)?) } else { None };
    let [a, b, c] = operands;
    Ok(Inst::Alu { op, ty, a, b, c, dst })
}

fn choose<T: Copy>(s: &mut Scanner<'_>, table: &[(T, &'static str)], what: &str) -> Result<T, TextError> {
    let w = s.peek();
    match table.iter().find(|r| r.1 == w) {
        Some(r) => {
            s.word(what)?;
            Ok(r.0)
        }
        None => s.expected(what),
    }
}

fn range(s: &mut Scanner<'_>) -> Result<(u16, u16), TextError> {
    s.punct("[")?;
    let lo = s.number("a word address")?;
    s.punct(",")?;
    let hi = s.number("a word address")?;
    s.punct(")")?;
    Ok((lo, hi))
}

/// Reads one instruction.
pub(super) fn parse(s: &mut Scanner<'_>) -> Result<Inst, TextError> {
    let at = s.here();
    let word = s.word("an instruction")?;
    let Some(&opcode) = Opcode::ALL.iter().find(|o| o.mnemonic() == word) else {
        return Err(s.error_at(at, format!("`{word}` is no instruction")));
    };
    let map = |s: &mut Scanner<'_>| s.prefixed("map", "a map such as `map3`");
    Ok(match opcode {
        Opcode::Nop | Opcode::Repeat => {
            return Err(s.error_at(at, format!("`{word}` is not written: `@cycle` and `; repeat n,d,a` say it")));
        }
        Opcode::Send | Opcode::Receive => {
            return Err(s.error_at(at, format!("`{word}` is reserved: programs do not span chips yet")));
        }
        Opcode::Sync => Inst::Sync,
        Opcode::Notify => Inst::Notify,
        Opcode::Read => {
            let addr = s.number("a word address")?;
            s.punct(",")?;
            Inst::Read { addr, stream: stream(s)? }
        }
        Opcode::Write => {
            let stream = stream(s)?;
            s.punct(",")?;
            Inst::Write { stream, addr: s.number("a word address")? }
        }
        Opcode::Gather => {
            let map = stream(s)?;
            s.punct(",")?;
            let (lo, hi) = range(s)?;
            s.punct(",")?;
            Inst::Gather { map, lo, hi, stream: stream(s)? }
        }
        Opcode::Scatter => {
            let data = stream(s)?;
            s.punct(",")?;
            let map = stream(s)?;
            s.punct(",")?;
            let (lo, hi) = range(s)?;
            Inst::Scatter { stream: data, map, lo, hi }
        }
        Opcode::Alu => alu(s)?,
        Opcode::LoadWeights => {
            let k0 = s.number("a row")?;
            s.punct(",")?;
            let at = s.here();
            let ids = s.runs(None, 16)?;
            let streams: Option<Vec<u8>> =
                ids.iter().map(|&v| u8::try_from(v).ok().filter(|&v| v < STREAM_IDS)).collect();
            match streams.and_then(|v| v.try_into().ok()) {
                Some(streams) => Inst::LoadWeights { k0, streams },
                None => return Err(s.error_at(at, "expected 16 stream ids")),
            }
        }
        Opcode::InstallWeights => Inst::InstallWeights,
        Opcode::Activations => {
            let base = stream_id(s)?;
            s.punct(",")?;
            Inst::Activations { base, ty: choose(s, &ACT_TYPES, "`i8`, `u8` or `f16`")? }
        }
        Opcode::Accumulate => {
            let row = s.number("an accumulator row")?;
            s.punct(",")?;
            let mode = choose(s, &ACC_MODES, "`over`, `add` or `bypass`")?;
            let emit = if s.eat(",") {
                s.keyword("emit")?;
                Some(stream_id(s)?)
            } else {
                None
            };
            Inst::Accumulate { row, mode, emit }
        }
        Opcode::Shift => {
            let lanes = s.number("a number of lanes")?;
            s.punct(",")?;
            let from = stream(s)?;
            s.punct(",")?;
            Inst::Shift { from, to: stream(s)?, lanes }
        }
        Opcode::Select => {
            let map = map(s)?;
            s.punct(",")?;
            let a = stream(s)?;
            s.punct(",")?;
            let b = stream(s)?;
            s.punct(",")?;
            Inst::Select { a, b, map, to: stream(s)? }
        }
        Opcode::Permute | Opcode::Distribute => {
            let map = map(s)?;
            s.punct(",")?;
            let from = stream(s)?;
            s.punct(",")?;
            let to = stream(s)?;
            if opcode == Opcode::Permute { Inst::Permute { map, from, to } } else { Inst::Distribute { map, from, to } }
        }
        Opcode::Rotate => {
            let n = s.number("a window size")?;
            s.punct(",")?;
            let from = stream(s)?;
            s.punct(",")?;
            Inst::Rotate { n, from, to: stream(s)? }
        }
        Opcode::Transpose => {
            let from = stream(s)?;
            s.punct(",")?;
            Inst::Transpose { from, to: stream(s)? }
        }
    })
}
