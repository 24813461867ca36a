//! Untimed execution: every PE's tasks, burst by burst, without values.
//!
//! An operation in flight does as much as the wavelets that have arrived and the space ahead
//! allow; when no PE and no route can do more, either everything is done or something is
//! wrong. An asynchronous operation counts as in flight until a task that needs its completion
//! action starts: only then is its end known to come before what follows.
//!
//! The order in which PEs are looked at changes nothing but the time it takes: those whose operation can end go first,
//! those that can only go on a little wait until there are no others, by when more has come.

use super::super::fabric::{Fabric, NONE};
use super::super::lower::{self, Access, Execution, Fault, LowClass, LowOp};
use super::super::ports;
use super::super::rule::{CheckError, Errors, Rule};
use super::CheckReport;
use super::flow::{EndIx, Flows, NetIx, News, Sink, Source};
use super::overlap::Overlaps;
use quadrille_isa::wafer::{Action, Color, IssueMode, Machine, Pe, Program, TaskIx};
use quiet::Quiet;
use std::collections::{BTreeMap, VecDeque};
use together::Together;

mod quiet;
mod together;
mod verdict;

const SYNC: u8 = 8;

#[derive(Clone, Debug)]
struct Flight {
    slot: u8,
    task: u8,
    op: u16,
    ex: Execution,
    n: u64,
    done: u64,
    /// Wavelets consumed from each source's queue, and pushed, before it began.
    taken_before: [u64; 3],
    pushed_before: u64,
    /// Wavelets that operations right after it will take from the same queues, of each.
    ahead: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Control {
    Idle,
    Next,
    Waiting,
    /// A broken rule was reported; the PE does nothing more.
    Stopped,
}

struct PeState {
    site: u32,
    class: u32,
    params: Vec<i32>,
    offsets: Vec<i32>,
    active: u64,
    blocked: u64,
    control: Control,
    task: u8,
    op: u16,
    repeats_left: u32,
    flights: Vec<Flight>,
    /// The list that it waits in.
    listed: Option<News>,
    /// Operations since a wavelet last moved here.
    quiet_operations: u64,
}

/// A decision taken on the assumption that a data task gets no more wavelets.
struct Assumption {
    consumed: u64,
    data_task: u8,
    rival: u8,
}

struct Exec<'a> {
    fabric: &'a Fabric,
    classes: &'a [LowClass],
    flows: Flows,
    pes: Vec<PeState>,
    /// PE of each site or [`NONE`].
    pe_of: Vec<u32>,
    errors: &'a mut Errors,
    overlaps: Overlaps,
    /// By class and task.
    quiet: Vec<Vec<Quiet>>,
    runnable: VecDeque<u32>,
    /// PEs that can do a part of an operation.
    partly: VecDeque<u32>,
    together: Together,
    /// Sites whose queues have changed.
    changed: Vec<(u32, News)>,
    /// By (PE, input queue).
    assumptions: BTreeMap<(u32, u8), Assumption>,
    operations: u64,
    operation_limit: u64,
    high_byte: u32,
}

/// A PE that executes this many operations without moving a wavelet is taken not to end.
const QUIET_LIMIT: u64 = 1 << 21;

