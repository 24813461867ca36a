//! Convolutions as products, products as convolutions, and pads into windows: alternatives whose
//! worth depends on the target's layout.

use super::super::language::{Kind, Term};
use super::super::rule::{Cx, Rounding, Rule, Theme};
#[cfg(test)]
use super::super::testing::examples::convolution as ex;
use super::epilogue::steps;
use crate::ir::{Op, PadMode, Window};
use egg::Id;

const SUMS: Rounding = Rounding::Rounds("The evaluator may add in another order.");

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "pad-into-window",
        theme: Theme::Convolution,
        rounding: Rounding::Exact,
        summary: "A pad with zeros becomes part of the convolution's window.",
        picture: "conv<pads 0>(pad<p, q>(x, 0), w) => conv<pads p, q>(x, w)",
        when: "the fill is zero, only spatial axes are padded, nothing is cropped, and the weights are finite \
               constants",
        roots: &[Kind::Conv],
        apply: pad_into_window,
        #[cfg(test)]
        example: ex::pad_into_window,
    },
    Rule {
        name: "conv-as-matmul",
        theme: Theme::Convolution,
        rounding: SUMS,
        summary: "A convolution with a window of one cell is a matrix product over pixels.",
        picture: "conv<1x1>(x: [n,c,h,w], w) => reshape<n,m,h,w>(matmul(C, reshape<n,c,h*w>(x)))   C: [m,c]\n\
                  conv<1x1>(x, w) => transpose<0,3,1,2>(reshape(matmul(reshape(transpose<0,2,3,1>(x)), C)))   C: [c,m]",
        when: "stride 1, no pads, one group; epilogue operands are constants per channel or have the whole shape; not strict",
        roots: &[Kind::Conv],
        apply: conv_as_matmul,
        #[cfg(test)]
        example: ex::conv_as_matmul,
    },
    Rule {
        name: "window-as-matmul",
        theme: Theme::Convolution,
        rounding: SUMS,
        summary: "A convolution whose window covers its whole input is a matrix product.",
        picture: "conv<h x w>(x: [n,c,h,w], w) => reshape<n,m,1,1>(matmul(reshape<n,c*h*w>(x), C))   C: [c*h*w,m]",
        when: "no pads, one group, window as large as the input; epilogue operands as for conv-as-matmul; not strict",
        roots: &[Kind::Conv],
        apply: window_as_matmul,
        #[cfg(test)]
        example: ex::window_as_matmul,
    },
    Rule {
        name: "matmul-as-window",
        theme: Theme::Convolution,
        rounding: SUMS,
        summary: "A matrix product of a flattened image is a convolution whose window covers the image.",
        picture: "matmul(reshape<n,c*h*w>(x: [n,c,h,w]), w) => reshape<n,m>(conv<h x w>(x, C))   C: [m,c,h,w]",
        when: "the weights are a constant of two axes, the image has 1 to 3 spatial axes, not all of extent 1; epilogue \
               operands are constants per column or have the whole shape; not strict",
        roots: &[Kind::MatMul],
        apply: matmul_as_window,
        #[cfg(test)]
        example: ex::matmul_as_window,
    },
    Rule {
        name: "flatten-order-into-weights",
        theme: Theme::Convolution,
        rounding: SUMS,
        summary: "A transpose before flattening moves into the rows of the weights.",
        picture: "matmul(reshape<n,k>(transpose<0,..>(x)), w) => matmul(reshape<n,k>(x), C)   C = rows of w permuted",
        when: "the first axis stays, the weights are a constant of two axes; not strict",
        roots: &[Kind::MatMul],
        apply: flatten_order_into_weights,
        #[cfg(test)]
        example: ex::flatten_order_into_weights,
    },
];

fn pad_into_window(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let Op::Conv { window, groups, epilogue } = cx.op(t)?.clone() else { return None };
    for pad in cx.terms(t.children[0], Kind::Pad) {
        // A pad cell times an infinite weight is NaN in the one form and nothing in the other.
        if !cx.constant(t.children[1]).is_some_and(is_finite) {
            return None;
        }
        let Some(Op::Pad { mode: PadMode::Constant, before, after }) = cx.op(&pad) else { continue };
        let spatial = before[..2].iter().chain(&after[..2]).all(|&p| p == 0);
        if !spatial || before.iter().chain(after).any(|&p| p < 0) || cx.splat(pad.children[1]) != Some(0.0) {
            continue;
        }
        let mut w = window.clone();
        for i in 0..w.before.len() {
            w.before[i] += before[i + 2] as usize;
            w.after[i] += after[i + 2] as usize;
        }
        let mut operands = t.children.to_vec();
        operands[0] = pad.children[0];
        let op = Op::Conv { window: w, groups, epilogue: epilogue.clone() };
        let c = cx.add(op, &operands, &[&pad, t])?;
        cx.equate(c);
    }
    Some(())
}

