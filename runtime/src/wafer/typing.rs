//! Which element types an operation takes, and how many elements a cycle it then does.
//!
//! Knows the operation table of `docs/isa-wafer.md`; knows nothing of places or time.

use quadrille_isa::wafer::{Dst, ElemType, Machine, PeOp, Src, VecOp};

/// Element type of a source, `None` when it is not used.
pub(crate) fn src_type(src: &Src) -> Option<ElemType> {
    match src {
        Src::None => None,
        Src::Mem(m) | Src::RowScalar(m) => Some(m.ty),
        Src::Fabric(_, ty) | Src::FabricRowScalar(_, ty) | Src::Imm(_, ty) => Some(*ty),
    }
}

/// Element type of a destination, `None` when there is none.
pub(crate) fn dst_type(dst: &Dst) -> Option<ElemType> {
    match dst {
        Dst::None => None,
        Dst::Mem(m) => Some(m.ty),
        Dst::Fabric(_, ty) => Some(*ty),
    }
}

const fn is_float(ty: ElemType) -> bool {
    matches!(ty, ElemType::F16 | ElemType::F32)
}

/// Elements per cycle of `op`, or why its types do not fit. Arity must have been checked:
/// a missing operand is reported as a type error otherwise.
pub(crate) fn rate(op: &VecOp, machine: &Machine) -> Result<u32, String> {
    use ElemType::{F16, F32, I8, I16, I32};
    let r = &machine.rate;
    let sources: Vec<ElemType> = [&op.a, &op.b, &op.c].into_iter().take(op.op.arity()).filter_map(src_type).collect();
    if sources.len() < op.op.arity() {
        return match (op.op, &op.a, &op.dst) {
            // An operation run for its completion actions alone.
            (PeOp::Mov, Src::None, Dst::None) => Ok(r.f32_mov),
            _ => Err(format!("{:?} needs {} source operands and has {}", op.op, op.op.arity(), sources.len())),
        };
    }
    let dst = dst_type(&op.dst).unwrap_or(sources[0]);
    let values = if op.op == PeOp::Select { &sources[1..] } else { &sources[..] };
    let float = is_float(values[0]);
    if values.iter().any(|&t| is_float(t) != float) {
        return Err(format!("{:?} mixes integer and float operands {sources:?}", op.op));
    }
    let same_kind = |what: &str| {
        if is_float(dst) == float {
            Ok(())
        } else {
            Err(format!("{:?} of {what} operands {sources:?} cannot write {dst:?}; convert with Mov", op.op))
        }
    };
    let all16 = |t: ElemType| values.iter().all(|&v| v == t) && dst == t;
    let narrow = values.iter().all(|&v| matches!(v, I8 | I16)) && matches!(dst, I8 | I16);
    let kind = if float { "float" } else { "integer" };
    Ok(match op.op {
        PeOp::Mov => match (values[0], dst) {
            (F16, F16) => r.f16_mov,
            (I16, I16) | (I8, I8) => r.i16_mov,
            (F32, F32) | (I32, I32) => r.f32_mov,
            _ => r.cast,
        },
        PeOp::Add | PeOp::Sub => {
            same_kind(kind)?;
            match () {
                () if all16(F16) => r.f16_add,
                () if narrow => r.i16_add,
                () => r.f32_add,
            }
        }
        PeOp::Mul | PeOp::Fma => {
            same_kind(kind)?;
            let fma = op.op == PeOp::Fma;
            match () {
                () if all16(F16) && fma => r.f16_fma,
                () if all16(F16) => r.f16_mul,
                () if values[..2] == [F16, F16] => r.f16_mixed_fma,
                () if float && fma => r.f32_fma,
                () if float => r.f32_mul,
                () if values[..2] == [I8, I8] && dst == I32 && values[2..].iter().all(|&c| c == I32) => r.i8_fma,
                () => {
                    return Err(format!(
                        "integer {:?} is i8 x i8 (+ i32) to i32 only, not {sources:?} to {dst:?}",
                        op.op
                    ));
                }
            }
        }
        PeOp::Max => {
            same_kind(kind)?;
            r.f32_max
        }
        PeOp::Min => {
            same_kind(kind)?;
            r.min
        }
        PeOp::CmpLt | PeOp::CmpEq => r.compare,
        PeOp::Select => {
            if values.iter().any(|&v| v != dst) {
                return Err(format!("Select chooses between {values:?} and writes {dst:?}: all three must be equal"));
            }
            r.select
        }
        PeOp::Exp2 | PeOp::Recip | PeOp::Rsqrt => {
            if !float || !is_float(dst) {
                return Err(format!("{:?} is for floats, not {:?} to {dst:?}", op.op, values[0]));
            }
            match op.op {
                PeOp::Exp2 => r.exp2,
                PeOp::Recip => r.recip,
                _ => r.rsqrt,
            }
        }
    })
}
