//! The text form of a tensor graph: made for reading, for snapshots and for `quadrille opt`.
//!
//! ```text
//! graph "digits" {
//!   %0 = input : f32[1x1x8x8] as "image"
//!   %1 = const base64 "AACAPw…" : f32[4x1x3x3] as "conv.weight"
//!   %2 = const [0.5, -1.0, 0.0, 2.0] : f32[4x1x1]
//!   %3 = conv %0, %1, %2 {kernel=[3, 3], before=[1, 1], after=[1, 1], epilogue=[add, relu]} : f32[1x4x8x8] from "conv1"
//!   %4 = reshape %3 : f32[1x256] from "flatten" as "features"
//!   output "y" = %4
//! }
//! ```
//!
//! Every value is one line, operands before their uses. After the `:` comes the type; it may be left
//! out where the operands determine it (`reshape`, `broadcast`, `cast` and `slice` take their result
//! from it). `from` names the user's node and may be left out, `as` names the value. Attributes at
//! their defaults (stride 1, no padding, one group, `false`) are left out. `;` starts a comment.
//! When parsing, a value may have any label of letters, digits, `_` and `.` after the `%`.
//!
//! Constants: a list in row-major order, `splat x` when all elements are equal, or `base64` of the
//! little-endian bytes. Floats that decimal digits cannot tell (a NaN with a payload) are written
//! as their bits, `0x7fc00001`.
//!
//! The identity holds: `parse(&print(g)) == g` for every verified graph. When origins are not
//! simply the names in order of first use (an unused one, one name twice), the table is printed in
//! full and nodes refer to it: `origins ["a", "b", "a"]` and `from @2`.

mod attr;
mod base64;
mod lex;
mod literal;
mod parse;
mod print;

pub use parse::{ParseError, parse};
pub use print::{operation, print, print_outline};

#[cfg(test)]
mod tests;
