//! A run on the mesh: one group of tracks a kernel, one track a row of its PEs, one slice
//! wherever PEs of that row run tasks.

use super::perfetto::Trace;
use quadrille_isa::wafer::Program;
use quadrille_runtime::wafer::TaskSpan;
use std::collections::BTreeMap;

/// Pauses of a row of PEs up to this many cycles do not split a slice: they are smaller than a
/// pixel in any view of a whole run, and there would be millions.
const PAUSE: u64 = 32;

pub(super) fn trace(p: &Program, spans: &[TaskSpan]) -> Trace {
    // Kernels stand in the order of the model's nodes.
    let mut rows: BTreeMap<(u32, u16), Vec<(u64, u64)>> = BTreeMap::new();
    let mut last: Option<usize> = None;
    for s in spans {
        // Spans come PE by PE, so the region is mostly the one of the span before.
        let region = match last {
            Some(r) if p.regions[r].rect.contains(s.pe) => Some(r),
            _ => p.regions.iter().position(|r| r.rect.contains(s.pe)),
        };
        let Some(r) = region else { continue };
        last = region;
        rows.entry((p.regions[r].node.0, s.pe.y)).or_default().push((s.start, s.end));
    }
    let mut trace = Trace::new();
    let mut kernel = None;
    for ((node, y), mut busy) in rows {
        let name = p.nodes.get(node as usize).map_or("?", String::as_str);
        let parent = match kernel {
            Some((n, track)) if n == node => track,
            _ => trace.track(name, None),
        };
        kernel = Some((node, parent));
        let track = trace.track(&format!("row {y}"), Some(parent));
        busy.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for (start, end) in busy {
            match joined.last_mut() {
                Some((_, e)) if start <= *e + PAUSE => *e = end.max(*e),
                _ => joined.push((start, end)),
            }
        }
        for (start, end) in joined {
            trace.slice(track, name, start, end, &[]);
        }
    }
    trace
}
