//! The text form of a `tsp` program: made for reading and for snapshots, and complete.
//!
//! `parse(&print(p)) == p` for every program whose stream ids, group widths and cycles exist
//! at all; whether the program is right is the checker's business, not this module's.

mod inst;
mod layout;

use crate::names::Names;
use crate::text::{Quoted, Scanner, dump, print_runs};
use crate::tsp::*;
use std::fmt::Write;

pub use crate::text::TextError;

/// Writes a program as text.
pub fn print(p: &Program) -> String {
    let mut out = String::new();
    write_program(&mut out, p).expect("writing to a string does not fail");
    out
}

fn write_program(out: &mut String, p: &Program) -> std::fmt::Result {
    let names = Names::new(&p.nodes);
    writeln!(out, "tsp program {}", Quoted(&p.model))?;
    writeln!(out, "machine {} {}", Quoted(&p.machine), Quoted(&p.machine_hash))?;
    for (i, n) in p.nodes.iter().enumerate() {
        writeln!(out, "node {i} {}", Quoted(n))?;
    }
    for (i, v) in p.values.iter().enumerate() {
        writeln!(out, "value {i} {} ; node {}", Quoted(&v.name), names.show(v.node.0))?;
    }
    for (i, m) in p.maps.iter().enumerate() {
        write!(out, "map {i} ")?;
        print_runs(out, m, Some(MAP_NONE));
        out.push('\n');
    }
    for t in &p.inputs {
        layout::print(out, "input", t)?;
    }
    for t in &p.outputs {
        layout::print(out, "output", t)?;
    }
    for s in &p.image {
        writeln!(out, "image v{} {} {} bytes {}", s.value.0, s.slice, s.addr, s.words.len())?;
        dump(out, "  ", &s.words);
    }
    for (q, issues) in &p.queues {
        writeln!(out, "queue {q}")?;
        for i in issues {
            write!(out, "  @{} {}", i.cycle, i.inst)?;
            if i.repeat != Repeat::default() {
                write!(out, " ; repeat {},{},{}", i.repeat.n, i.repeat.d, i.repeat.a)?;
            }
            writeln!(out, " ; node {}", names.show(i.node.0))?;
        }
    }
    if !p.provenance.is_empty() {
        writeln!(out, "provenance")?;
    }
    for r in &p.provenance {
        writeln!(
            out,
            "  {}[{}] slot {}:{} exec {}+{} <- {}[{}] out {} exec {}+{}",
            r.use_.queue,
            r.use_.index,
            r.slot,
            r.width,
            r.first,
            r.count,
            r.def.queue,
            r.def.index,
            r.out,
            r.def_first,
            r.def_step
        )?;
    }
    if !p.mem_provenance.is_empty() {
        writeln!(out, "memory")?;
    }
    for r in &p.mem_provenance {
        writeln!(out, "  {}[{}] v{} {} step {}", r.issue.queue, r.issue.index, r.value.0, r.addr, r.step)?;
    }
    Ok(())
}

