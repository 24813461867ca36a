//! `Col2Im`: a transposed convolution whose weights put each cell of a block in its place.

use crate::import::call::{Call, Val, extent, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{Op, Tensor, Window};

pub(super) const OPS: &[OpDef] = &[onnx("Col2Im", 18, col2im)];

/// Elements the one-hot weights may have.
const MAX_WEIGHTS: usize = 1 << 24;

fn col2im(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(3)?;
    let x = c.x(0)?;
    let image = c.known_ints(1, "the image shape")?.into_iter().map(extent).collect::<Result<Vec<_>, _>>()?;
    let block = c.known_ints(2, "the block shape")?.into_iter().map(extent).collect::<Result<Vec<_>, _>>()?;
    let n = image.len();
    let list = |c: &mut Call<'_, '_>, name: &str, n: usize, default: i64| -> Result<Vec<usize>, Fail> {
        let v = c.int_list(name)?.unwrap_or_else(|| vec![default; n]);
        if v.len() != n || v.iter().any(|&d| d < default.min(1) || d > 1 << 20) {
            return Err(Fail::invalid(format!("attribute '{name}' = {v:?} does not fit {n} entries")));
        }
        Ok(v.into_iter().map(|d| d as usize).collect())
    };
    let dilation = list(c, "dilations", n, 1)?;
    let stride = list(c, "strides", n, 1)?;
    let pads = list(c, "pads", 2 * n, 0)?;
    let xs = c.shape(x);
    let k = quadrille_isa::tensor::element_count(&block).unwrap_or(0);
    if n == 0
        || block.len() != n
        || xs.len() != 3
        || k == 0
        || !xs[1].is_multiple_of(k)
        || stride.contains(&0)
        || dilation.contains(&0)
    {
        return Err(Fail::invalid(format!("{} does not fit image {image:?} and block {block:?}", c.ty(x))));
    }
    let channels = xs[1] / k;
    if channels.saturating_mul(k).saturating_mul(k) > MAX_WEIGHTS {
        return Err(Fail::unsupported("a block of this size is not supported", ""));
    }
    let mut shape = vec![xs[0], xs[1]];
    let mut extra = vec![0; n];
    for i in 0..n {
        let span = (block[i] - 1) * dilation[i] + 1;
        let free = (image[i] + pads[i] + pads[i + n]).checked_sub(span);
        let free = free.ok_or_else(|| Fail::invalid(format!("the block is larger than image {image:?}")))?;
        shape.push(free / stride[i] + 1);
        extra[i] = free % stride[i];
    }
    let y = c.reshape(x, &shape)?;
    let mut weights = vec![0f32; channels * k * k];
    for (row, w) in weights.chunks_exact_mut(k).enumerate() {
        w[row % k] = 1.0;
    }
    let mut ws = vec![xs[1], 1];
    ws.extend(&block);
    let w = c.add_tensor(Tensor::from_f32(&ws, &weights));
    let dtype = c.dtype(x);
    let w = c.cast(w, dtype)?;
    let window = Window { kernel: block, stride, dilation, before: pads[..n].to_vec(), after: pads[n..].to_vec() };
    one(c.op(Op::ConvTranspose { window, groups: channels, extra }, &[y, w])?)
}
