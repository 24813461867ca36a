//! Plans of random kernels are legal, and tight where the best is known.

use super::*;
use proptest::prelude::*;

/// A kernel by its list of (width, height, cycles).
#[derive(Clone, Debug)]
struct Listed(Vec<(u16, u16, u64)>);

impl Shapes for Listed {
    fn within(&self, limit: u64, width: u16, height: u16) -> Vec<(u16, u16)> {
        let fit = self.0.iter().filter(|s| s.2 <= limit && s.0 <= width && s.1 <= height);
        fit.map(|s| (s.0, s.1)).collect()
    }

    fn time(&self, shape: (u16, u16)) -> Option<u64> {
        self.0.iter().filter(|s| s.0 <= shape.0 && s.1 <= shape.1).map(|s| s.2).min()
    }
}

fn problem(kernels: &[Listed], wires: Vec<Wire>, width: u16, height: u16) -> Problem<'_> {
    let kernels = kernels.iter().map(|k| k as &dyn Shapes).collect();
    Problem { kernels, wires, width, height, time_weight: 10, length_weight: 1 }
}

const QUICK: Effort = Effort { orders: 5, limits: 3, moves: 300 };

fn overlap(a: Rect, b: Rect) -> bool {
    a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height
}

/// The least slowest time over all choices of listed shapes that shelves of any run could hold is hard to
/// say in general; the least over *all* placements of two kernels is not.
fn best_of_two(a: &Listed, b: &Listed, width: u16, height: u16) -> Option<u64> {
    let pairs = a.0.iter().flat_map(|s| b.0.iter().map(move |t| (s, t)));
    let fit = pairs.filter(|(s, t)| {
        (s.0 + t.0 <= width && s.1.max(t.1) <= height) || (s.1 + t.1 <= height && s.0.max(t.0) <= width)
    });
    fit.map(|(s, t)| s.2.max(t.2)).min()
}

fn kernel() -> impl Strategy<Value = Listed> {
    prop::collection::vec((1u16..=9, 1u16..=9, 1u64..5000), 1..5).prop_map(Listed)
}

proptest! {
    #[test]
    fn plans_are_legal(kernels in prop::collection::vec(kernel(), 1..7), links in prop::collection::vec((0usize..7, 0usize..7), 0..8)) {
        let n = kernels.len();
        let wires: Vec<_> = links.iter().map(|&(a, b)| Wire { from: a % n, to: b % n }).collect();
        let p = problem(&kernels, wires, 20, 16);
        let Some(found) = plan(&p, QUICK) else { return Ok(()) };
        prop_assert_eq!(found.rects.len(), n);
        for (i, r) in found.rects.iter().enumerate() {
            prop_assert!(r.x + r.width <= 20 && r.y + r.height <= 16);
            prop_assert!(kernels[i].time((r.width, r.height)).is_some_and(|t| t <= found.time));
            for s in &found.rects[..i] {
                prop_assert!(!overlap(*r, *s), "{:?} {:?}", r, s);
            }
        }
        prop_assert_eq!(found.length2, length2(&found.rects, &p.wires));
        prop_assert_eq!(plan(&p, QUICK), Some(found));
    }

    #[test]
    fn two_kernels_are_as_fast_as_can_be(a in kernel(), b in kernel()) {
        let kernels = [a, b];
        let p = problem(&kernels, vec![], 12, 10);
        let best = best_of_two(&kernels[0], &kernels[1], 12, 10);
        // Wires have no weight here, but a little more time may be taken for them.
        let found = plan(&p, Effort { limits: 1, ..QUICK }).map(|f| f.time);
        prop_assert_eq!(found.is_some(), best.is_some());
        if let (Some(found), Some(best)) = (found, best) {
            prop_assert!(found >= best && found <= best + best / 1000 + 1, "{} against {}", found, best);
        }
    }
}

#[test]
fn a_full_mesh_is_filled() {
    // Sixteen kernels of 4 x 4, or 2 x 4 at half the speed, on 16 x 16: just as fast as they can be.
    let kernels = vec![Listed(vec![(4, 4, 100), (2, 4, 200)]); 16];
    let wires: Vec<_> = (1..16).map(|i| Wire { from: i - 1, to: i }).collect();
    let p = problem(&kernels, wires, 16, 16);
    let found = plan(&p, Effort::default()).expect("fits");
    assert_eq!(found.time, 100);
    // Neighbours of the chain are neighbours on the mesh: 15 wires of 4 PEs.
    assert_eq!(found.length2, 2 * 15 * 4);
}

#[test]
fn what_does_not_fit_has_no_plan() {
    let kernels = vec![Listed(vec![(9, 9, 1)]); 3];
    assert_eq!(plan(&problem(&kernels, vec![], 18, 10), QUICK), None);
}
