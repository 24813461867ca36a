//! Collectives over lines and rectangles of PEs: broadcast, reduce, all-reduce.
//!
//! Every PE holds a vector of f32 from byte 0 of its SRAM; sums and copies end up in the same place.
//!
//! ```text
//! tree     who adds whose vector, in which order          (chain, star, binary, two-phase)
//! search   the tree of least declared cycles
//! cost     declared cycles; the published model's counts; the lower bound
//! wires    messages -> colors and routes
//! program  bodies of operations -> classes and regions
//! gemv     vector times matrices, with the same trees
//! gemm     matrix times matrix, on rings
//! summa    the same by columns and rows passed on from their owners, for comparison
//! ```
//!
//! The sum at a PE is its own vector, then its children's in the order of [`Tree::children`], each
//! addition rounded to f32 once. Knows nothing of graphs.

pub mod cost;
pub mod gemm;
pub mod gemv;
pub(crate) mod program;
pub mod search;
pub mod summa;
pub mod tree;
pub(crate) mod wires;

pub use cost::{Costs, Counts};
pub use tree::{Message, Scheme, Tree};

use crate::CompileError;
use cost::Own;
use program::{Pause, Sheet, Station};
use quadrille_isa::wafer::{Machine, Pe, Program, Rect};
use search::Limits;
use std::collections::BTreeMap;
use wires::Axis;

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The vector of PE (0, 0) goes to all.
    Broadcast,
    /// The sum of all vectors goes to PE (0, 0).
    Reduce(Scheme),
    /// The sum of all vectors goes to all, by way of a PE in the middle or the corner.
    AllReduce(Scheme),
}

/// A program, and what it should take.
#[derive(Clone, Debug)]
pub struct Collective {
    /// The program; its vectors are zero until [`Collective::fill`].
    pub program: Program,
    /// Cycles from the first launch to the last write.
    pub declared_cycles: u64,
    /// Who adds whose vector along a row; a broadcast has none.
    pub rows: Option<Tree>,
    /// The same along the column in which the rows' sums lie; none for one row.
    pub column: Option<Tree>,
    /// Extent in PEs.
    pub width: u16,
    /// Extent in PEs.
    pub height: u16,
    /// Elements of a vector.
    pub length: u32,
}

impl Collective {
    /// Gives every PE its vector: PEs row by row, `width * height * length` values.
    pub fn fill(&mut self, values: &[f32]) {
        let rect = Rect { x: 0, y: 0, w: self.width, h: self.height };
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.program.data =
            vec![quadrille_isa::wafer::Data { rect, addr: 0, len: self.length * 4, bytes: bytes.into() }];
    }

    /// The sum in the program's own order of additions, of vectors as for [`Collective::fill`].
    pub fn sum(&self, values: &[f32]) -> Vec<f32> {
        let (w, n) = (usize::from(self.width), self.length as usize);
        let line = |y: usize| -> Vec<&[f32]> { (0..w).map(|x| &values[(y * w + x) * n..][..n]).collect() };
        let rows: Vec<Vec<f32>> = (0..usize::from(self.height))
            .map(|y| self.rows.as_ref().map_or_else(|| line(y)[0].to_vec(), |t| t.sum(&line(y))))
            .collect();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        self.column.as_ref().map_or_else(|| rows[0].to_vec(), |t| t.sum(&rows))
    }
}

/// The program for vectors of `length` f32 on the `width` x `height` PEs in the north-west corner.
///
/// # Errors
/// When PEs, SRAM, queues or colors do not suffice.
pub fn compile(
    machine: &Machine,
    width: u16,
    height: u16,
    length: u32,
    kind: Kind,
) -> Result<Collective, CompileError> {
    fits(machine, width, height, length)?;
    let job = Job { machine, costs: Costs::of(machine), width, height, length };
    let corner = Pe { x: 0, y: 0 };
    match kind {
        Kind::Broadcast => Ok(job.broadcast(corner)),
        Kind::Reduce(scheme) => job.reduce(scheme, corner, false),
        Kind::AllReduce(scheme) => {
            // A middle root is near to all, but has two sides to receive from.
            let near = job.reduce(scheme, Pe { x: width / 2, y: height / 2 }, true)?;
            let far = job.reduce(scheme, corner, true)?;
            Ok(if far.declared_cycles < near.declared_cycles { far } else { near })
        }
    }
}

