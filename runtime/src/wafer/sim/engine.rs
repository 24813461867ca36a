//! The cycle loop and the cores: tasks, launches, microthreads and the datapath.
//!
//! Order within a cycle: what becomes true at its start (arrivals, ends of launches), then the
//! cores, then the network, all deciding on the state at the start; then the cores' own
//! effects on queues. Knows no values (see `vector`) and no routes (see `network`).

mod copies;
mod relay;
mod samples;

use self::relay::{RELAYS, Relay};
use super::super::fabric::{Fabric, NONE};
use super::super::lower::{self, Execution, Fault, LowClass, LowOp};
use super::super::resident;
use super::super::rule::{CheckError, Rule};
use super::ahead;
use super::bands::Bands;
use super::host::Host;
use super::network::{Effects, Event, Message, Network};
use super::pages;
use super::shape::Shape;
use super::sites::Sites;
use super::tiles::Part;
use super::values::{self, Record};
use super::vector::{Flight, Queues, Room, SYNC};
use super::{Peek, Sample, SimError, TaskSpan, WaitingPe, unsupported_machine};
use quadrille_isa::wafer::{Action, IssueMode, Machine, Pe, Program, TaskIx};
use quadrille_isa::{Tensor, wafer};
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Slots of the event wheel: above every fixed latency.
const WHEEL: usize = 256;

/// Most bytes of simulated SRAM: what a program declares, not what the mesh has.
pub(super) const MEMORY_LIMIT: usize = 16 << 30;

/// All input queues, as in [`LowOp::queues`].
const INPUTS: u16 = 0xFF;

/// Where a core's control flow is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Control {
    /// No task runs.
    Idle,
    /// The task switch is under way; then the body begins.
    Switching,
    /// At the next operation of the body, or its end.
    Next,
    /// The launch is under way; then the operation is in flight.
    Launching,
    /// The synchronous operation is in flight.
    Waiting,
}

/// A flight whose next steps are decided: no other can step, and it touches no queue.
#[derive(Clone, Copy, Debug)]
struct Bulk {
    slot: u8,
    /// Cycle of the first of these steps.
    since: u64,
    elements: u64,
}

/// Where words go that are taken as they come and stay as they are: see [`Engine::drain`].
#[derive(Clone, Copy, Debug, Default)]
struct Sink {
    /// Place in `memory` of the next word.
    at: usize,
    /// Words still to come but for the last one.
    left: u32,
    /// Elements written that the operation does not know of yet.
    elements: u32,
    per_word: u32,
}

/// What is looked at in most cycles, in neighbouring lines of the cache.
#[repr(align(64))]
struct Core {
    pe: Pe,
    class: u32,
    active: u64,
    blocked: u64,
    control: Control,
    task: u8,
    op: u16,
    repeats_left: u32,
    /// The datapath is taken by a launch or a task switch until then.
    busy_until: u64,
    /// Mostly one, which lies in the core itself.
    flights: SmallVec<[Flight; 1]>,
    /// Queues used by flights, as in [`LowOp::queues`].
    queues_in_use: u16,
    next_slot: u8,
    bulk: Option<Bulk>,
    rest: Box<Rest>,
}

/// What is looked at when tasks and operations begin and end.
#[derive(Clone)]
struct Rest {
    params: Vec<i32>,
    offsets: Vec<i32>,
    mem_base: usize,
    mem_len: u32,
    /// The operation whose launch is under way, and its shape.
    launching: Option<(Execution, u32)>,
    /// Start of the task that runs, and the spans of those that have run.
    task_start: u64,
    spans: Vec<(u8, u64, u64)>,
}

impl Rest {
    /// Where its SRAM lies in that of all.
    fn memory(&self) -> std::ops::Range<usize> {
        self.mem_base..self.mem_base + self.mem_len as usize
    }
}

/// Everything that does not change during a run.
struct Plan<'a> {
    program: &'a Program,
    fabric: &'a Fabric,
    /// First site of the band; sites are counted from there.
    first_site: usize,
    classes: &'a [LowClass],
    shapes: &'a [Shape],
    launch: u64,
    switch: u64,
    ramp: u64,
    to_fabric: u64,
    sram: u32,
}

pub(super) struct Engine<'a> {
    plan: Plan<'a>,
    cores: Vec<Core>,
    /// Core of each site or [`NONE`].
    core_of: Vec<u32>,
    site_of: Vec<u32>,
    memory: Vec<u8>,
    /// By core.
    sinks: Vec<Sink>,
    /// By core.
    relays: Vec<Relay>,
    /// By site: the queues, as in [`LowOp::queues`], whose words and space a core waits for, as far as it has not decided what
    /// it does meanwhile.
    listens: Vec<u16>,
    pub(super) network: Network<'a>,
    host: &'a Mutex<Host<'a>>,
    effects: Effects,
    wheel: Vec<Vec<Event>>,
    wheel_count: usize,
    later: BinaryHeap<Reverse<(u64, u32)>>,
    active: Vec<u32>,
    next_active: Sites,
    popped: Vec<(u32, u8)>,
    pushed: Vec<(u32, u8)>,
    /// Words taken off the ramp at once.
    taken: Vec<u32>,
    pub(super) cycle: u64,
    pub(super) last_event: u64,
    pub(super) first_launch: Option<u64>,
    pub(super) core_cycles: u64,
    /// Whether [`SimResult::spans`] is wanted.
    pub(super) record_spans: bool,
    /// Cycles between looks at what PEs do, the next of them, and what was seen.
    pub(super) sample_every: Option<u64>,
    next_sample: u64,
    pub(super) samples: Vec<Sample>,
    /// One step of one operation at a time.
    pub(super) stepwise: bool,
    /// What was launched, when values are apart, and how many cores are in the bands before.
    pub(super) records: Option<Vec<Record>>,
    pub(super) first_core: u32,
    /// Operations in flight may touch common bytes.
    pub(super) overlap: bool,
    memory_len: usize,
    /// PEs that a core stands for, by core; empty where each stands for itself.
    weights: Vec<u64>,
}

