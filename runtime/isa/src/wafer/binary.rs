//! The binary form of a `wafer` program's code: classes, regions, routes, ports and tensors in
//! SRAM as variable-length fields, one tag byte for each choice.
//!
//! Names, tensors and SRAM data are in sections of their own ([`crate::container`]).

use super::*;
use crate::wire::{Bad, Reader, Writer};

/// Why code bytes are not a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {reason}")]
#[allow(missing_docs)]
pub struct DecodeError {
    pub at: usize,
    pub reason: &'static str,
}

/// Encodes classes, regions, routes, ports and tensors in SRAM.
pub fn encode(p: &Program) -> Vec<u8> {
    let mut w = Writer::default();
    w.list(&p.classes, |w, c| {
        w.string(&c.name);
        w.list(&c.tasks, put_task);
    });
    w.list(&p.regions, put_region);
    w.list(&p.routes, |w, r| {
        put_rect(w, r.rect);
        w.u8(r.color.0);
        w.u8(r.rx as u8);
        w.u8(r.tx.0);
    });
    w.list(&p.in_ports, put_io_port);
    w.list(&p.out_ports, put_io_port);
    w.list(&p.in_sram, put_resident);
    w.list(&p.out_sram, put_resident);
    w.0
}

/// Decodes what [`encode`] writes; the other fields of the program are left empty.
pub fn decode(bytes: &[u8]) -> Result<Program, DecodeError> {
    let mut r = Reader::new(bytes);
    let program = get_program(&mut r).and_then(|p| if r.at_end() { Ok(p) } else { Err("bytes left over") });
    program.map_err(|reason| DecodeError { at: r.at, reason })
}

fn get_program(r: &mut Reader<'_>) -> Result<Program, Bad> {
    Ok(Program {
        classes: r.list(|r| Ok(PeClass { name: r.string()?, tasks: r.list(get_task)? }))?,
        regions: r.list(get_region)?,
        routes: r.list(|r| {
            let (rect, color) = (get_rect(r)?, Color(r.u8()?));
            let rx = match r.u8()? {
                0 => Port::North,
                1 => Port::East,
                2 => Port::South,
                3 => Port::West,
                4 => Port::Ramp,
                _ => return Err("no such port"),
            };
            match r.u8()? {
                tx @ 0..32 => Ok(Route { rect, color, rx, tx: PortSet(tx) }),
                _ => Err("no such port"),
            }
        })?,
        in_ports: r.list(get_io_port)?,
        out_ports: r.list(get_io_port)?,
        in_sram: r.list(get_resident)?,
        out_sram: r.list(get_resident)?,
        ..Program::default()
    })
}

pub(crate) fn put_rect(w: &mut Writer, r: Rect) {
    for v in [r.x, r.y, r.w, r.h] {
        w.var(v.into());
    }
}

pub(crate) fn get_rect(r: &mut Reader<'_>) -> Result<Rect, Bad> {
    let rect = Rect { x: r.unsigned()?, y: r.unsigned()?, w: r.unsigned()?, h: r.unsigned()? };
    if rect.is_possible() { Ok(rect) } else { Err("a rectangle beyond the largest coordinate") }
}

fn put_val(w: &mut Writer, v: Val) {
    // One bit of tag below the number.
    match v {
        Val::Const(c) => w.signed(i64::from(c) << 1),
        Val::Param(p) => w.signed(i64::from(p) << 1 | 1),
    }
}

fn get_val(r: &mut Reader<'_>) -> Result<Val, Bad> {
    let v: i64 = r.signed()?;
    match v & 1 {
        0 => i32::try_from(v >> 1).map(Val::Const).map_err(|_| "a constant out of range"),
        _ => u16::try_from(v >> 1).map(Val::Param).map_err(|_| "a parameter out of range"),
    }
}

fn get_elem(r: &mut Reader<'_>) -> Result<ElemType, Bad> {
    let code = r.u8()?;
    ELEM_TYPES.iter().find(|t| t.0 == code).map(|t| t.1).ok_or("no such element type")
}

fn put_mem(w: &mut Writer, m: &Mem) {
    w.u8(m.ty.code());
    for v in [m.base, m.stride0, m.stride1, m.step, m.modulo] {
        put_val(w, v);
    }
}

