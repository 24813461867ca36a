//! The cycles of a run: one site for each class, classes split and joined.

use super::super::super::fabric::{Fabric, From, NONE, To};
use super::super::super::lower::{self, LowClass};
use super::super::bands::{self, Bands};
use super::super::engine::{self, Engine};
use super::super::host::Host;
use super::super::network::copies::Mail;
use super::super::shape::Shape;
use super::partition::{Partition, across};
use super::trace::{Launch, Trace, trace};
use super::{Epoch, Figures};
use quadrille_isa::wafer::{Machine, Program};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// How often values follow, and classes are joined. Nothing depends on it but time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Launches of one class after which values follow.
    pub(super) launches: usize,
    /// Classes that may be before they are joined.
    pub(super) classes: usize,
}

pub(super) struct Clock<'a> {
    engine: Engine<'a>,
    /// A class and the site that stands for it have the same number.
    partition: Partition,
    shapes: &'a [Shape],
    /// What it has in common with classes that may be joined with it.
    kind: Vec<u32>,
    /// Sites that stand for nothing, by kind.
    free: Vec<Vec<u32>>,
    logs: Vec<Vec<Launch>>,
    known: HashMap<Vec<Launch>, Arc<Trace>>,
    mail: Vec<[Mail; 4]>,
    live: usize,
    /// Live classes at which they are joined, those that there may be, and those that there were.
    join_at: usize,
    most: usize,
    pace: Pace,
    peak: usize,
    /// PEs with a program.
    pes: u64,
}

/// One site for each class, before the first cycle.
pub(super) struct Stage<'a> {
    /// Class of each site of the mesh.
    class_of: Vec<u32>,
    some: Fabric,
    bands: Bands,
    host: Mutex<Host<'a>>,
}

impl<'a> Stage<'a> {
    /// Nothing when there are more classes than may be.
    pub(super) fn new(program: &Program, fabric: &Fabric, most: usize) -> Option<Stage<'a>> {
        let (class_of, first) = kinds(program, fabric)?;
        let some = fabric.some(&first);
        let bands = Bands::of_sites_alone(&some);
        (first.len() <= most).then(|| Stage { class_of, some, bands, host: Mutex::new(Host::new(program, &[])) })
    }
}

/// Sites by all that does not change: program, parameters, queues and routes. `None` when a parameter has no value.
fn kinds(program: &Program, fabric: &Fabric) -> Option<(Vec<u32>, Vec<u32>)> {
    let mut known: HashMap<Vec<i32>, u32> = HashMap::new();
    let (mut kind_of, mut first) = (Vec::with_capacity(fabric.sites.len()), Vec::new());
    for (ix, site) in fabric.sites.iter().enumerate() {
        let mut key = Vec::new();
        if let Some(region) = program.regions.get(site.region as usize) {
            key.push(region.class.0 as i32);
            let params = lower::params(region, site.pe).ok()?;
            key.push(params.len() as i32);
            key.extend(params);
            for colors in [&region.in_colors, &region.out_colors] {
                key.push(colors.len() as i32);
                key.extend(colors.iter().map(|c| c.map_or(-1, |c| i32::from(c.0))));
            }
        }
        for node in &fabric.nodes[site.first_node as usize..(site.first_node + site.node_count) as usize] {
            let to = |to: &To| match to {
                To::Unused => 0,
                To::Node(_) => 1,
                To::Queue(q) => 2 + i32::from(*q),
                To::Host(_) => 31,
            };
            key.push(i32::from(node.color) << 8 | node.rx as i32);
            key.push(node.to.iter().fold(0, |all, t| all << 5 | to(t)));
        }
        let next = first.len() as u32;
        let kind = *known.entry(key).or_insert(next);
        if kind == next {
            first.push(ix as u32);
        }
        kind_of.push(kind);
    }
    Some((kind_of, first))
}

/// Sites at the other ends of links, by side.
fn neighbours(fabric: &Fabric) -> Vec<[u32; 4]> {
    let mut near = vec![[NONE; 4]; fabric.sites.len()];
    for node in &fabric.nodes {
        let mine = &mut near[node.site as usize];
        if let From::Node(up) = node.from {
            mine[node.rx as usize] = fabric.nodes[up as usize].site;
        }
        for (side, to) in node.to.iter().enumerate().take(4) {
            if let To::Node(next) = to {
                mine[side] = fabric.nodes[*next as usize].site;
            }
        }
    }
    near
}