/// The queues of one site, as a flight sees them during a step.
struct SiteQueues<'n, 'a> {
    network: &'n mut Network<'a>,
    site: u32,
    popped: &'n mut Vec<(u32, u8)>,
    pushed: &'n mut Vec<(u32, u8)>,
}

impl Queues for SiteQueues<'_, '_> {
    fn pop(&mut self, queue: u8) -> u32 {
        self.popped.push((self.site, queue));
        self.network.pop_input(self.site, queue)
    }

    fn push(&mut self, queue: u8, word: u32) {
        self.pushed.push((self.site, queue));
        self.network.push_output(self.site, queue, word);
    }
}

impl<'a> Engine<'a> {
    /// The part of one band; its SRAM may take `limit` bytes, and holds data up to `data_end` in each site among all. With
    /// `apart` it has no values: see `values`.
    pub(super) fn new(
        program: &'a Program,
        machine: &Machine,
        (fabric, classes, shapes): (&'a Fabric, &'a [LowClass], &'a [Shape]),
        host: &'a Mutex<Host<'a>>,
        (inputs, data_end): (&[Tensor], &[u32]),
        (bands, band): (&Bands, usize),
        (limit, apart): (usize, bool),
    ) -> Result<Engine<'a>, SimError> {
        let invalid = |e: CheckError| SimError::Invalid(vec![e]);
        let l = &machine.latency;
        let range = bands.sites(band);
        let first_site = range.start;
        let sites = &fabric.sites[range];
        // Sites of other bands come out as beyond the end.
        let local = |pe: Pe| fabric.site(pe).map(|s| (s as usize).wrapping_sub(first_site));
        let mut cores = Vec::new();
        let (mut core_of, mut site_of) = (vec![NONE; sites.len()], Vec::new());
        let mut memory_len = 0usize;
        for (ix, site) in sites.iter().enumerate() {
            let Some(region) = program.regions.get(site.region as usize) else { continue };
            let class = &classes[region.class.0 as usize];
            let fault = |f: Fault| invalid(CheckError::new(f.rule, f.message).at(site.pe));
            let params = lower::params(region, site.pe).map_err(fault)?;
            // Only what the program can reach; rounded so that rows stay aligned.
            let mem_len = lower::reach(class, &params).max(data_end[first_site + ix]).next_multiple_of(8);
            let mut active = 0;
            let mut blocked = 0;
            for (t, task) in class.tasks.iter().enumerate() {
                active |= u64::from(task.active) << t;
                blocked |= u64::from(task.blocked) << t;
            }
            core_of[ix] = cores.len() as u32;
            site_of.push(ix as u32);
            cores.push(Core {
                pe: site.pe,
                class: region.class.0,
                active,
                blocked,
                control: Control::Idle,
                task: 0,
                op: 0,
                repeats_left: 0,
                busy_until: 0,
                flights: SmallVec::new(),
                queues_in_use: 0,
                next_slot: 0,
                bulk: None,
                rest: Box::new(Rest {
                    params,
                    offsets: vec![0; usize::from(class.step_slots)],
                    mem_base: memory_len,
                    mem_len,
                    launching: None,
                    task_start: 0,
                    spans: Vec::new(),
                }),
            });
            memory_len += mem_len as usize;
        }
        if memory_len > limit {
            let bytes = MEMORY_LIMIT - limit + memory_len;
            return Err(SimError::Memory { bytes: bytes as u64, limit: MEMORY_LIMIT as u64 });
        }
        let memory = match apart {
            true => Vec::new(),
            false => values::fill(program, inputs, memory_len, |pe, addr| {
                let core = local(pe).and_then(|s| core_of.get(s).copied()).filter(|&c| c != NONE)?;
                Some(cores[core as usize].rest.mem_base + addr as usize)
            }),
        };
        let plan = Plan {
            program,
            fabric,
            first_site,
            classes,
            shapes,
            launch: u64::from(l.vector_launch),
            switch: u64::from(l.task_switch),
            ramp: u64::from(machine.router.ramp_cycles),
            to_fabric: u64::from(l.fabric_to_fabric),
            sram: machine.geometry.sram_bytes_per_pe,
        };
        let mut engine = Engine {
            plan,
            next_active: Sites::new(cores.len()),
            sinks: vec![Sink::default(); cores.len()],
            relays: vec![Relay::default(); cores.len()],
            listens: vec![0; sites.len()],
            cores,
            core_of,
            site_of,
            memory,
            network: Network::new(fabric, program, machine, bands, band),
            host,
            effects: Effects::default(),
            wheel: vec![Vec::new(); WHEEL],
            wheel_count: 0,
            later: BinaryHeap::new(),
            active: Vec::new(),
            popped: Vec::new(),
            pushed: Vec::new(),
            taken: Vec::new(),
            cycle: 0,
            last_event: 0,
            first_launch: None,
            core_cycles: 0,
            record_spans: false,
            sample_every: None,
            next_sample: 0,
            samples: Vec::new(),
            stepwise: false,
            records: apart.then(Vec::new),
            first_core: 0,
            overlap: false,
            memory_len,
            weights: Vec::new(),
        };
        for core in 0..engine.cores.len() as u32 {
            engine.wake(core);
        }
        {
            let mut host = lock(host);
            let here = |row: u16| local(Pe { x: 0, y: row }).is_some_and(|s| s < sites.len());
            for (row, color) in host.senders().into_iter().filter(|&(row, _)| here(row)) {
                if let Some(word) = host.next(row, color) {
                    engine.network.offer(row, color, word);
                }
            }
        }
        Ok(engine)
    }

