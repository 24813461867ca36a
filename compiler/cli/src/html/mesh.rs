//! Numbers of a run on the mesh: kernels and where they lie, how busy each PE was, what its SRAM
//! holds, which colors pass it.

use super::Known;
use quadrille_isa::wafer::{Machine, Pe, Port, Program, Rect};
use quadrille_runtime::wafer::TaskSpan;
use serde_json::{Value, json};

/// Points of a curve over time.
const POINTS: u64 = 400;

/// The least rectangle around all regions and routes that a picture must show.
fn frame(p: &Program) -> Rect {
    let rects = || p.regions.iter().map(|r| r.rect);
    let x = rects().map(|r| r.x).min().unwrap_or(0);
    let y = rects().map(|r| r.y).min().unwrap_or(0);
    let right = rects().map(|r| r.x + r.w).max().unwrap_or(x + 1);
    let bottom = rects().map(|r| r.y + r.h).max().unwrap_or(y + 1);
    Rect { x, y, w: right - x, h: bottom - y }
}

pub(super) fn data(p: &Program, m: &Machine, spans: &[TaskSpan], known: &Known<'_>) -> Value {
    let f = frame(p);
    let pes = f.area() as usize;
    let at = |pe: Pe| f.contains(pe).then(|| usize::from(pe.y - f.y) * usize::from(f.w) + usize::from(pe.x - f.x));
    let cycles = known.cycles.max(1);

    // Which region a PE belongs to.
    let mut owner = vec![u32::MAX; pes];
    let mut sram = vec![0u64; pes];
    for (i, r) in p.regions.iter().enumerate() {
        let text = p
            .classes
            .get(r.class.0 as usize)
            .map_or(0, |c| u64::from(c.text_bytes(m.program.vector_op_bytes, m.program.task_bytes)));
        for ix in r.rect.pes().filter_map(at) {
            owner[ix] = i as u32;
            sram[ix] += text;
        }
    }
    for d in &p.data {
        d.rect.pes().filter_map(at).for_each(|ix| sram[ix] += u64::from(d.len));
    }
    for t in &p.in_sram {
        t.rect.pes().filter_map(at).for_each(|ix| sram[ix] += t.bytes());
    }
    let starts = std::iter::once(0).chain(known.phases.iter().map(|s| s.end));
    let phases = known.phases.iter().zip(starts);
    let phases = phases.map(|(s, start)| json!({"name": s.node, "what": s.what, "start": start, "end": s.end}));
    // Directions in which colors leave a router, the ramp aside.
    let mut links = vec![0u32; pes];
    for r in &p.routes {
        let out = r.tx.ports().filter(|&t| t != Port::Ramp).count() as u32;
        r.rect.pes().filter_map(at).for_each(|ix| links[ix] += out);
    }

    let mut busy = vec![0u64; pes];
    let mut curves = vec![vec![0u64; POINTS as usize]; p.nodes.len()];
    let mut range = vec![(u64::MAX, 0u64); p.nodes.len()];
    let width = cycles.div_ceil(POINTS).max(1);
    for s in spans {
        let Some(ix) = at(s.pe) else { continue };
        busy[ix] += s.end - s.start;
        let Some(node) = p.regions.get(owner[ix] as usize).map(|r| r.node.0 as usize) else { continue };
        let (Some(curve), Some(range)) = (curves.get_mut(node), range.get_mut(node)) else { continue };
        *range = (range.0.min(s.start), range.1.max(s.end));
        let mut from = s.start;
        while from < s.end {
            let point = from / width;
            let to = ((point + 1) * width).min(s.end);
            if let Some(c) = curve.get_mut(point as usize) {
                *c += to - from;
            }
            from = to;
        }
    }
    let nodes = p.nodes.iter().enumerate().filter_map(|(n, name)| {
        let rects: Vec<Rect> = p.regions.iter().filter(|r| r.node.0 as usize == n).map(|r| r.rect).collect();
        let area: u64 = rects.iter().map(|r| u64::from(r.area())).sum();
        if area == 0 {
            return None;
        }
        let used: Vec<usize> = rects.iter().flat_map(|r| r.pes()).filter_map(at).collect();
        let total: u64 = used.iter().map(|&ix| busy[ix]).sum();
        let most = used.iter().map(|&ix| busy[ix]).max().unwrap_or(0);
        let share: Vec<f64> =
            curves[n].iter().map(|&c| (c as f64 / (width * area) as f64 * 1e3).round() / 1e3).collect();
        Some(json!({
            "name": name, "node": n, "pes": area, "busy": total / area, "busiest": most,
            "first": if total == 0 { 0 } else { range[n].0 }, "last": range[n].1,
            "sram": used.iter().map(|&ix| sram[ix]).max().unwrap_or(0), "share": share,
        }))
    });
    let nodes: Vec<Value> = nodes.collect();
    let regions = p.regions.iter().map(|r| json!([r.rect.x, r.rect.y, r.rect.w, r.rect.h, r.node.0]));
    let routes =
        p.routes.iter().map(|r| json!([r.rect.x, r.rect.y, r.rect.w, r.rect.h, r.color.0, r.rx as u8, r.tx.0]));
    let hottest = known.links.iter().map(|l| {
        let colors: Vec<u32> = (0..32).filter(|c| l.colors >> c & 1 == 1).collect();
        let node = at(l.pe).and_then(|ix| p.regions.get(owner[ix] as usize)).map(|r| r.node.0);
        json!({"x": l.pe.x, "y": l.pe.y, "port": format!("{:?}", l.port), "wavelets": l.wavelets, "colors": colors,
            "share": l.wavelets as f64 / cycles as f64, "node": node})
    });
    json!({
        "hottest": hottest.collect::<Vec<_>>(),
        "kind": "mesh",
        "phases": phases.collect::<Vec<_>>(),
        "mesh": [m.geometry.width_pes, m.geometry.height_pes],
        "frame": [f.x, f.y, f.w, f.h],
        "sram_bytes": m.geometry.sram_bytes_per_pe,
        "names": p.nodes,
        "nodes": nodes,
        "regions": regions.collect::<Vec<_>>(),
        "routes": routes.collect::<Vec<_>>(),
        "pes": p.regions.iter().map(|r| u64::from(r.rect.area())).sum::<u64>(),
        "point_cycles": width, "busy": busy, "sram": sram, "links": links,
    })
}
