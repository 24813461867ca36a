//! How the program of one PE class is written: tasks and vector operations.

use crate::text::{Quoted, Scanner, TextError};
use crate::wafer::*;
use std::fmt::{self, Write};

impl fmt::Display for Val {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Val::Const(c) => write!(f, "{c}"),
            Val::Param(p) => write!(f, "p{p}"),
        }
    }
}

impl fmt::Display for Mem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{} ({}, {})", self.ty.name(), self.base, self.stride0, self.stride1)?;
        if (self.step, self.modulo) != (Val::Const(0), Val::Const(0)) {
            write!(f, " step {} mod {}", self.step, self.modulo)?;
        }
        f.write_str("]")
    }
}

impl fmt::Display for Src {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Src::None => f.write_str("_"),
            Src::Mem(m) => m.fmt(f),
            Src::RowScalar(m) => write!(f, "row {m}"),
            Src::Fabric(q, t) => write!(f, "in{}:{}", q.0, t.name()),
            Src::FabricRowScalar(q, t) => write!(f, "row in{}:{}", q.0, t.name()),
            Src::Imm(bits, t) => write!(f, "{bits:#x}:{}", t.name()),
        }
    }
}

impl fmt::Display for Dst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dst::None => f.write_str("_"),
            Dst::Mem(m) => m.fmt(f),
            Dst::Fabric(q, t) => write!(f, "out{}:{}", q.0, t.name()),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Activate(t) => write!(f, "activate t{}", t.0),
            Action::Block(t) => write!(f, "block t{}", t.0),
            Action::Unblock(t) => write!(f, "unblock t{}", t.0),
        }
    }
}

impl fmt::Display for VecOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of {} : {} <- ", self.op.name(), self.n1, self.n0, self.dst)?;
        let operands = [&self.a, &self.b, &self.c];
        // Operands that the operation does not take are shown if someone gave them.
        let given = operands.iter().rposition(|&o| *o != Src::None).map_or(0, |i| i + 1);
        for (i, o) in operands[..given.max(self.op.arity())].iter().enumerate() {
            write!(f, "{}{o}", if i > 0 { ", " } else { "" })?;
        }
        if let IssueMode::Async(ut) = self.issue {
            write!(f, " ; async ut={ut}")?;
        }
        for a in &self.on_done {
            write!(f, " ; {a}")?;
        }
        Ok(())
    }
}

/// Writes the tasks of a class.
pub(super) fn print(out: &mut String, c: &PeClass) -> fmt::Result {
    for (i, t) in c.tasks.iter().enumerate() {
        write!(out, "  task {i} {} ", Quoted(&t.name))?;
        match t.trigger {
            Trigger::Data(q) => write!(out, "on in{}", q.0)?,
            Trigger::Local => out.push_str("local"),
        }
        out.push_str(if t.active { " ; active" } else { "" });
        out.push_str(if t.blocked { " ; blocked" } else { "" });
        if t.repeat != Val::Const(1) {
            write!(out, " ; repeat {}", t.repeat)?;
        }
        out.push('\n');
        for op in &t.body {
            writeln!(out, "    {op}")?;
        }
        if !t.on_end.is_empty() {
            out.push_str("    end");
            for a in &t.on_end {
                write!(out, " ; {a}")?;
            }
            out.push('\n');
        }
    }
    Ok(())
}

/// Reads the tasks of a class.
pub(super) fn parse(s: &mut Scanner<'_>, name: String) -> Result<PeClass, TextError> {
    let mut tasks = Vec::new();
    while s.eat_word("task") {
        super::index(s, tasks.len())?;
        let name = s.string("a task's name in quotes")?;
        let trigger = if s.eat_word("local") {
            Trigger::Local
        } else {
            s.keyword("on")?;
            Trigger::Data(InQueue(s.prefixed("in", "an input queue such as `in0`")?))
        };
        let mut t = Task {
            name,
            trigger,
            active: false,
            blocked: false,
            repeat: Val::Const(1),
            body: Vec::new(),
            on_end: Vec::new(),
        };
        while s.eat(";") {
            if s.eat_word("active") {
                t.active = true;
            } else if s.eat_word("blocked") {
                t.blocked = true;
            } else if s.eat_word("repeat") {
                t.repeat = val(s)?;
            } else {
                return s.expected("`active`, `blocked` or `repeat`");
            }
        }
        while let Some(&(_, op, _)) = PE_OPS.iter().find(|r| r.2 == s.peek()) {
            s.word("an operation")?;
            t.body.push(vec_op(s, op)?);
        }
        if s.eat_word("end") {
            while s.eat(";") {
                t.on_end.push(action(s)?);
            }
        }
        tasks.push(t);
    }
    Ok(PeClass { name, tasks })
}

