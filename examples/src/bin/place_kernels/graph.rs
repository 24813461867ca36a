//! Reads a kernel graph of the contest.

use super::kernel::{Conv, Kernel};
use quadrille_wafer::floorplan::Wire;
use std::rc::Rc;

/// A kernel graph. Inputs and outputs have no place; wires to them are left out.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub(crate) struct KernelGraph {
    pub(crate) width: u16,
    pub(crate) height: u16,
    pub(crate) time_weight: u64,
    pub(crate) length_weight: u64,
    pub(crate) adapter_weight: u64,
    /// Name and kernel; equal kernels are one object.
    pub(crate) kernels: Vec<(String, Rc<Kernel>)>,
    pub(crate) wires: Vec<Wire>,
}

/// Parses a file; the error names the line.
pub(crate) fn parse(text: &str) -> Result<KernelGraph, String> {
    let mut g = KernelGraph {
        width: 0,
        height: 0,
        time_weight: 1,
        length_weight: 0,
        adapter_weight: 0,
        kernels: Vec::new(),
        wires: Vec::new(),
    };
    let mut memory = 0;
    // Number of the file -> index of the kernel; `None` for inputs and outputs.
    let mut index = std::collections::BTreeMap::new();
    for (no, line) in text.lines().enumerate() {
        let line = line.trim();
        let at = |what: &str| format!("line {}: {what}: {line}", no + 1);
        if let Some((from, to)) = line.split_once("->") {
            let end = |s: &str| index.get(&number(s)?).copied();
            let from = end(from).ok_or_else(|| at("the driver is not defined"))?;
            let to = end(to).ok_or_else(|| at("the reader is not defined"))?;
            if let (Some(from), Some(to)) = (from, to) {
                g.wires.push(Wire { from, to });
            }
        } else if let Some((kind, rest)) = line.split_once('[') {
            let n = number(line).ok_or_else(|| at("no number in brackets"))?;
            let field = |name: &str| {
                let found = rest.split_whitespace().find_map(|f| f.strip_prefix(name)?.strip_prefix('='));
                found.and_then(|v| v.parse::<u64>().ok()).filter(|&v| v > 0).ok_or_else(|| at(&format!("no {name}")))
            };
            let convs = match kind {
                "input" | "output" => {
                    index.insert(n, None);
                    continue;
                }
                "conv" => vec![Conv {
                    h: field("H")?,
                    w: field("W")?,
                    r: field("R")?,
                    s: field("S")?,
                    c: field("C")?,
                    k: field("K")?,
                    t: field("T")?,
                }],
                "dblock" | "cblock" => block(kind == "cblock", field("h")?, field("w")?, field("f")?),
                _ => return Err(at("an unknown kind of kernel")),
            };
            index.insert(n, Some(g.kernels.len()));
            let kernel = Rc::new(Kernel { convs, memory });
            let same = g.kernels.iter().map(|k| &k.1).find(|k| **k == kernel).cloned();
            g.kernels.push((format!("{kind}{n}"), same.unwrap_or(kernel)));
        } else if let Some((key, value)) = line.split_once('=') {
            let number = || value.parse::<u64>().map_err(|_| at("not a number"));
            let extent = || value.parse::<u16>().map_err(|_| at("not a mesh extent"));
            match key {
                "width" => g.width = extent()?,
                "height" => g.height = extent()?,
                "wdeltat" => g.time_weight = number()?,
                "wlength" => g.length_weight = number()?,
                "wadapter" => g.adapter_weight = number()?,
                "memlimit" => memory = number()?,
                _ => {}
            }
        }
    }
    if memory == 0 || g.width == 0 || g.height == 0 {
        return Err("the file does not say width, height and memlimit before its kernels".into());
    }
    Ok(g)
}

/// The number between the first brackets.
fn number(s: &str) -> Option<u64> {
    s.split_once('[')?.1.split_once(']')?.0.trim().parse().ok()
}

/// The convolutions of a residual block; `c`: the one that halves the image.
fn block(c: bool, h: u64, w: u64, f: u64) -> Vec<Conv> {
    let conv = |h: u64, w: u64, r: u64, c: u64, k: u64, t: u64| Conv { h, w, r, s: r, c, k, t };
    if c {
        vec![
            conv(h, w, 1, f / 2, f / 4, 1),
            conv(h, w, 3, f / 4, f / 4, 2),
            conv(h / 2, w / 2, 1, f / 4, f, 1),
            conv(h, w, 1, f / 2, f, 2),
        ]
    } else {
        vec![conv(h, w, 1, f, f / 4, 1), conv(h, w, 3, f / 4, f / 4, 1), conv(h, w, 1, f / 4, f, 1)]
    }
}
