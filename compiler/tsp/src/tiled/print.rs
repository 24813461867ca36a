//! The text of a tiled graph, for `--emit=tiled`.
//!
//! Row lists print as runs: `0..63`, `5..95/2` (step), `7x64` (the same row 64 times), `_x3` (fill rows). The first
//! rows of a gathered tensor print as source rows, one a lane group: `_` the fill row, `.` zeros.

use super::{FILL, Init, Kind, NOTHING, Rows, Src, Step, TiledGraph};
use std::fmt;

/// Rows of a gathered tensor that are printed.
const GATHER_ROWS: usize = 8;

struct Runs<'a>(&'a [u32]);

impl fmt::Display for Runs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.0;
        let mut i = 0;
        while i < rows.len() {
            let step = |k: usize| i64::from(rows[k + 1]) - i64::from(rows[k]);
            let mut n = 1;
            if i + 1 < rows.len() && rows[i] != FILL && rows[i + 1] != FILL {
                while i + n < rows.len() && rows[i + n] != FILL && step(i + n - 1) == step(i) {
                    n += 1;
                }
            } else {
                while i + n < rows.len() && rows[i + n] == rows[i] {
                    n += 1;
                }
            }
            if i > 0 {
                f.write_str(",")?;
            }
            let last = rows[i + n - 1];
            match (rows[i], n) {
                (FILL, n) => write!(f, "_x{n}")?,
                (r, 1) => write!(f, "{r}")?,
                (r, n) if step(i) == 0 => write!(f, "{r}x{n}")?,
                (r, _) if step(i) == 1 => write!(f, "{r}..{last}")?,
                (r, _) => write!(f, "{r}..{last}/{}", step(i))?,
            }
            i += n;
        }
        Ok(())
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}[{}]", self.tensor.0, Runs(&self.rows))
    }
}

impl fmt::Display for Src {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Src::None => f.write_str("-"),
            Src::In(k) => write!(f, "in{k}"),
            Src::Imm(v) => write!(f, "#{v:#x}"),
            Src::Op(k) => write!(f, "v{k}"),
        }
    }
}

fn steps(f: &mut fmt::Formatter<'_>, steps: &[Step]) -> fmt::Result {
    for (n, s) in steps.iter().enumerate() {
        let args: Vec<String> = s.src[..s.op.arity()].iter().map(|x| x.to_string()).collect();
        writeln!(f, "    v{n} = {}.{} {}", s.op.name(), s.ty.name(), args.join(", "))?;
    }
    Ok(())
}

fn ins(f: &mut fmt::Formatter<'_>, ins: &[Rows], first: usize) -> fmt::Result {
    for (n, r) in ins.iter().enumerate() {
        writeln!(f, "    in{} = {r}", first + n)?;
    }
    Ok(())
}

impl fmt::Display for TiledGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "tiled \"{}\"", self.name)?;
        for (n, t) in self.tensors.iter().enumerate() {
            let kind = match &t.init {
                Init::Computed => String::new(),
                Init::Const(_) => " const".into(),
                Init::Input { index, .. } => format!(" input {index}"),
                Init::Gather { from, .. } => format!(" gather t{}", from.0),
            };
            let role = if t.weights { " weights" } else { "" };
            let fill = t.fill.map(|v| format!(" fill {v:#x}")).unwrap_or_default();
            let pixels = if t.pixels > 1 { format!(" pixels {}", t.pixels) } else { String::new() };
            writeln!(f, "t{n}: {}[{}x{}]{kind}{role}{pixels}{fill} \"{}\"", t.ty.name(), t.rows, t.lanes, t.name)?;
            if let Init::Gather { sources, groups, .. } = &t.init {
                for row in sources.chunks_exact((*groups).max(1) as usize).take(GATHER_ROWS) {
                    let names = row.iter().map(|&s| match s {
                        FILL => "_".to_string(),
                        NOTHING => ".".to_string(),
                        s => s.to_string(),
                    });
                    writeln!(f, "    {}", names.collect::<Vec<_>>().join(" "))?;
                }
                if t.rows as usize > GATHER_ROWS {
                    writeln!(f, "    … {} rows more", t.rows as usize - GATHER_ROWS)?;
                }
            }
        }
        for k in &self.kernels {
            let node = &self.nodes[k.node.0 as usize];
            match &k.kind {
                Kind::Map { ins: i, steps: s, outs } => {
                    writeln!(f, "map {} \"{node}\"", k.n)?;
                    ins(f, i, 0)?;
                    steps(f, s)?;
                    outs.iter().try_for_each(|(s, r)| writeln!(f, "    {r} = {s}"))?;
                }
                Kind::MatMul { chains, ins: i, steps: s, outs } => {
                    writeln!(f, "matmul {} \"{node}\"", k.n)?;
                    for (c, passes) in chains.iter().enumerate() {
                        for p in passes {
                            writeln!(f, "    in{c} += {} * t{}{:?}", p.act, p.weights.0, p.loads)?;
                        }
                    }
                    ins(f, i, chains.len())?;
                    steps(f, s)?;
                    outs.iter().try_for_each(|(s, r)| writeln!(f, "    {r} = {s}"))?;
                }
                Kind::Move { passes, out } => {
                    writeln!(f, "move {} \"{node}\"", k.n)?;
                    for p in passes {
                        writeln!(f, "    {} through t{} ({} lanes)", p.from, p.weights.0, p.map.len())?;
                    }
                    writeln!(f, "    {out}")?;
                }
                Kind::Gather { ids, table, out } => {
                    writeln!(f, "gather {} \"{node}\"\n    {out} = t{}[{ids}]", k.n, table.0)?;
                }
                Kind::Transpose { from, out, groups } => {
                    let plain = groups.iter().copied().eq(0..self.tensor(*out).rows / 16);
                    let to = if plain { String::new() } else { format!(" groups {groups:?}") };
                    writeln!(f, "transpose {} \"{node}\"\n    t{}{to} = t{}", k.n, out.0, from.0)?;
                }
            }
        }
        for o in &self.outputs {
            writeln!(f, "output \"{}\": {}{:?} = t{}", o.name, o.dtype, o.shape, o.tensor.0)?;
        }
        Ok(())
    }
}
