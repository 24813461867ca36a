//! Whether one instruction is well formed on a machine, looked at alone.
//!
//! Knows ranges, alignments, operand counts, map contents and repeat steps. Knows no other
//! instruction and no cycle.

use super::check::Rule;
use quadrille_isa::tsp::{
    AluType, DISTRIBUTE_ZERO, Dir, Inst, Issue, Machine, Operand, QueueId, Slice, Stream, StreamGroup, SxmUnit,
};

/// What a lane map can be used for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MapInfo {
    pub(super) right_length: bool,
    pub(super) select: bool,
    pub(super) distribute: bool,
    /// For a bijection: the largest distance in superlanes between a lane and its source.
    pub(super) permute_crosses: Option<u32>,
}

/// Looks at every map of a program once.
pub(super) fn map_infos(maps: &[Vec<u16>], machine: &Machine) -> Vec<MapInfo> {
    let lanes = machine.lanes();
    let per = machine.geometry.lanes_per_superlane as usize;
    let info = |map: &Vec<u16>| {
        if map.len() != lanes {
            return MapInfo::default();
        }
        let mut taken = vec![false; lanes];
        let mut crosses = Some(0u32);
        for (lane, &from) in map.iter().enumerate() {
            let from = usize::from(from);
            crosses = match (crosses, taken.get_mut(from)) {
                (Some(c), Some(t)) if !*t => {
                    *t = true;
                    Some(c.max((lane / per).abs_diff(from / per) as u32))
                }
                _ => None,
            };
        }
        MapInfo {
            right_length: true,
            select: map.iter().all(|&v| v <= 1),
            distribute: map.iter().all(|&v| usize::from(v) < per || v == DISTRIBUTE_ZERO),
            permute_crosses: crosses,
        }
    };
    maps.iter().map(info).collect()
}

/// What is wrong with an instruction: the rule and a sentence.
pub(super) type Problem = (Rule, String);

/// True when the machine has this queue.
pub(super) fn queue_exists(q: QueueId, m: &Machine) -> bool {
    let g = &m.geometry;
    match q {
        QueueId::Mem(s, _) => u32::from(s.index) < g.mem_slices_per_hemisphere,
        QueueId::Vxm(n) => u32::from(n) < g.alus,
        QueueId::Mxm(p, _) => p < m.planes(),
        QueueId::Sxm(_, SxmUnit::Permuter, _) => true,
        QueueId::Sxm(_, SxmUnit::Distributor(n), _) => u32::from(n) < g.sxm_distributors_per_hemisphere,
        QueueId::Sxm(_, SxmUnit::Transposer(n), _) => u32::from(n) < g.sxm_transposers_per_hemisphere,
    }
}

/// True when the slice exists and is not reserved for program text.
pub(super) fn data_slice(s: Slice, m: &Machine) -> bool {
    u32::from(s.index) < m.geometry.mem_slices_per_hemisphere - m.program.reserved_slices_per_hemisphere
}

/// First and last value of a stepped field, or `None` when a step leaves the 64-bit range.
fn span(first: u16, issue: &Issue) -> (i64, i64) {
    let last = i64::from(first) + i64::from(issue.repeat.n) * i64::from(issue.repeat.a);
    (i64::from(first).min(last), i64::from(first).max(last))
}

struct Form<'a> {
    machine: &'a Machine,
    queue: QueueId,
    issue: &'a Issue,
    maps: &'a [MapInfo],
}

fn operand_error<T>(message: String) -> Result<T, Problem> {
    Err((Rule::Operand, message))
}

