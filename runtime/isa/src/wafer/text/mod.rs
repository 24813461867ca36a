//! The text form of a `wafer` program: classes, regions, routes, data, ports and tensors in SRAM.
//!
//! `parse(&print(p)) == p` for every program whose rectangles and tensors can exist; whether
//! the program is right is the checker's business.

mod class;

use crate::names::Names;
use crate::shape;
use crate::text::{Quoted, Scanner, dump};
use crate::wafer::*;
use std::fmt::{self, Write};

pub use crate::text::TextError;

impl fmt::Display for Rect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{} {}x{}", self.x, self.y, self.w, self.h)
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

impl fmt::Display for Pe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.x, self.y)
    }
}

/// Names of the router ports, in text.
const PORTS: [(Port, &str); 5] =
    [(Port::North, "north"), (Port::East, "east"), (Port::South, "south"), (Port::West, "west"), (Port::Ramp, "ramp")];

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PORTS.iter().find(|r| r.0 == *self).map_or("", |r| r.1))
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("nowhere");
        }
        for (i, p) in self.ports().enumerate() {
            write!(f, "{}{p}", if i > 0 { "+" } else { "" })?;
        }
        Ok(())
    }
}

/// Writes a program as text.
pub fn print(p: &Program) -> String {
    let mut out = String::new();
    write_program(&mut out, p).expect("writing to a string does not fail");
    out
}

fn write_program(out: &mut String, p: &Program) -> fmt::Result {
    let names = Names::new(&p.nodes);
    writeln!(out, "wafer program {}", Quoted(&p.model))?;
    writeln!(out, "machine {} {}", Quoted(&p.machine), Quoted(&p.machine_hash))?;
    for (i, n) in p.nodes.iter().enumerate() {
        writeln!(out, "node {i} {}", Quoted(n))?;
    }
    for (keyword, tensors) in [("input", &p.inputs), ("output", &p.outputs)] {
        for t in tensors {
            write!(out, "{keyword} {} ", Quoted(&t.name))?;
            shape::print(out, t.dtype, &t.shape)?;
            out.push('\n');
        }
    }
    for (i, c) in p.classes.iter().enumerate() {
        writeln!(out, "class {i} {}", Quoted(&c.name))?;
        class::print(out, c)?;
    }
    for r in &p.regions {
        write!(out, "region {} class {} in ", r.rect, r.class.0)?;
        write_colors(out, &r.in_colors)?;
        out.push_str(" out ");
        write_colors(out, &r.out_colors)?;
        writeln!(out, " ; node {}", names.show(r.node.0))?;
        for (i, f) in r.params.iter().enumerate() {
            match f {
                ParamFn::Const(c) => writeln!(out, "  p{i} = {c}")?,
                ParamFn::Affine { base, dx, dy } => writeln!(out, "  p{i} = {base} x{dx:+} y{dy:+}")?,
                ParamFn::Table(t) => {
                    write!(out, "  p{i} = [")?;
                    for (k, v) in t.iter().enumerate() {
                        write!(out, "{}{v}", if k > 0 { " " } else { "" })?;
                    }
                    out.push_str("]\n");
                }
            }
        }
    }
    for r in &p.routes {
        writeln!(out, "route {} {} {} -> {}", r.rect, r.color, r.rx, r.tx)?;
    }
    for d in &p.data {
        writeln!(out, "data {} addr {} len {} bytes {}", d.rect, d.addr, d.len, d.bytes.len())?;
        dump(out, "  ", &d.bytes);
    }
    for (keyword, ports) in [("in_port", &p.in_ports), ("out_port", &p.out_ports)] {
        for q in ports {
            write!(out, "{keyword} tensor {} row {} {} elem {}", q.tensor, q.row, q.color, q.elem0)?;
            for l in &q.loops {
                write!(out, " ({} {:+})", l.count, l.elem_step)?;
            }
            out.push('\n');
        }
    }
    for (keyword, residents) in [("in_sram", &p.in_sram), ("out_sram", &p.out_sram)] {
        for m in residents {
            write!(out, "{keyword} tensor {} {} addr {} {} len {} [", m.tensor, m.rect, m.addr, m.ty.name(), m.len)?;
            write_index(out, &m.index)?;
            out.push_str("]\n");
        }
    }
    Ok(())
}