    /// Asks for large pages for all that changes.
    pub(super) fn enlarge_pages(&self) {
        pages::enlarge(&self.cores);
        pages::enlarge(&self.core_of);
        pages::enlarge(&self.site_of);
        pages::enlarge(&self.memory);
        pages::enlarge(&self.sinks);
        pages::enlarge(&self.relays);
        pages::enlarge(&self.listens);
        self.network.enlarge_pages();
    }

    /// Core of a PE of this band.
    fn core(&self, pe: Pe) -> Option<&Core> {
        let site = (self.plan.fabric.site(pe)? as usize).wrapping_sub(self.plan.first_site);
        self.cores.get(*self.core_of.get(site)? as usize)
    }

    /// Bytes of SRAM that are simulated.
    pub(super) fn memory_len(&self) -> usize {
        self.memory_len
    }

    /// Site among all, and bytes of SRAM, of each PE with a program.
    pub(super) fn memories(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let site = |&s: &u32| s + self.plan.first_site as u32;
        self.site_of.iter().map(site).zip(self.cores.iter().map(|c| c.rest.mem_len))
    }

    /// PEs with a program.
    pub(super) fn pes(&self) -> u64 {
        self.cores.len() as u64
    }

    /// Cycles of the longest task.
    pub(super) fn longest_task(&self) -> u64 {
        let mut longest = 0u64;
        for core in &self.cores {
            for task in &self.plan.classes[core.class as usize].tasks {
                let repeat = u64::from(lower::repeat(task, &core.rest.params).unwrap_or(0));
                let mut once = self.plan.switch;
                for op in &task.body {
                    let n = lower::element_count(op, &core.rest.params).unwrap_or(0);
                    once = once.saturating_add(self.plan.launch + n / u64::from(op.rate) + 1);
                }
                longest = longest.max(once.saturating_mul(repeat.max(1)));
            }
        }
        longest
    }

    /// Does a cycle, after what the bands beside this one sent in the one before, if anything is to be done.
    pub(super) fn go_to(&mut self, cycle: u64, messages: &mut Vec<Message>) -> Result<(), (Part, SimError)> {
        self.cycle = cycle;
        if let Some(every) = self.sample_every
            && cycle >= self.next_sample
        {
            self.sample(every);
        }
        let idle = messages.is_empty() && !self.is_busy() && self.wheel[(cycle % WHEEL as u64) as usize].is_empty();
        if idle && self.later.peek().is_none_or(|l| l.0.0 > cycle) {
            return Ok(());
        }
        self.step(messages)
    }

    /// Tells operations in flight at the end what their words' places have taken.
    pub(super) fn close(&mut self) {
        for core in 0..self.cores.len() {
            self.close_sink(core as u32);
            self.close_relay(core);
        }
    }

    /// The next cycle in which something happens, as far as this band knows.
    pub(super) fn next(&self) -> Option<u64> {
        if self.is_busy() { Some(self.cycle + 1) } else { self.next_event() }
    }

    /// True when something happens in the next cycles, so that nothing is gained by a look at when.
    pub(super) fn happens_soon(&self) -> bool {
        self.wheel_count > 0 || self.is_busy()
    }

