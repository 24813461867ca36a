//! SUMMA, for comparison with [`super::gemm`]: the same local product, blocks where they belong, and each column of A and
//! row of B passed on from its owner to all others of its line.
//!
//! ```text
//! step k      A: column k goes both ways along every row     B: row k goes both ways along every column
//!             <-[ ]<-[ ]<-[k]->[ ]->[ ]->                     every PE: take, pass on, C += column x row
//! ```
//!
//! A route has one source, so 24 colors cannot broadcast from every PE of a line: a PE takes a column, keeps it, and
//! sends it to its neighbour. A PE's steps come in segments: before, at and behind its own place on the row and on the column.
//!
//! Sums, declared: from zero, k ascending, one rounding to f32 a step.

use super::wires::{self, Axis};
use super::{Message, too_many_colors};
use crate::CompileError;
use crate::code::{fabric, mem, mov, num, op, stepped, to_fabric};
use quadrille_isa::wafer::{
    Action, ClassIx, Color, Data, Dst, ElemType, InQueue, Machine, Mem, NodeIx, OutQueue, ParamFn, Pe, PeClass, PeOp,
    Program, Rect, Region, Src, Task, TaskIx, Trigger, Val, VecOp,
};
use std::collections::HashMap;

/// A program for one product.
#[derive(Clone, Debug)]
pub struct Summa {
    /// The program; the matrices are zero until [`Summa::fill`].
    pub program: Program,
    /// PEs of a side.
    pub side: u16,
    /// Rows and columns of a PE's blocks.
    pub block: u32,
}

/// Where a step's column (or row) comes from, seen from a PE.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum From {
    /// A place before its own.
    Before,
    Here,
    Behind,
}

/// Neighbours that there are, before and behind.
type Ends = [bool; 2];

/// Steps of a PE that are alike: how many blocks (none: as many as a parameter says), and where A and B come from.
type Segment = (Option<u16>, [From; 2]);

/// Segments of the PE in column x and row y, and the lengths of those that vary.
fn segments(x: u16, y: u16, side: u16) -> (Vec<Segment>, Vec<u16>) {
    let mut cuts = vec![0, x, x + 1, y, y + 1, side];
    cuts.sort_unstable();
    cuts.dedup();
    let from = |at: u16, own: u16| match at.cmp(&own) {
        std::cmp::Ordering::Less => From::Before,
        std::cmp::Ordering::Equal => From::Here,
        std::cmp::Ordering::Greater => From::Behind,
    };
    let mut lengths = Vec::new();
    let list = cuts.windows(2).map(|c| {
        let own = c[0] == x || c[0] == y;
        if !own {
            lengths.push(c[1] - c[0]);
        }
        (own.then_some(1), [from(c[0], x), from(c[0], y)])
    });
    (list.collect(), lengths)
}

/// Queues: what comes from before and from behind, what goes there; of A, then of B.
const IN: [[u8; 2]; 2] = [[0, 1], [2, 3]];
const OUT: [[u8; 2]; 2] = [[0, 2], [1, 3]];

/// `side * block` rows and columns on `side` x `side` PEs in the corner.
///
/// # Errors
/// When PEs, SRAM or colors do not suffice.
pub fn compile(machine: &Machine, side: u16, block: u32) -> Result<Summa, CompileError> {
    super::fits(machine, side, side, 1)?;
    let text = 5 * (5 * machine.program.vector_op_bytes + machine.program.task_bytes);
    let memory = u64::from(block) * u64::from(block) * 8 + 4 * u64::from(block) + u64::from(text);
    let have = u64::from(machine.geometry.sram_bytes_per_pe);
    if block == 0 || block % 2 == 1 || side < 2 || memory > have {
        return Err(CompileError::DoesNotFit {
            what: format!("blocks of {block} x {block} on {side} x {side} PEs"),
            need: memory,
            have,
            reason: "bytes of SRAM a PE".to_owned(),
            remedy: "use smaller blocks of an even size, on at least 2 x 2 PEs".to_owned(),
        });
    }
    let mut program = Program {
        machine: machine.name.clone(),
        machine_hash: machine.hash(),
        model: "summa".to_owned(),
        nodes: vec!["summa".to_owned()],
        ..Program::default()
    };
    // By axis and direction (to before, to behind): the color that a place sends.
    let mut colors = wires::Colors::new(machine.geometry.colors);
    let mut sends = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for (axis, sends) in [Axis::Row, Axis::Column].into_iter().zip(&mut sends) {
        let down: Vec<Message> = (1..side).map(|p| Message { from: p, to: p - 1 }).collect();
        let up: Vec<Message> = (1..side).map(|p| Message { from: p - 1, to: p }).collect();
        for (messages, sends) in [down, up].iter().zip(sends.iter_mut()) {
            let list = colors.assign(messages).map_err(|n| too_many_colors(machine, n))?;
            *sends = vec![None; usize::from(side)];
            for (m, &color) in messages.iter().zip(&list) {
                wires::message(&mut program.routes, axis, (0, side), *m, color);
                sends[usize::from(m.from)] = Some(Color(color));
            }
        }
    }
    let mut known: HashMap<(Vec<Segment>, [Ends; 2]), ClassIx> = HashMap::new();
    for pe in (Rect { x: 0, y: 0, w: side, h: side }).pes() {
        let (list, lengths) = segments(pe.x, pe.y, side);
        let ends = [pe.x, pe.y].map(|p| [p > 0, p + 1 < side]);
        let next = ClassIx(known.len() as u32);
        let class = *known.entry((list.clone(), ends)).or_insert(next);
        if class == next {
            program.classes.push(PeClass { name: format!("summa {}", next.0), tasks: tasks(&list, ends, block) });
        }
        let (mut ins, mut outs) = (vec![None; 4], vec![None; 4]);
        for (k, place) in [pe.x, pe.y].map(usize::from).into_iter().enumerate() {
            let [down, up] = &sends[k];
            ins[usize::from(IN[k][0])] = place.checked_sub(1).and_then(|p| up[p]);
            ins[usize::from(IN[k][1])] = down.get(place + 1).copied().flatten();
            outs[usize::from(OUT[k][0])] = down[place];
            outs[usize::from(OUT[k][1])] = up[place];
        }
        let params = lengths.iter().map(|&n| ParamFn::Const(i32::from(n) * block as i32)).collect();
        let rect = Rect::pe(pe.x, pe.y);
        program.regions.push(Region { rect, class, node: NodeIx(0), in_colors: ins, out_colors: outs, params });
    }
    Ok(Summa { program, side, block })
}