fn write_index(out: &mut String, index: &[u32]) -> fmt::Result {
    for (k, &i) in index.iter().enumerate() {
        out.push_str(if k > 0 { " " } else { "" });
        if i == Resident::NONE { out.push('_') } else { write!(out, "{i}")? }
    }
    Ok(())
}

fn index_list(s: &mut Scanner<'_>) -> Result<Vec<u32>, TextError> {
    let mut index = Vec::new();
    s.punct("[")?;
    while !s.eat("]") {
        index.push(if s.eat_word("_") { Resident::NONE } else { s.number("an element, `_` or `]`")? });
    }
    Ok(index)
}

fn resident(s: &mut Scanner<'_>) -> Result<Resident, TextError> {
    s.keyword("tensor")?;
    let tensor = s.number("a tensor number")?;
    let rect = rect(s)?;
    s.keyword("addr")?;
    let addr = s.number("a byte address")?;
    let ty = class::elem(s)?;
    s.keyword("len")?;
    Ok(Resident { tensor, rect, addr, ty, len: s.number("a count")?, index: index_list(s)? })
}

fn write_colors(out: &mut String, colors: &[Option<Color>]) -> fmt::Result {
    out.push('[');
    for (i, c) in colors.iter().enumerate() {
        out.push_str(if i > 0 { " " } else { "" });
        match c {
            Some(c) => write!(out, "{c}")?,
            None => out.push('_'),
        }
    }
    out.push(']');
    Ok(())
}

/// Reads a program. Sections stand in the order in which [`print()`] writes them.
pub fn parse(text: &str) -> Result<Program, TextError> {
    let s = &mut Scanner::new(text);
    let mut p = Program::default();
    s.keyword("wafer")?;
    s.keyword("program")?;
    p.model = s.string("the model's name in quotes")?;
    s.keyword("machine")?;
    p.machine = s.string("the machine's name in quotes")?;
    p.machine_hash = s.string("the machine's hash in quotes")?;
    while s.eat_word("node") {
        index(s, p.nodes.len())?;
        p.nodes.push(s.string("a node's name in quotes")?);
    }
    let nodes = p.nodes.clone();
    let names = Names::new(&nodes);
    for (keyword, tensors) in [("input", &mut p.inputs), ("output", &mut p.outputs)] {
        while s.eat_word(keyword) {
            let name = s.string("a tensor's name in quotes")?;
            let (dtype, shape) = shape::parse(s)?;
            tensors.push(IoTensor { name, dtype, shape });
        }
    }
    while s.eat_word("class") {
        index(s, p.classes.len())?;
        let name = s.string("a class's name in quotes")?;
        p.classes.push(class::parse(s, name)?);
    }
    while s.eat_word("region") {
        p.regions.push(region(s, &names)?);
    }
    while s.eat_word("route") {
        let (rect, color) = (rect(s)?, color(s)?);
        let rx = port(s)?;
        s.punct("->")?;
        let mut tx = PortSet::default();
        if !s.eat_word("nowhere") {
            tx = tx.with(port(s)?);
            while s.eat("+") {
                tx = tx.with(port(s)?);
            }
        }
        p.routes.push(Route { rect, color, rx, tx });
    }
    while s.eat_word("data") {
        let rect = rect(s)?;
        s.keyword("addr")?;
        let addr = s.number("a byte address")?;
        s.keyword("len")?;
        let len = s.number("a byte count")?;
        s.keyword("bytes")?;
        let bytes = s.number("a byte count")?;
        p.data.push(Data { rect, addr, len, bytes: s.bytes(bytes)?.into() });
    }
    for (keyword, ports) in [("in_port", &mut p.in_ports), ("out_port", &mut p.out_ports)] {
        while s.eat_word(keyword) {
            ports.push(io_port(s)?);
        }
    }
    for (keyword, residents) in [("in_sram", &mut p.in_sram), ("out_sram", &mut p.out_sram)] {
        while s.eat_word(keyword) {
            residents.push(resident(s)?);
        }
    }
    if !s.at_end() {
        return s.expected("a section in the order node, input, output, class, region, route, data, in_port, out_port, in_sram, out_sram");
    }
    Ok(p)
}