fn is_finite(t: &crate::ir::Tensor) -> bool {
    use super::super::fold::element;
    !t.dtype.is_float() || t.len() <= 1 << 24 && (0..t.len()).all(|i| element(t, i).is_some_and(f64::is_finite))
}

/// How an epilogue operand of the one form stands in the other.
enum Form<'a> {
    /// One number a channel: constants of this shape.
    Channel(&'a [usize]),
    /// Whole results: reshaped, or transposed first.
    Whole(Option<&'a [usize]>, &'a [usize]),
}

/// Carries epilogue operands over to a product of another shape. `channel` is the axis of the
/// old result that the channels are on, `per_channel` and `whole` what they become.
fn carry(cx: &mut Cx<'_>, operands: &[Id], result: &[usize], channel: usize, forms: [Form<'_>; 2]) -> Option<Vec<Id>> {
    let mut carried = Vec::new();
    for &o in operands {
        let (shape, n) = (cx.shape(o).to_vec(), cx.ty(o).elements());
        let from_end = result.len() - 1 - channel;
        let along = shape.iter().rev().enumerate().all(|(i, &d)| d == 1 || i == from_end);
        let id = match &forms {
            [Form::Channel(to), _] if along && cx.fixed(o) => {
                let to: Vec<usize> = to.iter().map(|&d| if d == result[channel] { n } else { d }).collect();
                cx.reshape(o, &to, &[])?
            }
            [_, Form::Whole(perm, to)] if shape == result => {
                let o = match perm {
                    Some(p) => cx.transpose(o, p, &[])?,
                    None => o,
                };
                cx.reshape(o, to, &[])?
            }
            _ => return None,
        };
        carried.push(id);
    }
    Some(carried)
}

fn is_plain(w: &Window) -> bool {
    w.before.iter().chain(&w.after).all(|&p| p == 0)
}

fn conv_as_matmul(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let op = cx.op(t)?.clone();
    let Op::Conv { window, groups: 1, epilogue } = &op else { return None };
    let one = window.kernel.iter().chain(&window.stride).all(|&k| k == 1);
    let (x, w) = (t.children[0], t.children[1]);
    if cx.strict() || !one || !is_plain(window) || !cx.fixed(w) || !cx.dtype(x).is_float() {
        return None;
    }
    let shape = cx.shape(x).to_vec();
    let (n, c, m) = (shape[0], shape[1], cx.shape(w)[0]);
    let pixels: usize = shape[2..].iter().product();
    let mut result = shape.clone();
    result[1] = m;
    let product = Op::MatMul { epilogue: epilogue.clone() };
    let weights = cx.reshape(w, &[m, c], &[])?;

    let forms = [Form::Channel(&[m, 1]), Form::Whole(None, &[n, m, pixels])];
    // With a channel extent of 1 a column is a number as well.
    if let Some(extra) = carry(cx, &t.children[2..], &result, 1, forms) {
        let columns = cx.reshape(x, &[n, c, pixels], &[t])?;
        let operands: Vec<Id> = [weights, columns].into_iter().chain(extra).collect();
        if let Some(p) = cx.add(product.clone(), &operands, &[t]) {
            let r = cx.reshape(p, &result, &[t])?;
            cx.equate(r);
        }
    }

    let rank = shape.len();
    let to_last: Vec<usize> = std::iter::once(0).chain(2..rank).chain([1]).collect();
    let from_last: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    let forms = [Form::Channel(&[m]), Form::Whole(Some(&to_last), &[n, pixels, m])];
    let extra = carry(cx, &t.children[2..], &result, 1, forms)?;
    let last = cx.transpose(x, &to_last, &[t])?;
    let rows = cx.reshape(last, &[n, pixels, c], &[t])?;
    let flipped = cx.transpose(weights, &[1, 0], &[])?;
    let operands: Vec<Id> = [rows, flipped].into_iter().chain(extra).collect();
    let p = cx.add(product, &operands, &[t])?;
    let image: Vec<usize> = to_last.iter().map(|&a| result[a]).collect();
    let r = cx.reshape(p, &image, &[t])?;
    let r = cx.transpose(r, &from_last, &[t])?;
    cx.equate(r);
    Some(())
}

