//! Products of a vector with matrices, one after the other, over a whole rectangle.
//!
//! ```text
//!         column `cx`                         row `cy`
//!   |  <- <- x0 -> -> |               |   ^    ^    ^   |
//!   |  <- <- x1 -> -> |   sums go     |   y0   y1   y2  |   the next product has
//!   |  <- <- x2 -> -> |   to row cy   |   v    v    v   |   rows and columns changed
//! ```
//!
//! The vector lies in pieces on the PEs of the middle column. Each PE there sends its piece along its
//! row; every PE multiplies it, as it comes, with its block of the matrix; the sums of a column go
//! along a tree to the middle row. There the result lies in pieces, as f16, and can be the vector of
//! the next product, which sends along columns and sums along rows.
//!
//! Sums, declared: at each PE from zero over its piece, ascending, one rounding to f32 a step; then
//! along the tree, each PE its own sum, then its children's; the last addition rounds to f16.

use super::cost::{Costs, Critical, Own};
use super::program::{Pause, Sheet, Station};
use super::search::Limits;
use super::tree::Tree;
use super::wires::{self, Axis};
use super::{Plan, search, too_many_colors};
use crate::CompileError;
use crate::code::{fabric, mem, mov, num, op, to_fabric};
use quadrille_isa::wafer::{Data, Dst, ElemType, Machine, Pe, PeOp, Program, Rect, Src, scalar};
use std::collections::BTreeMap;

/// Extent in PEs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Grid {
    pub width: u16,
    pub height: u16,
}

/// One of the products.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Product {
    /// Elements of a piece of the vector.
    pub k: u32,
    /// Elements of a piece of the result.
    pub n: u32,
    /// Who adds whose sums, along the columns for the first product, along rows for the second, and so on.
    pub tree: Tree,
    /// Byte address of the piece of the result on the PEs of the tree's root.
    pub result: u32,
    weights: u32,
    sums: u32,
}

/// A program for a chain of products.
#[derive(Clone, Debug)]
pub struct Gemv {
    /// The program; vector and matrices are zero until [`Gemv::fill`].
    pub program: Program,
    /// Cycles from the first launch to the last write.
    pub declared_cycles: u64,
    /// PEs used.
    pub grid: Grid,
    /// The products, first to last.
    pub products: Vec<Product>,
    /// Elements of the vector and of each result.
    pub sizes: Vec<u32>,
    /// Places of the middle column and row.
    pub middle: Pe,
}

/// The grid of least declared cycles for one product of `[1, k] x [k, n]`.
pub fn best_grid(machine: &Machine, k: u32, n: u32) -> Grid {
    let costs = Costs::of(machine);
    let g = &machine.geometry;
    let mut best = (u64::MAX, Grid { width: 1, height: 1 });
    let mut width = 0;
    for piece in n.div_ceil(g.width_pes).max(1)..=n.min(256) {
        let w = n.div_ceil(piece);
        if w == width {
            continue;
        }
        width = w;
        // Two arms and the root's own launch; the tree over both sides is not much better or worse.
        let arms = search::arm_cycles(g.height_pes as u16 / 2 + 1, u64::from(piece), &costs, inner(machine, 1));
        let mut height = 0;
        for part in k.div_ceil(g.height_pes).max(1)..=k.min(512) {
            let h = k.div_ceil(part);
            if h == height || h < 3 || w < 3 {
                continue;
            }
            height = h;
            let work = (u64::from(piece) * u64::from(part)).div_ceil(rate(machine));
            let cycles = u64::from(w / 2) + work + arms[h as usize / 2 + 1];
            if cycles < best.0 {
                best = (cycles, Grid { width: w as u16, height: h as u16 });
            }
        }
    }
    best.1
}

/// Declared cycles of such a product on a grid, as [`best_grid`] counts them.
pub(crate) fn cycles_on(machine: &Machine, k: u32, n: u32, grid: Grid) -> u64 {
    let (piece, part) = (n.div_ceil(grid.width.into()), k.div_ceil(grid.height.into()));
    let arm = usize::from(grid.height) / 2 + 1;
    let arms = search::arm_cycles(arm as u16, u64::from(piece), &Costs::of(machine), inner(machine, 1));
    let work = (u64::from(piece) * u64::from(part)).div_ceil(rate(machine));
    u64::from(grid.width / 2) + work + arms[arm]
}

fn rate(machine: &Machine) -> u64 {
    u64::from(machine.rate.f16_mixed_fma).max(1)
}

/// Most children a PE when `products` products share its queues, each with one for its vector.
fn inner(machine: &Machine, products: usize) -> usize {
    let queues = machine.queues.input_depth_words.len();
    queues.saturating_sub(products) / products.max(1)
}

