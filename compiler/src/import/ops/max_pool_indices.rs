//! The second result of `MaxPool`: where each maximum was found.
//!
//! The cells of every window are gathered with a constant table of flat positions; the
//! position of the largest picks from the same table.

use crate::import::call::{Call, Val};
use crate::import::error::Fail;
use crate::ir::{Op, Tensor, ValueId, Window};

/// Entries the table of positions may have.
const MAX_TABLE: usize = 1 << 24;

/// Both results; positions count through the whole input, row-major or (`column_major`) with the
/// first spatial axis fastest.
pub(super) fn with_indices(
    c: &mut Call<'_, '_>,
    x: ValueId,
    window: Window,
    column_major: bool,
) -> Result<Vec<Val>, Fail> {
    let xs = c.shape(x);
    let y = c.op(Op::Pool { kind: crate::ir::Pool::Max, window: window.clone() }, &[x])?;
    let ys = c.shape(y);
    let plane: usize = xs[2..].iter().product();
    let outs: usize = ys[2..].iter().product();
    let cells: usize = window.kernel.iter().product();
    if outs.saturating_mul(cells) > MAX_TABLE || plane > MAX_TABLE {
        return Err(Fail::unsupported("the indices of a pooling of this size are not supported", "drop the result"));
    }
    let (table, positions) = tables(&xs[2..], &ys[2..], &window, column_major);
    let maps = xs[0] * xs[1];
    let flat = c.reshape(x, &[maps, plane])?;
    // One more cell at the end stands for all the padding; nothing is below it.
    let lowest = if c.dtype(x).is_float() { f64::NEG_INFINITY } else { lowest_integer(c.dtype(x)) };
    let padded = c.pad(flat, &[0, 0], &[0, 1], lowest)?;
    let index = c.add_tensor(Tensor::from_i64(&[outs * cells], &table));
    let gathered = c.op(Op::Gather { axis: 1 }, &[padded, index])?;
    let gathered = c.reshape(gathered, &[maps, outs, cells])?;
    let best = c.op(Op::ArgReduce { max: true, axis: 2, keep: true, last: false }, &[gathered])?;
    let positions = c.add_tensor(Tensor::from_i64(&[1, outs, cells], &positions));
    let positions = c.broadcast(positions, &[maps, outs, cells])?;
    let found = c.op(Op::GatherElements { axis: 2 }, &[positions, best])?;
    let found = c.reshape(found, &[maps, outs])?;
    let base: Vec<i64> = (0..maps as i64).map(|i| i * plane as i64).collect();
    let base = c.add_tensor(Tensor::from_i64(&[maps, 1], &base));
    let found = c.add(found, base)?;
    let found = c.reshape(found, &ys)?;
    Ok(vec![Val::Tensor(y), Val::Tensor(found)])
}

fn lowest_integer(d: crate::ir::DType) -> f64 {
    use crate::ir::DType as D;
    match d {
        D::I8 => f64::from(i8::MIN),
        D::I16 => f64::from(i16::MIN),
        D::I32 => f64::from(i32::MIN),
        D::I64 => i64::MIN as f64,
        _ => 0.0,
    }
}

/// For every output cell and window cell: the row-major position to gather from (the extent
/// itself for padding) and the position to report.
fn tables(input: &[usize], output: &[usize], w: &Window, column_major: bool) -> (Vec<i64>, Vec<i64>) {
    let plane: usize = input.iter().product();
    let (outs, cells): (usize, usize) = (output.iter().product(), w.kernel.iter().product());
    let mut gather = Vec::with_capacity(outs * cells);
    let mut report = Vec::with_capacity(outs * cells);
    for o in 0..outs {
        for k in 0..cells {
            let (mut o, mut k) = (o, k);
            let (mut row, mut row_stride, mut inside) = (0, 1, true);
            let mut at = vec![0; input.len()];
            for i in (0..input.len()).rev() {
                let (oi, ki) = (o % output[i], k % w.kernel[i]);
                (o, k) = (o / output[i], k / w.kernel[i]);
                let p = oi * w.stride[i] + ki * w.dilation[i];
                match p.checked_sub(w.before[i]).filter(|&p| p < input[i]) {
                    Some(p) => at[i] = p,
                    None => inside = false,
                }
                row += at[i] * row_stride;
                row_stride *= input[i];
            }
            let column = at.iter().zip(input).rev().fold(0, |acc, (&p, &n)| acc * n + p);
            gather.push(if inside { row } else { plane } as i64);
            report.push(if column_major { column } else { row } as i64);
        }
    }
    (gather, report)
}
