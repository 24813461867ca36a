//! Ways to map a matrix product onto planes: which operand they hold, and how columns, rows and the inner axis are cut.
//!
//! *Columns* are those of the operand that the planes hold, *rows* those of the operand that moves past it. Where the planes
//! hold the left operand, the columns are the rows of the result.

use std::fmt;

/// The operand that planes hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Held {
    /// The right one: its inner axis lies on rows.
    Right,
    /// The left one, transposed; the result is transposed, too.
    Left,
}

/// Who takes the passes of a sum.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Inner {
    /// All of them one hemisphere (of bytes: one plane of each pair); the others have blocks or rows of their own.
    Whole,
    /// Half of them each hemisphere (of bytes: each plane of a pair), and the ALUs add the two sums.
    Halved,
}

/// How columns lie in words.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Columns {
    /// In blocks of one width.
    Even,
    /// In blocks as wide as the planes, the last one short.
    Widest,
}

/// A way to map a product.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ProductWay {
    /// The operand that planes hold.
    pub held: Held,
    /// The cut of the inner axis.
    pub inner: Inner,
    /// The cut of the columns.
    pub columns: Columns,
    /// Parts of the rows, each a kernel with loads of its own.
    pub parts: u8,
}

/// Parts of rows that are tried.
pub(crate) const PARTS: [u8; 2] = [1, 2];

impl ProductWay {
    /// All that there are.
    pub fn all() -> Vec<ProductWay> {
        let mut all = Vec::new();
        for held in [Held::Right, Held::Left] {
            for inner in [Inner::Halved, Inner::Whole] {
                for columns in [Columns::Even, Columns::Widest] {
                    all.extend(PARTS.map(|parts| ProductWay { held, inner, columns, parts }));
                }
            }
        }
        all
    }
}

impl fmt::Display for ProductWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = if self.held == Held::Right { "right" } else { "left" };
        let inner = if self.inner == Inner::Whole { "whole" } else { "halved" };
        let columns = if self.columns == Columns::Even { "even" } else { "widest" };
        write!(f, "the {held} operand in the planes, inner axis {inner}, {columns} blocks of columns")?;
        if self.parts > 1 { write!(f, ", rows in {} parts", self.parts) } else { Ok(()) }
    }
}
