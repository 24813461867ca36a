//! Floorplans: a rectangle on the mesh for every kernel, each with a choice of shapes.
//!
//! A kernel may be wide or tall, large and fast or small and slow. [`plan`] picks a shape and a
//! place for each, so that `time_weight * slowest time + length_weight * wire length` is small:
//!
//! ```text
//! limit on time --> frontier of each kernel --> best slicing -->  wires  --> cost
//!      ^            least height per width      of all runs      shorter     |
//!      '------------------------ smallest limit that fits <-----------------'
//! ```
//!
//! Kernels are set in a line (neighbours on wires stay neighbours), and the best slicing of every
//! run of the line is computed exactly (`slicing`): the plan is the tightest that keeps the order.
//! Knows extents, times and wires; knows nothing of tensors, routes or PEs.

mod frontier;
mod order;
mod slicing;
#[cfg(test)]
mod tests;
mod wires;

use frontier::Frontier;
use slicing::Slicing;

/// What a kernel may look like.
pub trait Shapes {
    /// Every useful `(width, height)` in PEs, at most `width` x `height`, with which the kernel takes at
    /// most `limit` cycles. Turned shapes are listed too, if they are allowed.
    fn within(&self, limit: u64, width: u16, height: u16) -> Vec<(u16, u16)>;
    /// The least cycles of this very shape, if it is one.
    fn time(&self, shape: (u16, u16)) -> Option<u64>;
}

/// A connection between two kernels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wire {
    /// Index of the kernel that drives it.
    pub from: usize,
    /// Index of the kernel that reads it.
    pub to: usize,
}

/// What to place, and on what.
pub struct Problem<'a> {
    /// The kernels.
    pub kernels: Vec<&'a dyn Shapes>,
    /// Connections; a pair may occur more than once.
    pub wires: Vec<Wire>,
    /// Width of the mesh in PEs.
    pub width: u16,
    /// Height of the mesh in PEs.
    pub height: u16,
    /// Cost of a cycle of the slowest kernel.
    pub time_weight: u64,
    /// Cost of one PE of wire length (L1 between the centres of two connected kernels).
    pub length_weight: u64,
}

/// Place and shape of a kernel; `x`, `y` name its north-west corner.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
#[allow(missing_docs)]
pub struct Rect {
    pub x: u16,
    pub y: u16,
    pub width: u16,
    pub height: u16,
}

/// A legal plan: rectangles lie on the mesh and do not overlap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Floorplan {
    /// One for each kernel.
    pub rects: Vec<Rect>,
    /// Cycles of the slowest kernel.
    pub time: u64,
    /// Twice the sum of L1 distances between centres of connected kernels (centres lie on half units).
    pub length2: u64,
}

impl Floorplan {
    /// Twice the cost under the problem's weights.
    pub fn cost2(&self, p: &Problem<'_>) -> u64 {
        2 * self.time * p.time_weight + self.length2 * p.length_weight
    }
}

/// Twice the L1 distance between the centres of two rectangles.
pub fn distance2(a: Rect, b: Rect) -> u64 {
    let mid = |r: Rect| (2 * u32::from(r.x) + u32::from(r.width), 2 * u32::from(r.y) + u32::from(r.height));
    let ((ax, ay), (bx, by)) = (mid(a), mid(b));
    u64::from(ax.abs_diff(bx)) + u64::from(ay.abs_diff(by))
}

/// Twice the sum of [`distance2`] over wires.
pub fn length2(rects: &[Rect], wires: &[Wire]) -> u64 {
    wires.iter().map(|w| distance2(rects[w.from], rects[w.to])).sum()
}

/// Effort of [`plan`]. Results depend on this and the problem alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effort {
    /// Orders of kernels that are tried beside the first.
    pub orders: u32,
    /// Limits on time, from the least that fits upwards, at which wires are shortened.
    pub limits: u32,
    /// Moves at each of these limits.
    pub moves: u32,
}

impl Default for Effort {
    fn default() -> Self {
        Self { orders: 40, limits: 8, moves: 60_000 }
    }
}

/// Places all kernels; `None` if they fit at no speed.
pub fn plan(p: &Problem<'_>, effort: Effort) -> Option<Floorplan> {
    if p.kernels.is_empty() {
        return Some(Floorplan { rects: Vec::new(), time: 0, length2: 0 });
    }
    let mut line = order::along_wires(p.kernels.len(), &p.wires);
    let mut limit = least_limit(p, &line, None)?;
    let mut seed = order::Draw::new(1);
    for _ in 0..effort.orders {
        let next = order::neighbour(&line, &mut seed);
        if let Some(better) = least_limit(p, &next, Some(limit)) {
            (line, limit) = (next, better);
        }
    }
    let mut best: Option<(u64, Vec<Rect>)> = None;
    for step in 0..u64::from(effort.limits) {
        // More time is more room: 0, 0.1, 0.4, 0.9 ... per cent.
        let relaxed = limit + limit * step * step / 1024;
        let slicing = slicing(p, &line, relaxed);
        let Some(rects) = wires::shorten(&slicing, &line, &p.wires, effort.moves as usize, &mut seed) else { continue };
        let cost = 2 * relaxed * p.time_weight + length2(&rects, &p.wires) * p.length_weight;
        if best.as_ref().is_none_or(|b| cost < b.0) {
            best = Some((cost, rects));
        }
    }
    let rects = best?.1;
    let times = rects.iter().zip(&p.kernels).map(|(r, k)| k.time((r.width, r.height)));
    let time = times.collect::<Option<Vec<_>>>()?.into_iter().max()?;
    Some(Floorplan { length2: length2(&rects, &p.wires), rects, time })
}

/// The slicing of a line whose kernels keep to a limit. Kernels that are one object share a frontier.
fn slicing(p: &Problem<'_>, line: &[usize], limit: u64) -> Slicing {
    let mut known: Vec<(*const (), Frontier)> = Vec::new();
    let leaves = line.iter().map(|&k| {
        let kernel = p.kernels[k];
        let id = std::ptr::from_ref(kernel).cast::<()>();
        match known.iter().find(|f| f.0 == id) {
            Some((_, f)) => f.clone(),
            None => {
                let f = Frontier::new(&kernel.within(limit, p.width, p.height), p.width, p.height);
                known.push((id, f.clone()));
                f
            }
        }
    });
    Slicing::new(leaves.collect(), p.width, p.height)
}

/// The least limit on time (within 1 in 4,096) at which this order fits. With `below`: only if it is less
/// than that, which one slicing tells.
fn least_limit(p: &Problem<'_>, line: &[usize], below: Option<u64>) -> Option<u64> {
    let fits = |limit: u64| slicing(p, line, limit).fits();
    let (mut lo, mut hi) = match below {
        Some(b) => {
            let less = b - (b / 1024).max(1).min(b);
            if !fits(less) {
                return None;
            }
            (less - less / 64, less)
        }
        None => {
            let mut hi = 1u64;
            while !fits(hi) {
                hi = hi.checked_mul(4)?;
            }
            (hi / 4, hi)
        }
    };
    while hi - lo > (hi / 4096).max(1) {
        let mid = lo + (hi - lo) / 2;
        if fits(mid) { hi = mid } else { lo = mid }
    }
    Some(hi)
}
