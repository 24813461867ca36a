//! The product of two square matrices in f16 over a square of PEs, sums in f32.
//!
//! ```text
//! ring of a row, folded so that neighbours on the ring are at most two hops apart:
//!
//!     +-->[0]  [1]<-------[3]<-------[5]<--+          each PE: block of A, block of B, block of C
//!     |    |    ^                           |
//!     |    +----+                           |          every k:  send column k of A, row k of B
//!     +---[2]<--------[4]<-----------------+                     C += column k x row k
//!                                                                take column k, row k of the next block
//! ```
//!
//! Blocks of A go round the rings of the rows and blocks of B round those of the columns, a column or
//! row at a time, into the places just used: no second buffer and one task. Operands lie skewed, as in
//! Cannon's algorithm: the PE at (i, j) of the rings begins with blocks A(i, i + j) and B(i + j, j).
//! After as many blocks as the ring has PEs all are back where they were.
//!
//! Sums, declared: from zero; blocks in ascending order from i + j on, then from 0; in a block k
//! ascending; one rounding to f32 a step.

use super::wires::{self, Axis};
use super::{Message, too_many_colors};
use crate::CompileError;
use crate::code::{fabric, mem, mov, num, op, stepped, to_fabric};
use quadrille_isa::wafer::{
    ClassIx, Color, Data, Dst, ElemType, InQueue, Machine, NodeIx, OutQueue, Pe, PeClass, PeOp, Program, Rect, Region,
    Src, Task, Trigger,
};

/// The output queues of the two operands: the deep ones.
const OUT: [u8; 2] = [2, 3];

/// How the places of a line make a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ring {
    /// Folded: every message goes over at most two hops.
    #[default]
    Folded,
    /// From place to place and from the first back to the last, as in Cannon's algorithm.
    Wrapped,
}

/// A program for one product.
#[derive(Clone, Debug)]
pub struct Gemm {
    /// The program; the matrices are zero until [`Gemm::fill`].
    pub program: Program,
    /// Cycles from the first launch to the last write.
    pub declared_cycles: u64,
    /// PEs of a side.
    pub side: u16,
    /// Rows and columns of a PE's blocks.
    pub block: u32,
    /// Place on the ring of each place on a line.
    ring: Vec<usize>,
}

/// Places on a line in the order of the ring: even ones up, odd ones down.
fn fold(n: u16) -> Vec<u16> {
    let odd = (0..n).filter(|p| p % 2 == 1).rev();
    (0..n).filter(|p| p % 2 == 0).chain(odd).collect()
}

/// `side * block` rows and columns on `side` x `side` PEs in the corner.
///
/// # Errors
/// When PEs, SRAM, queues or colors do not suffice, or a column of a block does not fit the buffers between two
/// PEs.
pub fn compile(machine: &Machine, side: u16, block: u32) -> Result<Gemm, CompileError> {
    compile_on(machine, side, block, Ring::Folded)
}

/// [`compile`] on rings of any kind.
///
/// # Errors
/// As there.
pub fn compile_on(machine: &Machine, side: u16, block: u32, ring: Ring) -> Result<Gemm, CompileError> {
    let folded = ring == Ring::Folded;
    super::fits(machine, side, side, 1)?;
    // Words of a column wait in the sender's queue and ramp, and in the receiver's, while both compute.
    let room = out_depth(machine) + 2 * machine.router.ramp_cycles + machine.router.link_buffer_wavelets;
    let words = block.div_ceil(2);
    let memory = u64::from(block) * u64::from(block) * 8 + 5 * u64::from(machine.program.vector_op_bytes);
    if words > room
        || block == 0
        || block % 2 == 1
        || side < 2
        || memory > u64::from(machine.geometry.sram_bytes_per_pe)
    {
        return Err(CompileError::DoesNotFit {
            what: "a column of a block in wavelets".to_owned(),
            need: words.into(),
            have: room.into(),
            reason: format!(
                "blocks of {block} x {block} on {side} x {side} PEs; a PE sends a column before it takes one"
            ),
            remedy: "use blocks of an even size that fit, on at least 2 x 2 PEs".to_owned(),
        });
    }
    let order = if folded { fold(side) } else { (0..side).collect() };
    let mut ring = vec![0; usize::from(side)];
    for (at, &place) in order.iter().enumerate() {
        ring[usize::from(place)] = at;
    }
    let n = order.len();
    let messages: Vec<Message> = (0..n).map(|r| Message { from: order[(r + 1) % n], to: order[r] }).collect();
    let mut program = Program {
        machine: machine.name.clone(),
        machine_hash: machine.hash(),
        model: "gemm".to_owned(),
        nodes: vec!["gemm".to_owned()],
        classes: vec![PeClass { name: "gemm".to_owned(), tasks: vec![task(side, block)] }],
        ..Program::default()
    };
    let mut colors = wires::Colors::new(machine.geometry.colors);
    let (mut comes, mut goes) = ([vec![0u8; n], vec![0u8; n]], [vec![0u8; n], vec![0u8; n]]);
    for (axis, (comes, goes)) in [Axis::Row, Axis::Column].into_iter().zip(comes.iter_mut().zip(&mut goes)) {
        let list = colors.assign(&messages).map_err(|n| too_many_colors(machine, n))?;
        for (m, &color) in messages.iter().zip(&list) {
            wires::message(&mut program.routes, axis, (0, side), *m, color);
            comes[usize::from(m.to)] = color;
            goes[usize::from(m.from)] = color;
        }
    }
    for y in 0..side {
        for x in 0..side {
            let (i, j) = (usize::from(y), usize::from(x));
            let mut outs = vec![None; 4];
            outs[usize::from(OUT[0])] = Some(Color(goes[0][j]));
            outs[usize::from(OUT[1])] = Some(Color(goes[1][i]));
            program.regions.push(Region {
                rect: Rect::pe(x, y),
                class: ClassIx(0),
                node: NodeIx(0),
                in_colors: vec![Some(Color(comes[0][j])), Some(Color(comes[1][i]))],
                out_colors: outs,
                params: Vec::new(),
            });
        }
    }
    let steps = u64::from(side) * u64::from(block);
    // The last of a line waits once for what comes over the whole of it.
    let way = if folded { 0 } else { super::Costs::of(machine).hop * u64::from(side.saturating_sub(2)) };
    let declared_cycles = steps * step_cycles(machine, block) + way;
    Ok(Gemm { program, declared_cycles, side, block, ring })
}

