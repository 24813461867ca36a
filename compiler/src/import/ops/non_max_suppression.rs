//! `NonMaxSuppression`: how many boxes are left depends on the values, so boxes and scores must be
//! known.

use crate::import::call::{Call, Val, numbers, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::Tensor;

pub(super) const OPS: &[OpDef] = &[onnx("NonMaxSuppression", 10, non_max_suppression)];

/// Comparisons of boxes that one node may take.
const MAX_WORK: usize = 1 << 30;

/// A box by its edges.
#[derive(Clone, Copy)]
struct Edges {
    x: (f32, f32),
    y: (f32, f32),
}

impl Edges {
    /// Corners in any order, `[y1, x1, y2, x2]`, or `[x, y, width, height]` around a centre.
    fn new(b: &[f32], center: bool) -> Edges {
        if center {
            let (w, h) = (b[2] / 2.0, b[3] / 2.0);
            return Edges { x: (b[0] - w, b[0] + w), y: (b[1] - h, b[1] + h) };
        }
        Edges { x: (b[1].min(b[3]), b[1].max(b[3])), y: (b[0].min(b[2]), b[0].max(b[2])) }
    }

    fn area(self) -> f32 {
        (self.x.1 - self.x.0) * (self.y.1 - self.y.0)
    }

    /// True when the boxes share more than `threshold` of their union. In `f32`, as the boxes are.
    fn overlaps(self, o: Edges, threshold: f32) -> bool {
        let width = self.x.1.min(o.x.1) - self.x.0.max(o.x.0);
        let height = self.y.1.min(o.y.1) - self.y.0.max(o.y.0);
        if width <= 0.0 || height <= 0.0 {
            return false;
        }
        let common = width * height;
        let (a, b) = (self.area(), o.area());
        let union = a + b - common;
        common > 0.0 && a > 0.0 && b > 0.0 && union > 0.0 && common / union > threshold
    }
}

fn floats(c: &Call<'_, '_>, i: usize, what: &str) -> Result<Vec<f32>, Fail> {
    Ok(numbers(c.known(i, what)?).into_iter().map(|v| v as f32).collect())
}

/// Rows of batch, class and box, `[count, 3]`.
fn non_max_suppression(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(5)?;
    let center = c.flag("center_point_box", false)?;
    let (boxes, scores) = (c.x(0)?, c.x(1)?);
    let (bs, ss) = (c.shape(boxes), c.shape(scores));
    if bs.len() != 3 || bs[2] != 4 || ss.len() != 3 || ss[0] != bs[0] || ss[2] != bs[1] {
        return Err(Fail::invalid(format!("scores {} do not fit boxes {}", c.ty(scores), c.ty(boxes))));
    }
    let optional = |c: &Call<'_, '_>, i: usize, what: &str| -> Result<Option<f64>, Fail> {
        Ok(if c.opt(i)?.is_some() { Some(c.known_number(i, what)?) } else { None })
    };
    let most = optional(c, 2, "max_output_boxes_per_class")?.unwrap_or(0.0).max(0.0) as usize;
    let overlap = optional(c, 3, "iou_threshold")?.unwrap_or(0.0) as f32;
    let least = optional(c, 4, "score_threshold")?.map(|v| v as f32);
    let what = "the operand of NonMaxSuppression";
    let (boxes, scores) = (floats(c, 0, what)?, floats(c, 1, what)?);
    let (batches, classes, n) = (ss[0], ss[1], ss[2]);
    if scores.len().saturating_mul(most.min(n)) > MAX_WORK {
        return Err(Fail::unsupported(format!("{n} boxes of {classes} classes are too many"), "limit the outputs"));
    }
    let mut rows = Vec::new();
    for batch in 0..batches {
        let edges: Vec<Edges> =
            boxes[batch * n * 4..(batch + 1) * n * 4].chunks_exact(4).map(|b| Edges::new(b, center)).collect();
        for class in 0..classes {
            let at = (batch * classes + class) * n;
            let score = &scores[at..at + n];
            let mut order: Vec<usize> = (0..n).filter(|&i| least.is_none_or(|t| score[i] > t)).collect();
            // The highest first; of equals the one that comes first.
            order.sort_by(|&i, &j| score[j].total_cmp(&score[i]));
            let mut taken: Vec<usize> = Vec::new();
            for i in order {
                if taken.len() >= most {
                    break;
                }
                if !taken.iter().any(|&j| edges[i].overlaps(edges[j], overlap)) {
                    taken.push(i);
                }
            }
            rows.extend(taken.iter().flat_map(|&i| [batch as i64, class as i64, i as i64]));
        }
    }
    one(c.add_tensor(Tensor::from_i64(&[rows.len() / 3, 3], &rows)))
}