    /// One cycle, after what other bands sent in the one before.
    pub(super) fn step(&mut self, messages: &mut Vec<Message>) -> Result<(), (Part, SimError)> {
        messages.drain(..).for_each(|m| self.network.accept(m));
        let mut events = std::mem::take(&mut self.wheel[(self.cycle % WHEEL as u64) as usize]);
        self.wheel_count -= events.len();
        for (k, &event) in events.iter().enumerate() {
            match events.get(k + 8) {
                Some(&Event::Node(node)) => self.network.fetch_node(node),
                Some(&Event::Input(site, queue)) => self.network.fetch_queue(site, queue, false),
                Some(&Event::Output(site, queue)) => self.network.fetch_queue(site, queue, true),
                _ => {}
            }
            self.happen(event);
        }
        events.clear();
        self.wheel[(self.cycle % WHEEL as u64) as usize] = events;
        while let Some(&Reverse((at, core))) = self.later.peek()
            && at <= self.cycle
        {
            self.later.pop();
            self.wake(core);
        }
        self.next_active.drain(&mut self.active);
        let mut active = std::mem::take(&mut self.active);
        for (k, &core) in active.iter().enumerate() {
            if let Some(&later) = active.get(k + 8) {
                ahead::fetch_all(&self.cores, later as usize);
                ahead::fetch(&self.site_of, later as usize);
            }
            if let Some(&later) = active.get(k + 4) {
                self.network.fetch_queues(self.site_of[later as usize]);
            }
            self.core_cycle(core).map_err(|e| (Part::Cores, e))?;
            self.listen(core);
        }
        active.clear();
        self.active = active;
        self.network.begin(self.cycle, &mut self.effects);
        self.network.cycle(&mut self.effects);
        self.settle().map_err(|e| (Part::Network, e))
    }

    /// Effects of the cycle, visible at the next one.
    fn settle(&mut self) -> Result<(), SimError> {
        let (now, ramp) = (self.cycle, self.plan.ramp);
        let mut effects = std::mem::take(&mut self.effects);
        let moved = !effects.to_input.is_empty() || !effects.drained.is_empty();
        if moved || !effects.to_node.is_empty() || !effects.out.is_empty() {
            self.last_event = self.last_event.max(now);
        }
        for (site, words, last) in effects.streamed.drain(..) {
            let sink = &mut self.sinks[self.core_of[site as usize] as usize];
            sink.left -= words;
            sink.elements += words * sink.per_word;
            self.core_cycles += u64::from(words);
            self.last_event = self.last_event.max(last + ramp);
        }
        for (k, &(site, word)) in effects.drained.iter().enumerate() {
            let core = |k: usize| effects.drained.get(k).map(|&(site, _)| self.core_of[site as usize] as usize);
            if let Some(later) = core(k + 16) {
                ahead::fetch(&self.sinks, later);
            }
            if let Some(later) = core(k + 8) {
                ahead::fetch(&self.memory, self.sinks[later].at);
            }
            self.take(self.core_of[site as usize], word, now + ramp);
        }
        effects.drained.clear();
        for (site, queue) in effects.to_input.drain(..) {
            self.at(now + ramp, Event::Input(site, queue));
        }
        for node in effects.to_node.drain(..) {
            self.at(now + ramp, Event::Node(node));
        }
        for (row, color, word) in effects.out.drain(..) {
            if !lock(self.host).receive(row, color, word, now) {
                let pe = Pe { x: (self.plan.width() - 1) as u16, y: row };
                return Err(self.trap(
                    CheckError::new(Rule::Traffic, "more wavelets leave here than the output ports name")
                        .at(pe)
                        .color(wafer::Color(color)),
                ));
            }
        }
        for (row, color) in effects.sent.drain(..) {
            let word = lock(self.host).next(row, color);
            if let Some(word) = word {
                self.network.offer(row, color, word);
            }
        }
        for (site, queue) in effects.freed.drain(..) {
            if self.listens[site as usize] >> (8 + queue) & 1 == 1 {
                self.wake(self.core_of[site as usize]);
            }
        }
        self.effects = effects;
        let mut popped = std::mem::take(&mut self.popped);
        for (site, queue) in popped.drain(..) {
            self.network.free_input(site, queue);
        }
        self.popped = popped;
        let mut pushed = std::mem::take(&mut self.pushed);
        for (site, queue) in pushed.drain(..) {
            if self.plan.to_fabric == 1 {
                self.network.output_ready(site, queue);
            } else {
                self.at(now + self.plan.to_fabric, Event::Output(site, queue));
            }
        }
        self.pushed = pushed;
        Ok(())
    }

    fn at(&mut self, cycle: u64, event: Event) {
        self.wheel_count += 1;
        self.wheel[(cycle % WHEEL as u64) as usize].push(event);
    }

