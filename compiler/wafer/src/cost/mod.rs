//! What the rewriter goes by: cycles of an operation on the mesh in pipeline mode, as the kernel made for it would run.
//!
//! Knows: shapes, the machine description, and what the code of each kernel does for a row or a block ([`window`],
//! [`dense`], [`stream`]). A PE does one thing at a time, so receiving, computing and sending add up; the last PE of a
//! chain also passes on the results of all others. Must not know: the graph around, places or routes.

mod dense;
mod lanes;
mod stream;
mod window;

use quadrille_compiler::ir::{Binary, EpilogueStep, Graph, Op, TensorType, Unary};
use quadrille_compiler::rewrite::{CostModel, Cycles, Mapping, Operand, RESOURCES, Target, Wait, as_chain};
use quadrille_isa::wafer::Machine;

/// Cost model of a `wafer` machine.
#[derive(Clone, Debug)]
pub struct Cost {
    machine: Machine,
    mesh_pes: u64,
    launch: u64,
    switch: u64,
    /// Elements a cycle.
    mixed_fma: u64,
    f32_fma: u64,
    f32_mov: u64,
    f16_mov: u64,
    add: u64,
    /// From one PE of a chain to the next, with what it does before it sends.
    hop: u64,
    fill: u64,
    sram: u64,
    /// Lanes of columns in which images are.
    lanes: usize,
}

/// Resources, in the order of [`CostModel::resources`]: the busiest PE of a kernel, its busiest stream, the bytes that its
/// busiest PE moves, and its part of the mesh.
const PE: usize = 0;
const LINK: usize = 1;
const MEMORY: usize = 2;
const MESH: usize = 3;

/// Bytes that a PE reads and writes in one cycle.
const BYTES_PER_CYCLE: u64 = 24;

/// More PEs are no use where they multiply the work of all by more than this many halves.
const MOST_EFFORT_HALVES: u64 = 3;

impl Default for Cost {
    fn default() -> Cost {
        Cost::new(&Machine::builtin("wafer").expect("the description ships with the compiler"))
    }
}

impl Cost {
    /// The model of a machine.
    pub fn new(m: &Machine) -> Cost {
        let (g, r, l) = (&m.geometry, &m.rate, &m.latency);
        Cost {
            machine: m.clone(),
            mesh_pes: u64::from(g.width_pes) * u64::from(g.height_pes),
            launch: u64::from(l.vector_launch),
            switch: u64::from(l.task_switch),
            mixed_fma: u64::from(r.f16_mixed_fma),
            f32_fma: u64::from(r.f32_fma),
            f32_mov: u64::from(r.f32_mov),
            f16_mov: u64::from(r.f16_mov),
            add: u64::from(r.f32_add),
            hop: u64::from(m.router.hop_cycles + 2 * m.router.ramp_cycles),
            fill: u64::from(l.task_switch + l.vector_launch + 4 * m.router.ramp_cycles),
            sram: u64::from(g.sram_bytes_per_pe),
            lanes: 1,
        }
    }

    /// A vector operation on `n` elements.
    fn vector(&self, n: u64, rate: u64) -> u64 {
        self.launch + n.div_ceil(rate.max(1))
    }

    /// The operations of elementwise steps on a block of `n` elements.
    fn steps(&self, micros: Micros, n: u64) -> u64 {
        micros.slow * self.vector(n, 1) + micros.fast * self.vector(n, self.add)
    }

    /// A kernel of so many PEs, the busiest of which is busy for `pe` cycles, with what it streams and moves.
    fn kernel(&self, k: Kernel) -> Cycles {
        // The first share comes when a window of rows has come, and passes the chain.
        Cycles { fill: self.fill + k.pes * self.hop, ..self.kernel_of_mesh(k) }
    }

    /// The same without a chain to fill.
    fn kernel_of_mesh(&self, k: Kernel) -> Cycles {
        let mut busy = [0; RESOURCES];
        busy[PE] = k.cycles;
        busy[LINK] = k.wavelets;
        busy[MEMORY] = k.bytes.div_ceil(BYTES_PER_CYCLE);
        busy[MESH] = (k.pes * k.cycles).div_ceil(self.mesh_pes);
        Cycles { busy, fill: self.fill }
    }
}

/// A kernel as it would run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kernel {
    pes: u64,
    /// Of its busiest PE, for the whole run.
    cycles: u64,
    /// On its busiest stream.
    wavelets: u64,
    /// That its busiest PE reads and writes.
    bytes: u64,
}

