//! One random change to a `wafer` program: any field, or a whole operation, route, region,
//! task, data rectangle or port taken away or doubled.

use quadrille_isa::DType;
use quadrille_isa::wafer::*;

/// SplitMix64: small, seedable, the same everywhere.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// A field that can be changed.
enum Slot<'a> {
    U8(&'a mut u8, u8),
    U16(&'a mut u16),
    U32(&'a mut u32),
    U64(&'a mut u64),
    I32(&'a mut i32),
    I64(&'a mut i64),
    Usize(&'a mut usize),
    Bool(&'a mut bool),
    Val(&'a mut Val),
    Type(&'a mut ElemType),
    Op(&'a mut PeOp),
    Src(&'a mut Src),
    Dst(&'a mut Dst),
    Issue(&'a mut IssueMode),
    Actions(&'a mut Vec<Action>),
    Trigger(&'a mut Trigger),
    Queues(&'a mut Vec<Option<Color>>),
    Port(&'a mut Port),
    Ports(&'a mut PortSet),
    Param(&'a mut ParamFn),
    Bytes(&'a mut bytes::Bytes),
    DType(&'a mut DType),
    Loops(&'a mut Vec<PortLoop>),
    Text(&'a mut String),
}

fn number(old: i64, rng: &mut Rng) -> i64 {
    match rng.below(6) {
        0 => old.wrapping_add(1),
        1 => old.wrapping_sub(1),
        2 => old.wrapping_mul(2),
        3 => 0,
        4 => old.wrapping_add(rng.below(64) as i64 - 32),
        _ => rng.pick(&[i64::from(i32::MAX), i64::from(i32::MIN), -1, 1 << 20, 7, 4, i64::MAX]),
    }
}

fn mem_slots<'a>(m: &'a mut Mem, out: &mut Vec<Slot<'a>>) {
    out.push(Slot::Type(&mut m.ty));
    for v in [&mut m.base, &mut m.stride0, &mut m.stride1, &mut m.step, &mut m.modulo] {
        out.push(Slot::Val(v));
    }
}

fn src_slots<'a>(s: &'a mut Src, out: &mut Vec<Slot<'a>>) {
    match s {
        Src::Mem(m) | Src::RowScalar(m) => mem_slots(m, out),
        Src::Fabric(q, ty) | Src::FabricRowScalar(q, ty) => {
            out.push(Slot::U8(&mut q.0, 9));
            out.push(Slot::Type(ty));
        }
        Src::Imm(bits, ty) => {
            out.push(Slot::U32(bits));
            out.push(Slot::Type(ty));
        }
        Src::None => {}
    }
}

fn rect_slots<'a>(r: &'a mut Rect, out: &mut Vec<Slot<'a>>) {
    for f in [&mut r.x, &mut r.y, &mut r.w, &mut r.h] {
        out.push(Slot::U16(f));
    }
}

fn slots(p: &mut Program) -> Vec<Slot<'_>> {
    let mut out = Vec::new();
    out.push(Slot::Text(&mut p.machine_hash));
    for class in &mut p.classes {
        for task in &mut class.tasks {
            out.push(Slot::Trigger(&mut task.trigger));
            out.push(Slot::Bool(&mut task.active));
            out.push(Slot::Bool(&mut task.blocked));
            out.push(Slot::Val(&mut task.repeat));
            out.push(Slot::Actions(&mut task.on_end));
            for op in &mut task.body {
                out.push(Slot::Op(&mut op.op));
                out.push(Slot::Val(&mut op.n0));
                out.push(Slot::Val(&mut op.n1));
                out.push(Slot::Issue(&mut op.issue));
                out.push(Slot::Actions(&mut op.on_done));
            }
        }
    }
    for region in &mut p.regions {
        rect_slots(&mut region.rect, &mut out);
        out.push(Slot::U32(&mut region.class.0));
        out.push(Slot::U32(&mut region.node.0));
        out.push(Slot::Queues(&mut region.in_colors));
        out.push(Slot::Queues(&mut region.out_colors));
        for f in &mut region.params {
            out.push(Slot::Param(f));
        }
    }
    for route in &mut p.routes {
        rect_slots(&mut route.rect, &mut out);
        out.push(Slot::U8(&mut route.color.0, 26));
        out.push(Slot::Port(&mut route.rx));
        out.push(Slot::Ports(&mut route.tx));
    }
    for data in &mut p.data {
        rect_slots(&mut data.rect, &mut out);
        out.push(Slot::U32(&mut data.addr));
        out.push(Slot::U32(&mut data.len));
        out.push(Slot::Bytes(&mut data.bytes));
    }
    for t in p.outputs.iter_mut().chain(&mut p.inputs) {
        out.push(Slot::DType(&mut t.dtype));
        for d in &mut t.shape {
            out.push(Slot::Usize(d));
        }
    }
    for port in p.in_ports.iter_mut().chain(&mut p.out_ports) {
        out.push(Slot::U32(&mut port.tensor));
        out.push(Slot::U16(&mut port.row));
        out.push(Slot::U8(&mut port.color.0, 26));
        out.push(Slot::U64(&mut port.elem0));
        for l in &mut port.loops {
            out.push(Slot::U32(&mut l.count));
            out.push(Slot::I64(&mut l.elem_step));
        }
    }
    for m in p.in_sram.iter_mut().chain(&mut p.out_sram) {
        rect_slots(&mut m.rect, &mut out);
        out.push(Slot::U32(&mut m.tensor));
        out.push(Slot::U32(&mut m.addr));
        out.push(Slot::U32(&mut m.len));
        out.push(Slot::Type(&mut m.ty));
        out.extend(m.index.first_mut().map(Slot::U32));
    }
    out
}

/// The operands, apart: a slot of a whole operand and slots of its fields cannot be borrowed
/// at once.
fn operand_slots(p: &mut Program, whole: bool) -> Vec<Slot<'_>> {
    let mut out = Vec::new();
    for op in p.classes.iter_mut().flat_map(|c| &mut c.tasks).flat_map(|t| &mut t.body) {
        if whole {
            out.extend([Slot::Src(&mut op.a), Slot::Src(&mut op.b), Slot::Src(&mut op.c), Slot::Dst(&mut op.dst)]);
            continue;
        }
        for s in [&mut op.a, &mut op.b, &mut op.c] {
            src_slots(s, &mut out);
        }
        match &mut op.dst {
            Dst::Mem(m) => mem_slots(m, &mut out),
            Dst::Fabric(q, ty) => {
                out.push(Slot::U8(&mut q.0, 7));
                out.push(Slot::Type(ty));
            }
            Dst::None => {}
        }
    }
    if !whole {
        for port in p.in_ports.iter_mut().chain(&mut p.out_ports) {
            out.push(Slot::Loops(&mut port.loops));
        }
    }
    out
}

const TYPES: [ElemType; 5] = [ElemType::I8, ElemType::I16, ElemType::F16, ElemType::I32, ElemType::F32];

fn action(rng: &mut Rng) -> Action {
    let t = TaskIx(rng.below(4) as u8);
    rng.pick(&[Action::Activate(t), Action::Block(t), Action::Unblock(t)])
}

fn change(slot: Slot<'_>, rng: &mut Rng) {
    match slot {
        Slot::U8(v, n) => *v = rng.below(usize::from(n)) as u8,
        Slot::U16(v) => *v = number(i64::from(*v), rng) as u16,
        Slot::U32(v) => *v = number(i64::from(*v), rng) as u32,
        Slot::U64(v) => *v = number(*v as i64, rng) as u64,
        Slot::I32(v) => *v = number(i64::from(*v), rng) as i32,
        Slot::I64(v) => *v = number(*v, rng),
        Slot::Usize(v) => *v = number(*v as i64, rng) as usize,
        Slot::Bool(v) => *v = !*v,
        Slot::Val(v) => {
            *v = match *v {
                Val::Const(c) if rng.below(8) > 0 => Val::Const(number(i64::from(c), rng) as i32),
                _ => Val::Param(rng.below(4) as u16),
            }
        }
        Slot::Type(v) => *v = rng.pick(&TYPES),
        Slot::Op(v) => {
            use PeOp::*;
            *v = rng.pick(&[Mov, Add, Sub, Mul, Fma, Min, Max, CmpLt, CmpEq, Select, Exp2, Recip, Rsqrt]);
        }
        Slot::Src(v) => {
            let ty = rng.pick(&TYPES);
            *v = match (*v, rng.below(4)) {
                (Src::Mem(m), 0) => Src::RowScalar(m),
                (Src::Fabric(q, t), 0) => Src::FabricRowScalar(q, t),
                (_, 1) => Src::None,
                (_, 2) => Src::Imm(rng.next() as u32, ty),
                _ => Src::Fabric(InQueue(rng.below(3) as u8), ty),
            }
        }
        Slot::Dst(v) => {
            *v = match rng.below(2) {
                0 => Dst::None,
                _ => Dst::Fabric(OutQueue(rng.below(3) as u8), rng.pick(&TYPES)),
            }
        }
        Slot::Issue(v) => *v = rng.pick(&[IssueMode::Sync, IssueMode::Async(0), IssueMode::Async(9)]),
        Slot::Actions(v) => {
            if v.is_empty() || rng.below(2) == 0 {
                v.push(action(rng));
            } else {
                let at = rng.below(v.len());
                v.remove(at);
            }
        }
        Slot::Trigger(v) => {
            let queue = InQueue(rng.below(3) as u8);
            *v = rng.pick(&[Trigger::Local, Trigger::Data(queue)]);
        }
        Slot::Queues(v) => {
            let at = rng.below(v.len() + 1);
            let some = Color(rng.below(6) as u8);
            let color = rng.pick(&[None, Some(some), Some(Color(30))]);
            if at == v.len() {
                v.push(color);
            } else {
                v[at] = color;
            }
        }
        Slot::Port(v) => *v = rng.pick(&[Port::North, Port::East, Port::South, Port::West, Port::Ramp]),
        Slot::Ports(v) => v.0 ^= 1 << rng.below(6),
        Slot::Param(v) => match v {
            ParamFn::Const(c) => *c = number(i64::from(*c), rng) as i32,
            ParamFn::Affine { base, dx, dy } => {
                let f = rng.below(3);
                let f = [base, dx, dy].into_iter().nth(f).unwrap();
                *f = number(i64::from(*f), rng) as i32;
            }
            ParamFn::Table(t) if !t.is_empty() && rng.below(3) > 0 => {
                let at = rng.below(t.len());
                t[at] = number(i64::from(t[at]), rng) as i32;
            }
            ParamFn::Table(t) => {
                t.pop();
            }
        },
        Slot::Bytes(v) => {
            let mut bytes = v.to_vec();
            if bytes.is_empty() || rng.below(3) == 0 {
                bytes.push(1);
            } else {
                let at = rng.below(bytes.len());
                bytes[at] ^= 1 << rng.below(8);
            }
            *v = bytes.into();
        }
        Slot::DType(v) => *v = rng.pick(&DType::ALL),
        Slot::Loops(v) => match rng.below(3) {
            0 => v.push(PortLoop { count: rng.below(3) as u32, elem_step: 1 }),
            1 => v.reverse(),
            _ => {
                v.pop();
            }
        },
        Slot::Text(v) => v.push('0'),
    }
}

/// Takes away or doubles an element of a list.
fn thin_or_double<T: Clone>(list: &mut Vec<T>, rng: &mut Rng) {
    if list.is_empty() {
        return;
    }
    let at = rng.below(list.len());
    if rng.below(2) == 0 {
        list.remove(at);
    } else {
        let again = list[at].clone();
        list.insert(at, again);
    }
}

/// A program that differs from `base` in one place.
pub(crate) fn mutate(base: &Program, rng: &mut Rng) -> Program {
    loop {
        let mut p = base.clone();
        match rng.below(10) {
            0..5 => {
                let mut all = slots(&mut p);
                let at = rng.below(all.len());
                change(all.swap_remove(at), rng);
            }
            k @ 5..9 => {
                let mut all = operand_slots(&mut p, k == 8);
                if all.is_empty() {
                    continue;
                }
                let at = rng.below(all.len());
                change(all.swap_remove(at), rng);
            }
            _ => match rng.below(7) {
                0 => thin_or_double(&mut p.routes, rng),
                1 => thin_or_double(&mut p.regions, rng),
                2 => thin_or_double(&mut p.data, rng),
                3 => thin_or_double(&mut p.in_ports, rng),
                4 => thin_or_double(&mut p.out_ports, rng),
                k => {
                    let c = rng.below(p.classes.len());
                    let Some(class) = p.classes.get_mut(c) else { continue };
                    let tasks = &mut class.tasks;
                    if k == 5 {
                        thin_or_double(tasks, rng);
                    } else if !tasks.is_empty() {
                        let t = rng.below(tasks.len());
                        thin_or_double(&mut tasks[t].body, rng);
                    }
                }
            },
        }
        if p != *base {
            return p;
        }
    }
}