    fn next_event(&self) -> Option<u64> {
        let later = self.later.peek().map(|&Reverse((at, _))| at);
        if self.wheel_count == 0 {
            return later;
        }
        let wheel =
            (1..WHEEL as u64).map(|d| self.cycle + d).find(|c| !self.wheel[(c % WHEEL as u64) as usize].is_empty());
        [wheel, later].into_iter().flatten().min()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Node(node) => self.network.node_ready(node),
            Event::Input(site, queue) => {
                let listens = self.listens[site as usize];
                if self.network.input_ready(site, queue) && listens >> queue & 1 == 1 {
                    match listens & RELAYS {
                        0 => self.wake(self.core_of[site as usize]),
                        _ => self.relay_word(site),
                    }
                }
            }
            Event::Output(site, queue) => self.network.output_ready(site, queue),
            Event::Core(core) => self.wake(core),
        }
    }

    /// PEs that a core stands for.
    #[inline]
    fn weight(&self, core: usize) -> u64 {
        self.weights.get(core).copied().unwrap_or(1)
    }

    #[inline]
    fn wake(&mut self, core: u32) {
        if core != NONE {
            self.next_active.insert(core);
        }
    }

    fn wake_at(&mut self, core: u32, at: u64) {
        if at - self.cycle < WHEEL as u64 {
            self.at(at, Event::Core(core));
        } else {
            self.later.push(Reverse((at, core)));
        }
    }

    fn trap(&self, error: CheckError) -> SimError {
        SimError::Trap { cycle: self.cycle, error: Box::new(error) }
    }

    fn fault(&self, core: usize, fault: Fault) -> SimError {
        let c = &self.cores[core];
        let class = &self.plan.classes[c.class as usize];
        let place = class
            .tasks
            .get(usize::from(c.task))
            .map_or(String::new(), |t| format!("task `{}`, operation {}: ", t.name, c.op));
        self.trap(CheckError::new(fault.rule, format!("{place}{}", fault.message)).at(c.pe))
    }

    /// Notes which queues a core waits for.
    #[inline]
    fn listen(&mut self, core: u32) {
        let c = &self.cores[core as usize];
        // Only an operation in flight can wait for space; decided steps of the only one depend on nothing that comes.
        let decided = c.bulk.is_some() && c.control == Control::Waiting && c.flights.len() == 1;
        let any = if c.control == Control::Idle { INPUTS } else { 0 };
        let listens = if decided { 0 } else { c.queues_in_use | any };
        let listens = self.relay_listens(core as usize).unwrap_or(listens);
        self.listens[self.site_of[core as usize] as usize] = listens;
    }

    /// One cycle of a core: control first, else one step of one ready operation.
    fn core_cycle(&mut self, ix: u32) -> Result<(), SimError> {
        let i = ix as usize;
        self.close_relay(i);
        self.catch_up(i)?;
        if self.cores[i].busy_until > self.cycle {
            return Ok(());
        }
        loop {
            match self.cores[i].control {
                Control::Idle => {
                    let Some(task) = self.pick(i) else { break };
                    let core = &mut self.cores[i];
                    core.active &= !(1 << task);
                    core.task = task;
                    core.op = 0;
                    core.control = Control::Switching;
                    core.rest.task_start = self.cycle;
                    return self.occupy(ix, self.plan.switch);
                }
                Control::Switching => {
                    let core = &self.cores[i];
                    let task = &self.plan.classes[core.class as usize].tasks[usize::from(core.task)];
                    let repeat = lower::repeat(task, &core.rest.params).map_err(|f| self.fault(i, f))?;
                    let empty = repeat == 0 || task.body.is_empty();
                    self.cores[i].repeats_left = repeat;
                    if empty {
                        self.end_task(i)?;
                    } else {
                        self.cores[i].control = Control::Next;
                    }
                }
                Control::Next => {
                    let core = &mut self.cores[i];
                    let class = &self.plan.classes[core.class as usize];
                    let task = &class.tasks[usize::from(core.task)];
                    if usize::from(core.op) == task.body.len() {
                        core.repeats_left -= 1;
                        if core.repeats_left == 0 {
                            self.end_task(i)?;
                            continue;
                        }
                        core.op = 0;
                    }
                    let op = &task.body[usize::from(core.op)];
                    let Rest { params, offsets, .. } = &mut *core.rest;
                    let ex = lower::execute(op, params, offsets, class.sram_limit)
                        .and_then(|ex| issue_conflict(core, op).map_or(Ok(ex), Err));
                    let ex = match ex {
                        Ok(ex) => ex,
                        Err(f) => return Err(self.fault(i, f)),
                    };
                    core.rest.launching = Some((ex, op.shape));
                    core.control = Control::Launching;
                    self.first_launch.get_or_insert(self.cycle);
                    return self.occupy(ix, self.plan.launch);
                }
                Control::Launching => {
                    let core = &mut self.cores[i];
                    let Some((ex, shape)) = core.rest.launching.take() else { break };
                    let shapes = self.plan.shapes;
                    let op = &shapes[shape as usize];
                    let slot = match op.issue {
                        IssueMode::Sync => SYNC,
                        IssueMode::Async(k) => k,
                    };
                    let flight = Flight::new(slot, core.task, core.op, (ex, shape));
                    core.op += 1;
                    core.control = if slot == SYNC && flight.n > 0 { Control::Waiting } else { Control::Next };
                    if flight.n == 0 {
                        self.act(i, &op.on_done)?;
                    } else {
                        core.queues_in_use |= op.queues;
                        if let Some(records) = &mut self.records {
                            let beside = core.flights.iter().fold(0, |mask, f| mask | 1 << f.slot);
                            let meets = |f: &Flight| flight.meets(op, f, &shapes[f.shape as usize]);
                            self.overlap |= core.flights.iter().any(meets);
                            let core = self.first_core + ix;
                            records.push(Record { core, shape, slot, beside, ex });
                        }
                        let at = core.flights.partition_point(|f| f.slot < slot);
                        core.flights.insert(at, flight);
                    }
                }
                Control::Waiting => {
                    if self.cores[i].flights.iter().any(|f| f.slot == SYNC) {
                        break;
                    }
                    self.cores[i].control = Control::Next;
                }
            }
        }
        self.datapath(ix)
    }

    /// Takes the datapath for a launch or a task switch.
    fn occupy(&mut self, ix: u32, cycles: u64) -> Result<(), SimError> {
        let until = self.cycle + cycles;
        self.cores[ix as usize].busy_until = until;
        self.core_cycles += cycles * self.weight(ix as usize);
        self.last_event = self.last_event.max(until - 1);
        self.wake_at(ix, until);
        Ok(())
    }

    fn room(&self, site: u32, op: &Shape) -> Room {
        let q = &self.network.queues[site as usize];
        let mut room = Room { words: [0; 3], space: 0 };
        for (k, operand) in op.operands[..3].iter().enumerate() {
            if let Some(queue) = operand.access.queue() {
                room.words[k] = u32::from(q.input[usize::from(queue)].ready);
            }
        }
        if let Some(queue) = op.operands[3].access.queue() {
            room.space = u32::from(q.output[usize::from(queue)].space());
        }
        room
    }

    fn datapath(&mut self, ix: u32) -> Result<(), SimError> {
        let i = ix as usize;
        let site = self.site_of[i];
        let core = &self.cores[i];
        if core.flights.is_empty() {
            return Ok(());
        }
        let shapes = self.plan.shapes;
        let op_of = |f: &Flight| &shapes[f.shape as usize];
        // The first ready flight at or after the pointer, cyclically; and whether others are.
        let first = core.flights.partition_point(|f| f.slot < core.next_slot);
        let count = core.flights.len();
        let mut chosen = None;
        let mut others = false;
        for k in 0..count {
            let at = (first + k) % count;
            let f = &core.flights[at];
            let op = op_of(f);
            let m = f.ready(op, self.room(site, op));
            if m > 0 {
                if chosen.is_some() {
                    others = true;
                    break;
                }
                chosen = Some((at, m));
            }
        }
        let Some((at, m)) = chosen else {
            self.wait(i, site);
            return Ok(());
        };
        if !others && !self.stepwise && self.decide(ix, at, self.cycle) {
            return Ok(());
        }
        self.core_cycles += self.weight(i);
        self.last_event = self.last_event.max(self.cycle);
        self.advance(i, at, u64::from(m))?;
        let all_left = self.cores[i].flights.len() == count;
        if !self.stepwise && all_left && count == 1 && self.decide(ix, 0, self.cycle + 1) {
            return Ok(());
        }
        let ready = |f: &Flight| f.ready(op_of(f), self.room(site, op_of(f))) > 0;
        // Whatever else makes one ready wakes the core.
        if self.stepwise || !all_left || self.cores[i].flights.iter().any(ready) {
            self.wake(ix);
        } else {
            self.wait(i, site);
        }
        Ok(())
    }

    /// Decides the steps from a cycle on of the flight that alone can step, where they touch no queue; true when there are some.
    fn decide(&mut self, ix: u32, at: usize, since: u64) -> bool {
        let core = &mut self.cores[ix as usize];
        let flight = &core.flights[at];
        let op = &self.plan.shapes[flight.shape as usize];
        let (quiet, rate) = (flight.quiet(op), u64::from(op.rate));
        // A last step of fewer elements may still become a full one, except at the end.
        let whole = quiet == flight.n - flight.done;
        let steps = if whole { quiet.div_ceil(rate) } else { quiet / rate };
        if steps > 1 {
            core.bulk = Some(Bulk { slot: flight.slot, since, elements: quiet.min(steps * rate) });
            self.wake_at(ix, since + steps);
        }
        steps > 1
    }

    /// No operation in flight is ready.
    fn wait(&mut self, i: usize, site: u32) {
        if self.cores[i].flights.len() == 1 && !self.stepwise && !self.drain(i, site) {
            self.relay(i);
        }
    }

    /// Where a core waits for the words of one operation alone, each is taken in the cycle that it comes in: nobody
    /// else sees when. So it is done as soon as the word is on the ramp, and the core wakes after the last. False where that
    /// cannot be.
    fn drain(&mut self, i: usize, site: u32) -> bool {
        let core = &self.cores[i];
        let flight = &core.flights[0];
        if flight.slot != SYNC || core.control != Control::Waiting {
            return false;
        }
        let op = &self.plan.shapes[flight.shape as usize];
        let Some((queue, words)) = flight.drains(op) else { return false };
        let can = self.network.can_drain(site, queue, words, self.plan.ramp);
        if can {
            let mut taken = std::mem::take(&mut self.taken);
            self.network.drain(site, queue, words, &mut taken);
            let apart = self.records.is_some();
            if let Some(from) = if apart { Some(0) } else { flight.sinks(op) } {
                let per_word = flight.per_word(op);
                self.sinks[i] = Sink { at: core.rest.mem_base + from as usize, left: words - 1, elements: 0, per_word };
            }
            // The last of those on the ramp came on it in the cycle before, at the latest.
            let last = self.cycle + self.plan.ramp - 1;
            for word in taken.drain(..) {
                self.take(i as u32, word, last);
            }
            self.taken = taken;
        }
        can
    }

    /// An operation takes a word that comes in cycle `at`.
    #[inline]
    fn take(&mut self, core: u32, word: u32, at: u64) {
        let sink = &mut self.sinks[core as usize];
        if sink.left == 0 {
            return self.take_by_step(core, word, at);
        }
        if self.records.is_none() {
            self.memory[sink.at..sink.at + 4].copy_from_slice(&word.to_le_bytes());
            sink.at += 4;
        }
        sink.left -= 1;
        sink.elements += sink.per_word;
        self.core_cycles += self.weight(core as usize);
        self.last_event = self.last_event.max(at);
    }

    /// Tells the operation in flight what its words' place has taken.
    fn close_sink(&mut self, core: u32) {
        let elements = std::mem::take(&mut self.sinks[core as usize]).elements;
        if elements > 0
            && let Some(flight) = self.cores[core as usize].flights.first_mut()
        {
            flight.skip(elements.into());
        }
    }

    fn take_by_step(&mut self, core: u32, word: u32, at: u64) {
        self.close_sink(core);
        let weight = self.weight(core as usize);
        let c = &mut self.cores[core as usize];
        let Some(flight) = c.flights.first_mut() else { return };
        let op = &self.plan.shapes[flight.shape as usize];
        match self.records {
            Some(_) => flight.skip(u64::from(flight.per_word(op)).min(flight.n - flight.done)),
            None => flight.take(op, word, &mut self.memory[c.rest.memory()]),
        }
        self.core_cycles += weight;
        self.last_event = self.last_event.max(at);
        if flight.done == flight.n {
            self.end_alone(core, at);
        }
    }

    /// Does `m` elements of a flight, and its actions when that was all.
    fn advance(&mut self, i: usize, at: usize, m: u64) -> Result<(), SimError> {
        let core = &mut self.cores[i];
        let flight = &mut core.flights[at];
        let op = &self.plan.shapes[flight.shape as usize];
        let mut queues = SiteQueues {
            network: &mut self.network,
            site: self.site_of[i],
            popped: &mut self.popped,
            pushed: &mut self.pushed,
        };
        match self.records {
            Some(_) => flight.count(op, m, &mut queues),
            None => {
                let memory = &mut self.memory[core.rest.memory()];
                flight.step(op, m, memory, &mut queues);
            }
        }
        core.next_slot = flight.slot + 1;
        if core.next_slot > SYNC {
            core.next_slot = 0;
        }
        if flight.done == flight.n {
            let flight = core.flights.remove(at);
            core.queues_in_use &= !op.queues;
            let shapes = self.plan.shapes;
            self.act(i, &shapes[flight.shape as usize].on_done)?;
        }
        Ok(())
    }

    /// Brings a flight that works alone up to the present cycle.
    fn catch_up(&mut self, i: usize) -> Result<(), SimError> {
        let core = &mut self.cores[i];
        let Some(Bulk { slot, since, elements }) = core.bulk.take() else { return Ok(()) };
        let Some(at) = core.flights.iter().position(|f| f.slot == slot) else { return Ok(()) };
        let flight = &core.flights[at];
        let op = &self.plan.shapes[flight.shape as usize];
        let rate = u64::from(op.rate);
        let cycles = (self.cycle - since).min(elements.div_ceil(rate));
        if cycles == 0 {
            return Ok(());
        }
        self.core_cycles += cycles * self.weight(i);
        self.last_event = self.last_event.max(since + cycles - 1);
        self.advance(i, at, elements.min(cycles * rate))
    }

    fn pick(&self, i: usize) -> Option<u8> {
        let core = &self.cores[i];
        let class = &self.plan.classes[core.class as usize];
        let queues = &self.network.queues[self.site_of[i] as usize];
        (0..class.tasks.len() as u8).find(|&t| {
            if core.blocked >> t & 1 == 1 {
                return false;
            }
            match class.tasks[usize::from(t)].data {
                None => core.active >> t & 1 == 1,
                Some(q) => queues.input[usize::from(q)].ready > 0,
            }
        })
    }

    fn end_task(&mut self, i: usize) -> Result<(), SimError> {
        let core = &mut self.cores[i];
        core.control = Control::Idle;
        if self.record_spans {
            let Rest { spans, task_start, .. } = &mut *core.rest;
            match spans.last_mut() {
                Some((task, _, end)) if *task == core.task && *end >= *task_start => *end = self.cycle,
                _ => spans.push((core.task, *task_start, self.cycle)),
            }
        }
        let classes = self.plan.classes;
        let task = &classes[core.class as usize].tasks[usize::from(core.task)];
        self.act(i, &task.on_end)
    }

    fn act(&mut self, i: usize, actions: &[Action]) -> Result<(), SimError> {
        for action in actions {
            let core = &mut self.cores[i];
            match *action {
                Action::Activate(t) => {
                    let bit = 1u64 << t.0;
                    if core.active & bit != 0 {
                        let name = self.plan.classes[core.class as usize].tasks[usize::from(t.0)].name.clone();
                        let message = format!("task `{name}` is activated while it already is: one activation is lost");
                        return Err(self.fault(i, Fault::new(Rule::Activation, message)));
                    }
                    core.active |= bit;
                }
                Action::Block(t) => core.blocked |= 1 << t.0,
                Action::Unblock(t) => core.blocked &= !(1 << t.0),
            }
        }
        Ok(())
    }

    /// Operations that have not ended.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = WaitingPe> + '_ {
        let of_core = |core: &'_ Core, f: &Flight| {
            let task = &self.plan.classes[core.class as usize].tasks[usize::from(f.task)];
            let op = &self.plan.shapes[f.shape as usize];
            let (name, done, n, waits) = (&task.name, f.done, f.n, waits_for(op));
            let (ix, op) = (f.op, op.op);
            let what =
                format!("task `{name}`, operation {ix} ({op:?}) has done {done} of {n} elements and waits for {waits}");
            WaitingPe { pe: core.pe, what }
        };
        self.cores.iter().flat_map(move |core| core.flights.iter().map(move |f| of_core(core, f)))
    }

    /// Part of the SRAM of a PE of this band.
    pub(super) fn peek(&self, p: &Peek) -> Option<Result<Vec<u8>, SimError>> {
        let core = self.core(p.pe)?;
        if u64::from(p.addr) + u64::from(p.len) > u64::from(self.plan.sram) {
            return Some(Err(SimError::Input(format!("bytes {} + {} are not in SRAM", p.addr, p.len))));
        }
        // SRAM that the program does not declare is still as it began: zero.
        let held = self.memory.get(core.rest.memory()).unwrap_or_default();
        let range = p.addr as usize..(p.addr + p.len) as usize;
        Some(Ok(range.map(|at| held.get(at).copied().unwrap_or(0)).collect()))
    }

    /// Takes this band's elements of outputs out of SRAM.
    pub(super) fn unload(&self, outputs: &mut [Vec<u8>]) {
        let place = |pe: Pe, addr: u32| Some(self.core(pe)?.rest.mem_base + addr as usize);
        resident::unload(self.plan.program, outputs, &self.memory, place);
    }

    /// When tasks ran.
    pub(super) fn spans(&self) -> impl Iterator<Item = TaskSpan> + '_ {
        let span = |c: &Core, &(task, start, end): &_| TaskSpan { pe: c.pe, task: TaskIx(task), start, end };
        self.cores.iter().flat_map(move |c| c.rest.spans.iter().map(move |s| span(c, s)))
    }
}