/// Runs the program; see the module header.
pub(super) fn run(
    program: &Program,
    machine: &Machine,
    fabric: &Fabric,
    classes: &[LowClass],
    errors: &mut Errors,
    report: &mut CheckReport,
    looks_ahead: bool,
) {
    let offers = |row: u16, color: u8| {
        let ports = program.in_ports.iter().filter(|p| p.row == row && p.color.0 == color);
        ports.map(|p| ports::wavelets(p, program.inputs[p.tensor as usize].dtype)).sum()
    };
    let takes = |row: u16, color: u8| {
        let ports = program.out_ports.iter().filter(|p| p.row == row && p.color.0 == color);
        ports.map(|p| ports::wavelets(p, program.outputs[p.tensor as usize].dtype)).sum()
    };
    let flows = Flows::new(fabric, machine, program, offers, takes, looks_ahead);
    let mut pes = Vec::new();
    let mut pe_of = vec![NONE; fabric.sites.len()];
    let sram = machine.geometry.sram_bytes_per_pe;
    let mut expected = 1u64 << 20;
    for (ix, site) in fabric.sites.iter().enumerate() {
        let Some(region) = program.regions.get(site.region as usize) else { continue };
        let class = &classes[region.class.0 as usize];
        let params = match lower::params(region, site.pe) {
            Ok(p) => p,
            Err(f) => {
                errors.push(CheckError::new(f.rule, f.message).at(site.pe));
                continue;
            }
        };
        let bits = |f: fn(&lower::LowTask) -> bool| {
            class.tasks.iter().enumerate().fold(0u64, |m, (t, task)| m | u64::from(f(task)) << t)
        };
        for task in &class.tasks {
            let once = lower::repeat(task, &params).map_or(0, u64::from).saturating_mul(task.body.len() as u64 + 1);
            expected = expected.saturating_add(once.saturating_mul(64));
        }
        report.program_bytes = report.program_bytes.max(sram - class.sram_limit);
        pe_of[ix] = pes.len() as u32;
        pes.push(PeState {
            site: ix as u32,
            class: region.class.0,
            params,
            offsets: vec![0; usize::from(class.step_slots)],
            active: bits(|t| t.active),
            blocked: bits(|t| t.blocked),
            control: Control::Idle,
            task: 0,
            op: 0,
            repeats_left: 0,
            flights: Vec::new(),
            listed: Some(News::Whole),
            quiet_operations: 0,
        });
    }
    let words: u64 = flows.nets.iter().map(|n| n.offered).fold(0, u64::saturating_add);
    expected = expected.saturating_add(words.saturating_mul(pes.len() as u64).saturating_mul(64));
    let mut exec = Exec {
        fabric,
        classes,
        quiet: classes.iter().map(|c| c.tasks.iter().map(|t| Quiet::new(t, c.sram_limit)).collect()).collect(),
        changed: Vec::new(),
        partly: VecDeque::new(),
        together: Together::new(flows.nets.len()),
        flows,
        runnable: (0..pes.len() as u32).collect(),
        pes,
        pe_of,
        errors,
        overlaps: Overlaps::default(),
        assumptions: BTreeMap::new(),
        operations: 0,
        operation_limit: expected.min(1 << 31),
        high_byte: held_to(program),
    };
    exec.settle();
    report.operations = exec.operations;
    report.sram_bytes = exec.high_byte.saturating_add(report.program_bytes).min(sram);
    if exec.errors.is_empty() {
        exec.judge();
    }
}

/// One past the highest byte that data or tensors take on any PE.
fn held_to(program: &Program) -> u32 {
    let data = program.data.iter().map(|d| d.addr.saturating_add(d.len));
    let tensors = program.in_sram.iter().chain(&program.out_sram).map(|m| m.end() as u32);
    data.chain(tensors).max().unwrap_or(0)
}

