//! The schedule of a chip: one track a queue, one slice an instruction with all its repeats.

use super::perfetto::{Trace, Track};
use quadrille_isa::tsp::{Hemisphere, Program, QueueId};
use std::collections::BTreeMap;

/// The unit of a queue, numbered from west to east.
pub(crate) fn unit(queue: QueueId) -> (u8, &'static str) {
    match queue {
        QueueId::Mxm(p, _) if p < 2 => (0, "MXM west"),
        QueueId::Sxm(Hemisphere::West, ..) => (1, "SXM west"),
        QueueId::Mem(s, _) if s.hemisphere == Hemisphere::West => (2, "MEM west"),
        QueueId::Vxm(_) => (3, "VXM"),
        QueueId::Mem(..) => (4, "MEM east"),
        QueueId::Sxm(..) => (5, "SXM east"),
        QueueId::Mxm(..) => (6, "MXM east"),
    }
}

pub(super) fn trace(p: &Program) -> Trace {
    let mut trace = Trace::new();
    let mut units: BTreeMap<u8, Track> = BTreeMap::new();
    let mut queues: Vec<QueueId> = p.queues.keys().copied().collect();
    queues.sort_by_key(|&q| (unit(q).0, q));
    for q in queues {
        let (rank, name) = unit(q);
        let parent = *units.entry(rank).or_insert_with(|| trace.track(name, None));
        let track = trace.track(&q.to_string(), Some(parent));
        let issues = &p.queues[&q];
        for (i, issue) in issues.iter().enumerate() {
            // An install shares its cycle with the activation after it and shows as a point.
            let next = issues.get(i + 1).map_or(u64::MAX, |n| n.cycle.into());
            let start = u64::from(issue.cycle);
            let end = (u64::from(issue.last_cycle()) + 1).min(next).max(start);
            let node = p.nodes.get(issue.node.0 as usize).map_or("?", String::as_str);
            let mut notes = vec![("instruction", issue.inst.to_string())];
            if issue.repeat.n > 0 {
                let r = issue.repeat;
                notes.push(("repeat", format!("{} more every {} cycles, step {}", r.n, r.d, r.a)));
            }
            trace.slice(track, node, start, end, &notes);
        }
    }
    trace
}
