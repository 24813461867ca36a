//! Places the public kernel graphs of the ISPD 2020 contest with the wafer's floorplanner:
//! `place_kernels FOLDER` prints a line a graph.
//!
//! Legality and cost are computed anew here from the rectangles and the contest's formulas. The
//! formula of the adapter term is not public: where it has a weight, time and length stand alone.

mod graph;
mod kernel;

use quadrille_wafer::floorplan::{Effort, Floorplan, Problem, Shapes, distance2, plan};
use std::time::Instant;

fn main() {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: place_kernels FOLDER (with *.kgraph files)");
        std::process::exit(2);
    };
    if let Err(e) = table(&folder) {
        eprintln!("error: {e}");
        std::process::exit(1);
    }
}

fn table(folder: &str) -> Result<(), String> {
    let dir = std::fs::read_dir(folder).map_err(|e| format!("{folder}: {e}"))?;
    let mut files: Vec<_> = dir.filter_map(|f| f.ok().map(|f| f.path())).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "kgraph"));
    files.sort();
    println!("graph | kernels | time | length | cost | area bound | time / bound | mesh used | seconds");
    println!("--|--|--|--|--|--|--|--|--");
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let g = graph::parse(&text).map_err(|e| format!("{}: {e}", file.display()))?;
        let problem = Problem {
            kernels: g.kernels.iter().map(|k| &*k.1 as &dyn Shapes).collect(),
            wires: g.wires.clone(),
            width: g.width,
            height: g.height,
            time_weight: g.time_weight,
            length_weight: g.length_weight,
        };
        let start = Instant::now();
        let found = plan(&problem, Effort::default()).ok_or_else(|| format!("{}: does not fit", file.display()))?;
        let seconds = start.elapsed().as_secs_f64();
        let time = judge(&g, &found)?;
        let length2: u64 = g.wires.iter().map(|w| distance2(found.rects[w.from], found.rects[w.to])).sum();
        let cost = (2 * time * g.time_weight + length2 * g.length_weight) as f64 / 2.0;
        let bound = area_bound(&g);
        let used: u64 = found.rects.iter().map(|r| u64::from(r.width) * u64::from(r.height)).sum();
        println!(
            "{} | {} | {time} | {:.1} | {} | {bound} | {:.3} | {:.1} % | {seconds:.1}",
            file.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned()),
            g.kernels.len(),
            length2 as f64 / 2.0,
            if g.adapter_weight == 0 { format!("{cost:.1}") } else { "(adapters)".into() },
            time as f64 / bound as f64,
            100.0 * used as f64 / (f64::from(g.width) * f64::from(g.height)),
        );
    }
    Ok(())
}

/// The time of the slowest kernel; an error when the plan breaks a rule of the contest.
fn judge(g: &graph::KernelGraph, plan: &Floorplan) -> Result<u64, String> {
    let mut slowest = 0;
    let mut taken = vec![false; usize::from(g.width) * usize::from(g.height)];
    for ((name, k), r) in g.kernels.iter().zip(&plan.rects) {
        let inside = u32::from(r.x) + u32::from(r.width) <= u32::from(g.width)
            && u32::from(r.y) + u32::from(r.height) <= u32::from(g.height);
        if !inside {
            return Err(format!("{name} lies off the mesh"));
        }
        for y in r.y..r.y + r.height {
            for x in r.x..r.x + r.width {
                let pe = &mut taken[usize::from(y) * usize::from(g.width) + usize::from(x)];
                if std::mem::replace(pe, true) {
                    return Err(format!("{name} overlaps another kernel at ({x}, {y})"));
                }
            }
        }
        let (e, _) = k
            .fastest(u64::from(r.width), u64::from(r.height))
            .ok_or_else(|| format!("{name} has no parameters for its rectangle"))?;
        let (w, h) = e.shape();
        let (rw, rh) = (u64::from(r.width), u64::from(r.height));
        if !((w <= rw && h <= rh) || (h <= rw && w <= rh)) || !k.fits(&e) {
            return Err(format!("{name} is larger than its rectangle or its memory"));
        }
        slowest = slowest.max(k.time(&e));
    }
    Ok(slowest)
}

/// The least time at which the kernels' least areas add up to the mesh: no plan can be faster.
fn area_bound(g: &graph::KernelGraph) -> u64 {
    let mesh = u64::from(g.width) * u64::from(g.height);
    let fits = |limit: u64| {
        let areas = g.kernels.iter().map(|(_, k)| {
            let shapes = k.within(limit, g.width, g.height);
            let fit = shapes.into_iter().filter(|s| s.0 <= g.width && s.1 <= g.height);
            fit.map(|(w, h)| u64::from(w) * u64::from(h)).min()
        });
        areas.sum::<Option<u64>>().is_some_and(|a| a <= mesh)
    };
    let (mut lo, mut hi) = (0u64, 1u64 << 40);
    while hi - lo > 1 {
        let mid = lo + (hi - lo) / 2;
        if fits(mid) { hi = mid } else { lo = mid }
    }
    hi
}