/// The host; who panicked with it has ended the run.
fn lock<'h, 'a>(host: &'h Mutex<Host<'a>>) -> MutexGuard<'h, Host<'a>> {
    host.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Refuses a machine whose figures the rules of time cannot express.
pub(super) fn check_machine(machine: &Machine) -> Result<(), SimError> {
    let l = &machine.latency;
    for (ok, what) in [
        (l.vector_launch >= 1 && (l.vector_launch as usize) < WHEEL, "vector_launch must be 1 to 255"),
        (l.task_switch >= 1 && (l.task_switch as usize) < WHEEL, "task_switch must be 1 to 255"),
        (l.fabric_to_fabric >= 1 && (l.fabric_to_fabric as usize) < WHEEL, "fabric_to_fabric must be 1 to 255"),
        (machine.router.ramp_cycles >= 1 && machine.router.ramp_cycles < 256, "ramp_cycles must be 1 to 255"),
        (machine.router.link_buffer_wavelets < 1024, "link_buffer_wavelets must be below 1024"),
        (
            machine.queues.input_depth_words.iter().chain(&machine.queues.output_depth_words).all(|&d| d < 1024),
            "queue depths must be below 1024",
        ),
    ] {
        if !ok {
            return Err(SimError::Invalid(vec![unsupported_machine(what)]));
        }
    }
    Ok(())
}

/// One past the last byte of initial data and of tensors, by site.
pub(super) fn data_ends(program: &Program, fabric: &Fabric) -> Vec<u32> {
    let mut ends = vec![0u32; fabric.sites.len()];
    let mut reach = |rect: wafer::Rect, end: u32| {
        for site in rect.pes().filter_map(|pe| fabric.site(pe)) {
            let known = &mut ends[site as usize];
            *known = (*known).max(end);
        }
    };
    program.data.iter().for_each(|d| reach(d.rect, d.addr + d.len));
    program.in_sram.iter().chain(&program.out_sram).for_each(|m| reach(m.rect, m.end() as u32));
    ends
}

impl Plan<'_> {
    fn width(&self) -> u32 {
        self.fabric.width()
    }
}

fn waits_for(op: &Shape) -> String {
    let mut on = Vec::new();
    for operand in &op.operands[..3] {
        if let Some(q) = operand.access.queue() {
            on.push(format!("input queue {q}"));
        }
    }
    if let Some(q) = op.operands[3].access.queue() {
        on.push(format!("space in output queue {q}"));
    }
    on.join(" or ")
}

/// Why an operation cannot be issued now.
fn issue_conflict(core: &Core, op: &LowOp) -> Option<Fault> {
    if let IssueMode::Async(k) = op.issue
        && core.flights.iter().any(|f| f.slot == k)
    {
        return Some(Fault::new(Rule::Microthread, format!("microthread {k} is still in flight")));
    }
    let both = core.queues_in_use & op.queues;
    (both != 0).then(|| {
        let q = both.trailing_zeros();
        let what = if q < 8 { format!("input queue {q}") } else { format!("output queue {}", q - 8) };
        Fault::new(Rule::QueueUse, format!("{what} is in use by an operation in flight"))
    })
}
