//! Makes extents smaller: one extent everywhere at once, in inputs, in initializers and where a
//! tensor of integers holds it (the target of a `Reshape`).

use quadrille_onnx::ElementType;
use quadrille_onnx::proto::{GraphProto, ModelProto, TensorProto, ValueInfoProto};
use std::collections::BTreeSet;

/// Sweeps over all extents, at most.
const SWEEPS: usize = 3;

/// Shrinks what can be shrunk.
pub(super) fn shrink(model: &mut ModelProto, fails: &mut dyn FnMut(&ModelProto) -> bool) {
    for _ in 0..SWEEPS {
        let mut smaller = false;
        for from in extents(model).into_iter().rev() {
            let tries: BTreeSet<i64> = [1, 2, from / 8, from / 2].into_iter().filter(|&t| t >= 1 && t < from).collect();
            for to in tries {
                if let Some(m) = replaced(model, from, to).filter(|m| fails(m)) {
                    *model = m;
                    smaller = true;
                    break;
                }
            }
        }
        if !smaller {
            return;
        }
    }
}

/// All extents beyond 1 of inputs and initializers.
fn extents(model: &ModelProto) -> BTreeSet<i64> {
    let Some(g) = &model.graph else { return BTreeSet::new() };
    let inputs = g.input.iter().flat_map(fixed);
    inputs.chain(g.initializer.iter().flat_map(|t| t.dims.iter().copied())).filter(|&d| d > 1).collect()
}

fn fixed(v: &ValueInfoProto) -> Vec<i64> {
    let shape = v.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).and_then(|t| t.shape.as_ref());
    shape.into_iter().flat_map(|s| s.dim.iter().filter_map(|d| d.dim_value)).collect()
}

fn replaced(model: &ModelProto, from: i64, to: i64) -> Option<ModelProto> {
    let mut out = model.clone();
    let g = out.graph.as_mut()?;
    for v in &mut g.input {
        let shape = v.r#type.as_mut().and_then(|t| t.tensor_type.as_mut()).and_then(|t| t.shape.as_mut());
        let dims = shape.into_iter().flat_map(|s| s.dim.iter_mut());
        dims.filter(|d| d.dim_value == Some(from)).for_each(|d| d.dim_value = Some(to));
    }
    for t in &mut g.initializer {
        *t = smaller(t, from, to)?;
    }
    // What was stated of results may be true no more.
    forget_shapes(g);
    Some(out)
}

fn forget_shapes(g: &mut GraphProto) {
    for v in &mut g.output {
        if let Some(t) = v.r#type.as_mut().and_then(|t| t.tensor_type.as_mut()) {
            t.shape = None;
        }
    }
}

/// The first `to` of `from` along every axis of that extent; integers that are `from` become `to`.
fn smaller(t: &TensorProto, from: i64, to: i64) -> Option<TensorProto> {
    let element = ElementType::from_number(t.data_type)?;
    let (Some(raw), Some(bits)) = (&t.raw_data, element.bits()) else {
        return (!t.dims.contains(&from)).then(|| t.clone());
    };
    let mut out = t.clone();
    let mut data = raw.to_vec();
    if t.dims.contains(&from) {
        if bits % 8 != 0 {
            return None;
        }
        let mut inner = bits / 8;
        for axis in (0..t.dims.len()).rev() {
            let extent = usize::try_from(t.dims[axis]).ok()?;
            if t.dims[axis] == from {
                let keep = inner * to as usize;
                data = data.chunks(inner * extent).flat_map(|c| c[..keep.min(c.len())].iter().copied()).collect();
                out.dims[axis] = to;
                inner = keep;
            } else {
                inner *= extent;
            }
        }
    }
    if element == ElementType::I64 && t.dims.len() <= 1 {
        for v in data.chunks_exact_mut(8).filter(|v| **v == from.to_le_bytes()) {
            v.copy_from_slice(&to.to_le_bytes());
        }
    }
    out.raw_data = Some(data.into());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_every_axis_of_an_extent() {
        let t = TensorProto {
            dims: vec![3, 2, 3],
            data_type: ElementType::U8 as i32,
            raw_data: Some((0u8..18).collect::<Vec<u8>>().into()),
            ..Default::default()
        };
        let s = smaller(&t, 3, 2).expect("whole bytes");
        assert_eq!((s.dims, s.raw_data.as_deref()), (vec![2, 2, 2], Some(&[0u8, 1, 3, 4, 6, 7, 9, 10][..])));
    }
}