/// Reads a program. Sections stand in the order in which [`print()`] writes them.
pub fn parse(text: &str) -> Result<Program, TextError> {
    let s = &mut Scanner::new(text);
    let mut p = Program::default();
    s.keyword("tsp")?;
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
    let node = |s: &mut Scanner<'_>| {
        s.punct(";")?;
        s.keyword("node")?;
        Ok::<NodeIx, TextError>(NodeIx(names.parse(s)?))
    };
    while s.eat_word("value") {
        index(s, p.values.len())?;
        let name = s.string("a value's name in quotes")?;
        p.values.push(ValueInfo { name, node: node(s)? });
    }
    while s.eat_word("map") {
        index(s, p.maps.len())?;
        p.maps.push(s.runs(Some(MAP_NONE), MAX_MAP_LANES)?);
    }
    while s.eat_word("input") {
        p.inputs.push(layout::parse(s)?);
    }
    while s.eat_word("output") {
        p.outputs.push(layout::parse(s)?);
    }
    while s.eat_word("image") {
        let value = value(s)?;
        let slice = layout::slice(s)?;
        let addr = s.number("a word address")?;
        s.keyword("bytes")?;
        let len = s.number("a byte count")?;
        p.image.push(ImageSegment { value, slice, addr, words: s.bytes(len)?.into() });
    }
    while s.eat_word("queue") {
        let at = s.here();
        let q = queue(s)?;
        let mut issues = Vec::new();
        while s.eat("@") {
            let at = s.here();
            let cycle = s.number("a cycle")?;
            let inst = inst::parse(s)?;
            s.punct(";")?;
            let mut repeat = Repeat::default();
            if s.eat_word("repeat") {
                repeat.n = s.number("a repeat count")?;
                s.punct(",")?;
                repeat.d = s.number("a repeat distance")?;
                s.punct(",")?;
                repeat.a = s.number("a repeat step")?;
                s.punct(";")?;
            }
            s.keyword("node")?;
            let issue = Issue { cycle, inst, repeat, node: NodeIx(names.parse(s)?) };
            if issue.checked_last_cycle().is_none() {
                return Err(s.error_at(at, format!("the last repetition is beyond cycle {MAX_CYCLE}")));
            }
            issues.push(issue);
        }
        if p.queues.insert(q, issues).is_some() {
            return Err(s.error_at(at, format!("queue {q} is there twice")));
        }
    }
    if s.eat_word("provenance") {
        while let Some(use_) = issue_ref(s)? {
            p.provenance.push(provenance(s, use_)?);
        }
    }
    if s.eat_word("memory") {
        while let Some(issue) = issue_ref(s)? {
            let value = value(s)?;
            let addr = s.number("a word address")?;
            s.keyword("step")?;
            p.mem_provenance.push(MemProvenance { issue, value, addr, step: s.number("a step")? });
        }
    }
    if !s.at_end() {
        return s.expected("a section in the order node, value, map, input, output, image, queue, provenance, memory");
    }
    Ok(p)
}

fn index(s: &mut Scanner<'_>, next: usize) -> Result<(), TextError> {
    let at = s.here();
    let i: usize = s.number("a number")?;
    if i == next { Ok(()) } else { Err(s.error_at(at, format!("expected number {next} here, found {i}"))) }
}

fn value(s: &mut Scanner<'_>) -> Result<ValueIx, TextError> {
    Ok(ValueIx(s.prefixed("v", "a value such as `v3`")?))
}

fn queue(s: &mut Scanner<'_>) -> Result<QueueId, TextError> {
    let at = s.here();
    let word = s.word("a queue such as `mem.w12.read`")?;
    word.parse().map_err(|()| s.error_at(at, format!("`{word}` is no queue such as `mem.w12.read` or `vxm.3`")))
}

fn issue_ref(s: &mut Scanner<'_>) -> Result<Option<IssueRef>, TextError> {
    if !["mem.", "vxm.", "mxm.", "sxm."].iter().any(|unit| s.peek().starts_with(unit)) {
        return Ok(None);
    }
    let queue = queue(s)?;
    s.punct("[")?;
    let index = s.number("an instruction's number")?;
    s.punct("]")?;
    Ok(Some(IssueRef { queue, index }))
}

fn provenance(s: &mut Scanner<'_>, use_: IssueRef) -> Result<Provenance, TextError> {
    s.keyword("slot")?;
    let slot = s.number("a slot")?;
    s.punct(":")?;
    let width = s.number("a width")?;
    s.keyword("exec")?;
    let first = s.number("an execution")?;
    s.punct("+")?;
    let count = s.number("a count")?;
    s.punct("<-")?;
    let Some(def) = issue_ref(s)? else {
        return s.expected("an instruction such as `mem.w12.read[3]`");
    };
    s.keyword("out")?;
    let out = s.number("a result")?;
    s.keyword("exec")?;
    let def_first = s.number("an execution")?;
    s.punct("+")?;
    let def_step = s.number("a step")?;
    Ok(Provenance { use_, slot, width, first, count, def, out, def_first, def_step })
}