fn get_mem(r: &mut Reader<'_>) -> Result<Mem, Bad> {
    Ok(Mem {
        ty: get_elem(r)?,
        base: get_val(r)?,
        stride0: get_val(r)?,
        stride1: get_val(r)?,
        step: get_val(r)?,
        modulo: get_val(r)?,
    })
}

fn put_src(w: &mut Writer, s: &Src) {
    match s {
        Src::None => w.u8(0),
        Src::Mem(m) => {
            w.u8(1);
            put_mem(w, m);
        }
        Src::RowScalar(m) => {
            w.u8(2);
            put_mem(w, m);
        }
        Src::Fabric(q, t) => w.0.extend([3, q.0, t.code()]),
        Src::FabricRowScalar(q, t) => w.0.extend([4, q.0, t.code()]),
        Src::Imm(bits, t) => {
            w.0.extend([5, t.code()]);
            w.u32(*bits);
        }
    }
}

fn get_src(r: &mut Reader<'_>) -> Result<Src, Bad> {
    Ok(match r.u8()? {
        0 => Src::None,
        1 => Src::Mem(get_mem(r)?),
        2 => Src::RowScalar(get_mem(r)?),
        3 => Src::Fabric(InQueue(r.u8()?), get_elem(r)?),
        4 => Src::FabricRowScalar(InQueue(r.u8()?), get_elem(r)?),
        5 => {
            let ty = get_elem(r)?;
            Src::Imm(r.u32()?, ty)
        }
        _ => return Err("no such source operand"),
    })
}

fn put_action(w: &mut Writer, a: &Action) {
    w.0.extend(match a {
        Action::Activate(t) => [1, t.0],
        Action::Block(t) => [2, t.0],
        Action::Unblock(t) => [3, t.0],
    });
}

fn get_action(r: &mut Reader<'_>) -> Result<Action, Bad> {
    let make = match r.u8()? {
        1 => Action::Activate,
        2 => Action::Block,
        3 => Action::Unblock,
        _ => return Err("no such action"),
    };
    Ok(make(TaskIx(r.u8()?)))
}

fn put_task(w: &mut Writer, t: &Task) {
    w.string(&t.name);
    match t.trigger {
        Trigger::Local => w.u8(0),
        Trigger::Data(q) => w.0.extend([1, q.0]),
    }
    w.u8(u8::from(t.active) | u8::from(t.blocked) << 1);
    put_val(w, t.repeat);
    w.list(&t.body, |w, op| {
        w.u8(op.op.code());
        put_val(w, op.n0);
        put_val(w, op.n1);
        match &op.dst {
            Dst::None => w.u8(0),
            Dst::Mem(m) => {
                w.u8(1);
                put_mem(w, m);
            }
            Dst::Fabric(q, t) => w.0.extend([2, q.0, t.code()]),
        }
        for s in [&op.a, &op.b, &op.c] {
            put_src(w, s);
        }
        match op.issue {
            IssueMode::Sync => w.u8(0),
            IssueMode::Async(ut) => w.0.extend([1, ut]),
        }
        w.list(&op.on_done, put_action);
    });
    w.list(&t.on_end, put_action);
}

fn get_task(r: &mut Reader<'_>) -> Result<Task, Bad> {
    let name = r.string()?;
    let trigger = match r.u8()? {
        0 => Trigger::Local,
        1 => Trigger::Data(InQueue(r.u8()?)),
        _ => return Err("no such trigger"),
    };
    let state @ 0..4 = r.u8()? else {
        return Err("no such task state");
    };
    Ok(Task {
        name,
        trigger,
        active: state & 1 == 1,
        blocked: state & 2 == 2,
        repeat: get_val(r)?,
        body: r.list(get_op)?,
        on_end: r.list(get_action)?,
    })
}

