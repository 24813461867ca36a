//! What the PEs of a collective run: one task of synchronous operations, a class for each body.

use super::cost::Costs;
use crate::code::{fabric, mem, mov, num, op, to_fabric};
use quadrille_isa::wafer::{
    ClassIx, Color, Dst, ElemType, InQueue, Machine, Mem, NodeIx, OutQueue, PeClass, PeOp, Program, Rect, Region, Src,
    Task, Trigger, Val, VecOp,
};

/// PEs that do the same.
#[derive(Clone, Debug)]
pub(crate) struct Station {
    pub(crate) rect: Rect,
    pub(crate) body: Vec<VecOp>,
    ins: Vec<u8>,
    outs: Vec<u8>,
}

/// How long an operation can be held back: nothing in between, or a mov of so many f32 to nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Pause(u32);

impl Pause {
    /// Of at most this many cycles.
    pub(crate) fn of(cycles: u64, costs: &Costs) -> Pause {
        Pause((cycles.saturating_sub(costs.launch) * costs.mov).min(1 << 20) as u32)
    }

    /// The operation, if there is one.
    pub(crate) fn operation(self, over: Mem) -> Option<VecOp> {
        let still = Mem { stride0: num(0), stride1: num(0), ..over };
        (self.0 > 0).then(|| mov(num(1), num(self.0 as usize), Dst::None, Src::Mem(still)))
    }
}

/// Dense f32 from byte 0 on.
fn vector() -> Mem {
    mem(ElemType::F32, 0, 0, 1)
}

impl Station {
    pub(crate) fn new(rect: Rect) -> Station {
        Station { rect, body: Vec::new(), ins: Vec::new(), outs: Vec::new() }
    }

    /// The queue of a color that comes in.
    pub(crate) fn input(&mut self, color: u8) -> InQueue {
        self.ins.push(color);
        InQueue(self.ins.len() as u8 - 1)
    }

    /// The queue of a color that goes out.
    pub(crate) fn output(&mut self, color: u8) -> OutQueue {
        self.outs.push(color);
        OutQueue(self.outs.len() as u8 - 1)
    }

    /// Sends the vector.
    pub(crate) fn send(mut self, color: u8, n: u32) -> Station {
        let to = to_fabric(self.output(color), ElemType::F32);
        self.body.push(mov(num(1), num(n as usize), to, Src::Mem(vector())));
        self
    }

    /// Receives the vector.
    pub(crate) fn receive(mut self, color: u8, n: u32) -> Station {
        let from = fabric(self.input(color), ElemType::F32);
        self.body.push(mov(num(1), num(n as usize), Dst::Mem(vector()), from));
        self
    }

    /// Adds what comes in on `ins`, one after the other; the last sum goes out on `out` as it is made,
    /// after `pause`.
    pub(crate) fn combine(mut self, ins: &[u8], out: Option<u8>, n: u32, pause: Pause) -> Station {
        if ins.is_empty() {
            self.body.extend(pause.operation(vector()));
            return match out {
                Some(color) => self.send(color, n),
                None => self,
            };
        }
        for (k, &color) in ins.iter().enumerate() {
            if k + 1 == ins.len() {
                self.body.extend(pause.operation(vector()));
            }
            let from = fabric(self.input(color), ElemType::F32);
            let to = match out {
                Some(color) if k + 1 == ins.len() => to_fabric(self.output(color), ElemType::F32),
                _ => Dst::Mem(vector()),
            };
            self.body.push(op(PeOp::Add, num(1), num(n as usize), to, [Src::Mem(vector()), from, Src::None]));
        }
        self
    }
}

/// A program in the making.
pub(crate) struct Sheet {
    pub(crate) program: Program,
}

impl Sheet {
    pub(crate) fn new(machine: &Machine, model: &str) -> Sheet {
        Sheet {
            program: Program {
                machine: machine.name.clone(),
                machine_hash: machine.hash(),
                model: model.to_owned(),
                nodes: vec![model.to_owned()],
                ..Program::default()
            },
        }
    }

    /// Adds PEs; equal bodies share a class.
    pub(crate) fn station(&mut self, s: Station) {
        let tasks = vec![Task {
            name: "start".to_owned(),
            trigger: Trigger::Local,
            active: true,
            blocked: false,
            repeat: Val::Const(1),
            body: s.body,
            on_end: Vec::new(),
        }];
        let classes = &mut self.program.classes;
        let class = classes.iter().position(|c| c.tasks == tasks).unwrap_or_else(|| {
            classes.push(PeClass { name: format!("{} {}", self.program.model, classes.len()), tasks });
            classes.len() - 1
        });
        let colors = |list: &[u8]| list.iter().map(|&c| Some(Color(c))).collect();
        self.program.regions.push(Region {
            rect: s.rect,
            class: ClassIx(class as u32),
            node: NodeIx(0),
            in_colors: colors(&s.ins),
            out_colors: colors(&s.outs),
            params: Vec::new(),
        });
    }
}
