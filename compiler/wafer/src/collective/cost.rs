//! Declared cycles of a reduction, and what the published model counts in it.
//!
//! The model is that of "Near-Optimal Wafer-Scale Reduce" (HPDC 2024): a word takes one cycle a hop,
//! 2 ramps + 1 from one PE's datapath to the next one's, and every PE takes one word a cycle. The
//! paper sums that up for a whole algorithm as max(C, E/N + L) + (2 ramp + 1) D ([`Counts`]). That
//! formula takes links to be busy evenly and only one of contention and distance to matter; here the
//! same terms, and a launch for every operation, are followed PE by PE ([`Tree::critical`]).

use super::tree::Tree;
use quadrille_isa::wafer::Machine;

/// What a machine takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Costs {
    /// Cycles of a launch.
    pub launch: u64,
    /// Cycles from a word's push in one PE to its use in another, hops not counted.
    pub depth: u64,
    /// Cycles a hop.
    pub hop: u64,
    /// Elements a cycle of a copy of f32.
    pub mov: u64,
}

impl Costs {
    /// Of this machine.
    pub fn of(machine: &Machine) -> Costs {
        Costs {
            launch: machine.latency.vector_launch.into(),
            depth: u64::from(2 * machine.router.ramp_cycles + machine.latency.fabric_to_fabric),
            hop: machine.router.hop_cycles.into(),
            mov: machine.rate.f32_mov.max(1).into(),
        }
    }
}

/// When a PE has its own vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Own {
    /// Cycle in which it can send the first word, when it adds nothing.
    pub first: u64,
    /// Cycle in which the launch of its first addition can begin.
    pub done: u64,
}

/// The longest chain of waiting in a reduction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Critical {
    /// Cycle in which the root does the first element of its last addition.
    pub first: u64,
    /// Launches that somebody waits for, on the way to it.
    pub launches: u64,
}

/// What the published formula counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// C: most wavelets that one PE receives.
    pub contention: u64,
    /// E: hops of all wavelets.
    pub energy: u64,
    /// N: links used.
    pub links: u64,
    /// L: longest way of a word to the root, in hops.
    pub distance: u64,
    /// D: most additions one after the other.
    pub depth: u64,
    /// Launches on the critical path.
    pub launches: u64,
}

impl Counts {
    /// max(C, E/N + L) + (2 ramp + 1) D, and a launch each.
    pub fn cycles(&self, costs: &Costs) -> f64 {
        let spread = self.energy as f64 / self.links.max(1) as f64 + self.distance as f64;
        (self.contention as f64).max(spread) + (costs.depth * self.depth + costs.launch * self.launches) as f64
    }
}

impl Tree {
    /// Follows the model's terms from the leaves to the root: an addition's first element waits for its
    /// launch and for its first word; the next launch for its last.
    pub fn critical(&self, length: u32, own: Own, costs: &Costs) -> Critical {
        self.critical_of(length, &|_| own, costs)
    }

    /// The same for PEs that have their vectors at different times, by place.
    pub fn critical_of(&self, length: u32, own: &dyn Fn(u16) -> Own, costs: &Costs) -> Critical {
        self.timeline(length, own, costs)[usize::from(self.root)]
    }

    /// [`Tree::critical_of`] for every place.
    pub(crate) fn timeline(&self, length: u32, own: &dyn Fn(u16) -> Own, costs: &Costs) -> Vec<Critical> {
        let b = u64::from(length);
        let mut at_place = vec![Critical::default(); self.children.len()];
        for at in self.bottom_up() {
            let own = own(at);
            let mut now = Critical { first: own.first, launches: 1 };
            for (k, &child) in self.children[usize::from(at)].iter().enumerate() {
                let launch = if k == 0 { own.done } else { now.first + b } + costs.launch;
                let sent = at_place[usize::from(child)];
                let word = sent.first + costs.depth + costs.hop * u64::from(child.abs_diff(at));
                now = match launch >= word {
                    true => Critical { first: launch, launches: if k == 0 { 1 } else { now.launches + 1 } },
                    false => Critical { first: word, ..sent },
                };
            }
            at_place[usize::from(at)] = now;
        }
        at_place
    }