impl<'a> Clock<'a> {
    /// Before the first cycle; nothing when the machine or the program is not as it must be.
    pub(super) fn new(
        program: &'a Program,
        machine: &Machine,
        stage: &'a Stage<'a>,
        (fabric, classes, shapes): (&Fabric, &'a [LowClass], &'a [Shape]),
        (most, pace): (usize, Pace),
    ) -> Option<Clock<'a>> {
        let data_end = engine::data_ends(program, &stage.some);
        let (parts, limits) = ((&stage.some, classes, shapes), (engine::MEMORY_LIMIT, true));
        let mut engine =
            Engine::new(program, machine, parts, &stage.host, (&[], &data_end), (&stage.bands, 0), limits).ok()?;
        let live = stage.some.sites.len();
        let partition = Partition::new(stage.class_of.clone(), live, neighbours(fabric));
        for class in 0..live as u32 {
            engine.set_weight(class, partition.members(class).len() as u64);
        }
        Some(Clock {
            engine,
            partition,
            shapes,
            kind: (0..live as u32).collect(),
            free: vec![Vec::new(); live],
            logs: vec![Vec::new(); live],
            known: HashMap::new(),
            mail: vec![Default::default(); live],
            live,
            join_at: pace.classes.max(2 * live),
            most,
            pace,
            peak: live,
            pes: fabric.sites.iter().filter(|s| program.regions.get(s.region as usize).is_some()).count() as u64,
        })
    }

    /// Runs to the end; nothing when that is not a good one, or there are too many classes.
    pub(super) fn run(&mut self, limit: Option<u64>, mut emit: impl FnMut(Epoch)) -> Option<Figures> {
        let longest = self.engine.longest_task();
        let limit = limit.unwrap_or_else(|| bands::limit_without_ports(longest, self.pes));
        let mut senders = Vec::new();
        loop {
            self.engine.step(&mut Vec::new()).ok()?;
            if self.engine.overlap {
                return None;
            }
            let mut full = self.note_launches();
            let told = self.tell(&mut senders);
            self.peak = self.peak.max(self.live);
            let joins = self.live > self.join_at;
            full |= joins;
            if full {
                emit(self.epoch());
            }
            if joins {
                self.join();
                self.join_at = self.pace.classes.max(2 * self.live);
            }
            if self.live > self.most {
                return None;
            }
            let next = if told { Some(self.engine.cycle + 1) } else { self.engine.next() };
            let Some(next) = next else { break };
            if next >= limit {
                return None;
            }
            self.engine.cycle = next;
        }
        emit(self.epoch());
        let classes = 0..self.partition.classes() as u32;
        if !classes.filter(|&c| !self.partition.members(c).is_empty()).all(|c| self.engine.is_done(c)) {
            return None;
        }
        let end = self.engine.last_event + 1;
        Some(Figures {
            cycles: end,
            kernel_cycles: self.engine.first_launch.map_or(0, |l| end.saturating_sub(l)),
            core_cycles: self.engine.core_cycles,
            router_cycles: self.engine.network.router_cycles,
            classes: self.peak as u32,
        })
    }

    /// Writes down what was launched; true when some class has done enough.
    fn note_launches(&mut self) -> bool {
        let mut records = self.engine.records.take().unwrap_or_default();
        let mut full = false;
        for r in records.drain(..) {
            let log = &mut self.logs[self.engine.site_of(r.core) as usize];
            log.push(Launch { shape: r.shape, ex: r.ex });
            full |= log.len() >= self.pace.launches;
        }
        self.engine.records = Some(records);
        full
    }

    /// Tells every class what its members' neighbours have done in this cycle, and splits those that are told several
    /// things. True when anything was told.
    fn tell(&mut self, senders: &mut Vec<u32>) -> bool {
        let mail = &mut self.mail;
        self.engine.network.take_mail(|class, side, more| {
            let all = &mut mail[class as usize];
            if all.iter().all(|m| m.is_empty()) {
                senders.push(class);
            }
            let m = &mut all[usize::from(side)];
            m.wavelets |= more.wavelets;
            m.left |= more.left;
        });
        let mut targets = Vec::new();
        for &class in senders.iter() {
            for side in 0..4 {
                if !self.mail[class as usize][side].is_empty() {
                    targets.extend(self.partition.around(class, side).iter().map(|&(c, _)| c));
                }
            }
        }
        targets.sort_unstable();
        targets.dedup();
        let told = !targets.is_empty();
        let mut gets = Vec::new();
        while let Some(class) = targets.pop() {
            for side in 0..4 {
                let get = self.one_mail(class, side, senders, &mut targets);
                if !get.is_empty() {
                    gets.push((class, side as u8, get));
                }
            }
        }
        for (class, side, get) in gets {
            self.engine.network.get_mail(class, side, get);
        }
        for class in senders.drain(..) {
            self.mail[class as usize] = Default::default();
        }
        told
    }

    /// What members are told from one side. Those who are told something else than most are a class of their own from now on.
    fn one_mail(&mut self, class: u32, side: usize, senders: &mut Vec<u32>, targets: &mut Vec<u32>) -> Mail {
        let from = |c: u32| self.mail[c as usize][across(side)];
        let around = self.partition.around(class, side);
        let Some(&(first, _)) = around.first() else { return Mail::default() };
        let one = from(first);
        if around.iter().all(|&(c, _)| from(c) == one) {
            return one;
        }
        let mut kinds: Vec<(Mail, u64, Vec<u32>)> = Vec::new();
        for &(c, n) in around {
            match kinds.iter_mut().find(|k| k.0 == from(c)) {
                Some(k) => {
                    k.1 += u64::from(n);
                    k.2.push(c);
                }
                None => kinds.push((from(c), u64::from(n), vec![c])),
            }
        }
        let most = (0..kinds.len()).rev().max_by_key(|&k| kinds[k].1).unwrap_or(0);
        let stays = kinds.swap_remove(most).0;
        for (_, _, others) in kinds {
            let members = self.partition.beside(class, side, &others);
            let new = self.split(class, &members);
            if !self.mail[new as usize].iter().all(|m| m.is_empty()) {
                senders.push(new);
            }
            targets.push(new);
        }
        stays
    }

    /// Makes members a class of their own, which stands as theirs did.
    fn split(&mut self, class: u32, members: &[u32]) -> u32 {
        let new = match self.free[self.kind[class as usize] as usize].pop() {
            Some(free) => free,
            None => {
                self.kind.push(self.kind[class as usize]);
                self.logs.push(Vec::new());
                self.mail.push(Default::default());
                self.engine.add_like(class)
            }
        };
        self.engine.copy(class, new);
        self.partition.shift(members, new);
        for c in [class, new] {
            self.engine.set_weight(c, self.partition.members(c).len() as u64);
        }
        self.logs[new as usize] = self.logs[class as usize].clone();
        self.mail[new as usize] = self.mail[class as usize];
        self.live += 1;
        new
    }

    /// Makes classes one that do the same from now on. What they did must have been emitted.
    fn join(&mut self) {
        let live = |&c: &u32| !self.partition.members(c).is_empty();
        let classes: Vec<u32> = (0..self.partition.classes() as u32).filter(live).collect();
        let described = self.engine.describe(&classes);
        let mut alike: HashMap<(u32, Vec<u64>), u32> = HashMap::new();
        for (class, how) in classes.into_iter().zip(described) {
            let kind = self.kind[class as usize];
            let first = *alike.entry((kind, how)).or_insert(class);
            if first == class {
                continue;
            }
            let of = |c: u32| self.partition.members(c).len();
            let (stays, goes) = if of(first) < of(class) { (class, first) } else { (first, class) };
            let members = self.partition.members(goes).to_vec();
            self.partition.shift(&members, stays);
            self.engine.forget(goes);
            self.engine.set_weight(goes, 0);
            self.engine.set_weight(stays, of_members(&self.partition, stays));
            self.free[kind as usize].push(goes);
            self.live -= 1;
            for c in alike.values_mut().filter(|c| **c == goes) {
                *c = stays;
            }
        }
    }

    /// What was done since the last one.
    fn epoch(&mut self) -> Epoch {
        let mut now = HashMap::new();
        let mut trace_of = Vec::with_capacity(self.logs.len());
        for (class, log) in self.logs.iter_mut().enumerate() {
            let dead = self.partition.members(class as u32).is_empty();
            if dead || log.is_empty() {
                log.clear();
                trace_of.push(None);
                continue;
            }
            let known = now.get(log).or_else(|| self.known.get(log)).cloned();
            let made = known.unwrap_or_else(|| Arc::new(trace(log, self.shapes)));
            now.entry(std::mem::take(log)).or_insert_with(|| made.clone());
            trace_of.push(Some(made));
        }
        self.known = now;
        Epoch { class_of: self.partition.class_of().to_vec(), trace_of }
    }
}

fn of_members(partition: &Partition, class: u32) -> u64 {
    partition.members(class).len() as u64
}