fn window_as_matmul(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let op = cx.op(t)?.clone();
    let Op::Conv { window, groups: 1, epilogue } = &op else { return None };
    let (x, w) = (t.children[0], t.children[1]);
    let shape = cx.shape(x).to_vec();
    let covers = window.kernel[..] == shape[2..] && window.dilation.iter().all(|&d| d == 1);
    if cx.strict() || !covers || !is_plain(window) || !cx.fixed(w) || !cx.dtype(x).is_float() {
        return None;
    }
    let (n, m) = (shape[0], cx.shape(w)[0]);
    let k: usize = shape[1..].iter().product();
    let mut result = vec![1; shape.len()];
    (result[0], result[1]) = (n, m);
    let forms = [Form::Channel(&[m]), Form::Whole(None, &[n, m])];
    let extra = carry(cx, &t.children[2..], &result, 1, forms)?;
    let flat = cx.reshape(x, &[n, k], &[t])?;
    let rows = cx.reshape(w, &[m, k], &[])?;
    let columns = cx.transpose(rows, &[1, 0], &[])?;
    let operands: Vec<Id> = [flat, columns].into_iter().chain(extra).collect();
    let p = cx.add(Op::MatMul { epilogue: epilogue.clone() }, &operands, &[t])?;
    let r = cx.reshape(p, &result, &[t])?;
    cx.equate(r);
    Some(())
}

fn matmul_as_window(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let op = cx.op(t)?.clone();
    let (flat, w) = (t.children[0], t.children[1]);
    if cx.strict() || !cx.fixed(w) || cx.ty(w).rank() != 2 || cx.ty(flat).rank() != 2 || !cx.dtype(w).is_float() {
        return None;
    }
    let (n, m) = (cx.shape(flat)[0], cx.shape(w)[1]);
    for r in cx.terms(flat, Kind::Reshape) {
        let x = r.children[0];
        let image = cx.shape(x).to_vec();
        let spatial = image.len().wrapping_sub(2);
        if !(1..=3).contains(&spatial) || image[0] != n || image[2..].iter().all(|&d| d == 1) {
            continue;
        }
        let mut per_channel = vec![1; image.len() - 1];
        per_channel[0] = m;
        let mut whole = vec![1; image.len()];
        (whole[0], whole[1]) = (n, m);
        let forms = [Form::Channel(&per_channel), Form::Whole(None, &whole)];
        let extra = carry(cx, &t.children[2..], &[n, m], 1, forms)?;
        let rows = cx.transpose(w, &[1, 0], &[])?;
        let shape: Vec<usize> = std::iter::once(m).chain(image[1..].iter().copied()).collect();
        let weights = cx.reshape(rows, &shape, &[])?;
        let window = Window {
            kernel: image[2..].to_vec(),
            stride: vec![1; spatial],
            dilation: vec![1; spatial],
            before: vec![0; spatial],
            after: vec![0; spatial],
        };
        let conv = Op::Conv { window, groups: 1, epilogue: steps(&op).to_vec() };
        let operands: Vec<Id> = [x, weights].into_iter().chain(extra).collect();
        let Some(c) = cx.add(conv, &operands, &[t]) else { continue };
        let back = cx.reshape(c, &[n, m], &[t])?;
        cx.equate(back);
    }
    Some(())
}

fn flatten_order_into_weights(cx: &mut Cx<'_>, t: &Term) -> Option<()> {
    let op = cx.op(t)?.clone();
    let (flat, w) = (t.children[0], t.children[1]);
    if cx.strict() || !cx.fixed(w) || cx.ty(w).rank() != 2 || cx.ty(flat).rank() != 2 || !cx.dtype(w).is_float() {
        return None;
    }
    let to = cx.shape(flat).to_vec();
    let columns = cx.shape(w)[1];
    for r in cx.terms(flat, Kind::Reshape) {
        for tr in cx.terms(r.children[0], Kind::Transpose) {
            let Some(Op::Transpose { perm }) = cx.op(&tr).cloned() else { continue };
            let x = tr.children[0];
            let shape = cx.shape(x).to_vec();
            if perm.first() != Some(&0) || shape[0] != to[0] {
                continue;
            }
            // Rows of the weights, unflattened in the transposed order, go back to the order of x.
            let rows: Vec<usize> = perm[1..].iter().map(|&p| shape[p]).chain([columns]).collect();
            let mut back = vec![0; perm.len()];
            perm[1..].iter().enumerate().for_each(|(i, &p)| back[p - 1] = i);
            back[perm.len() - 1] = perm.len() - 1;
            let cube = cx.reshape(w, &rows, &[])?;
            let moved = cx.transpose(cube, &back, &[])?;
            let weights = cx.reshape(moved, &[to[1], columns], &[])?;
            let plain = cx.reshape(x, &to, &[&r])?;
            let mut operands = t.children.to_vec();
            (operands[0], operands[1]) = (plain, weights);
            let m = cx.add(op.clone(), &operands, &[t, &tr])?;
            cx.equate(m);
        }
    }
    Some(())
}
