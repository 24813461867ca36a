//! `Constant`, `ConstantOfShape`.

use crate::import::build::scalar_tensor;
use crate::import::call::{Call, Val, extent, one};
use crate::import::error::Fail;
use crate::import::registry::{OpDef, onnx};
use crate::ir::{DType, Tensor};

pub(super) const OPS: &[OpDef] = &[onnx("Constant", 1, constant), onnx("ConstantOfShape", 9, constant_of_shape)];

fn constant(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(0)?;
    let given = [
        c.tensor_attribute("value")?,
        c.int_opt("value_int")?.map(|v| Tensor { shape: Vec::new(), ..Tensor::from_i64(&[1], &[v]) }),
        c.int_list("value_ints")?.map(|v| Tensor::from_i64(&[v.len()], &v)),
        c.float_opt("value_float")?.map(|v| scalar_tensor(DType::F32, f64::from(v))),
        c.float_list("value_floats")?.map(|v| Tensor::from_f32(&[v.len()], &v)),
    ];
    for name in ["sparse_value", "value_string", "value_strings"] {
        if c.has(name) {
            return Err(Fail::unsupported(format!("attribute '{name}' is not supported"), "use a dense number tensor"));
        }
    }
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(t), None) => one(c.add_tensor(t)),
        _ => Err(Fail::invalid("needs exactly one of the value attributes")),
    }
}

fn constant_of_shape(c: &mut Call<'_, '_>) -> Result<Vec<Val>, Fail> {
    c.at_most(1)?;
    let value = c.tensor_attribute("value")?.unwrap_or_else(|| scalar_tensor(DType::F32, 0.0));
    if value.len() != 1 {
        return Err(Fail::invalid(format!("attribute 'value' must have one element, got {}", value.len())));
    }
    let shape = c.known_ints(0, "the shape")?.into_iter().map(extent).collect::<Result<Vec<_>, _>>()?;
    let v = c.add_tensor(Tensor { shape: Vec::new(), ..value });
    one(c.broadcast(v, &shape)?)
}