fn index(s: &mut Scanner<'_>, next: usize) -> Result<(), TextError> {
    let at = s.here();
    let i: usize = s.number("a number")?;
    if i == next { Ok(()) } else { Err(s.error_at(at, format!("expected number {next} here, found {i}"))) }
}

fn color(s: &mut Scanner<'_>) -> Result<Color, TextError> {
    Ok(Color(s.prefixed("c", "a color such as `c3`")?))
}

fn port(s: &mut Scanner<'_>) -> Result<Port, TextError> {
    let w = s.peek();
    match PORTS.iter().find(|r| r.1 == w) {
        Some(r) => {
            s.word("a port")?;
            Ok(r.0)
        }
        None => s.expected("a port: north, east, south, west or ramp"),
    }
}

fn rect(s: &mut Scanner<'_>) -> Result<Rect, TextError> {
    let at = s.here();
    let x = s.number("a column")?;
    s.punct(",")?;
    let y = s.number("a row")?;
    let extent = s.word("an extent such as `3x4`")?;
    let wh = extent.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    match wh.map(|(w, h)| Rect { x, y, w, h }).filter(|r| r.is_possible()) {
        Some(r) => Ok(r),
        None => Err(s.error_at(at, "expected a rectangle such as `5,0 3x4` with coordinates up to 65535")),
    }
}

fn colors(s: &mut Scanner<'_>) -> Result<Vec<Option<Color>>, TextError> {
    s.punct("[")?;
    let mut out = Vec::new();
    while !s.eat("]") {
        out.push(if s.eat_word("_") { None } else { Some(color(s)?) });
    }
    Ok(out)
}

fn region(s: &mut Scanner<'_>, names: &Names<'_>) -> Result<Region, TextError> {
    let rect = rect(s)?;
    s.keyword("class")?;
    let class = ClassIx(s.number("a class number")?);
    s.keyword("in")?;
    let in_colors = colors(s)?;
    s.keyword("out")?;
    let out_colors = colors(s)?;
    s.punct(";")?;
    s.keyword("node")?;
    let node = NodeIx(names.parse(s)?);
    let mut params = Vec::new();
    while s.eat_word(&format!("p{}", params.len())) {
        s.punct("=")?;
        if s.eat("[") {
            let mut table = Vec::new();
            while !s.eat("]") {
                table.push(s.number("a number or `]`")?);
            }
            params.push(ParamFn::Table(table));
            continue;
        }
        let base = s.number("a number or a table `[…]`")?;
        if s.eat_word("x") {
            let dx = s.number("a step")?;
            s.keyword("y")?;
            params.push(ParamFn::Affine { base, dx, dy: s.number("a step")? });
        } else {
            params.push(ParamFn::Const(base));
        }
    }
    Ok(Region { rect, class, node, in_colors, out_colors, params })
}

fn io_port(s: &mut Scanner<'_>) -> Result<IoPort, TextError> {
    s.keyword("tensor")?;
    let tensor = s.number("a tensor number")?;
    s.keyword("row")?;
    let row = s.number("a row")?;
    let color = color(s)?;
    s.keyword("elem")?;
    let elem0 = s.number("an element")?;
    let mut loops = Vec::new();
    while s.eat("(") {
        let count = s.number("a count")?;
        let elem_step = s.number("a step")?;
        s.punct(")")?;
        loops.push(PortLoop { count, elem_step });
    }
    Ok(IoPort { tensor, row, color, elem0, loops })
}
