//! What an ALU of the VXM does: operand types, operations, operand sources.
//!
//! Knows the number and the name of every operation ([`ALU_OPS`]); the meaning of an operation
//! on one element is in [`crate::numerics`].

use super::place::StreamGroup;

/// Type of an ALU's operands or result.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum AluType {
    I8,
    U8,
    I16,
    F16,
    I32,
    F32,
}

impl AluType {
    /// Bytes of an element, which is the width of the stream group that carries it.
    pub const fn bytes(self) -> u8 {
        match self {
            AluType::I8 | AluType::U8 => 1,
            AluType::I16 | AluType::F16 => 2,
            AluType::I32 | AluType::F32 => 4,
        }
    }
}

/// Operations of an ALU. Compares give 1 or 0 in the operand type's integer of equal width
/// (all ones are not used); `Select` takes `a != 0 ? b : c`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum AluOp {
    Add,
    AddSat,
    Sub,
    SubSat,
    Mul,
    MulSat,
    Fma,
    Min,
    Max,
    Abs,
    Neg,
    And,
    Or,
    Xor,
    Not,
    Shl,
    /// Arithmetic for signed types, logical for `u8`.
    Shr,
    CmpEq,
    CmpNe,
    CmpLt,
    CmpLe,
    CmpGt,
    CmpGe,
    Select,
    /// To the type given: ties to even, saturating for integers.
    Cast(AluType),
    Relu,
    Exp2,
    Log2,
    Rsqrt,
    Recip,
    Tanh,
    Sin,
    Floor,
    Round,
}

impl AluOp {
    /// Number of operands taken.
    pub const fn arity(self) -> usize {
        use AluOp::*;
        match self {
            Fma | Select => 3,
            Add | AddSat | Sub | SubSat | Mul | MulSat | Min | Max | And | Or | Xor | Shl | Shr | CmpEq | CmpNe
            | CmpLt | CmpLe | CmpGt | CmpGe => 2,
            Abs | Neg | Not | Cast(_) | Relu | Exp2 | Log2 | Rsqrt | Recip | Tanh | Sin | Floor | Round => 1,
        }
    }
}

/// Where an ALU takes an operand from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operand {
    /// Not used by the operation.
    None,
    /// A stream group as wide as the operand's type, sampled at the issue cycle.
    Stream(StreamGroup),
    /// The same bits in every lane (low bytes for narrow types). At most one per instruction.
    Imm(u32),
    /// The result of another ALU that comes out in the cycle in which this one executes: the
    /// other must have issued exactly `vxm_alu` cycles earlier.
    Alu(u8),
}

/// Every operation with its number in the binary form and its name in text.
///
/// The only place where either is written down; numbers are never reused.
pub const ALU_OPS: [(u8, AluOp, &str); 39] = [
    (0, AluOp::Add, "add"),
    (1, AluOp::AddSat, "add_sat"),
    (2, AluOp::Sub, "sub"),
    (3, AluOp::SubSat, "sub_sat"),
    (4, AluOp::Mul, "mul"),
    (5, AluOp::MulSat, "mul_sat"),
    (6, AluOp::Fma, "fma"),
    (7, AluOp::Min, "min"),
    (8, AluOp::Max, "max"),
    (9, AluOp::Abs, "abs"),
    (10, AluOp::Neg, "neg"),
    (11, AluOp::And, "and"),
    (12, AluOp::Or, "or"),
    (13, AluOp::Xor, "xor"),
    (14, AluOp::Not, "not"),
    (15, AluOp::Shl, "shl"),
    (16, AluOp::Shr, "shr"),
    (17, AluOp::CmpEq, "cmp_eq"),
    (18, AluOp::CmpNe, "cmp_ne"),
    (19, AluOp::CmpLt, "cmp_lt"),
    (20, AluOp::CmpLe, "cmp_le"),
    (21, AluOp::CmpGt, "cmp_gt"),
    (22, AluOp::CmpGe, "cmp_ge"),
    (23, AluOp::Select, "select"),
    (24, AluOp::Relu, "relu"),
    (25, AluOp::Exp2, "exp2"),
    (26, AluOp::Log2, "log2"),
    (27, AluOp::Rsqrt, "rsqrt"),
    (28, AluOp::Recip, "recip"),
    (29, AluOp::Tanh, "tanh"),
    (30, AluOp::Sin, "sin"),
    (31, AluOp::Floor, "floor"),
    (32, AluOp::Round, "round"),
    (33, AluOp::Cast(AluType::I8), "cast_i8"),
    (34, AluOp::Cast(AluType::U8), "cast_u8"),
    (35, AluOp::Cast(AluType::I16), "cast_i16"),
    (36, AluOp::Cast(AluType::F16), "cast_f16"),
    (37, AluOp::Cast(AluType::I32), "cast_i32"),
    (38, AluOp::Cast(AluType::F32), "cast_f32"),
];

/// Every operand type with its number in the binary form and its name in text.
pub const ALU_TYPES: [(u8, AluType, &str); 6] = [
    (0, AluType::I8, "i8"),
    (1, AluType::U8, "u8"),
    (2, AluType::I16, "i16"),
    (3, AluType::F16, "f16"),
    (4, AluType::I32, "i32"),
    (5, AluType::F32, "f32"),
];

impl AluOp {
    /// Row of [`ALU_OPS`].
    fn row(self) -> &'static (u8, AluOp, &'static str) {
        ALU_OPS.iter().find(|r| r.1 == self).expect("the table has every operation; a test walks it")
    }

    /// Name in text: `fma`, `cast_f16`.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Number in the binary form.
    pub fn code(self) -> u8 {
        self.row().0
    }
}

impl AluType {
    fn row(self) -> &'static (u8, AluType, &'static str) {
        ALU_TYPES.iter().find(|r| r.1 == self).expect("the table has every type")
    }

    /// Name in text.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Number in the binary form.
    pub fn code(self) -> u8 {
        self.row().0
    }
}
