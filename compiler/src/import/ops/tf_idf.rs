//! `TfIdfVectorizer` over integers: counts of n-grams, each size and distance one comparison of all
//! windows with all n-grams.

use crate::import::call::{Call, Val, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Binary, DType, Reduce, Tensor, ValueId};

pub(super) const OPS: &[OpDef] = &[onnx("TfIdfVectorizer", 9, tf_idf)];

/// Elements of the matrix from n-grams to columns of the result.
const MAX_TABLE: usize = 1 << 24;
/// N-gram sizes times skips: each becomes a handful of primitives.
const MAX_STEPS: usize = 1 << 12;

fn tf_idf(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    if c.has("pool_strings") {
        return Err(Fail::unsupported("n-grams of strings are not supported", "use integers"));
    }
    let need =
        |v: Option<Vec<i64>>, name: &str| v.ok_or_else(|| Fail::invalid(format!("attribute '{name}' is missing")));
    let bound = |v: i64, name: &str| {
        usize::try_from(v)
            .ok()
            .filter(|&v| v <= MAX_STEPS)
            .ok_or_else(|| Fail::invalid(format!("{name} is out of range")))
    };
    let mode = c.choice("mode", "", &["TF", "IDF", "TFIDF"])?;
    let smallest = bound(c.int("min_gram_length", 1)?, "min_gram_length")?.max(1);
    let largest = bound(c.int("max_gram_length", 1)?, "max_gram_length")?;
    let skips = bound(c.int("max_skip_count", 0)?, "max_skip_count")?;
    let (starts, columns) = (c.int_list("ngram_counts")?, c.int_list("ngram_indexes")?);
    let (starts, columns) = (need(starts, "ngram_counts")?, need(columns, "ngram_indexes")?);
    let pool = c.int_list("pool_int64s")?;
    let pool = need(pool, "pool_int64s")?;
    let weights = c.float_list("weights")?.filter(|w| !w.is_empty());
    let x = c.x(0)?;
    let xs = c.shape(x);
    if !matches!(c.dtype(x), DType::I32 | DType::I64) || xs.is_empty() || xs.len() > 2 {
        return Err(Fail::invalid(format!("{} is no vector or matrix of integers", c.ty(x))));
    }
    let size = columns.iter().map(|&v| bound(v, "an ngram index").map(|v| v + 1)).collect::<Result<Vec<_>, _>>()?;
    let width = size.iter().copied().max().unwrap_or(0);
    if columns.len().saturating_mul(width) > MAX_TABLE || skips.saturating_mul(largest) > MAX_STEPS {
        return Err(Fail::unsupported(format!("{} n-grams are not supported", columns.len()), "use fewer"));
    }
    if weights.as_ref().is_some_and(|w| w.len() < width) {
        return Err(Fail::invalid(format!("{width} results need as many weights")));
    }
    let (batch, length) = if xs.len() == 2 { (xs[0], xs[1]) } else { (1, xs[0]) };
    let x = c.reshape(x, &[batch, length])?;
    let x = c.cast(x, DType::I64)?;
    let mut y = c.full(DType::F32, &[batch, width], 0.0)?;
    let mut first = 0;
    for n in 1..=starts.len() {
        let end = starts.get(n).copied().unwrap_or(pool.len() as i64);
        let range = usize::try_from(starts[n - 1]).ok().zip(usize::try_from(end).ok());
        let grams =
            range.and_then(|(a, b)| pool.get(a..b)).ok_or_else(|| Fail::invalid("ngram_counts is out of range"))?;
        let count = grams.len() / n;
        let to = size.get(first..first + count).ok_or_else(|| Fail::invalid("ngram_indexes is too short"))?;
        first += count;
        if n < smallest || n > largest || count == 0 {
            continue;
        }
        // One element has no distance to another, so it is counted once.
        let mut found: Option<ValueId> = None;
        for distance in 1..=if n == 1 { 1 } else { skips + 1 } {
            let Some(windows) = length.checked_sub(distance * (n - 1)).filter(|&w| w > 0) else { break };
            let hits = matches(c, x, grams, n, distance, windows)?;
            found = Some(match found {
                Some(f) => c.add(f, hits)?,
                None => hits,
            });
        }
        let Some(found) = found else { continue };
        let mut table = vec![0f32; count * width];
        to.iter().enumerate().for_each(|(i, &column)| table[i * width + column - 1] = 1.0);
        let table = c.add_tensor(Tensor::from_f32(&[count, width], &table));
        let part = c.matmul(found, table)?;
        y = c.add(y, part)?;
    }
    if mode == "IDF" {
        let zero = c.scalar(DType::F32, 0.0);
        let any = c.binary(Binary::Gt, y, zero)?;
        y = c.cast(any, DType::F32)?;
    }
    if let (true, Some(w)) = (mode != "TF", weights) {
        let w = c.add_tensor(Tensor::from_f32(&[1, width], &w[..width]));
        y = c.mul(y, w)?;
    }
    one(if xs.len() == 1 { c.reshape(y, &[width])? } else { y })
}

/// How often each n-gram stands in each row, `[batch, n-grams]`.
fn matches(
    c: &mut Call<'_, '_>,
    x: ValueId,
    grams: &[i64],
    n: usize,
    distance: usize,
    windows: usize,
) -> Result<ValueId, Fail> {
    let count = grams.len() / n;
    let batch = c.shape(x)[0];
    let mut all: Option<ValueId> = None;
    for j in 0..n {
        let part = c.slice_axis(x, 1, j * distance, windows)?;
        let part = c.reshape(part, &[batch, windows, 1])?;
        let wanted: Vec<i64> = grams.chunks_exact(n).map(|g| g[j]).collect();
        let wanted = c.add_tensor(Tensor::from_i64(&[1, 1, count], &wanted));
        let same = c.binary(Binary::Eq, part, wanted)?;
        all = Some(match all {
            Some(a) => c.binary(Binary::And, a, same)?,
            None => same,
        });
    }
    let all = all.ok_or_else(|| Fail::invalid("an n-gram has no elements"))?;
    let all = c.cast(all, DType::F32)?;
    c.reduce(Reduce::Sum, all, &[1], false)
}