/// `[1, sizes[0]] x [sizes[0], sizes[1]] x [sizes[1], sizes[2]] ...` in f16 on a grid in the corner.
///
/// # Errors
/// When PEs, SRAM, queues or colors do not suffice.
pub fn compile(machine: &Machine, sizes: &[u32], grid: Grid) -> Result<Gemv, CompileError> {
    let Grid { width, height } = grid;
    super::fits(machine, width, height, 1)?;
    let costs = Costs::of(machine);
    let middle = Pe { x: width / 2, y: height / 2 };
    let whole = Rect { x: 0, y: 0, w: width, h: height };
    let count = sizes.len().saturating_sub(1);
    let kids = inner(machine, count);
    if count == 0 || kids < 2 || width < 3 || height < 3 || sizes.contains(&0) {
        return Err(CompileError::DoesNotFit {
            what: "a chain of products".to_owned(),
            need: count as u64,
            have: (machine.queues.input_depth_words.len() / 3) as u64,
            reason: format!("it has {count} products over vectors of {sizes:?} elements on {width} x {height} PEs"),
            remedy: "use 1 or 2 products of at least one element on at least 3 x 3 PEs".to_owned(),
        });
    }
    let colors_end = |n| too_many_colors(machine, n);
    let mut colors = wires::Colors::new(machine.geometry.colors);
    let mut wiring = Vec::new();
    let mut products = Vec::new();
    let mut top = 4 * sizes[0].div_ceil(u32::from(height)).div_ceil(2);
    for p in 0..count {
        let (along, across) = if p % 2 == 0 { (height, width) } else { (width, height) };
        let (k, n) = (sizes[p].div_ceil(along.into()), sizes[p + 1].div_ceil(across.into()));
        let weights = top;
        let sums = weights.saturating_add(k.saturating_mul(n).saturating_mul(2)).next_multiple_of(4);
        let result = sums.saturating_add(n.saturating_mul(4));
        top = result.saturating_add(n.div_ceil(2) * 4);
        let root = if p % 2 == 0 { middle.y } else { middle.x };
        let own = Own { first: costs.launch, done: 0 };
        let vector = colors.next().map_err(colors_end)?;
        // Products share the colors evenly.
        let mut part = colors.part((count - p) as u32);
        let limits = Limits { inner: kids, outer: kids, colors: None };
        let tree = |limits| search::best(along, root, n.into(), own, &costs, limits);
        let plan = Plan::new(tree, limits, &mut part);
        let plan = plan.map_err(colors_end)?;
        colors.continue_after(&part);
        let slack = plan.tree.slack(n, own, &costs);
        wiring.push(Wiring { vector, sums: plan.colors, slack });
        products.push(Product { k, n, tree: plan.tree, result, weights, sums });
    }
    let text = (2 + count * (kids + 3)) as u32 * machine.program.vector_op_bytes + machine.program.task_bytes;
    let have = machine.geometry.sram_bytes_per_pe;
    if top.saturating_add(text) > have {
        return Err(CompileError::DoesNotFit {
            what: "a product's block and program in bytes a PE".to_owned(),
            need: u64::from(top) + u64::from(text),
            have: have.into(),
            reason: format!("matrices of {sizes:?} over {width} x {height} PEs"),
            remedy: "use more PEs or smaller matrices".to_owned(),
        });
    }
    let mut sheet = Sheet::new(machine, "gemv");
    route(&mut sheet.program, whole, middle, &products, &wiring);
    for y in 0..height {
        // PEs of a row between the middle column's sides differ only when a second product sums along it.
        let spans: Vec<(u16, u16)> = match count {
            1 => vec![(0, middle.x), (middle.x, 1), (middle.x + 1, width - middle.x - 1)],
            _ => (0..width).map(|x| (x, 1)).collect(),
        };
        for (x, w) in spans {
            let mut station = Station::new(Rect { x, y, w, h: 1 });
            for (p, (product, colors)) in products.iter().zip(&wiring).enumerate() {
                let vector = if p == 0 { 0 } else { products[p - 1].result };
                let (line, sends) = if p % 2 == 0 { (y, x == middle.x) } else { (x, y == middle.y) };
                multiply(&mut station, product, vector, sends.then_some(colors.vector), colors.vector);
                add_up(&mut station, product, line, colors, &costs);
            }
            sheet.station(station);
        }
    }
    let declared_cycles = declared(machine, &costs, grid, middle, &products);
    Ok(Gemv { program: sheet.program, declared_cycles, grid, products, sizes: sizes.to_vec(), middle })
}

