//! How the place of an input or output in SRAM is written.

use crate::shape;
use crate::text::{Quoted, Scanner, TextError};
use crate::tsp::*;
use std::fmt::Write;

pub(super) fn print(out: &mut String, keyword: &str, t: &TensorLayout) -> std::fmt::Result {
    write!(out, "{keyword} {} ", Quoted(&t.name))?;
    shape::print(out, t.dtype, &t.shape)?;
    writeln!(out, " device_bytes {}", t.device_bytes)?;
    for p in &t.placements {
        write!(out, "  v{} {} {} lane {} byte {} elem {}", p.value.0, p.slice, p.addr0, p.lane0, p.byte, p.elem0)?;
        for l in &p.loops {
            write!(out, " ({} addr{:+} lane{:+} elem{:+})", l.count, l.addr_step, l.lane_step, l.elem_step)?;
        }
        out.push('\n');
    }
    Ok(())
}

pub(super) fn parse(s: &mut Scanner<'_>) -> Result<TensorLayout, TextError> {
    let name = s.string("a tensor's name in quotes")?;
    let (dtype, shape) = shape::parse(s)?;
    s.keyword("device_bytes")?;
    let device_bytes = s.number("a byte count")?;
    let mut placements = Vec::new();
    while s.peek().strip_prefix('v').is_some_and(|d| d.starts_with(|c: char| c.is_ascii_digit())) {
        let value = super::value(s)?;
        let slice = slice(s)?;
        let addr0 = s.number("a word address")?;
        s.keyword("lane")?;
        let lane0 = s.number("a lane")?;
        s.keyword("byte")?;
        let byte = s.number("a byte")?;
        s.keyword("elem")?;
        let elem0 = s.number("an element")?;
        let mut loops = Vec::new();
        while s.eat("(") {
            let count = s.number("a count")?;
            s.keyword("addr")?;
            let addr_step = s.number("a step")?;
            s.keyword("lane")?;
            let lane_step = s.number("a step")?;
            s.keyword("elem")?;
            let elem_step = s.number("a step")?;
            s.punct(")")?;
            loops.push(Loop { count, addr_step, lane_step, elem_step });
        }
        placements.push(Placement { value, slice, addr0, lane0, byte, elem0, loops });
    }
    Ok(TensorLayout { name, dtype, shape, device_bytes, placements })
}

pub(super) fn slice(s: &mut Scanner<'_>) -> Result<Slice, TextError> {
    let word = s.peek();
    match word.parse() {
        Ok(slice) => {
            s.word("a slice")?;
            Ok(slice)
        }
        Err(()) => s.expected("a slice such as `mem.w12`"),
    }
}
