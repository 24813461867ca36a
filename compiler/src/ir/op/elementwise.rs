//! The elementwise operations: one scalar function each, over one or two operands.

/// Elementwise operations of one operand; result type = operand type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Unary {
    Neg,
    Abs,
    Sign,
    /// Logical for `bool`, bitwise for integers.
    Not,
    Exp,
    Log,
    Sqrt,
    Rsqrt,
    Recip,
    Tanh,
    Sigmoid,
    Erf,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Asinh,
    Acosh,
    Atanh,
    Floor,
    Ceil,
    /// Ties to even.
    Round,
    Relu,
    /// To `bool`.
    IsNan,
    /// To `bool`.
    IsInf,
}

/// Elementwise operations of two operands of one type, with broadcasting.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    /// Truncates for integers.
    Div,
    /// Sign of the divisor (Python's `%`).
    Mod,
    /// Sign of the dividend (C's `fmod`).
    Rem,
    Pow,
    Max,
    Min,
    And,
    Or,
    Xor,
    Shl,
    Shr,
    /// x where x >= 0, else x * slope: second operand is the slope.
    Prelu,
    /// Compares give `bool`.
    Eq,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Unary {
    /// Every operation.
    pub const ALL: [Unary; 29] = {
        use Unary::*;
        [
            Neg, Abs, Sign, Not, Exp, Log, Sqrt, Rsqrt, Recip, Tanh, Sigmoid, Erf, Sin, Cos, Tan, Asin, Acos, Atan,
            Sinh, Cosh, Asinh, Acosh, Atanh, Floor, Ceil, Round, Relu, IsNan, IsInf,
        ]
    };

    /// Name in the text form.
    pub fn name(self) -> &'static str {
        use Unary::*;
        match self {
            Neg => "neg",
            Abs => "abs",
            Sign => "sign",
            Not => "not",
            Exp => "exp",
            Log => "log",
            Sqrt => "sqrt",
            Rsqrt => "rsqrt",
            Recip => "recip",
            Tanh => "tanh",
            Sigmoid => "sigmoid",
            Erf => "erf",
            Sin => "sin",
            Cos => "cos",
            Tan => "tan",
            Asin => "asin",
            Acos => "acos",
            Atan => "atan",
            Sinh => "sinh",
            Cosh => "cosh",
            Asinh => "asinh",
            Acosh => "acosh",
            Atanh => "atanh",
            Floor => "floor",
            Ceil => "ceil",
            Round => "round",
            Relu => "relu",
            IsNan => "is_nan",
            IsInf => "is_inf",
        }
    }
}

impl Binary {
    /// Every operation.
    pub const ALL: [Binary; 20] = {
        use Binary::*;
        [Add, Sub, Mul, Div, Mod, Rem, Pow, Max, Min, And, Or, Xor, Shl, Shr, Prelu, Eq, Lt, Le, Gt, Ge]
    };

    /// True when the result is `bool`.
    pub fn is_compare(self) -> bool {
        matches!(self, Binary::Eq | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge)
    }

    /// Name in the text form.
    pub fn name(self) -> &'static str {
        use Binary::*;
        match self {
            Add => "add",
            Sub => "sub",
            Mul => "mul",
            Div => "div",
            Mod => "mod",
            Rem => "rem",
            Pow => "pow",
            Max => "max",
            Min => "min",
            And => "and",
            Or => "or",
            Xor => "xor",
            Shl => "shl",
            Shr => "shr",
            Prelu => "prelu",
            Eq => "eq",
            Lt => "lt",
            Le => "le",
            Gt => "gt",
            Ge => "ge",
        }
    }
}