/// The segments one after the other.
fn tasks(segments: &[Segment], ends: [Ends; 2], block: u32) -> Vec<Task> {
    let mut params = 0;
    let last = segments.len() - 1;
    let task = |(i, (blocks, from)): (usize, &Segment)| {
        let repeat = match blocks {
            Some(n) => num(usize::from(*n) * block as usize),
            None => {
                params += 1;
                Val::Param(params - 1)
            }
        };
        Task {
            name: format!("steps {i}"),
            trigger: Trigger::Local,
            active: i == 0,
            blocked: false,
            repeat,
            body: body(*from, ends, block),
            on_end: if i < last { vec![Action::Activate(TaskIx(i as u8 + 1))] } else { Vec::new() },
        }
    };
    segments.iter().enumerate().map(task).collect()
}

/// One step: what comes is kept and passed on, what is the PE's own goes both ways; then the product.
fn body(from: [From; 2], ends: [Ends; 2], block: u32) -> Vec<VecOp> {
    let (n, size) = (block as usize, block * block);
    let mut ops = Vec::new();
    let mut lines: Vec<Box<dyn Fn(usize, usize) -> Mem>> = Vec::new();
    for k in 0..2 {
        // Columns of A one after the other, rows of B likewise; a place for one that comes.
        let (own, come) = (2 * size * k as u32, 8 * size + 2 * block * k as u32);
        let here = from[k] == From::Here;
        let line = move |stride1, stride0| match here {
            true => stepped(mem(ElemType::F16, own, stride1, stride0), n, size as usize),
            false => mem(ElemType::F16, come, stride1, stride0),
        };
        let send =
            |side: usize| mov(num(1), num(n), to_fabric(OutQueue(OUT[k][side]), ElemType::F16), Src::Mem(line(0, 1)));
        let take = |side: usize| mov(num(1), num(n), Dst::Mem(line(0, 1)), fabric(InQueue(IN[k][side]), ElemType::F16));
        match from[k] {
            From::Here => ops.extend((0..2).filter(|&side| ends[k][side]).map(send)),
            From::Before => {
                ops.push(take(0));
                ops.extend(ends[k][1].then(|| send(1)));
            }
            From::Behind => {
                ops.push(take(1));
                ops.extend(ends[k][0].then(|| send(0)));
            }
        }
        lines.push(Box::new(line));
    }
    let sums = mem(ElemType::F32, 4 * size, n, 1);
    let factors = [Src::RowScalar(lines[0](1, 0)), Src::Mem(lines[1](0, 1)), Src::Mem(sums)];
    ops.push(op(PeOp::Fma, num(n), num(n), Dst::Mem(sums), factors));
    ops
}

impl Summa {
    /// Rows and columns of the matrices.
    pub fn size(&self) -> usize {
        usize::from(self.side) * self.block as usize
    }

    /// Gives the matrices, row by row as f16 bits, to the PEs.
    pub fn fill(&mut self, a: &[u16], b: &[u16]) {
        let (t, n) = (self.block as usize, self.size());
        let rect = Rect { x: 0, y: 0, w: self.side, h: self.side };
        let mut bytes = Vec::with_capacity(n * n * 4);
        for pe in rect.pes() {
            let (row, column) = self.corner(pe);
            bytes.extend((0..t * t).flat_map(|q| a[(row + q % t) * n + column + q / t].to_le_bytes()));
            bytes.extend((0..t * t).flat_map(|q| b[(row + q / t) * n + column + q % t].to_le_bytes()));
        }
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
        (usize::from(pe.y) * t, usize::from(pe.x) * t)
    }

    /// A PE's block of the result in the declared order of sums, f32 bits.
    pub fn expected(&self, pe: Pe, a: &[u16], b: &[u16]) -> Vec<u32> {
        let half = |bits: u16| quadrille_isa::numerics::f16_to_f32_fast(bits);
        let (t, n) = (self.block as usize, self.size());
        let (row, column) = self.corner(pe);
        let of = |(i, j): (usize, usize)| {
            // Products of two f16 are exact in f32.
            (0..n).fold(0f32, |s, k| s + half(a[i * n + k]) * half(b[k * n + j])).to_bits()
        };
        (row..row + t).flat_map(|i| (column..column + t).map(move |j| (i, j))).map(of).collect()
    }
}
