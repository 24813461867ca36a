//! Numbers of a chip's schedule: queues and what they issue, use of units over time, cycles by node.

use super::Known;
use crate::pipeline::NodeAccount;
use crate::trace::unit;
use crate::usage;
use crate::usage::supply::{Supply, WINDOW, supply};
use crate::usage::tsp::{Work, driven, is_barrier, occupancy, planes};
use quadrille_isa::tsp::{AccMode, Inst, Issue, Machine, Program, QueueId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Most points of a curve over time.
const POINTS: u64 = 600;

/// Above this many instructions the page shows opcodes without operands: it must load in seconds.
const FULL_TEXT: usize = 400_000;

/// Cycles of a point: whole ones, so that no point counts a cycle more than another.
fn point_cycles(cycles: u64) -> u64 {
    cycles.div_ceil(POINTS).max(1)
}

/// A quantity over time: what happens in a cycle counts for the point that the cycle falls into.
struct Curve {
    points: Vec<f64>,
    width: u64,
}

impl Curve {
    fn new(cycles: u64) -> Self {
        let width = point_cycles(cycles);
        Self { points: vec![0.0; cycles.div_ceil(width).max(1) as usize], width }
    }

    fn point(&self, cycle: u64) -> usize {
        ((cycle / self.width) as usize).min(self.points.len() - 1)
    }

    /// `amount` in each execution of an issue.
    fn add(&mut self, issue: &Issue, amount: f64) {
        let (n, d) = (u64::from(issue.repeat.n), u64::from(issue.repeat.d.max(1)));
        let start = u64::from(issue.cycle);
        let mut k = 0;
        while k <= n {
            let p = self.point(start + k * d);
            // Executions that fall into the same point.
            let end = (p as u64 + 1) * self.width;
            let same = if end > start + k * d { (end - 1 - (start + k * d)) / d + 1 } else { 1 }.min(n + 1 - k);
            self.points[p] += amount * same as f64;
            k += same;
        }
    }

    /// `amount` from cycle `from` until before `to`, as a level.
    fn level(&mut self, from: u64, to: u64, amount: f64) {
        let (a, b) = (self.point(from), self.point(to.max(from + 1) - 1));
        self.points[a..=b].iter_mut().for_each(|p| *p += amount);
    }

    /// As a share of `peak` a cycle.
    fn share(&self, peak: f64) -> Vec<f64> {
        self.points.iter().map(|p| rounded(p / self.width as f64 / peak.max(1.0))).collect()
    }
}

fn rounded(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}

/// What a node of the model took.
#[derive(Default)]
struct NodeUse {
    first: Option<u32>,
    last: u32,
    work: Work,
}

pub(super) fn data(p: &Program, m: &Machine, known: &Known<'_>) -> Value {
    let (g, cycles) = (&m.geometry, known.cycles);
    let usage = usage::tsp::usage(p, m);
    let shares = usage.shares();
    let accounts: HashMap<&str, &NodeAccount> =
        known.account.iter().flat_map(|a| &a.nodes).map(|n| (n.node.as_str(), n)).collect();
    let needs: HashMap<QueueId, Supply> =
        supply(p, m.program.instruction_bytes).into_iter().map(|s| (s.queue, s)).collect();
    let all: usize = p.queues.values().map(Vec::len).sum();
    let mut texts: Vec<String> = Vec::new();
    let mut text_ix: HashMap<String, usize> = HashMap::new();
    let mut nodes: Vec<NodeUse> = p.nodes.iter().map(|_| NodeUse::default()).collect();
    let (mut plane, mut alu) = (Curve::new(cycles), Curve::new(cycles));
    let (mut sram, mut stream) = (Curve::new(cycles), Curve::new(cycles));
    let mut units: BTreeMap<u8, (&str, Vec<Value>)> = BTreeMap::new();
    for (&queue, issues) in &p.queues {
        // Five numbers an issue: cycle, repeats, their distance, node, text.
        let mut rows: Vec<u32> = Vec::new();
        let mut busy = 0;
        for issue in issues.iter().filter(|i| !is_barrier(&i.inst)) {
            let times = u64::from(issue.executions());
            let held = occupancy(&issue.inst, m);
            busy += times * held;
            let mut other = NodeUse::default();
            let node = nodes.get_mut(issue.node.0 as usize).unwrap_or(&mut other);
            node.first = Some(node.first.map_or(issue.cycle, |f| f.min(issue.cycle)));
            node.last = node.last.max(issue.last_cycle());
            node.work += Work::of(issue, m);
            stream.add(issue, driven(&issue.inst) as f64);
            match &issue.inst {
                Inst::Activations { .. } => {
                    let planes = planes(&issue.inst);
                    for later in 0..held as u32 {
                        plane.add(&Issue { cycle: issue.cycle + later, ..issue.clone() }, planes as f64);
                    }
                }
                Inst::Alu { .. } => alu.add(issue, 1.0),
                Inst::Read { .. } | Inst::Write { .. } | Inst::Gather { .. } | Inst::Scatter { .. } => {
                    sram.add(issue, 1.0);
                }
                _ => {}
            }
            let text = if all > FULL_TEXT { short(&issue.inst) } else { issue.inst.to_string() };
            let ix = *text_ix.entry(text).or_insert_with_key(|t| {
                texts.push(t.clone());
                texts.len() - 1
            });
            rows.extend([issue.cycle, issue.repeat.n, issue.repeat.d, issue.node.0, ix as u32]);
        }
        if !rows.is_empty() {
            let (rank, name) = unit(queue);
            let entry = units.entry(rank).or_insert_with(|| (name, Vec::new()));
            let need = needs.get(&queue);
            entry.1.push(json!({
                "name": queue.to_string(), "busy": busy, "issues": rows,
                "text": need.map(|n| n.bytes), "fetch": need.map(|n| rounded(n.peak)),
            }));
        }
    }
    let lanes = u64::from(g.superlanes * g.lanes_per_superlane);
    let slices = f64::from(2 * g.mem_slices_per_hemisphere);
    let planes = u64::from(2 * g.planes_per_hemisphere);
    let node_rows = nodes.iter().zip(&p.nodes).filter_map(|(n, name)| {
        let (first, w) = (n.first?, &n.work);
        // What each unit would need alone, if it were always busy with this node.
        let alone = [
            ("plane", w.plane.div_ceil(planes)),
            ("VXM", w.alu.div_ceil(u64::from(g.alus))),
            ("load", w.load.div_ceil(planes)),
            ("SRAM port", w.sram.div_ceil(u64::from(4 * g.mem_slices_per_hemisphere))),
            ("stream", w.stream.div_ceil(u64::from(2 * g.streams_per_direction))),
        ];
        let (binds, bound) = alone.into_iter().max_by_key(|a| a.1).unwrap_or(("plane", 0));
        // The compiler knows what the mapping needs and what was waited for; a program file does not say.
        let account = accounts.get(name.as_str());
        Some(json!({
            "name": name, "first": first, "last": n.last, "span": n.last - first + 1, "plane": alone[0].1,
            "alu": alone[1].1, "load": alone[2].1, "sram": alone[3].1, "stream": alone[4].1,
            "bound": account.map_or(bound, |a| a.bound), "binds": account.map_or(binds, |a| a.bound_by),
            "waits": account.map(|a| &a.waits), "share": shares.get(name.as_str()), "macs": w.rows * lanes * lanes, "bytes": w.sram * lanes,
        }))
    });
    let node_rows: Vec<Value> = node_rows.collect();
    let index: Vec<&str> = p.nodes.iter().map(String::as_str).collect();
    let words = f64::from(2 * g.mem_slices_per_hemisphere) * f64::from(g.words_per_slice);
    json!({
        "kind": "chip",
        "names": index,
        "texts": texts,
        "units": units.into_values().map(|(name, queues)| json!({ "name": name, "queues": queues })).collect::<Vec<_>>(),
        "nodes": node_rows,
        "curves": [
            { "name": "MXM planes", "share": plane.share(planes as f64) },
            { "name": "VXM ALUs", "share": alu.share(f64::from(g.alus)) },
            { "name": "SRAM ports (read and write)", "share": sram.share(2.0 * slices) },
            { "name": "vectors driven / streams", "share": stream.share(f64::from(2 * g.streams_per_direction)) },
            { "name": "SRAM words that hold live values", "share": live(p, cycles, words, lanes as usize) },
        ],
        "peak": {
            "macs": planes * lanes * lanes,
            "macs_f16": planes * lanes * lanes / (2 * u64::from(m.latency.mxm_f16_row_interval)),
            "bytes": slices as u64 * 2 * lanes,
        },
        "losses": known.account.map(|a| &a.losses),
        "planes_busy": known.account.map(|a| a.busy),
        "fetch_window": WINDOW,
        "point_cycles": point_cycles(cycles),
        "text_bytes": p.text_bytes(m.program.instruction_bytes),
        "instructions": all,
    })
}

/// Opcode, and what tells executions apart at a glance.
fn short(inst: &Inst) -> String {
    match inst {
        Inst::Accumulate { mode, emit, .. } => {
            let mode = match mode {
                AccMode::Over => "over",
                AccMode::Add => "add",
                AccMode::Bypass => "bypass",
            };
            format!("accumulate {mode}{}", if emit.is_some() { " emit" } else { "" })
        }
        Inst::Alu { op, .. } => format!("alu {op:?}").to_lowercase(),
        other => format!("{:?}", other.opcode()).to_lowercase(),
    }
}

/// Share of all words that hold a value from its definition to its last read.
fn live(p: &Program, cycles: u64, words: f64, lanes: usize) -> Vec<f64> {
    #[derive(Default, Clone)]
    struct Life {
        words: u64,
        from: Option<u64>,
        to: u64,
    }
    let mut lives = vec![Life::default(); p.values.len()];
    let at = |lives: &mut Vec<Life>, v: u32, words: u64, from: Option<u64>, to: u64| {
        if let Some(l) = lives.get_mut(v as usize) {
            l.words += words;
            l.from = match (l.from, from) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            l.to = l.to.max(to);
        }
    };
    for s in &p.image {
        at(&mut lives, s.value.0, (s.words.len() / lanes.max(1)) as u64, Some(0), 0);
    }
    for (end, layouts) in [(0, &p.inputs), (cycles, &p.outputs)] {
        for layout in layouts {
            let mut seen: BTreeSet<(u32, _, i64)> = BTreeSet::new();
            for pl in &layout.placements {
                let mut addrs = vec![i64::from(pl.addr0)];
                for l in pl.loops.iter().filter(|l| l.addr_step != 0) {
                    addrs = addrs
                        .iter()
                        .flat_map(|a| (0..i64::from(l.count)).map(move |i| a + i * i64::from(l.addr_step)))
                        .collect();
                }
                let fresh = addrs.into_iter().filter(|&a| seen.insert((pl.value.0, pl.slice, a))).count() as u64;
                // The words of an output are counted where they are written.
                let (words, from) = if end == 0 { (fresh, Some(0)) } else { (0, None) };
                at(&mut lives, pl.value.0, words, from, end);
            }
        }
    }
    for mp in &p.mem_provenance {
        let Some(issue) = p.issue(mp.issue) else { continue };
        let (first, last) = (u64::from(issue.cycle), u64::from(issue.last_cycle()));
        match mp.issue.queue {
            QueueId::Mem(_, quadrille_isa::tsp::Thread::Write) => {
                at(&mut lives, mp.value.0, issue.executions().into(), Some(first), last);
            }
            _ => at(&mut lives, mp.value.0, 0, None, last),
        }
    }
    let mut curve = Curve::new(cycles);
    for l in lives {
        curve.level(l.from.unwrap_or(0), l.to + 1, l.words as f64);
    }
    curve.points.iter().map(|p| rounded(p / words)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille_isa::tsp::{MxmPart, NodeIx, Repeat};

    #[test]
    fn repeats_are_spread_over_the_points_they_fall_into() {
        let cycles = 6000;
        for (n, d) in [(0, 1), (9, 1), (999, 3), (5, 700), (4321, 1)] {
            let issue = Issue { cycle: 17, inst: Inst::Sync, repeat: Repeat { n, d, a: 0 }, node: NodeIx(0) };
            let mut fast = Curve::new(cycles);
            fast.add(&issue, 2.0);
            let mut slow = Curve::new(cycles);
            for k in 0..=n {
                let p = slow.point(u64::from(issue.cycle_of(k)));
                slow.points[p] += 2.0;
            }
            assert_eq!(fast.points, slow.points, "n {n} d {d}");
        }
    }

    #[test]
    fn mxm_parts_belong_to_their_side() {
        assert_eq!(unit(QueueId::Mxm(1, MxmPart::Weights)).1, "MXM west");
        assert_eq!(unit(QueueId::Mxm(2, MxmPart::Weights)).1, "MXM east");
    }
}