    /// Cycles, by place, by which a PE can put off its last operation (that which sends) and still be in
    /// time. Words that come before their receiver takes them fill buffers and take links from others.
    pub fn slack(&self, length: u32, own: Own, costs: &Costs) -> Vec<u64> {
        let b = u64::from(length);
        let natural = self.timeline(length, &|_| own, costs);
        let mut last: Vec<u64> = natural.iter().map(|c| c.first).collect();
        for at in self.bottom_up().into_iter().rev() {
            let children = &self.children[usize::from(at)];
            let mut launch = own.done;
            for (k, &child) in children.iter().enumerate() {
                let way = costs.depth + costs.hop * u64::from(child.abs_diff(at));
                let first = (launch + costs.launch).max(natural[usize::from(child)].first + way);
                let taken = if k + 1 == children.len() { last[usize::from(at)] } else { first };
                last[usize::from(child)] = last[usize::from(child)].max(taken.saturating_sub(way));
                launch = first + b;
            }
        }
        last.iter().zip(&natural).map(|(late, c)| late - c.first).collect()
    }

    /// The published model's counts.
    pub fn counts(&self, length: u32, costs: &Costs) -> Counts {
        let b = u64::from(length);
        let mut depth = vec![0u64; self.children.len()];
        let mut distance = vec![0u64; self.children.len()];
        for at in self.bottom_up() {
            for &child in &self.children[usize::from(at)] {
                let (at, c) = (usize::from(at), usize::from(child));
                depth[at] = depth[at].max(depth[c] + 1);
                distance[at] = distance[at].max(distance[c] + u64::from(child.abs_diff(at as u16)));
            }
        }
        let root = usize::from(self.root);
        let most = self.children.iter().map(Vec::len).max().unwrap_or(0) as u64;
        Counts {
            contention: most * b,
            energy: self.messages().iter().map(|m| m.hops() * b).sum(),
            links: self.children.len() as u64 - 1,
            distance: distance[root],
            depth: depth[root],
            launches: self.critical(length, Own { first: costs.launch, done: 0 }, costs).launches,
        }
    }
}

/// Lower bounds for reductions to the end of a line of up to `most` PEs:
/// min over D of max(B, E*(P, D) B / (P - 1)) + P - 1 + (2 ramp + 1) D + a launch, with E*(P, D) the
/// least hops of one wavelet from each PE when no sum is deeper than D.
#[derive(Clone, Debug)]
pub struct LowerBound {
    /// `energy[d - 1][p]`.
    energy: Vec<Vec<u32>>,
    costs: Costs,
}

impl LowerBound {
    /// The table of E*, by the last child of the root: it lies at some place i, sends over i hops, and
    /// everything beyond it is its own.
    pub fn new(most: u16, costs: Costs) -> LowerBound {
        let most = usize::from(most);
        let mut energy: Vec<Vec<u32>> = Vec::new();
        for _ in 1..most.max(2) {
            let deeper = energy.last();
            let mut row = vec![0u32; most + 1];
            for p in 2..=most {
                let below = |n: usize| match deeper {
                    Some(e) => Some(e[n]),
                    None => (n == 1).then_some(0),
                };
                row[p] = (1..p).filter_map(|i| Some(row[i] + below(p - i)? + i as u32)).min().unwrap_or(0);
            }
            let last = Some(&row) == deeper;
            energy.push(row);
            if last {
                break;
            }
        }
        LowerBound { energy, costs }
    }

    /// The bound for `p` PEs, at least 2, and `b` words.
    pub fn cycles(&self, p: u16, b: u32) -> f64 {
        let (links, b) = (f64::from(p) - 1.0, f64::from(b));
        let at = |(d, e): (usize, &Vec<u32>)| {
            let busy = b.max(f64::from(e[usize::from(p)]) * b / links);
            busy + links + (self.costs.depth * (d as u64 + 1) + self.costs.launch) as f64
        };
        self.energy.iter().enumerate().map(at).fold(f64::INFINITY, f64::min)
    }
}
