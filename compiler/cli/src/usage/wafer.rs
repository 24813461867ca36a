//! A mesh: every region of PEs belongs to a node, and a run says when its tasks ran.

use super::Usage;
use quadrille_isa::wafer::{Machine, Program};
use quadrille_runtime::wafer::TaskSpan;
use std::collections::HashMap;

/// What is counted.
const UNITS: &[&str] = &["PEs", "busy PE-cycles", "bytes of program text", "bytes of data"];

/// Counts a run.
pub(crate) fn usage(p: &Program, m: &Machine, spans: &[TaskSpan]) -> Usage {
    let mut u = Usage { units: UNITS, ..Usage::default() };
    let mut owner = HashMap::new();
    let name = |node: usize| p.nodes.get(node).map_or("?", String::as_str);
    for r in &p.regions {
        let text = p
            .classes
            .get(r.class.0 as usize)
            .map_or(0, |c| u64::from(c.text_bytes(m.program.vector_op_bytes, m.program.task_bytes)));
        let area = u64::from(r.rect.area());
        u.add(name(r.node.0 as usize), None, &[area, 0, area * text, 0]);
        r.rect.pes().for_each(|pe| {
            owner.insert(pe, r.node.0 as usize);
        });
    }
    for d in &p.data {
        for pe in d.rect.pes() {
            if let Some(&node) = owner.get(&pe) {
                u.add(name(node), None, &[0, 0, 0, u64::from(d.len)]);
            }
        }
    }
    for t in &p.in_sram {
        for pe in t.rect.pes() {
            if let Some(&node) = owner.get(&pe) {
                u.add(name(node), None, &[0, 0, 0, t.bytes()]);
            }
        }
    }
    for s in spans {
        if let Some(&node) = owner.get(&s.pe) {
            u.add(name(node), Some((s.start, s.end.max(s.start + 1) - 1)), &[0, s.end - s.start, 0, 0]);
        }
    }
    u
}