/// Colors of one product.
struct Wiring {
    vector: u8,
    /// By place of the sender on the tree's line.
    sums: BTreeMap<u16, u8>,
    /// By place: cycles that it can wait before it sends its sums.
    slack: Vec<u64>,
}

fn route(program: &mut Program, whole: Rect, middle: Pe, products: &[Product], wiring: &[Wiring]) {
    for (p, (product, colors)) in products.iter().zip(wiring).enumerate() {
        let columns = (Axis::Column, (0, whole.w), (middle.y, whole.h));
        let rows = (Axis::Row, (0, whole.h), (middle.x, whole.w));
        let (sums, spread) = if p % 2 == 0 { (columns, rows) } else { (rows, columns) };
        for m in product.tree.messages() {
            wires::message(&mut program.routes, sums.0, sums.1, m, colors.sums[&m.from]);
        }
        wires::spread(&mut program.routes, spread.0, spread.1, spread.2, colors.vector);
    }
}

/// Sends the vector's piece if it lies here, and multiplies it with the block, row by row.
fn multiply(s: &mut Station, p: &Product, vector: u32, sends: Option<u8>, color: u8) {
    let scalar = match sends {
        Some(color) => {
            let to = to_fabric(s.output(color), ElemType::F16);
            s.body.push(mov(num(1), num(p.k as usize), to, Src::Mem(mem(ElemType::F16, vector, 0, 1))));
            Src::RowScalar(mem(ElemType::F16, vector, 1, 0))
        }
        None => Src::FabricRowScalar(s.input(color), ElemType::F16),
    };
    let (k, n) = (p.k as usize, p.n as usize);
    let sums = mem(ElemType::F32, p.sums, 0, 1);
    let block = mem(ElemType::F16, p.weights, n, 1);
    s.body.push(op(PeOp::Fma, num(k), num(n), Dst::Mem(sums), [scalar, Src::Mem(block), Src::Mem(sums)]));
}

/// Adds the children's sums and passes the result on, or keeps it as f16 at the root.
fn add_up(s: &mut Station, p: &Product, place: u16, colors: &Wiring, costs: &Costs) {
    let children = &p.tree.children[usize::from(place)];
    let (sums, n) = (mem(ElemType::F32, p.sums, 0, 1), num(p.n as usize));
    let pause = Pause::of(colors.slack[usize::from(place)], costs).operation(sums);
    for (k, child) in children.iter().enumerate() {
        let from = fabric(s.input(colors.sums[child]), ElemType::F32);
        if k + 1 == children.len() {
            s.body.extend(pause.clone());
        }
        let dst = match (k + 1 == children.len(), place == p.tree.root) {
            (false, _) => Dst::Mem(sums),
            (true, true) => Dst::Mem(mem(ElemType::F16, p.result, 0, 1)),
            (true, false) => to_fabric(s.output(colors.sums[&place]), ElemType::F32),
        };
        s.body.push(op(PeOp::Add, num(1), n, dst, [Src::Mem(sums), from, Src::None]));
    }
    if children.is_empty() {
        let to = to_fabric(s.output(colors.sums[&place]), ElemType::F32);
        s.body.extend(pause);
        s.body.push(mov(num(1), n, to, Src::Mem(sums)));
    }
}

/// Follows the longest wait through the products. All lines along which a vector travels are alike, so
/// one place on the way stands for all at its distance from the middle.
fn declared(machine: &Machine, costs: &Costs, grid: Grid, middle: Pe, products: &[Product]) -> u64 {
    // When the pieces of the vector lie at their places, by place on the line where they lie.
    let mut ready = vec![0u64; usize::from(grid.height)];
    let mut end = 0;
    for (p, product) in products.iter().enumerate() {
        let (across, root) = if p % 2 == 0 { (grid.width, middle.x) } else { (grid.height, middle.y) };
        let work = (u64::from(product.k) * u64::from(product.n)).div_ceil(rate(machine));
        let words = u64::from(product.k.div_ceil(2));
        let mut results = Vec::with_capacity(usize::from(across));
        for at in 0..across {
            let hops = costs.hop * u64::from(at.abs_diff(root));
            let own = |place: u16| {
                let vector = ready[usize::from(place)];
                let done = match hops {
                    0 => vector + costs.launch + words + costs.launch + work,
                    _ => vector + costs.launch + costs.depth + hops + work,
                };
                Own { first: done + costs.launch, done }
            };
            let Critical { first, .. } = product.tree.critical_of(product.n, &own, costs);
            results.push(first + u64::from(product.n));
        }
        end = results.iter().copied().max().unwrap_or(0);
        ready = results;
    }
    end
}

