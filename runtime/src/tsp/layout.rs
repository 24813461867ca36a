//! Where bytes of host tensors lie: ranges of placements, and the walk over their points.
//!
//! Knows the loop nest of a [`Placement`] and what a well-formed layout is. Knows no SRAM
//! contents and no cycle.

use super::check::Rule;
use super::form::{Problem, data_slice};
use quadrille_isa::tensor::element_count;
use quadrille_isa::tsp::{Machine, Placement, TensorLayout};

/// Most points that the placements of one tensor may have together.
const MAX_POINTS: u64 = 1 << 27;

fn layout_error<T>(layout: &TensorLayout, message: String) -> Result<T, Problem> {
    Err((Rule::Layout, format!("tensor `{}`: {message}", layout.name)))
}

/// Elements of the tensor; `None` when the count overflows.
pub(super) fn elements(layout: &TensorLayout) -> Option<usize> {
    element_count(&layout.shape)
}

/// Least and greatest value that a loop nest gives to one coordinate.
fn extent(base: i128, steps: impl Iterator<Item = (u32, i128)>) -> (i128, i128) {
    steps.fold((base, base), |(lo, hi), (count, step)| {
        let reach = (i128::from(count) - 1) * step;
        (lo + reach.min(0), hi + reach.max(0))
    })
}

/// Checks ranges of a tensor's placements, and that the types fit.
pub(super) fn check_layout(layout: &TensorLayout, machine: &Machine, values: usize) -> Result<(), Problem> {
    let size = layout.dtype.size();
    let device = usize::from(layout.device_bytes);
    if device == 0 || device > size || (device != size && !layout.dtype.is_int()) {
        return layout_error(layout, format!("{device} bytes on the device for {} of {size}", layout.dtype));
    }
    let Some(elements) = elements(layout).filter(|&n| n.checked_mul(size).is_some()) else {
        return layout_error(layout, format!("shape {:?} overflows", layout.shape));
    };
    let mut points = 0u64;
    for (n, p) in layout.placements.iter().enumerate() {
        if p.value.0 as usize >= values {
            return layout_error(layout, format!("placement {n} names value {}, which does not exist", p.value.0));
        }
        if !data_slice(p.slice, machine) {
            return layout_error(layout, format!("placement {n} lies in {}, which holds no data", p.slice));
        }
        if usize::from(p.byte) >= device {
            return layout_error(layout, format!("placement {n} names byte {} of {device}", p.byte));
        }
        if p.loops.iter().any(|l| l.count == 0) {
            return layout_error(layout, format!("placement {n} has a loop of no turns"));
        }
        let count = p.loops.iter().try_fold(1u64, |c, l| c.checked_mul(u64::from(l.count)));
        points = match count.and_then(|c| points.checked_add(c)).filter(|&c| c <= MAX_POINTS) {
            Some(c) => c,
            None => return layout_error(layout, format!("more than {MAX_POINTS} placed bytes")),
        };
        let within = |(lo, hi): (i128, i128), end: i128| lo >= 0 && hi < end;
        let addr = extent(i128::from(p.addr0), p.loops.iter().map(|l| (l.count, i128::from(l.addr_step))));
        let lane = extent(i128::from(p.lane0), p.loops.iter().map(|l| (l.count, i128::from(l.lane_step))));
        let elem = extent(i128::from(p.elem0), p.loops.iter().map(|l| (l.count, i128::from(l.elem_step))));
        for (what, range, end) in [
            ("words", addr, i128::from(machine.geometry.words_per_slice)),
            ("lanes", lane, machine.lanes() as i128),
            ("elements", elem, elements as i128),
        ] {
            if !within(range, end) {
                return layout_error(
                    layout,
                    format!("placement {n} covers {what} {} to {} of {end}", range.0, range.1),
                );
            }
        }
    }
    Ok(())
}

/// Calls `f(element, word, lane)` for every point of a placement that [`check_layout`] passed.
pub(super) fn each_point(p: &Placement, mut f: impl FnMut(usize, u16, usize)) {
    let depth = p.loops.len();
    let mut index = vec![0u32; depth];
    let (mut elem, mut addr, mut lane) = (p.elem0 as i64, i64::from(p.addr0), i64::from(p.lane0));
    loop {
        f(elem as usize, addr as u16, lane as usize);
        let mut axis = depth;
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            let l = &p.loops[axis];
            index[axis] += 1;
            if index[axis] < l.count {
                elem += l.elem_step;
                addr += i64::from(l.addr_step);
                lane += i64::from(l.lane_step);
                break;
            }
            let back = i64::from(l.count - 1);
            index[axis] = 0;
            elem -= back * l.elem_step;
            addr -= back * i64::from(l.addr_step);
            lane -= back * i64::from(l.lane_step);
        }
    }
}