impl Form<'_> {
    fn stream(&self, what: &str, s: Stream, count: u32) -> Result<(), Problem> {
        let streams = self.machine.geometry.streams_per_direction;
        if u32::from(s.id) + count > streams {
            return operand_error(format!("{what} {s} to {count} streams from it: there are {streams} a direction"));
        }
        Ok(())
    }

    fn group(&self, what: &str, g: StreamGroup, ty: AluType) -> Result<(), Problem> {
        if g.width != ty.bytes() {
            return operand_error(format!("{what} {g}: a {ty:?} takes {} streams", ty.bytes()));
        }
        self.aligned(what, g.base, g.width)
    }

    fn aligned(&self, what: &str, base: u8, width: u8) -> Result<(), Problem> {
        if !base.is_multiple_of(width) {
            return operand_error(format!("{what}: base stream {base} is not a multiple of {width}"));
        }
        self.stream(what, Stream { dir: Dir::East, id: base }, u32::from(width))
    }

    fn inflow(&self, what: &str, s: Stream, count: u32) -> Result<(), Problem> {
        if let QueueId::Sxm(_, _, dir) = self.queue
            && s.dir != dir
        {
            return operand_error(format!("{what} {s} flows against the inputs of {}", self.queue));
        }
        self.stream(what, s, count)
    }

    fn slice(&self) -> Result<(), Problem> {
        if let QueueId::Mem(s, _) = self.queue
            && !data_slice(s, self.machine)
        {
            return Err((Rule::MemRange, format!("{s} is reserved for program text and maps")));
        }
        Ok(())
    }

    fn address(&self, addr: u16) -> Result<(), Problem> {
        let (lo, hi) = span(addr, self.issue);
        let words = i64::from(self.machine.geometry.words_per_slice);
        if lo < 0 || hi >= words {
            return Err((Rule::MemRange, format!("words {lo} to {hi} of a slice of {words}")));
        }
        self.slice()
    }

    fn range(&self, lo: u16, hi: u16) -> Result<(), Problem> {
        let words = self.machine.geometry.words_per_slice;
        let bank = self.machine.words_per_bank();
        if lo >= hi || u32::from(hi) > words {
            return Err((Rule::MemRange, format!("range [{lo}, {hi}) of a slice of {words} words")));
        }
        if u32::from(lo) / bank != (u32::from(hi) - 1) / bank {
            return Err((Rule::MemRange, format!("range [{lo}, {hi}) crosses the bank boundary at {bank}")));
        }
        self.slice()
    }

    /// The maps that the executions name, each usable as `usable` says.
    fn map(&self, map: u16, use_: &str, usable: impl Fn(&MapInfo) -> bool) -> Result<(), Problem> {
        let (lo, hi) = span(map, self.issue);
        if lo < 0 || hi >= self.maps.len() as i64 {
            return Err((Rule::Reference, format!("maps {lo} to {hi} of a program with {}", self.maps.len())));
        }
        let mut index = i64::from(map);
        for _ in 0..=self.issue.repeat.n {
            let info = &self.maps[index as usize];
            if !info.right_length {
                return Err((Rule::Map, format!("map {index} has not one entry a lane")));
            }
            if !usable(info) {
                return Err((Rule::Map, format!("map {index} is no {use_} map")));
            }
            if self.issue.repeat.a == 0 {
                break;
            }
            index += i64::from(self.issue.repeat.a);
        }
        Ok(())
    }

    fn no_step(&self) -> Result<(), Problem> {
        if self.issue.repeat.n > 0 && self.issue.repeat.a != 0 {
            let a = self.issue.repeat.a;
            return Err((Rule::Repeat, format!("a repeat steps by {a} an instruction that has nothing to step")));
        }
        Ok(())
    }

    fn alu(&self) -> Result<(), Problem> {
        let Inst::Alu { op, ty, a, b, c, dst } = self.issue.inst else { return Ok(()) };
        self.no_step()?;
        if !op.takes(ty) {
            return operand_error(format!("{op:?} takes no {ty:?} operands"));
        }
        let operands = [a, b, c];
        for (n, operand) in operands.into_iter().enumerate() {
            let name = ["operand a", "operand b", "operand c"][n];
            match operand {
                Operand::None if n < op.arity() => {
                    return operand_error(format!("{op:?} takes {} operands, {name} is missing", op.arity()));
                }
                Operand::None => {}
                _ if n >= op.arity() => {
                    return operand_error(format!("{op:?} takes {} operands, {name} is too many", op.arity()));
                }
                Operand::Stream(g) => self.group(name, g, ty)?,
                Operand::Imm(_) => {}
                Operand::Alu(n) if u32::from(n) >= self.machine.geometry.alus => {
                    return operand_error(format!("{name} is the result of ALU {n}, which does not exist"));
                }
                Operand::Alu(_) => {}
            }
        }
        if operands.iter().filter(|o| matches!(o, Operand::Imm(_))).count() > 1 {
            return operand_error("more than one immediate".into());
        }
        match dst {
            Some(g) => self.group("destination", g, op.result(ty)),
            None => Ok(()),
        }
    }

    fn mxm(&self) -> Result<(), Problem> {
        match &self.issue.inst {
            Inst::LoadWeights { k0, streams } => {
                self.no_step()?;
                let rows = self.machine.geometry.weight_rows_per_load;
                if !u32::from(*k0).is_multiple_of(rows) || u32::from(*k0) + rows > self.machine.lanes() as u32 {
                    return operand_error(format!(
                        "row {k0}: must be a multiple of {rows} below {}",
                        self.machine.lanes()
                    ));
                }
                streams.iter().try_for_each(|&id| self.stream("weight stream", Stream { dir: self.plane_dir(), id }, 1))
            }
            Inst::Activations { base, ty } => {
                self.no_step()?;
                if *ty == quadrille_isa::tsp::ActType::F16
                    && let QueueId::Mxm(plane, _) = self.queue
                    && plane % 2 == 1
                {
                    return operand_error(format!("f16 activations enter the even plane of a pair, not plane {plane}"));
                }
                self.aligned("activation stream", *base, super::timing::activation_streams(*ty))
            }
            Inst::Accumulate { row, emit, .. } => {
                let (lo, hi) = span(*row, self.issue);
                let rows = i64::from(self.machine.geometry.accumulator_rows_per_plane);
                if lo < 0 || hi >= rows {
                    return operand_error(format!("accumulator rows {lo} to {hi} of {rows}"));
                }
                emit.map_or(Ok(()), |base| self.aligned("emission", base, 4))
            }
            _ => self.no_step(),
        }
    }

    fn plane_dir(&self) -> Dir {
        super::timing::plane_inputs(self.machine, self.queue)
    }

    fn sxm(&self) -> Result<(), Problem> {
        match self.issue.inst {
            Inst::Shift { from, to, lanes } => {
                self.no_step()?;
                if usize::from(lanes.unsigned_abs()) > self.machine.lanes() {
                    return operand_error(format!("shift by {lanes} lanes of {}", self.machine.lanes()));
                }
                self.inflow("input", from, 1)?;
                self.stream("output", to, 1)
            }
            Inst::Select { a, b, map, to } => {
                self.inflow("input a", a, 1)?;
                self.inflow("input b", b, 1)?;
                self.stream("output", to, 1)?;
                self.map(map, "select", |m| m.select)
            }
            Inst::Permute { map, from, to } => {
                self.inflow("input", from, 1)?;
                self.stream("output", to, 1)?;
                self.map(map, "permute", |m| m.permute_crosses.is_some())
            }
            Inst::Distribute { map, from, to } => {
                self.inflow("input", from, 1)?;
                self.stream("output", to, 1)?;
                self.map(map, "distribute", |m| m.distribute)
            }
            Inst::Rotate { n, from, to } => {
                self.no_step()?;
                if n != 3 && n != 4 {
                    return operand_error(format!("rotate {n}: must be 3 or 4"));
                }
                self.inflow("input", from, u32::from(n))?;
                self.stream("output", to, u32::from(n) * u32::from(n))
            }
            Inst::Transpose { from, to } => {
                self.no_step()?;
                if from.id % 16 != 0 || to.id % 16 != 0 {
                    return operand_error(format!("transpose {from} to {to}: bases must be multiples of 16"));
                }
                self.inflow("input", from, 16)?;
                self.stream("output", to, 16)
            }
            _ => Ok(()),
        }
    }
}

