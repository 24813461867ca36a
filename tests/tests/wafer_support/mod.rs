//! Building small `wafer` programs by hand, for the tests of the checker and the simulator.
#![allow(dead_code)] // each test binary uses its part
#![allow(missing_docs)]

use bytes::Bytes;
use quadrille_isa::wafer::*;
use quadrille_isa::{DType, Tensor};

pub(crate) struct Builder {
    pub(crate) machine: Machine,
    pub(crate) program: Program,
}

pub(crate) fn set(ports: &[Port]) -> PortSet {
    ports.iter().fold(PortSet::default(), |s, &p| s.with(p))
}

pub(crate) fn rect(x: u16, y: u16, w: u16, h: u16) -> Rect {
    Rect { x, y, w, h }
}

/// Dense elements from `base` on.
pub(crate) fn mem(ty: ElemType, base: i32) -> Mem {
    strided(ty, base, 1, 0)
}

pub(crate) fn strided(ty: ElemType, base: i32, stride0: i32, stride1: i32) -> Mem {
    let c = Val::Const;
    Mem { ty, base: c(base), stride0: c(stride0), stride1: c(stride1), step: c(0), modulo: c(0) }
}

/// `mem` moved by `step` elements after each execution, modulo `modulo`.
pub(crate) fn stepping(m: Mem, step: i32, modulo: i32) -> Mem {
    Mem { step: Val::Const(step), modulo: Val::Const(modulo), ..m }
}

pub(crate) fn op(op: PeOp, n: i32, dst: Dst, sources: &[Src]) -> VecOp {
    let src = |k: usize| sources.get(k).copied().unwrap_or(Src::None);
    VecOp {
        op,
        n0: Val::Const(n),
        n1: Val::Const(1),
        dst,
        a: src(0),
        b: src(1),
        c: src(2),
        issue: IssueMode::Sync,
        on_done: Vec::new(),
    }
}

pub(crate) fn rows(o: VecOp, n1: i32) -> VecOp {
    VecOp { n1: Val::Const(n1), ..o }
}

pub(crate) fn asynch(o: VecOp, ut: u8, on_done: &[Action]) -> VecOp {
    VecOp { issue: IssueMode::Async(ut), on_done: on_done.to_vec(), ..o }
}

pub(crate) fn src(m: Mem) -> Src {
    Src::Mem(m)
}

pub(crate) fn dst(m: Mem) -> Dst {
    Dst::Mem(m)
}

pub(crate) fn from(q: u8, ty: ElemType) -> Src {
    Src::Fabric(InQueue(q), ty)
}

pub(crate) fn to(q: u8, ty: ElemType) -> Dst {
    Dst::Fabric(OutQueue(q), ty)
}

pub(crate) fn f32imm(x: f32) -> Src {
    Src::Imm(x.to_bits(), ElemType::F32)
}

/// A local task that is active from the start.
pub(crate) fn start(body: Vec<VecOp>) -> Task {
    Task {
        name: "start".to_owned(),
        trigger: Trigger::Local,
        active: true,
        blocked: false,
        repeat: Val::Const(1),
        body,
        on_end: Vec::new(),
    }
}

/// A local task that waits for an activation.
pub(crate) fn local(name: &str, body: Vec<VecOp>) -> Task {
    Task { name: name.to_owned(), active: false, ..start(body) }
}

pub(crate) fn data_task(name: &str, queue: u8, body: Vec<VecOp>) -> Task {
    Task { trigger: Trigger::Data(InQueue(queue)), ..local(name, body) }
}

pub(crate) fn repeated(task: Task, n: i32) -> Task {
    Task { repeat: Val::Const(n), ..task }
}

impl Builder {
    pub(crate) fn small() -> Builder {
        Builder::on("wafer-small")
    }

    pub(crate) fn on(name: &str) -> Builder {
        let machine = Machine::builtin(name).unwrap();
        let program = Program {
            machine: machine.name.clone(),
            machine_hash: machine.hash(),
            model: "hand-built".to_owned(),
            nodes: vec!["node".to_owned()],
            ..Program::default()
        };
        Builder { machine, program }
    }

    /// A region running a class of its own. Queue k is bound to the k-th color.
    pub(crate) fn region(&mut self, rect: Rect, tasks: Vec<Task>, ins: &[u8], outs: &[u8]) -> &mut Region {
        let class = ClassIx(self.program.classes.len() as u32);
        self.program.classes.push(PeClass { name: format!("class{}", class.0), tasks });
        self.program.regions.push(Region {
            rect,
            class,
            node: NodeIx(0),
            in_colors: ins.iter().map(|&c| Some(Color(c))).collect(),
            out_colors: outs.iter().map(|&c| Some(Color(c))).collect(),
            params: Vec::new(),
        });
        self.program.regions.last_mut().unwrap()
    }

    pub(crate) fn route(&mut self, rect: Rect, color: u8, rx: Port, tx: &[Port]) {
        self.program.routes.push(Route { rect, color: Color(color), rx, tx: set(tx) });
    }

    pub(crate) fn data(&mut self, rect: Rect, addr: u32, len: u32, bytes: Vec<u8>) {
        self.program.data.push(Data { rect, addr, len, bytes: Bytes::from(bytes) });
    }

    pub(crate) fn data_f32(&mut self, rect: Rect, addr: u32, values: &[f32]) {
        self.data(rect, addr, values.len() as u32 * 4, f32_bytes(values));
    }

    /// An input of this shape that enters whole at `row`.
    pub(crate) fn input(&mut self, dtype: DType, shape: &[usize], row: u16, color: u8) {
        let n = shape.iter().product::<usize>() as u32;
        self.program.in_ports.push(port(self.program.inputs.len() as u32, row, color, 0, n));
        self.program.inputs.push(IoTensor { name: "in".to_owned(), dtype, shape: shape.to_vec() });
    }

    /// An output of this shape that leaves whole at `row`.
    pub(crate) fn output(&mut self, dtype: DType, shape: &[usize], row: u16, color: u8) {
        let n = shape.iter().product::<usize>() as u32;
        self.program.out_ports.push(port(self.program.outputs.len() as u32, row, color, 0, n));
        self.program.outputs.push(IoTensor { name: "out".to_owned(), dtype, shape: shape.to_vec() });
    }
}

/// Elements `first..first + n` of a tensor, in order.
pub(crate) fn port(tensor: u32, row: u16, color: u8, first: u64, n: u32) -> IoPort {
    IoPort { tensor, row, color: Color(color), elem0: first, loops: vec![PortLoop { count: n, elem_step: 1 }] }
}

pub(crate) fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

pub(crate) fn f32_values(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect()
}

pub(crate) fn f16_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|&v| half::f16::from_f32(v).to_bits().to_le_bytes()).collect()
}

pub(crate) fn f16_tensor(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(DType::F16, shape.to_vec(), f16_bytes(values)).unwrap()
}

pub(crate) fn f16_values(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(2).map(|c| half::f16::from_bits(u16::from_le_bytes([c[0], c[1]])).to_f32()).collect()
}

pub(crate) mod mutate;
pub(crate) mod samples;