/// Who adds what, and the colors of that.
pub(crate) struct Plan {
    pub(crate) tree: Tree,
    /// By place of the sender.
    pub(crate) colors: BTreeMap<u16, u8>,
    pauses: Vec<Pause>,
}

impl Plan {
    /// The tree that `tree` makes within these numbers of children, and its colors. Colors are counted only
    /// when they do not suffice without.
    pub(crate) fn new(
        tree: impl Fn(Limits) -> Option<Tree>,
        limits: Limits,
        colors: &mut wires::Colors,
    ) -> Result<Plan, u32> {
        let mut need = 0;
        for count in [None, Some(colors.left())] {
            let Some(tree) = tree(Limits { colors: count, ..limits }) else { continue };
            let messages = tree.messages();
            match colors.assign(&messages) {
                Ok(list) => {
                    let colors = messages.iter().zip(&list).map(|(m, &c)| (m.from, c)).collect();
                    return Ok(Plan { pauses: vec![Pause::default(); tree.children.len()], tree, colors });
                }
                Err(n) => need = n,
            }
        }
        Err(need)
    }

    fn pause(mut self, own: Own, length: u32, costs: &Costs) -> Plan {
        self.pauses = self.tree.slack(length, own, costs).into_iter().map(|s| Pause::of(s, costs)).collect();
        self
    }

    /// Colors that come in at a place, in order.
    fn ins(&self, at: u16) -> Vec<u8> {
        self.tree.children[usize::from(at)].iter().map(|c| self.colors[c]).collect()
    }

    fn routes(&self, program: &mut Program, axis: Axis, across: (u16, u16)) {
        for m in self.tree.messages() {
            wires::message(&mut program.routes, axis, across, m, self.colors[&m.from]);
        }
    }
}

struct Job<'a> {
    machine: &'a Machine,
    costs: Costs,
    width: u16,
    height: u16,
    length: u32,
}