/// The kernel that is fastest without more effort than helps.
fn fastest(all: impl IntoIterator<Item = Kernel>) -> Option<Kernel> {
    let mut best: Option<Kernel> = None;
    for k in all {
        let worth =
            best.is_none_or(|b| k.cycles < b.cycles && 2 * k.pes * k.cycles <= MOST_EFFORT_HALVES * b.pes * b.cycles);
        if worth {
            best = Some(k);
        }
    }
    best
}

/// Vector operations of elementwise steps, by rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Micros {
    /// Of one element a cycle.
    slow: u64,
    /// Of two.
    fast: u64,
}

impl Micros {
    fn new(slow: u64, fast: u64) -> Micros {
        Micros { slow, fast }
    }

    fn and(self, o: Micros) -> Micros {
        Micros { slow: self.slow + o.slow, fast: self.fast + o.fast }
    }
}

/// Operations that a unary step is composed of.
fn unary(u: Unary) -> Micros {
    use Unary::*;
    match u {
        Relu | Neg | Recip | Rsqrt => Micros::new(1, 0),
        Abs | Exp | Sqrt => Micros::new(2, 0),
        Sigmoid => Micros::new(3, 1),
        Tanh => Micros::new(4, 1),
        Erf => Micros::new(17, 2),
        Round | Floor | Ceil | Not | Sign | IsNan | IsInf => Micros::new(2, 2),
        Log => Micros::new(16, 4),
        _ => Micros::new(20, 4),
    }
}

/// Operations of a step with a constant, or of two blocks.
fn binary(b: Binary, constant: bool) -> Micros {
    match b {
        Binary::Add | Binary::Sub => Micros::new(0, 1),
        Binary::Div if !constant => Micros::new(2, 0),
        Binary::Prelu => Micros::new(3, 0),
        Binary::Pow => Micros::new(if constant { 1 } else { 24 }, 0),
        Binary::Mod | Binary::Rem => Micros::new(6, 2),
        _ => Micros::new(1, 0),
    }
}

/// Operations of an epilogue, but for a bias: that is where sums start.
fn epilogue(op: &Op) -> Micros {
    let steps = match op {
        Op::Conv { epilogue, .. } | Op::MatMul { epilogue } => epilogue.as_slice(),
        _ => &[],
    };
    let after_bias = usize::from(steps.first() == Some(&EpilogueStep::Add));
    steps[after_bias..].iter().fold(Micros::default(), |sum, s| {
        sum.and(match s {
            EpilogueStep::Add => Micros::new(0, 1),
            EpilogueStep::LeakyRelu(_) | EpilogueStep::Prelu => Micros::new(3, 0),
            EpilogueStep::Sigmoid => unary(Unary::Sigmoid),
            EpilogueStep::Tanh => unary(Unary::Tanh),
            EpilogueStep::Gelu => unary(Unary::Erf).and(Micros::new(2, 2)),
            EpilogueStep::GeluTanh => Micros::new(6, 2),
            EpilogueStep::Silu(_) => Micros::new(4, 2),
            EpilogueStep::HardSwish => Micros::new(4, 0),
            _ => Micros::new(1, 0),
        })
    })
}

/// A mapping by the PEs that it may have.
fn named(most: u64, cycles: Cycles) -> Mapping {
    let name = if most == u64::MAX { "as many PEs as help".to_string() } else { format!("{most} PEs at most") };
    Mapping { name, cycles, likely: true }
}

/// Limits on the PEs of a kernel that are enumerated.
const LIMITS: [u64; 4] = [u64::MAX, 16, 4, 1];

/// Numbers of lanes that are enumerated.
const LANES: [usize; 5] = [2, 4, 8, 14, 28];

impl Cost {
    /// Cycles with so many PEs at most.
    fn within(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType, most: u64) -> Cycles {
        match op {
            Op::Conv { window, groups, .. } => self.convolution(op, window, *groups as u64, inputs, result, most),
            Op::Pool { window, .. } => self.pool(window, inputs, result, most),
            Op::MatMul { .. } => self.product(op, inputs, result, most),
            Op::Norm { axes, centered, .. } => as_chain(self, axes, *centered, result),
            _ => self.streamed(op, inputs, result, most),
        }
    }
}

impl CostModel for Cost {
    fn target(&self) -> Target {
        Target::Wafer
    }