fn out_depth(machine: &Machine) -> u32 {
    OUT.iter().filter_map(|&q| machine.queues.output_depth_words.get(usize::from(q))).copied().min().unwrap_or(0)
}

/// Cycles of one k on a PE: five launches, the product, two columns out and two in, which have come by then.
fn step_cycles(machine: &Machine, block: u32) -> u64 {
    let words = block / 2;
    let pairs = (machine.rate.f16_mov / 2).max(1);
    // One word a cycle leaves the queue for the ramp, its place is seen to be free two cycles later.
    let (mut sent, mut cycles) = (0, 0u32);
    while sent < words {
        cycles += 1;
        let held = sent - cycles.saturating_sub(2).min(sent);
        sent += pairs.min(out_depth(machine).saturating_sub(held)).min(words - sent);
    }
    let product = (block * block).div_ceil(machine.rate.f16_mixed_fma.max(1));
    u64::from(5 * machine.latency.vector_launch + product + 2 * cycles + 2 * words.div_ceil(pairs))
}

fn task(side: u16, block: u32) -> Task {
    let (n, size) = (block as usize, block * block);
    // One column of A (stored column by column) or row of B, the next one each time.
    let line = |base, stride1, stride0| stepped(mem(ElemType::F16, base, stride1, stride0), n, size as usize);
    let (a, b) = (0, 2 * size);
    let sums = mem(ElemType::F32, 4 * size, n, 1);
    let send =
        |k: usize, base| mov(num(1), num(n), to_fabric(OutQueue(OUT[k]), ElemType::F16), Src::Mem(line(base, 0, 1)));
    let take = |q: u8, base| mov(num(1), num(n), Dst::Mem(line(base, 0, 1)), fabric(InQueue(q), ElemType::F16));
    let factors = [Src::RowScalar(line(a, 1, 0)), Src::Mem(line(b, 0, 1)), Src::Mem(sums)];
    let product = op(PeOp::Fma, num(n), num(n), Dst::Mem(sums), factors);
    Task {
        name: "k".to_owned(),
        trigger: Trigger::Local,
        active: true,
        blocked: false,
        repeat: num(usize::from(side) * n),
        body: vec![send(0, a), send(1, b), product, take(0, a), take(1, b)],
        on_end: Vec::new(),
    }
}

impl Gemm {
    /// Rows and columns of the matrices.
    pub fn size(&self) -> usize {
        usize::from(self.side) * self.block as usize
    }

    /// Gives the matrices, row by row as f16 bits, to the PEs.
    pub fn fill(&mut self, a: &[u16], b: &[u16]) {
        let (t, n, side) = (self.block as usize, self.size(), usize::from(self.side));
        let mut bytes = Vec::with_capacity(n * n * 4);
        for y in 0..side {
            for x in 0..side {
                let (i, j) = (self.ring[y], self.ring[x]);
                let k = (i + j) % side;
                for q in 0..t * t {
                    bytes.extend(a[(i * t + q % t) * n + k * t + q / t].to_le_bytes());
                }
                for q in 0..t * t {
                    bytes.extend(b[(k * t + q / t) * n + j * t + q % t].to_le_bytes());
                }
            }
        }
        let rect = Rect { x: 0, y: 0, w: self.side, h: self.side };
        self.program.data = vec![Data { rect, addr: 0, len: (t * t * 4) as u32, bytes: bytes.into() }];
    }

    /// Byte address and length of a PE's block of the result: f32, row by row.
    pub fn result(&self) -> (u32, u32) {
        let size = self.block * self.block;
        (4 * size, 4 * size)
    }

    /// First row and column of the result's block on a PE.
    pub fn corner(&self, pe: Pe) -> (usize, usize) {
        let t = self.block as usize;
        (self.ring[usize::from(pe.y)] * t, self.ring[usize::from(pe.x)] * t)
    }

    /// A PE's block of the result in the declared order of sums, f32 bits.
    pub fn expected(&self, pe: Pe, a: &[u16], b: &[u16]) -> Vec<u32> {
        let half = |bits: u16| quadrille_isa::numerics::f16_to_f32_fast(bits);
        let (t, n, side) = (self.block as usize, self.size(), usize::from(self.side));
        let (row, column) = self.corner(pe);
        let first = self.ring[usize::from(pe.y)] + self.ring[usize::from(pe.x)];
        let mut out = Vec::with_capacity(t * t);
        for i in row..row + t {
            for j in column..column + t {
                let ks = (0..side).flat_map(|s| (0..t).map(move |k| (first + s) % side * t + k));
                // Products of two f16 are exact in f32.
                let sum = ks.fold(0f32, |s, k| s + half(a[i * n + k]) * half(b[k * n + j]));
                out.push(sum.to_bits());
            }
        }
        out
    }
}