impl Gemv {
    /// Gives vector (f16 bits, `sizes[0]`) and matrices (f16 bits, row by row, `sizes[p] x sizes[p + 1]`)
    /// to the PEs that hold them; what is beyond the sizes is zero.
    pub fn fill(&mut self, vector: &[u16], matrices: &[&[u16]]) {
        let Grid { width, height } = self.grid;
        let k = self.products[0].k as usize;
        let mut bytes = vec![0u8; usize::from(height) * k * 2];
        for (to, v) in bytes.chunks_exact_mut(2).zip(vector) {
            to.copy_from_slice(&v.to_le_bytes());
        }
        let column = Rect { x: self.middle.x, y: 0, w: 1, h: height };
        let mut data = vec![Data { rect: column, addr: 0, len: 2 * k as u32, bytes: bytes.into() }];
        for (p, (product, matrix)) in self.products.iter().zip(matrices).enumerate() {
            let (k, n) = (product.k as usize, product.n as usize);
            let (rows, columns) = (self.sizes[p] as usize, self.sizes[p + 1] as usize);
            let mut bytes = vec![0u8; usize::from(width) * usize::from(height) * k * n * 2];
            for (pe, block) in bytes.chunks_exact_mut(k * n * 2).enumerate() {
                let (x, y) = (pe % usize::from(width), pe / usize::from(width));
                let (part, piece) = if p % 2 == 0 { (y, x) } else { (x, y) };
                for (i, line) in block.chunks_exact_mut(n * 2).enumerate() {
                    let row = part * k + i;
                    let (from, to) = ((piece * n).min(columns), (piece * n + n).min(columns));
                    if row >= rows {
                        break;
                    }
                    let values = &matrix[row * columns + from..row * columns + to];
                    for (to, v) in line.chunks_exact_mut(2).zip(values) {
                        to.copy_from_slice(&v.to_le_bytes());
                    }
                }
            }
            let rect = Rect { x: 0, y: 0, w: width, h: height };
            data.push(Data { rect, addr: product.weights, len: (k * n * 2) as u32, bytes: bytes.into() });
        }
        self.program.data = data;
    }

    /// PE and byte address of each piece of the last result.
    pub fn results(&self) -> Vec<(Pe, u32)> {
        let Some(last) = self.products.last() else { return Vec::new() };
        match self.products.len() % 2 {
            1 => (0..self.grid.width).map(|x| (Pe { x, y: self.middle.y }, last.result)).collect(),
            _ => (0..self.grid.height).map(|y| (Pe { x: self.middle.x, y }, last.result)).collect(),
        }
    }

    /// The last result in the declared order of sums, f16 bits.
    pub fn expected(&self, vector: &[u16], matrices: &[&[u16]]) -> Vec<u16> {
        let mut vector = vector.to_vec();
        for (p, (product, matrix)) in self.products.iter().zip(matrices).enumerate() {
            let (rows, columns) = (self.sizes[p] as usize, self.sizes[p + 1] as usize);
            let half = |bits: u16| quadrille_isa::numerics::f16_to_f32_fast(bits);
            // Sums of every part of the vector; products of two f16 are exact in f32.
            let mut sums = vec![vec![0f32; columns]; product.tree.children.len()];
            for (part, sum) in sums.iter_mut().enumerate() {
                for row in (part * product.k as usize..(part + 1) * product.k as usize).take_while(|&r| r < rows) {
                    let x = half(vector[row]);
                    for (s, &w) in sum.iter_mut().zip(&matrix[row * columns..(row + 1) * columns]) {
                        *s += x * half(w);
                    }
                }
            }
            vector = last_in_f16(&product.tree, &sums);
        }
        vector
    }
}

/// [`Tree::sum`], with the last addition rounded to f16.
fn last_in_f16(tree: &Tree, sums: &[Vec<f32>]) -> Vec<u16> {
    let root = usize::from(tree.root);
    let last = usize::from(*tree.children[root].last().unwrap_or(&tree.root));
    let mut before = tree.clone();
    before.children[root].pop();
    let below = Tree { root: last as u16, children: tree.children.clone() };
    let lines: Vec<&[f32]> = sums.iter().map(Vec::as_slice).collect();
    let (own, other) = (before.sum(&lines), below.sum(&lines));
    let add = |(a, b): (&f32, &f32)| {
        let v = [a.to_bits(), b.to_bits(), 0];
        scalar::eval(PeOp::Add, v, [ElemType::F32; 3], ElemType::F16) as u16
    };
    own.iter().zip(&other).map(add).collect()
}