fn vec_op(s: &mut Scanner<'_>, op: PeOp) -> Result<VecOp, TextError> {
    let n1 = val(s)?;
    s.keyword("of")?;
    let n0 = val(s)?;
    s.punct(":")?;
    let dst = dst(s)?;
    s.punct("<-")?;
    let mut operands = [Src::None; 3];
    for (i, o) in operands.iter_mut().enumerate() {
        if i > 0 && !s.eat(",") {
            break;
        }
        *o = src(s)?;
    }
    let (mut issue, mut on_done) = (IssueMode::Sync, Vec::new());
    while s.eat(";") {
        if s.eat_word("async") {
            s.keyword("ut")?;
            s.punct("=")?;
            issue = IssueMode::Async(s.number("a microthread")?);
        } else {
            on_done.push(action(s)?);
        }
    }
    let [a, b, c] = operands;
    Ok(VecOp { op, n0, n1, dst, a, b, c, issue, on_done })
}

fn action(s: &mut Scanner<'_>) -> Result<Action, TextError> {
    let make = match s.peek() {
        "activate" => Action::Activate,
        "block" => Action::Block,
        "unblock" => Action::Unblock,
        _ => return s.expected("`activate`, `block` or `unblock`"),
    };
    s.word("an action")?;
    Ok(make(TaskIx(s.prefixed("t", "a task such as `t0`")?)))
}

fn val(s: &mut Scanner<'_>) -> Result<Val, TextError> {
    if s.peek().starts_with('p') {
        Ok(Val::Param(s.prefixed("p", "a parameter such as `p0`")?))
    } else {
        Ok(Val::Const(s.number("a number or a parameter such as `p0`")?))
    }
}

pub(super) fn elem(s: &mut Scanner<'_>) -> Result<ElemType, TextError> {
    match ELEM_TYPES.iter().find(|r| r.2 == s.peek()) {
        Some(r) => {
            s.word("an element type")?;
            Ok(r.1)
        }
        None => s.expected("an element type: i8, i16, f16, i32 or f32"),
    }
}

fn mem(s: &mut Scanner<'_>) -> Result<Mem, TextError> {
    let ty = elem(s)?;
    s.punct("[")?;
    let base = val(s)?;
    s.punct("(")?;
    let stride0 = val(s)?;
    s.punct(",")?;
    let stride1 = val(s)?;
    s.punct(")")?;
    let (mut step, mut modulo) = (Val::Const(0), Val::Const(0));
    if s.eat_word("step") {
        step = val(s)?;
        s.keyword("mod")?;
        modulo = val(s)?;
    }
    s.punct("]")?;
    Ok(Mem { ty, base, stride0, stride1, step, modulo })
}

fn fabric_in(s: &mut Scanner<'_>) -> Result<(InQueue, ElemType), TextError> {
    let q = InQueue(s.prefixed("in", "an input queue such as `in0`")?);
    s.punct(":")?;
    Ok((q, elem(s)?))
}

fn src(s: &mut Scanner<'_>) -> Result<Src, TextError> {
    let fabric = |w: &str| w.strip_prefix("in").is_some_and(|d| d.starts_with(|c: char| c.is_ascii_digit()));
    if s.eat_word("_") {
        Ok(Src::None)
    } else if s.eat_word("row") {
        if fabric(s.peek()) {
            let (q, t) = fabric_in(s)?;
            Ok(Src::FabricRowScalar(q, t))
        } else {
            Ok(Src::RowScalar(mem(s)?))
        }
    } else if fabric(s.peek()) {
        let (q, t) = fabric_in(s)?;
        Ok(Src::Fabric(q, t))
    } else if s.peek().starts_with("0x") {
        let bits = s.hex_u32("an immediate of up to 32 bits")?;
        s.punct(":")?;
        Ok(Src::Imm(bits, elem(s)?))
    } else {
        Ok(Src::Mem(mem(s)?))
    }
}

fn dst(s: &mut Scanner<'_>) -> Result<Dst, TextError> {
    if s.eat_word("_") {
        Ok(Dst::None)
    } else if s.peek().starts_with("out") {
        let q = OutQueue(s.prefixed("out", "an output queue such as `out0`")?);
        s.punct(":")?;
        Ok(Dst::Fabric(q, elem(s)?))
    } else {
        Ok(Dst::Mem(mem(s)?))
    }
}