impl Exec<'_> {
    fn settle(&mut self) {
        while let Some(pe) = self.next() {
            let part = self.pes[pe].listed.take() == Some(News::Part);
            if part {
                self.promise_together(pe);
            }
            if let Err(e) = self.advance(pe) {
                self.pes[pe].control = Control::Stopped;
                self.errors.push(e);
            }
            if self.operations > self.operation_limit {
                return;
            }
            for (site, news) in self.changed.drain(..) {
                let pe = self.pe_of[site as usize];
                let Some(state) = self.pes.get_mut(pe as usize) else { continue };
                // A task starts on a PE that has nothing to do.
                let concerns = news != News::Start || state.control == Control::Idle;
                let news = news.max(if news == News::Start { News::Whole } else { news });
                if concerns && state.listed.is_none_or(|l| l < news) {
                    state.listed = Some(news);
                    let list = if news == News::Part { &mut self.partly } else { &mut self.runnable };
                    list.push_back(pe);
                }
            }
        }
    }

    /// The PE to look at next.
    fn next(&mut self) -> Option<usize> {
        if let Some(pe) = self.runnable.pop_front() {
            return Some(pe as usize);
        }
        while let Some(pe) = self.partly.pop_front() {
            if self.pes[pe as usize].listed == Some(News::Part) {
                return Some(pe as usize);
            }
        }
        None
    }

    fn place(&self, i: usize) -> Pe {
        self.fabric.sites[self.pes[i].site as usize].pe
    }

    fn end(&self, i: usize, queue: u8) -> EndIx {
        self.flows.end_of[self.pes[i].site as usize][usize::from(queue)]
    }

    fn net(&self, i: usize, queue: u8) -> NetIx {
        self.flows.net_of[self.pes[i].site as usize][usize::from(queue)]
    }

    /// Wavelets waiting in an input queue.
    fn waiting(&self, i: usize, queue: u8) -> u64 {
        let e = &self.flows.ends[self.end(i, queue) as usize];
        e.arrived - e.consumed
    }

    fn task_name(&self, i: usize, task: u8) -> &str {
        &self.classes[self.pes[i].class as usize].tasks[usize::from(task)].name
    }

    fn error(&self, i: usize, rule: Rule, message: String) -> CheckError {
        CheckError::new(rule, message).at(self.place(i))
    }

    fn advance(&mut self, i: usize) -> Result<(), CheckError> {
        for k in 0..self.pes[i].flights.len() {
            self.progress(i, k);
        }
        loop {
            match self.pes[i].control {
                Control::Stopped => return Ok(()),
                Control::Idle => {
                    let Some(task) = self.pick(i)? else { return Ok(()) };
                    let pe = &mut self.pes[i];
                    pe.active &= !(1 << task);
                    pe.task = task;
                    pe.op = 0;
                    let low = &self.classes[pe.class as usize].tasks[usize::from(task)];
                    pe.repeats_left = lower::repeat(low, &pe.params)
                        .map_err(|f| CheckError::new(f.rule, f.message).at(self.fabric.sites[pe.site as usize].pe))?;
                    if pe.repeats_left == 0 || low.body.is_empty() {
                        self.count(i)?;
                        self.end_task(i)?;
                    } else {
                        pe.control = Control::Next;
                    }
                }
                Control::Next => {
                    let pe = &mut self.pes[i];
                    let body = self.classes[pe.class as usize].tasks[usize::from(pe.task)].body.len();
                    if usize::from(pe.op) == body {
                        pe.repeats_left -= 1;
                        if pe.repeats_left == 0 {
                            self.end_task(i)?;
                            continue;
                        }
                        pe.op = 0;
                    }
                    if !self.skip(i)? {
                        self.launch(i)?;
                    }
                }
                Control::Waiting => {
                    let pe = &mut self.pes[i];
                    let Some(at) = pe.flights.iter().position(|f| f.slot == SYNC) else {
                        pe.control = Control::Next;
                        continue;
                    };
                    if pe.flights[at].done < pe.flights[at].n {
                        return Ok(());
                    }
                    let flight = pe.flights.remove(at);
                    pe.control = Control::Next;
                    self.act_flight(i, &flight)?;
                }
            }
        }
    }

    fn end_task(&mut self, i: usize) -> Result<(), CheckError> {
        let classes = self.classes;
        let pe = &mut self.pes[i];
        pe.control = Control::Idle;
        let task = &classes[pe.class as usize].tasks[usize::from(pe.task)];
        self.act(i, &task.on_end)
    }

    /// Does the operations from here on that need no looking at; false when there are none.
    fn skip(&mut self, i: usize) -> Result<bool, CheckError> {
        let pe = &mut self.pes[i];
        let quiet = &self.quiet[pe.class as usize][usize::from(pe.task)];
        let Some((run, high)) = quiet.run(pe.op).filter(|_| pe.flights.is_empty()) else { return Ok(false) };
        self.high_byte = self.high_byte.max(high);
        pe.op += run;
        self.count_many(i, run.into())?;
        Ok(true)
    }

    fn count(&mut self, i: usize) -> Result<(), CheckError> {
        self.count_many(i, 1)
    }

    fn count_many(&mut self, i: usize, operations: u64) -> Result<(), CheckError> {
        self.operations += operations;
        if self.operations > self.operation_limit {
            let message = format!("more than {} operations were executed in all", self.operation_limit);
            return Err(self.error(i, Rule::Runaway, message));
        }
        let pe = &mut self.pes[i];
        pe.quiet_operations += operations;
        if pe.quiet_operations > QUIET_LIMIT {
            let message = format!("{QUIET_LIMIT} operations here without a wavelet in or out: it does not end");
            return Err(self.error(i, Rule::Runaway, message));
        }
        Ok(())
    }

    fn launch(&mut self, i: usize) -> Result<(), CheckError> {
        self.count(i)?;
        let classes = self.classes;
        let pe = &mut self.pes[i];
        let class = &classes[pe.class as usize];
        let task = &class.tasks[usize::from(pe.task)];
        let op = &task.body[usize::from(pe.op)];
        let place = self.fabric.sites[pe.site as usize].pe;
        let fault = |f: Fault, op: u16| {
            CheckError::new(f.rule, format!("task `{}`, operation {op}: {}", task.name, f.message)).at(place)
        };
        let ix = pe.op;
        let ex = lower::execute(op, &pe.params, &mut pe.offsets, class.sram_limit).map_err(|f| fault(f, ix))?;
        let slot = match op.issue {
            IssueMode::Sync => SYNC,
            IssueMode::Async(k) => k,
        };
        for f in &pe.flights {
            let other_task = &class.tasks[usize::from(f.task)];
            let other = &other_task.body[usize::from(f.op)];
            let name = || format!("operation {} of task `{}`, possibly still in flight", f.op, other_task.name);
            if f.slot == slot {
                return Err(fault(
                    Fault::new(Rule::Microthread, format!("microthread {slot} is used by {}", name())),
                    ix,
                ));
            }
            let both = other.queues & op.queues;
            if both != 0 {
                let q = both.trailing_zeros();
                let queue = if q < 8 { format!("input queue {q}") } else { format!("output queue {}", q - 8) };
                return Err(fault(Fault::new(Rule::QueueUse, format!("{queue} is used by {}", name())), ix));
            }
            if let Some((a, b)) = self.overlaps.conflict((op, &ex), (other, &f.ex)) {
                let message = format!(
                    "its {} {:?} and {} {:?} of {} share words of SRAM",
                    lower::operand_name(a),
                    ex.extent(op, a).unwrap_or_default(),
                    lower::operand_name(b),
                    f.ex.extent(other, b).unwrap_or_default(),
                    name()
                );
                return Err(fault(Fault::new(Rule::InFlight, message), ix));
            }
        }
        for k in 0..4 {
            if let Some((_, hi)) = ex.extent(op, k) {
                self.high_byte = self.high_byte.max(hi as u32);
            }
        }
        let ahead = self.quiet[pe.class as usize][usize::from(pe.task)].words_ahead(task, pe.op, &pe.params);
        let mut flight = Flight {
            slot,
            task: pe.task,
            op: pe.op,
            n: ex.n(),
            ex,
            done: 0,
            taken_before: [0; 3],
            pushed_before: 0,
            ahead,
        };
        pe.op += 1;
        for (k, operand) in op.operands[..3].iter().enumerate() {
            if let Some(q) = operand.access.queue() {
                let end = self.end(i, q);
                flight.taken_before[k] = self.flows.ends[end as usize].consumed;
            }
        }
        if let Some(q) = op.operands[3].access.queue() {
            flight.pushed_before = self.flows.nets[self.net(i, q) as usize].pushed;
        }
        if slot != SYNC {
            self.announce(i, &op.on_done)?;
        }
        let pe = &mut self.pes[i];
        if slot == SYNC {
            pe.control = Control::Waiting;
        }
        pe.flights.push(flight);
        let last = pe.flights.len() - 1;
        self.progress(i, last);
        Ok(())
    }

    /// Moves a flight as far as wavelets and space allow.
    fn progress(&mut self, i: usize, k: usize) {
        let pe = &self.pes[i];
        let f = &pe.flights[k];
        if f.done == f.n {
            return;
        }
        let classes = self.classes;
        let op = &classes[pe.class as usize].tasks[usize::from(f.task)].body[usize::from(f.op)];
        let (n0, n) = (u64::from(f.ex.n0), f.n);
        // Elements that each operand allows, the destination last.
        let mut allowed = [n; 4];
        for ((operand, before), allowed) in op.operands[..3].iter().zip(f.taken_before).zip(&mut allowed) {
            let per = u64::from(operand.ty.per_wavelet());
            let words = |q| self.flows.ends[self.end(i, q) as usize].arrived - before;
            match operand.access {
                Access::Fabric(q) => *allowed = n.min(words(q) * per),
                Access::FabricRow(q) => *allowed = n.min((words(q) * per).saturating_mul(n0)),
                _ => {}
            }
        }
        let dst = &op.operands[3];
        let out = dst.access.queue().map(|q| self.net(i, q));
        let per_out = u64::from(dst.ty.per_wavelet());
        if let Some(net) = out {
            let space = self.flows.push_limit(net).saturating_sub(f.pushed_before);
            if space < n.div_ceil(per_out) {
                // The word being filled waits in the operation's own register.
                allowed[3] = (space * per_out + per_out - 1).min(n - 1);
            }
        }
        let done = allowed[0].min(allowed[1]).min(allowed[2]).min(allowed[3]);
        let (before, pushed_before, ahead) = (f.taken_before, f.pushed_before, f.ahead);
        // What is taken after it comes without conditions where nothing else is waited for.
        let alone = op.operands[..3].iter().filter(|o| o.access.queue().is_some()).count() == 1;
        let moves = done > f.done;
        let done = done.max(f.done);
        let mut changed = std::mem::take(&mut self.changed);
        for (o, (operand, before)) in op.operands[..3].iter().zip(before).enumerate() {
            let per = u64::from(operand.ty.per_wavelet());
            // What it would do if this operand were all there.
            let others = (0..4).filter(|&p| p != o).map(|p| allowed[p]).min().unwrap_or(n).max(done);
            let (q, [taken, promised, all]) = match operand.access {
                Access::Fabric(q) => (q, [done, others, n].map(|e| e.div_ceil(per))),
                Access::FabricRow(q) => (q, [done, others, n].map(|e| e.div_ceil(n0).div_ceil(per))),
                _ => continue,
            };
            let (promised, all) = (if others == n && alone { promised + ahead } else { promised }, all + ahead);
            let end = self.end(i, q);
            self.flows.taken(end, [taken, promised, all].map(|n| before + n), &mut changed);
        }
        if let Some(net) = out {
            let pushed = if done == n { n.div_ceil(per_out) } else { done / per_out };
            self.flows.sent(net, [pushed, n.div_ceil(per_out)].map(|n| pushed_before + n), &mut changed);
        }
        self.changed = changed;
        let pe = &mut self.pes[i];
        pe.flights[k].done = done;
        if moves && !op.memory_only() {
            pe.quiet_operations = 0;
        }
    }

    fn low_op(&self, i: usize, f: &Flight) -> &LowOp {
        &self.classes[self.pes[i].class as usize].tasks[usize::from(f.task)].body[usize::from(f.op)]
    }

    /// Actions that asynchronous operations in flight will do: (activate, block, unblock).
    fn coming(&self, i: usize) -> [u64; 3] {
        let mut masks = [0u64; 3];
        for f in self.pes[i].flights.iter().filter(|f| f.slot != SYNC) {
            for action in &self.low_op(i, f).on_done {
                let (kind, t) = parts(*action);
                masks[kind] |= 1 << t.0;
            }
        }
        masks
    }

    /// An asynchronous operation begins whose completion will do `actions`.
    fn announce(&self, i: usize, actions: &[Action]) -> Result<(), CheckError> {
        if actions.is_empty() {
            return Ok(());
        }
        let [activate, block, unblock] = self.coming(i);
        for action in actions {
            let (kind, t) = parts(*action);
            let bit = 1u64 << t.0;
            match kind {
                0 if (activate | self.pes[i].active) & bit != 0 => return Err(self.lost(i, t)),
                1 if unblock & bit != 0 => return Err(self.race(i, t)),
                2 if (block | unblock) & bit != 0 => return Err(self.race(i, t)),
                _ => {}
            }
        }
        Ok(())
    }

    fn lost(&self, i: usize, t: TaskIx) -> CheckError {
        let message =
            format!("task `{}` can be activated while it is active: one activation is lost", self.task_name(i, t.0));
        self.error(i, Rule::Activation, message)
    }

    fn race(&self, i: usize, t: TaskIx) -> CheckError {
        let message = format!(
            "task `{}` is blocked or unblocked here while an operation in flight unblocks or blocks it too",
            self.task_name(i, t.0)
        );
        self.error(i, Rule::TaskOrder, message)
    }

    fn act_flight(&mut self, i: usize, f: &Flight) -> Result<(), CheckError> {
        let classes = self.classes;
        let class = self.pes[i].class as usize;
        self.act(i, &classes[class].tasks[usize::from(f.task)].body[usize::from(f.op)].on_done)
    }

    fn act(&mut self, i: usize, actions: &[Action]) -> Result<(), CheckError> {
        if actions.is_empty() {
            return Ok(());
        }
        let [activate, block, unblock] = self.coming(i);
        for action in actions {
            let (kind, t) = parts(*action);
            let bit = 1u64 << t.0;
            match kind {
                0 => {
                    if (activate | self.pes[i].active) & bit != 0 {
                        return Err(self.lost(i, t));
                    }
                    self.pes[i].active |= bit;
                }
                1 => {
                    if unblock & bit != 0 {
                        return Err(self.race(i, t));
                    }
                    self.pes[i].blocked |= bit;
                }
                _ => {
                    if block & bit != 0 {
                        return Err(self.race(i, t));
                    }
                    self.pes[i].blocked &= !bit;
                }
            }
        }
        Ok(())
    }

    fn unordered(&self, i: usize, a: u8, b: u8) -> CheckError {
        let message = format!(
            "tasks `{}` and `{}` can be ready together, and which runs first depends on timing",
            self.task_name(i, a),
            self.task_name(i, b)
        );
        self.error(i, Rule::TaskOrder, message)
    }

    /// The next task of an idle PE, or `None` when it must wait.
    fn pick(&mut self, i: usize) -> Result<Option<u8>, CheckError> {
        let pe = &self.pes[i];
        let classes = self.classes;
        let tasks = &classes[pe.class as usize].tasks;
        let [activate, block, unblock] = self.coming(i);
        let startable = !pe.blocked | unblock;
        let (mut local, mut data) = (0u64, 0u64);
        for (t, task) in tasks.iter().enumerate() {
            let bit = 1u64 << t;
            match task.data {
                None => local |= (pe.active | activate) & startable & bit,
                Some(q) => {
                    data |= startable & bit;
                    let busy = pe.flights.iter().any(|f| self.low_op(i, f).queues >> q & 1 == 1);
                    if startable & bit != 0 && busy {
                        let message = format!(
                            "data task `{}` can start on wavelets of input queue {q} meant for an operation in flight",
                            task.name
                        );
                        return Err(self.error(i, Rule::QueueUse, message));
                    }
                }
            }
        }
        if local | data == 0 {
            return Ok(None);
        }
        if block & (local | data) != 0 {
            return Err(self.race(i, TaskIx((block & (local | data)).trailing_zeros() as u8)));
        }
        let bits = |mask: u64| (0..64u8).filter(move |t| mask >> t & 1 == 1);
        let has_words = |this: &Self, t: u8| tasks[usize::from(t)].data.is_some_and(|q| this.waiting(i, q) > 0);
        let (task, rivals) = if local != 0 {
            let t = local.trailing_zeros() as u8;
            let sure = pe.active & !pe.blocked & 1 << t != 0;
            if !sure && local.count_ones() > 1 {
                return Err(self.unordered(i, t, bits(local & !(1 << t)).next().unwrap_or(t)));
            }
            // A task that surely is ready goes before data tasks of higher ids.
            let rivals = if sure { data & ((1 << t) - 1) } else { data };
            if let Some(d) = bits(rivals).find(|&d| has_words(self, d)) {
                return Err(self.unordered(i, t, d));
            }
            (t, rivals)
        } else {
            let ready: Vec<u8> = bits(data).filter(|&d| has_words(self, d)).collect();
            match ready[..] {
                [] => return Ok(None),
                [d] => (d, data & !(1 << d)),
                [a, b, ..] => return Err(self.unordered(i, a, b)),
            }
        };
        for d in bits(rivals) {
            if let Some(q) = tasks[usize::from(d)].data {
                let consumed = self.flows.ends[self.end(i, q) as usize].consumed;
                self.assumptions.entry((i as u32, q)).or_insert(Assumption { consumed, data_task: d, rival: task });
            }
        }
        // Wait for the operations whose completion the task needs.
        let bit = 1u64 << task;
        let is_data = tasks[usize::from(task)].data.is_some();
        for (needed, kind) in [(!is_data && self.pes[i].active & bit == 0, 0), (self.pes[i].blocked & bit != 0, 2)] {
            if !needed {
                continue;
            }
            let at = self.pes[i]
                .flights
                .iter()
                .position(|f| self.low_op(i, f).on_done.iter().any(|a| parts(*a) == (kind, TaskIx(task))));
            let Some(at) = at else { return Ok(None) };
            if self.pes[i].flights[at].done < self.pes[i].flights[at].n {
                return Ok(None);
            }
            let flight = self.pes[i].flights.remove(at);
            self.act_flight(i, &flight)?;
        }
        let pe = &self.pes[i];
        let ready = pe.blocked & bit == 0 && (is_data || pe.active & bit != 0);
        Ok(ready.then_some(task))
    }
}

/// Kind (0 activate, 1 block, 2 unblock) and task of an action.
fn parts(action: Action) -> (usize, TaskIx) {
    match action {
        Action::Activate(t) => (0, t),
        Action::Block(t) => (1, t),
        Action::Unblock(t) => (2, t),
    }
}

/// Both ends of a net, for messages.
fn source_place(exec: &Exec<'_>, source: Source) -> Pe {
    match source {
        Source::Queue(site, _) => exec.fabric.sites[site as usize].pe,
        Source::Host(row) => Pe { x: 0, y: row },
    }
}

fn sink_place(exec: &Exec<'_>, sink: Sink) -> Pe {
    match sink {
        Sink::Queue(site, _) => exec.fabric.sites[site as usize].pe,
        Sink::Host(row) => Pe { x: (exec.fabric.width() - 1) as u16, y: row },
    }
}

fn color_of(exec: &Exec<'_>, net: NetIx) -> Color {
    Color(exec.flows.nets[net as usize].color)
}
