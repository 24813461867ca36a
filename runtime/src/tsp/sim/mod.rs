//! The simulator: runs a program cycle by cycle and byte by byte.
//!
//! Knows what docs/isa-tsp.md says happens in which cycle. It takes nothing from the
//! provenance tables: what a sample sees follows from the stream registers alone. It runs any
//! program that the checker passes; one that breaks the machine's rules ends in a trap, never in
//! a panic, and the work is bounded by the number of executions.
//!
//! Executions are taken from the queues in order of their issue cycle. Every result comes out at
//! least one cycle after its operands were taken, so that everything a sample could see is
//! already there when it is taken.

mod host;
mod kernel;
mod lanes;
mod plane;
mod registers;
mod sram;

use super::flat::{Flat, IssueNo};
use super::form::{self, MapInfo};
use super::timing;
use plane::Plane;
use quadrille_isa::Tensor;
use quadrille_isa::tsp::{
    ActType, Column, Hemisphere, Inst, MAP_NONE, Machine, MxmPart, Operand, Program, QueueId, Slice, Stream, SxmUnit,
};
use registers::{Registers, Vector};
use sram::{SliceMemory, Target};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What a run gives.
#[derive(Clone, Debug)]
pub struct SimResult {
    /// Outputs, in the program's order.
    pub outputs: Vec<Tensor>,
    /// Length of the program: last event + superlanes - 1.
    pub cycles: u64,
}

/// Why a program could not be run to its end.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SimError {
    /// An input does not fit its layout.
    #[error("input `{name}` {reason}")]
    Input {
        /// Name of the input.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The program is not one for this machine, or not well formed; nothing was run.
    #[error("the program cannot be run: {reason}")]
    Program {
        /// What is wrong with it.
        reason: String,
    },
    /// The program broke a rule of the machine while it ran.
    #[error("trap at cycle {cycle} in {unit}: {reason}")]
    Trap {
        /// Cycle of the breach.
        cycle: u64,
        /// Unit that breached.
        unit: String,
        /// What happened.
        reason: String,
    },
}

/// Most executions that a run takes on.
const MAX_EXECUTIONS: u64 = 1 << 25;

/// Use of a slice's banks in the last cycle in which it issued.
#[derive(Clone, Copy, Default)]
struct Banks {
    cycle: Option<u64>,
    /// Superlanes that use bank 0 and bank 1.
    used: [u64; 2],
}

/// State of the whole chip.
struct Chip<'a> {
    machine: &'a Machine,
    maps: &'a [Vec<u16>],
    map_infos: Vec<MapInfo>,
    registers: Registers,
    slices: Vec<Option<SliceMemory>>,
    banks: Vec<[Banks; 2]>,
    planes: Vec<Plane>,
    /// For each ALU, its results of the last cycles.
    chains: Vec<Vec<Chained>>,
    operands: [Vec<u32>; 3],
    sxm_busy: Vec<((Hemisphere, SxmUnit), u64)>,
    stores: BinaryHeap<Reverse<(u64, u64)>>,
    store_data: std::collections::BTreeMap<u64, DeferredStore>,
    last_event: u64,
}

/// A result that comes out of an ALU, for others to take.
#[derive(Clone)]
struct Chained {
    issued: u64,
    /// Bytes of an element.
    width: u8,
    elements: Vec<u32>,
}

/// A store that has issued but has not sampled its data.
struct DeferredStore {
    unit: QueueId,
    slice: Slice,
    stream: Stream,
    column: Column,
    target: Target,
    lands: u64,
}

/// One execution as it issues.
#[derive(Clone, Copy)]
struct Execution<'a> {
    inst: &'a Inst,
    queue: QueueId,
    column: Column,
    cycle: u64,
    /// What the repeat has added to the stepped field.
    step: i64,
}

type Trap = String;
/// The word of each superlane, where it has one.
type Words = Box<[Option<u16>]>;