    fn resources(&self) -> [&'static str; RESOURCES] {
        ["pe", "link", "memory", "mesh"]
    }

    fn shared(&self) -> [bool; RESOURCES] {
        // Every kernel has PEs, streams and memories of its own.
        [false, false, false, true]
    }

    fn epilogue_steps(&self) -> usize {
        8
    }

    fn epilogue_operands(&self) -> bool {
        false
    }

    fn mappings(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Vec<Mapping> {
        let all = LIMITS.map(|most| named(most, self.within(op, inputs, result, most)));
        let mut different: Vec<Mapping> = Vec::new();
        for m in all.into_iter().chain(self.lanes(op, inputs, result)) {
            if !different.iter().any(|d| d.cycles == m.cycles) {
                different.push(m);
            }
        }
        different.extend(self.whole_mesh(op, inputs, result));
        if different.len() > 1 { different } else { Vec::new() }
    }

    fn cycles(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Cycles {
        // As many lanes as the image allows, by halves.
        let halves = std::iter::successors(Some(self.lanes), |n| n.is_multiple_of(2).then_some(n / 2));
        let lanes = halves.filter(|&n| n > 1).find_map(|n| self.in_lanes(op, inputs, result, n));
        lanes.unwrap_or_else(|| self.within(op, inputs, result, u64::MAX))
    }

    fn of_graph(&self, g: &Graph) -> Option<Box<dyn CostModel>> {
        let lanes = self.lanes_of(g)?;
        Some(Box::new(Cost { lanes, ..self.clone() }))
    }

    fn decided(&self) -> Option<String> {
        (self.lanes > 1).then(|| format!("images in {} lanes of columns", self.lanes))
    }

    fn wait(&self, op: &Op, inputs: &[Operand<'_>], cycles: Cycles) -> Wait {
        let computed = inputs.iter().filter(|i| !i.fixed).count();
        let joins = matches!(op, Op::Unary(_)) || matches!(op, Op::Binary(_)) && computed == 1;
        let all = cycles.busiest();
        // A kernel made for a stream goes on row by row: it waits for the rows of its first result. The general one has its operands
        // whole.
        let of_rows = |first: usize, rows: usize| all * (first.min(rows) as u64) / (rows.max(1) as u64);
        let x = |i: usize| &inputs[i].ty.shape[..];
        let lead = match op {
            Op::MatMul { .. } if inputs[1].fixed => of_rows(1, x(0)[..x(0).len() - 1].iter().product()),
            Op::Conv { window, .. } if inputs[1].fixed => of_rows(window.kernel[0], x(0)[0] * x(0)[2]),
            Op::Pool { window, .. } => of_rows(window.kernel[0], x(0)[0] * x(0)[2]),
            Op::Softmax { .. } => of_rows(1, x(0)[..x(0).len().saturating_sub(2)].iter().product()),
            // Operands of different extents that are no image and its gates are for the general kernel.
            Op::Binary(_) if computed == 2 && x(0).len() < 4 && inputs[0].ty.elements() != inputs[1].ty.elements() => {
                all
            }
            Op::Binary(_) | Op::Concat { .. } | Op::Slice { .. } | Op::Reshape { .. } | Op::Cast(_) => 0,
            _ if joins => 0,
            _ => all,
        };
        Wait { lead, joins }
    }

    fn joined(&self, op: &Op, inputs: &[Operand<'_>], result: &TensorType) -> Cycles {
        let computed = inputs.iter().filter(|i| !i.fixed).count();
        let micros = match op {
            Op::Unary(u) => unary(*u),
            Op::Binary(b) if computed == 1 => binary(*b, true),
            _ => return self.cycles(op, inputs, result),
        };
        // Steps of the kernel that makes the operand, on its PEs.
        let image = result.rank() >= 4 && result.shape[result.rank() - 1] >= self.lanes;
        let n = (result.elements() as u64).div_ceil(JOINED_PES * if image { self.lanes as u64 } else { 1 });
        let mut busy = [0; RESOURCES];
        busy[PE] = n * micros.slow + n * micros.fast / self.add;
        busy[MEMORY] = (8 * n * (micros.slow + micros.fast)).div_ceil(BYTES_PER_CYCLE);
        Cycles { busy, fill: self.launch * (micros.slow + micros.fast) }
    }
}

/// PEs that the kernel in front of an elementwise step is taken to have.
const JOINED_PES: u64 = 8;