/// Checks one instruction in one queue of one machine.
pub(super) fn instruction(queue: QueueId, issue: &Issue, machine: &Machine, maps: &[MapInfo]) -> Result<(), Problem> {
    if !issue.inst.fits(queue) {
        return Err((Rule::Queue, format!("{queue} does not take this instruction")));
    }
    if issue.repeat.n > 0 && issue.repeat.d == 0 {
        return Err((Rule::Repeat, "a repeat needs a distance of at least one cycle".into()));
    }
    let last = u64::from(issue.cycle) + u64::from(issue.repeat.n) * u64::from(issue.repeat.d);
    if last > MAX_CYCLE {
        return Err((Rule::Repeat, format!("the last execution is in cycle {last}, beyond {MAX_CYCLE}")));
    }
    let form = Form { machine, queue, issue, maps };
    match issue.inst {
        Inst::Read { addr, stream } | Inst::Write { stream, addr } => {
            form.stream("stream", stream, 1)?;
            form.address(addr)
        }
        Inst::Gather { map, lo, hi, stream } | Inst::Scatter { map, lo, hi, stream } => {
            form.no_step()?;
            form.stream("stream", stream, 1)?;
            form.stream("map stream", map, 1)?;
            form.range(lo, hi)
        }
        Inst::Alu { .. } => form.alu(),
        Inst::LoadWeights { .. } | Inst::InstallWeights | Inst::Activations { .. } | Inst::Accumulate { .. } => {
            form.mxm()
        }
        Inst::Sync | Inst::Notify if issue.repeat.n > 0 => {
            Err((Rule::Repeat, "sync and notify are not repeated".into()))
        }
        Inst::Sync | Inst::Notify => Ok(()),
        _ => form.sxm(),
    }
}

/// The last cycle that a program may use: leaves room for every latency in 32 bits.
pub(super) const MAX_CYCLE: u64 = 1 << 30;