fn get_op(r: &mut Reader<'_>) -> Result<VecOp, Bad> {
    let code = r.u8()?;
    let op = PE_OPS.iter().find(|o| o.0 == code).ok_or("no such vector operation")?.1;
    let (n0, n1) = (get_val(r)?, get_val(r)?);
    let dst = match r.u8()? {
        0 => Dst::None,
        1 => Dst::Mem(get_mem(r)?),
        2 => Dst::Fabric(OutQueue(r.u8()?), get_elem(r)?),
        _ => return Err("no such destination operand"),
    };
    let (a, b, c) = (get_src(r)?, get_src(r)?, get_src(r)?);
    let issue = match r.u8()? {
        0 => IssueMode::Sync,
        1 => IssueMode::Async(r.u8()?),
        _ => return Err("no such issue mode"),
    };
    Ok(VecOp { op, n0, n1, dst, a, b, c, issue, on_done: r.list(get_action)? })
}

fn put_region(w: &mut Writer, g: &Region) {
    put_rect(w, g.rect);
    w.var(g.class.0.into());
    w.var(g.node.0.into());
    for colors in [&g.in_colors, &g.out_colors] {
        // 0 is none, a color follows one higher.
        w.list(colors, |w, c| w.u16(c.map_or(0, |c| u16::from(c.0) + 1)));
    }
    w.list(&g.params, |w, f| match f {
        ParamFn::Const(c) => {
            w.u8(0);
            w.signed((*c).into());
        }
        ParamFn::Affine { base, dx, dy } => {
            w.u8(1);
            for v in [base, dx, dy] {
                w.signed((*v).into());
            }
        }
        ParamFn::Table(t) => {
            w.u8(2);
            w.list(t, |w, v| w.signed((*v).into()));
        }
    });
}

fn get_region(r: &mut Reader<'_>) -> Result<Region, Bad> {
    let color = |r: &mut Reader<'_>| match r.u16()? {
        0 => Ok(None),
        c => u8::try_from(c - 1).map(|c| Some(Color(c))).map_err(|_| "no such color"),
    };
    Ok(Region {
        rect: get_rect(r)?,
        class: ClassIx(r.unsigned()?),
        node: NodeIx(r.unsigned()?),
        in_colors: r.list(color)?,
        out_colors: r.list(color)?,
        params: r.list(|r| {
            Ok(match r.u8()? {
                0 => ParamFn::Const(r.signed()?),
                1 => ParamFn::Affine { base: r.signed()?, dx: r.signed()?, dy: r.signed()? },
                2 => ParamFn::Table(r.list(|r| r.signed())?),
                _ => return Err("no such parameter function"),
            })
        })?,
    })
}

fn put_io_port(w: &mut Writer, p: &IoPort) {
    w.var(p.tensor.into());
    w.var(p.row.into());
    w.u8(p.color.0);
    w.var(p.elem0);
    w.list(&p.loops, |w, l| {
        w.var(l.count.into());
        w.signed(l.elem_step);
    });
}

fn get_io_port(r: &mut Reader<'_>) -> Result<IoPort, Bad> {
    Ok(IoPort {
        tensor: r.unsigned()?,
        row: r.unsigned()?,
        color: Color(r.u8()?),
        elem0: r.var()?,
        loops: r.list(|r| Ok(PortLoop { count: r.unsigned()?, elem_step: r.signed()? }))?,
    })
}

fn put_resident(w: &mut Writer, m: &Resident) {
    w.var(m.tensor.into());
    put_rect(w, m.rect);
    w.var(m.addr.into());
    w.u8(m.ty.code());
    w.var(m.len.into());
    // Mostly one after the other, so the difference to the next is zero.
    let mut next = 0;
    w.list(&m.index, |w, &i| {
        w.signed(i64::from(i) - next);
        next = i64::from(i) + 1;
    });
}

fn get_resident(r: &mut Reader<'_>) -> Result<Resident, Bad> {
    let (tensor, rect, addr, ty, len) = (r.unsigned()?, get_rect(r)?, r.unsigned()?, get_elem(r)?, r.unsigned()?);
    let mut next = 0i64;
    let index = r.list(|r| {
        let step: i64 = r.signed()?;
        let i = step.checked_add(next).and_then(|i| u32::try_from(i).ok()).ok_or("an element out of range")?;
        next = i64::from(i) + 1;
        Ok(i)
    })?;
    Ok(Resident { tensor, rect, addr, ty, len, index })
}