impl Chip<'_> {
    fn slice_number(&self, s: Slice) -> usize {
        let per = self.machine.geometry.mem_slices_per_hemisphere as usize;
        usize::from(s.hemisphere == Hemisphere::East) * per + usize::from(s.index)
    }

    fn slice(&mut self, s: Slice) -> &mut SliceMemory {
        let n = self.slice_number(s);
        let g = &self.machine.geometry;
        self.slices[n].get_or_insert_with(|| {
            SliceMemory::new(g.words_per_slice as usize, g.superlanes as usize, g.lanes_per_superlane as usize)
        })
    }

    fn sample(&self, stream: Stream, cycle: u64, column: Column) -> Result<&[u8], Trap> {
        self.registers
            .sample(stream, cycle, column)
            .ok_or_else(|| format!("stream {stream} is empty in column {} at cycle {cycle}", column.0))
    }

    fn drive(&mut self, stream: Stream, cycle: u64, column: Column, v: Vector) -> Result<(), Trap> {
        self.last_event = self.last_event.max(cycle);
        self.registers
            .drive(stream, cycle, column, v)
            .map_err(|_| format!("stream {stream} is driven twice in column {} at cycle {cycle}", column.0))
    }

    /// Notes the use of banks and refuses a bank that the other thread uses in this cycle.
    fn use_bank(&mut self, s: Slice, thread: usize, cycle: u64, bank: usize, mask: u64) -> Result<(), Trap> {
        let n = self.slice_number(s);
        let mut used = [0; 2];
        used[bank] = mask;
        self.banks[n][thread] = Banks { cycle: Some(cycle), used };
        let other = self.banks[n][1 - thread];
        if other.cycle == Some(cycle) && other.used[bank] & mask != 0 {
            return Err(format!("{s}: a read and a write use bank {bank} in one cycle"));
        }
        Ok(())
    }

    fn bank(&self, addr: u16) -> usize {
        (u32::from(addr) / self.machine.words_per_bank()) as usize
    }

    fn all_superlanes(&self) -> u64 {
        u64::MAX >> (64 - self.machine.geometry.superlanes)
    }

    /// The word of each superlane in a map vector, checked against the declared range.
    fn addresses(&self, map: &[u8], lo: u16, hi: u16) -> Result<(Words, u64), Trap> {
        let per = self.machine.geometry.lanes_per_superlane as usize;
        let mut mask = 0;
        let mut words = Vec::with_capacity(map.len() / per);
        for (superlane, lanes) in map.chunks_exact(per).enumerate() {
            let entry = u16::from_le_bytes([lanes[0], lanes[1]]);
            if entry == MAP_NONE {
                words.push(None);
            } else if (lo..hi).contains(&entry) {
                mask |= 1 << superlane;
                words.push(Some(entry));
            } else {
                return Err(format!("the map names word {entry} in superlane {superlane}, outside [{lo}, {hi})"));
            }
        }
        Ok((words.into_boxed_slice(), mask))
    }

    fn execute(&mut self, e: Execution<'_>) -> Result<(), Trap> {
        let last = timing::last_event(e.inst, e.queue, self.machine, &self.map_infos, e.step);
        self.last_event = self.last_event.max(e.cycle + u64::from(last));
        match e.queue {
            QueueId::Mem(slice, _) => self.mem(e, slice),
            QueueId::Vxm(n) => self.vxm(e, usize::from(n)),
            QueueId::Mxm(plane, part) => self.mxm(e, usize::from(plane), part),
            QueueId::Sxm(h, unit, _) => self.sxm(e, (h, unit)),
        }
    }

    fn mem(&mut self, e: Execution<'_>, s: Slice) -> Result<(), Trap> {
        let lat = &self.machine.latency;
        match *e.inst {
            Inst::Read { addr, stream } => {
                let addr = (i64::from(addr) + e.step) as u16;
                let drive = e.cycle + u64::from(lat.mem_read);
                self.use_bank(s, 0, e.cycle, self.bank(addr), self.all_superlanes())?;
                let mut v = self.registers.blank();
                let slice = self.slice(s);
                slice.settle(e.cycle);
                let word = slice.word(addr).ok_or_else(|| format!("{s}: word {addr} was never written"))?;
                v.copy_from_slice(word);
                self.drive(stream, drive, e.column, v)
            }
            Inst::Gather { map, lo, hi, stream } => {
                let drive = e.cycle + u64::from(lat.mem_gather);
                let (words, mask) = self.addresses(self.sample(map, e.cycle, e.column)?, lo, hi)?;
                self.use_bank(s, 0, e.cycle, self.bank(lo), mask)?;
                let mut v = self.registers.blank();
                let per = self.machine.geometry.lanes_per_superlane as usize;
                let slice = self.slice(s);
                slice.settle(e.cycle);
                for (superlane, out) in v.chunks_exact_mut(per).enumerate() {
                    match words[superlane] {
                        None => out.fill(0),
                        Some(w) => out.copy_from_slice(
                            slice
                                .part(w, superlane)
                                .ok_or_else(|| format!("{s}: word {w} was never written in superlane {superlane}"))?,
                        ),
                    }
                }
                self.drive(stream, drive, e.column, v)
            }
            Inst::Write { stream, addr } => {
                let addr = (i64::from(addr) + e.step) as u16;
                let (sample, lands) = (lat.mem_write_sample, lat.mem_write_readable);
                self.use_bank(s, 1, e.cycle, self.bank(addr), self.all_superlanes())?;
                self.defer(e, s, stream, Target::Word(addr), sample, lands);
                Ok(())
            }
            Inst::Scatter { stream, map, lo, hi } => {
                let (sample, lands) = (lat.mem_scatter_sample, lat.mem_scatter_readable);
                let (words, mask) = self.addresses(self.sample(map, e.cycle, e.column)?, lo, hi)?;
                self.use_bank(s, 1, e.cycle, self.bank(lo), mask)?;
                self.defer(e, s, stream, Target::Superlanes(words), sample, lands);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn defer(&mut self, e: Execution<'_>, slice: Slice, stream: Stream, target: Target, sample: u32, lands: u32) {
        let number = self.store_data.last_key_value().map_or(0, |(n, _)| n + 1);
        self.stores.push(Reverse((e.cycle + u64::from(sample), number)));
        let lands = e.cycle + u64::from(lands);
        let store = DeferredStore { unit: e.queue, slice, stream, column: e.column, target, lands };
        self.store_data.insert(number, store);
    }

    /// Samples the data of a store that issued earlier.
    fn take_store(&mut self, cycle: u64, number: u64) -> Result<(), SimError> {
        let Some(store) = self.store_data.remove(&number) else { return Ok(()) };
        let trap = |reason| SimError::Trap { cycle, unit: store.unit.to_string(), reason };
        let data: Box<[u8]> = self.sample(store.stream, cycle, store.column).map_err(trap)?.into();
        self.slice(store.slice)
            .store(store.lands, store.target, data)
            .map_err(|l| trap(format!("two stores land in word {} in cycle {}", l.word, l.cycle)))
    }

    fn vxm(&mut self, e: Execution<'_>, n: usize) -> Result<(), Trap> {
        let Inst::Alu { op, ty, a, b, c, dst } = *e.inst else { return Ok(()) };
        let lat = &self.machine.latency;
        let chain_from = e.cycle.checked_sub(u64::from(lat.vxm_alu));
        let out = e.cycle + u64::from(lat.vxm_entry + lat.vxm_alu + lat.vxm_exit);
        let mut operands = std::mem::take(&mut self.operands);
        for (value, operand) in operands.iter_mut().zip([a, b, c]) {
            match operand {
                Operand::None => {}
                Operand::Imm(bits) => value.fill(bits),
                Operand::Stream(g) => {
                    let mut bytes: [&[u8]; 4] = [&[]; 4];
                    for k in 0..g.width {
                        bytes[usize::from(k)] = self.sample(g.stream(k), e.cycle, e.column)?;
                    }
                    lanes::join(&bytes[..usize::from(g.width)], value);
                }
                Operand::Alu(from) => {
                    let from = usize::from(from);
                    let result = self.chains[from].iter().find(|r| Some(r.issued) == chain_from);
                    let result = result.ok_or_else(|| {
                        format!(
                            "no result of ALU {from} comes out; it would have to issue {} cycles earlier",
                            lat.vxm_alu
                        )
                    })?;
                    if result.width != ty.bytes() {
                        return Err(format!("the result of ALU {from} has {} bytes", result.width));
                    }
                    value.copy_from_slice(&result.elements);
                }
            }
        }
        // The slot of the result that no operand can name any more.
        let slot = (e.cycle % (u64::from(lat.vxm_alu) + 1)) as usize;
        let result = &mut self.chains[n][slot];
        (result.issued, result.width) = (e.cycle, op.result(ty).bytes());
        result.elements.resize(self.machine.lanes(), 0);
        lanes::alu_lanes(op, ty, &operands[0], &operands[1], &operands[2], &mut result.elements);
        self.operands = operands;
        if let Some(g) = dst {
            for k in 0..g.width {
                let mut v = self.registers.blank();
                lanes::byte_of(&self.chains[n][slot].elements, k, &mut v);
                self.drive(g.stream(k), out, e.column, v)?;
            }
        }
        Ok(())
    }

    fn mxm(&mut self, e: Execution<'_>, plane: usize, part: MxmPart) -> Result<(), Trap> {
        let lat = &self.machine.latency;
        let dir = timing::plane_inputs(self.machine, e.queue);
        match (e.inst, part) {
            (Inst::LoadWeights { k0, streams }, MxmPart::Weights) => {
                for (row, &id) in streams.iter().enumerate() {
                    let stream = Stream { dir, id };
                    let bytes = self
                        .registers
                        .sample(stream, e.cycle, e.column)
                        .ok_or_else(|| format!("stream {stream} is empty"))?;
                    self.planes[plane].load(e.cycle, *k0, row as u16, bytes)?;
                }
                Ok(())
            }
            (Inst::InstallWeights, MxmPart::Activations) => {
                self.planes[plane].install(e.cycle, u64::from(lat.mxm_weight_row), u64::from(lat.mxm_install))
            }
            (Inst::Activations { base, ty }, MxmPart::Activations) => {
                let due = e.cycle + u64::from(lat.mxm_activation_to_sum);
                let mut bytes = Vec::with_capacity(2);
                for k in 0..timing::activation_streams(*ty) {
                    bytes.push(self.sample(Stream { dir, id: base + k }, e.cycle, e.column)?.into());
                }
                if *ty == ActType::F16 {
                    let until = e.cycle + u64::from(lat.mxm_f16_row_interval);
                    self.planes[plane + 1].occupy(e.cycle, until)?;
                    self.planes[plane].occupy(e.cycle, until)?;
                    let partner = self.planes[plane + 1].array();
                    self.planes[plane].enter(due, *ty, bytes, partner)
                } else {
                    self.planes[plane].occupy(e.cycle, e.cycle)?;
                    self.planes[plane].enter(due, *ty, bytes, None)
                }
            }
            (Inst::Accumulate { row, mode, emit }, MxmPart::Accumulators) => {
                let row = (i64::from(*row) + e.step) as usize;
                let dir = dir.opposite();
                let out = e.cycle + u64::from(lat.mxm_sum_to_stream);
                if self.planes[plane].wants_sums() {
                    Plane::compute_all(&mut self.planes);
                }
                let sum = self.planes[plane].accumulate(e.cycle, row, *mode)?;
                if let Some(base) = *emit {
                    for k in 0..4 {
                        let mut v = self.registers.blank();
                        lanes::byte_of(&sum, k, &mut v);
                        self.drive(Stream { dir, id: base + k }, out, e.column, v)?;
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn sxm(&mut self, e: Execution<'_>, unit: (Hemisphere, SxmUnit)) -> Result<(), Trap> {
        match self.sxm_busy.iter_mut().find(|(u, _)| *u == unit) {
            Some((_, cycle)) if *cycle == e.cycle => return Err("the unit takes one issue a cycle".into()),
            Some((_, cycle)) => *cycle = e.cycle,
            None => self.sxm_busy.push((unit, e.cycle)),
        }
        let mut inputs: Vec<Vector> = Vec::with_capacity(16);
        let mut trap = None;
        timing::samples(e.inst, e.queue, self.machine, |s| match self.sample(s.stream, e.cycle, e.column) {
            Ok(v) => inputs.push(v.into()),
            Err(t) => trap = trap.take().or(Some(t)),
        });
        if let Some(t) = trap {
            return Err(t);
        }
        let maps = self.maps;
        let map = |m: u16| &maps[(i64::from(m) + e.step) as usize];
        let per = self.machine.geometry.lanes_per_superlane as usize;
        let mut drives = Vec::with_capacity(16);
        timing::drives(e.inst, e.queue, self.machine, &self.map_infos, e.step, |d| drives.push(d));
        for d in drives {
            let mut v = self.registers.blank();
            let out = usize::from(d.out);
            match *e.inst {
                Inst::Shift { lanes, .. } => lanes::shift(&inputs[0], lanes, &mut v),
                Inst::Select { map: m, .. } => lanes::select(&inputs[0], &inputs[1], map(m), &mut v),
                Inst::Permute { map: m, .. } => lanes::permute(&inputs[0], map(m), &mut v),
                Inst::Distribute { map: m, .. } => lanes::distribute(&inputs[0], map(m), per, &mut v),
                Inst::Rotate { n, .. } => {
                    let n = usize::from(n);
                    lanes::rotate(&inputs[out / n], out % n, per, &mut v);
                }
                Inst::Transpose { .. } => lanes::transpose(&inputs, per, out, &mut v),
                _ => {}
            }
            self.drive(d.stream, e.cycle + u64::from(d.offset), e.column, v)?;
        }
        Ok(())
    }
}

/// Refuses a program that is not one for this machine, or not well formed.
fn admit(program: &Program, machine: &Machine, maps: &[MapInfo], flat: &Flat<'_>) -> Result<(), SimError> {
    let refuse = |reason: String| Err(SimError::Program { reason });
    if program.machine_hash != machine.hash() {
        return refuse(format!("it is for machine `{}` of another description", program.machine));
    }
    if let Some((key, value)) = timing::unusable_latency(machine) {
        return refuse(format!("latency {key} = {value} of machine `{}` cannot be simulated", machine.name));
    }
    let mut executions = 0u64;
    for q in &flat.queues {
        if !form::queue_exists(q.id, machine) {
            return refuse(format!("machine `{}` has no queue {}", machine.name, q.id));
        }
        let mut free_from = 0u64;
        let mut installed = None;
        for index in 0..q.len {
            let issue = flat.issue(IssueNo(q.first.0 + index));
            let what = || format!("{}[{index}] {}", q.id, issue.inst);
            if let Err((_, reason)) = form::instruction(q.id, issue, machine, maps) {
                return refuse(format!("{}: {reason}", what()));
            }
            let start = matches!(issue.inst, Inst::Sync | Inst::Notify);
            if start != (index == 0) || start != (issue.cycle < machine.latency.barrier) || (start && issue.cycle != 0)
            {
                return refuse(format!("{} at cycle {} against the barrier", what(), issue.cycle));
            }
            let cycle = u64::from(issue.cycle);
            let shares = installed == Some(cycle) && matches!(issue.inst, Inst::Activations { .. });
            if cycle < free_from && !shares {
                return refuse(format!("{} issues at cycle {cycle}, the queue is busy until {free_from}", what()));
            }
            free_from = u64::from(issue.last_cycle()) + 1;
            installed = matches!(issue.inst, Inst::InstallWeights).then_some(free_from - 1);
            executions += u64::from(issue.repeat.n) + 1;
        }
    }
    if executions > MAX_EXECUTIONS {
        return refuse(format!("{executions} executions, at most {MAX_EXECUTIONS} are simulated"));
    }
    Ok(())
}

/// Runs a program on its inputs.
///
/// Inputs come in the program's order, each of the type and shape of its layout. Errors: an
/// input that does not fit, a program that is not well formed, a rule broken in the run.
pub fn simulate(program: &Program, machine: &Machine, inputs: &[Tensor]) -> Result<SimResult, SimError> {
    let flat = Flat::new(program, machine);
    let map_infos = form::map_infos(&program.maps, machine);
    admit(program, machine, &map_infos, &flat)?;
    if inputs.len() != program.inputs.len() {
        let reason = format!("it takes {} inputs, {} were given", program.inputs.len(), inputs.len());
        return Err(SimError::Program { reason });
    }
    let g = &machine.geometry;
    let lat = &machine.latency;
    let far = (0..program.maps.len() as i64).filter_map(|m| map_infos[m as usize].permute_crosses).max().unwrap_or(0);
    let ahead = [
        lat.mem_read,
        lat.mem_gather,
        lat.vxm_entry + lat.vxm_alu + lat.vxm_exit,
        lat.mxm_sum_to_stream,
        lat.sxm_entry + lat.sxm_distribute,
        lat.sxm_entry + lat.sxm_shift,
        lat.sxm_entry + lat.sxm_select,
        lat.sxm_entry + lat.sxm_rotate,
        lat.sxm_entry + lat.sxm_permute + far,
        lat.sxm_entry + lat.sxm_transpose,
    ];
    let slices = 2 * g.mem_slices_per_hemisphere as usize;
    let mut chip = Chip {
        machine,
        maps: &program.maps,
        map_infos,
        registers: Registers::new(machine, 1, ahead.into_iter().max().unwrap_or(0)),
        slices: (0..slices).map(|_| None).collect(),
        banks: vec![Default::default(); slices],
        planes: (0..machine.planes())
            .map(|_| Plane::new(machine.lanes(), g.accumulator_rows_per_plane as usize))
            .collect(),
        chains: vec![
            vec![Chained { issued: u64::MAX, width: 0, elements: Vec::new() }; lat.vxm_alu as usize + 1];
            g.alus as usize
        ],
        operands: [(); 3].map(|()| vec![0; machine.lanes()]),
        sxm_busy: Vec::new(),
        stores: BinaryHeap::new(),
        store_data: Default::default(),
        last_event: 0,
    };
    host::load_image(&mut chip, program)?;
    for (layout, tensor) in program.inputs.iter().zip(inputs) {
        host::load_input(&mut chip, layout, tensor, program.values.len())?;
    }
    run(&mut chip, &flat)?;
    for slice in chip.slices.iter_mut().flatten() {
        slice.settle(u64::MAX);
    }
    let outputs = program
        .outputs
        .iter()
        .map(|layout| host::read_output(&mut chip, layout, program.values.len()))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(SimResult { outputs, cycles: chip.last_event + u64::from(g.superlanes) - 1 })
}

/// Order within a cycle: a row that enters with an install sees the new weights, and a load that
/// issues with it fills the next buffer.
fn phase(inst: &Inst) -> u64 {
    u64::from(!matches!(inst, Inst::InstallWeights))
}

fn run(chip: &mut Chip<'_>, flat: &Flat<'_>) -> Result<(), SimError> {
    // Key: cycle, phase, queue; a queue has one entry, its next execution.
    let key = |number: u16, no: IssueNo, k: u32| {
        let issue = flat.issue(no);
        let cycle = u64::from(issue.cycle) + u64::from(k) * u64::from(issue.repeat.d);
        Reverse((cycle << 1 | phase(&issue.inst), number))
    };
    let mut next: BinaryHeap<_> = BinaryHeap::with_capacity(flat.queues.len());
    let mut at: Vec<(IssueNo, u32)> = flat.queues.iter().map(|q| (q.first, 0)).collect();
    for (number, q) in flat.queues.iter().enumerate().filter(|(_, q)| q.len > 0) {
        next.push(key(number as u16, q.first, 0));
    }
    loop {
        let store = chip.stores.peek().map(|Reverse((cycle, _))| *cycle);
        let issue = next.peek().map(|Reverse((cycle, ..))| cycle >> 1);
        match (store, issue) {
            (None, None) => break,
            // Both only take what was driven in earlier cycles, so either order would do.
            (Some(s), i) if i.is_none_or(|i| s <= i) => {
                if let Some(Reverse((cycle, number))) = chip.stores.pop() {
                    chip.take_store(cycle, number)?;
                }
            }
            _ => {
                let Some(mut top) = next.peek_mut() else { break };
                let Reverse((key_cycle, number)) = *top;
                let q = &flat.queues[usize::from(number)];
                let (no, k) = at[usize::from(number)];
                let issue = flat.issue(no);
                let cycle = key_cycle >> 1;
                let following = if k < issue.repeat.n { (no, k + 1) } else { (IssueNo(no.0 + 1), 0) };
                if following.0.0 < q.first.0 + q.len {
                    *top = key(number, following.0, following.1);
                    at[usize::from(number)] = following;
                } else {
                    std::collections::binary_heap::PeekMut::pop(top);
                }
                let step = i64::from(k) * i64::from(issue.repeat.a);
                chip.execute(Execution { inst: &issue.inst, queue: q.id, column: q.column, cycle, step })
                    .map_err(|reason| SimError::Trap { cycle, unit: q.id.to_string(), reason })?;
            }
        }
    }
    for (n, plane) in chip.planes.iter().enumerate() {
        if let Some(due) = plane.owes() {
            let reason = "a sum is due and no accumulate takes it".into();
            return Err(SimError::Trap { cycle: due, unit: format!("mxm.{n}.accumulators"), reason });
        }
    }
    Ok(())
}