impl Job<'_> {
    fn whole(&self) -> Rect {
        Rect { x: 0, y: 0, w: self.width, h: self.height }
    }

    /// Cycles from the launch in `root` to the last PE's last write.
    fn spread_cycles(&self, root: Pe) -> u64 {
        let side = |at: u16, n: u16| u64::from(at.max(n - 1 - at));
        let hops = self.costs.hop * (side(root.x, self.width) + side(root.y, self.height));
        self.costs.launch + u64::from(self.length) + hops + self.costs.depth
    }

    fn finish(&self, sheet: Sheet, declared_cycles: u64, rows: Option<Tree>, column: Option<Tree>) -> Collective {
        let alone = self.whole().area() == 1;
        Collective {
            program: sheet.program,
            declared_cycles: if alone { 0 } else { declared_cycles },
            rows,
            column,
            width: self.width,
            height: self.height,
            length: self.length,
        }
    }

    fn broadcast(&self, root: Pe) -> Collective {
        let mut sheet = Sheet::new(self.machine, "broadcast");
        if self.whole().area() == 1 {
            sheet.station(Station::new(self.whole()));
            return self.finish(sheet, 0, None, None);
        }
        wires::flood(&mut sheet.program.routes, self.whole(), root, 0);
        for rect in wires::around(self.whole(), root) {
            let station = Station::new(rect);
            sheet.station(match rect.contains(root) {
                true => station.send(0, self.length),
                false => station.receive(0, self.length),
            });
        }
        self.finish(sheet, self.spread_cycles(root), None, None)
    }

    fn reduce(&self, scheme: Scheme, root: Pe, shares: bool) -> Result<Collective, CompileError> {
        let (machine, costs, length) = (self.machine, &self.costs, self.length);
        let (width, height, b) = (self.width, self.height, u64::from(self.length));
        let colors_end = |n| too_many_colors(machine, n);
        let shares = shares && self.whole().area() > 1;
        let mut sheet = Sheet::new(machine, "reduce");
        // A broadcast takes a color and a queue of its own; where rows and the column meet they share the rest.
        let mut colors = wires::Colors::new(machine.geometry.colors);
        let flood = if shares { Some(colors.next().map_err(colors_end)?) } else { None };
        let queues = machine.queues.input_depth_words.len() - usize::from(shares);
        let crosses = width > 1 && height > 1;
        let limits = |inner, outer| Limits { inner, outer, colors: None };
        let mut row_colors = colors.part(if crosses { 2 } else { 1 });
        let memory = Own { first: costs.launch, done: 0 };
        let rows = |limits| scheme.tree(width, root.x, length, memory, costs, limits);
        let at_cross = if crosses { queues.div_ceil(2) } else { queues };
        let rows = Plan::new(rows, limits(queues, at_cross), &mut row_colors)
            .map_err(colors_end)?
            .pause(memory, length, costs);
        let row_first = rows.tree.critical(length, memory, costs).first;
        let own = if width > 1 { Own { first: row_first, done: row_first + b } } else { memory };
        let below = queues - rows.tree.children[usize::from(root.x)].len();
        colors.continue_after(&row_colors);
        let column = |limits| scheme.tree(height, root.y, length, own, costs, limits);
        let column =
            Plan::new(column, limits(below, below), &mut colors).map_err(colors_end)?.pause(own, length, costs);
        let mut declared_cycles = column.tree.critical(length, own, costs).first + b;

        rows.routes(&mut sheet.program, Axis::Row, (0, height));
        column.routes(&mut sheet.program, Axis::Column, (root.x, 1));
        if let Some(color) = flood {
            wires::flood(&mut sheet.program.routes, self.whole(), root, color);
            declared_cycles += self.spread_cycles(root);
        }
        for x in 0..width {
            let ins = rows.ins(x);
            if x != root.x {
                let station = Station::new(Rect { x, y: 0, w: 1, h: height });
                let pause = rows.pauses[usize::from(x)];
                let station = station.combine(&ins, Some(rows.colors[&x]), length, pause);
                sheet.station(match flood {
                    None => station,
                    Some(color) => station.receive(color, length),
                });
                continue;
            }
            for y in 0..height {
                let ins = [ins.clone(), column.ins(y)].concat();
                let pause = column.pauses[usize::from(y)];
                let station = Station::new(Rect::pe(x, y));
                let station = station.combine(&ins, column.colors.get(&y).copied(), length, pause);
                sheet.station(match flood {
                    None => station,
                    Some(color) if y == root.y => station.send(color, length),
                    Some(color) => station.receive(color, length),
                });
            }
        }
        let (rows, column) = ((width > 1).then_some(rows.tree), (height > 1).then_some(column.tree));
        Ok(self.finish(sheet, declared_cycles, rows, column))
    }
}

fn fits(machine: &Machine, width: u16, height: u16, length: u32) -> Result<(), CompileError> {
    let g = &machine.geometry;
    let remedy = "use fewer PEs or a larger machine".to_owned();
    for (what, need, have) in [("width", u32::from(width), g.width_pes), ("height", u32::from(height), g.height_pes)] {
        if need > have || need == 0 {
            return Err(CompileError::DoesNotFit {
                what: format!("a collective's {what} in PEs"),
                need: need.into(),
                have: have.into(),
                reason: format!("it asks for {width} x {height} PEs"),
                remedy,
            });
        }
    }
    // A PE runs at most one operation a queue and direction, and a pause, in one task.
    let text = (machine.queues.input_depth_words.len() as u64 + 3) * u64::from(machine.program.vector_op_bytes)
        + u64::from(machine.program.task_bytes);
    let (need, have) = (u64::from(length) * 4 + text, u64::from(g.sram_bytes_per_pe));
    if need > have || length == 0 {
        return Err(CompileError::DoesNotFit {
            what: "a collective's vector and program in bytes a PE".to_owned(),
            need,
            have,
            reason: format!("vectors have {length} elements of 4 bytes; one at least, and all must fit SRAM"),
            remedy: "reduce in pieces".to_owned(),
        });
    }
    Ok(())
}

pub(crate) fn too_many_colors(machine: &Machine, need: u32) -> CompileError {
    CompileError::DoesNotFit {
        what: "a router's colors".to_owned(),
        need: need.into(),
        have: machine.geometry.colors.into(),
        reason: "messages that pass the same router need different colors".to_owned(),
        remedy: "use the automatic scheme or a chain".to_owned(),
    }
}
