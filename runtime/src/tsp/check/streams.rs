//! Streams: who drives what, and what every sample sees.
//!
//! Knows drives by stream, diagonal and position, and compares what is seen with what the
//! provenance table names. A diagonal is the path of one wave front: `cycle - column` eastward,
//! `cycle + column` westward; positions on it count downstream.

use super::provenance::{Link, Links};
use super::{Checker, ExecNo, Finding, Rule};
use crate::tsp::flat::IssueNo;
use crate::tsp::timing::{self, Drive, Sample};
use quadrille_isa::tsp::{Column, Dir, Inst, OUT_CHAIN, Operand, QueueId, Stream};

/// One drive.
#[derive(Clone, Copy, Default)]
struct Driven {
    /// Diagonal, counted from the stream's first.
    diagonal: u32,
    position: u16,
    exec: u32,
}

/// Drives of one stream, in buckets of neighbouring diagonals.
#[derive(Default)]
struct StreamDrives {
    first: i64,
    shift: u32,
    starts: Vec<u32>,
    drives: Vec<Driven>,
}

/// Drives of all streams.
struct Drives {
    streams: Vec<StreamDrives>,
    per_direction: usize,
    columns: u16,
}

/// A place on a wave front.
#[derive(Clone, Copy)]
struct Spot {
    stream: usize,
    diagonal: i64,
    position: u16,
}

impl Drives {
    fn spot(&self, s: Stream, cycle: u64, column: Column) -> Spot {
        let (t, c) = (cycle as i64, i64::from(column.0));
        match s.dir {
            Dir::East => Spot { stream: self.per_direction + usize::from(s.id), diagonal: t - c, position: column.0 },
            Dir::West => Spot { stream: usize::from(s.id), diagonal: t + c, position: self.columns - 1 - column.0 },
        }
    }

    /// Drives on the diagonals of one bucket.
    fn bucket(&self, at: Spot) -> &[Driven] {
        let s = &self.streams[at.stream];
        let bucket = (at.diagonal - s.first) >> s.shift;
        match usize::try_from(bucket) {
            Ok(b) if b + 1 < s.starts.len() => &s.drives[s.starts[b] as usize..s.starts[b + 1] as usize],
            _ => &[],
        }
    }

    /// The drive that a sample at `at` sees.
    fn seen(&self, at: Spot) -> Option<Driven> {
        let bucket = self.bucket(at);
        let diagonal = at.diagonal - self.streams[at.stream].first;
        let before = |d: &Driven| (i64::from(d.diagonal), d.position) <= (diagonal, at.position);
        let found = if bucket.len() <= 8 {
            bucket.iter().rev().find(|d| before(d))
        } else {
            bucket[..bucket.partition_point(before)].last()
        };
        found.copied().filter(|d| i64::from(d.diagonal) == diagonal)
    }
}

impl Checker<'_> {
    /// Calls `f` for every drive of every execution.
    fn each_drive(&self, drives: &Drives, mut f: impl FnMut(Spot, ExecNo)) {
        for no in self.issue_numbers() {
            let issue = self.flat.issue(no);
            let (id, column) = (self.flat.queue(no).id, self.flat.queue(no).column);
            let base = self.exec(no, 0).0;
            let mut burst = |d: Drive, from: u32, to: u32| {
                for k in from..to {
                    let cycle = self.cycle_of(no, k) + u64::from(d.offset);
                    f(drives.spot(d.stream, cycle, column), ExecNo(base + k));
                }
            };
            let executions = self.executions(no);
            if timing::drive_varies(&issue.inst) {
                for k in 0..executions {
                    let step = i64::from(k) * i64::from(issue.repeat.a);
                    timing::drives(&issue.inst, id, self.machine, &self.maps, step, |d| burst(d, k, k + 1));
                }
            } else {
                timing::drives(&issue.inst, id, self.machine, &self.maps, 0, |d| burst(d, 0, executions));
            }
        }
    }

    fn drives(&self) -> Drives {
        let per_direction = self.machine.geometry.streams_per_direction as usize;
        let mut drives = Drives {
            streams: (0..2 * per_direction).map(|_| StreamDrives::default()).collect(),
            per_direction,
            columns: self.machine.columns(),
        };
        let mut extents = vec![(i64::MAX, i64::MIN, 0usize); 2 * per_direction];
        self.each_drive(&drives, |at, _| {
            let (lo, hi, n) = &mut extents[at.stream];
            (*lo, *hi, *n) = ((*lo).min(at.diagonal), (*hi).max(at.diagonal), *n + 1);
        });
        for (s, &(lo, hi, n)) in drives.streams.iter_mut().zip(&extents) {
            if n > 0 {
                s.first = lo;
                // About one drive a bucket, whatever the program's length.
                let range = (hi - lo) as u64;
                while (range >> s.shift) > 2 * n as u64 + 16 {
                    s.shift += 1;
                }
                s.starts = vec![0; (range >> s.shift) as usize + 2];
                s.drives = vec![Driven::default(); n];
            }
        }
        let mut streams = std::mem::take(&mut drives.streams);
        let bucket = |s: &StreamDrives, at: Spot| ((at.diagonal - s.first) >> s.shift) as usize;
        self.each_drive(&drives, |at, _| {
            let s = &mut streams[at.stream];
            let b = bucket(s, at);
            s.starts[b + 1] += 1;
        });
        for s in &mut streams {
            for b in 1..s.starts.len() {
                s.starts[b] += s.starts[b - 1];
            }
        }
        let mut next: Vec<Vec<u32>> = streams.iter().map(|s| s.starts.clone()).collect();
        self.each_drive(&drives, |at, e| {
            let s = &mut streams[at.stream];
            let slot = &mut next[at.stream][((at.diagonal - s.first) >> s.shift) as usize];
            s.drives[*slot as usize] =
                Driven { diagonal: (at.diagonal - s.first) as u32, position: at.position, exec: e.0 };
            *slot += 1;
        });
        for s in &mut streams {
            for b in 1..s.starts.len() {
                let bucket = &mut s.drives[s.starts[b - 1] as usize..s.starts[b] as usize];
                if bucket.len() > 1 {
                    bucket.sort_unstable_by_key(|d| (d.diagonal, d.position, d.exec));
                }
            }
        }
        drives.streams = streams;
        drives
    }

    /// Checks conflicts, and every sample and chained operand against its link.
    pub(super) fn streams(&mut self, links: &Links) {
        let drives = self.drives();
        self.conflicts(&drives);
        let mut samples = Vec::with_capacity(16);
        for no in self.issue_numbers() {
            let inst = &self.flat.issue(no).inst;
            samples.clear();
            timing::samples(inst, self.flat.queue(no).id, self.machine, |s| samples.push(s));
            for &s in &samples {
                for link in links.of_slot(no, s.slot) {
                    self.sample(&drives, no, s, link);
                }
            }
            if let Inst::Alu { a, b, c, .. } = *inst {
                for (n, operand) in [a, b, c].into_iter().enumerate() {
                    if let Operand::Alu(from) = operand {
                        for link in links.of_slot(no, 4 * n as u8) {
                            self.chain(no, from, link);
                        }
                    }
                }
            }
        }
    }

    fn conflicts(&mut self, drives: &Drives) {
        for (number, s) in drives.streams.iter().enumerate() {
            for pair in s.drives.windows(2) {
                let (a, b) = (pair[0], pair[1]);
                if (a.diagonal, a.position) != (b.diagonal, b.position) {
                    continue;
                }
                let east = number >= drives.per_direction;
                let id = (number % drives.per_direction) as u8;
                let column = if east { a.position } else { drives.columns - 1 - a.position };
                let diagonal = s.first + i64::from(a.diagonal);
                let cycle = if east { diagonal + i64::from(column) } else { diagonal - i64::from(column) };
                let stream = Stream { dir: if east { Dir::East } else { Dir::West }, id };
                let finding = Finding::new(Rule::StreamConflict)
                    .cycle(cycle as u64)
                    .at(ExecNo(a.exec))
                    .other(Some(ExecNo(b.exec)));
                self.report(finding, |_| {
                    (format!("{stream} column {column}"), "two units drive one register in this cycle".into())
                });
            }
        }
    }

    fn sample(&mut self, drives: &Drives, no: IssueNo, s: Sample, link: &Link) {
        let column = self.flat.queue(no).column;
        let def_inst = &self.flat.issue(link.def).inst;
        let def_queue = *self.flat.queue(link.def);
        // The stream on which the definition gives the result named; that it is another than the
        // one sampled makes every execution wrong.
        let mut given = None;
        timing::drives(def_inst, def_queue.id, self.machine, &self.maps, 0, |d| {
            if d.out == link.out {
                given = Some(d);
            }
        });
        let right_stream = given.is_some_and(|d| d.stream == s.stream);
        for i in 0..link.count {
            let k = link.first + i;
            let cycle = self.cycle_of(no, k) + u64::from(s.offset);
            let at = drives.spot(s.stream, cycle, column);
            let named = ExecNo(link.def_exec.0 + i * link.def_step);
            let seen = drives.seen(at);
            if right_stream && seen.is_some_and(|d| d.exec == named.0) {
                continue;
            }
            self.wrong_sample(drives, no, k, s, (cycle, column, at), (named, given, right_stream), seen);
        }
    }

    #[allow(clippy::too_many_arguments)]
    #[cold]
    fn wrong_sample(
        &mut self,
        drives: &Drives,
        no: IssueNo,
        k: u32,
        s: Sample,
        (cycle, column, at): (u64, Column, Spot),
        (named, given, right_stream): (ExecNo, Option<Drive>, bool),
        seen: Option<Driven>,
    ) {
        let user = self.exec(no, k);
        let (def, def_k) = self.locate(named);
        let step = i64::from(def_k) * i64::from(self.flat.issue(def).repeat.a);
        // Where the definition named was driven: its offset may depend on the map.
        let mut driven = None;
        let queue = *self.flat.queue(def);
        timing::drives(&self.flat.issue(def).inst, queue.id, self.machine, &self.maps, step, |d| {
            if given.is_some_and(|g| g.out == d.out) {
                driven = Some((d.stream, self.cycle_of(def, def_k) + u64::from(d.offset)));
            }
        });
        let spot = driven.map(|(stream, cycle)| drives.spot(stream, cycle, queue.column));
        let on_the_way = right_stream && spot.is_some_and(|p| p.diagonal == at.diagonal && p.position <= at.position);
        let place = format!("{} column {}", s.stream, column.0);
        // Where and when the vector named would have to be met instead.
        let instead = move |c: &Self| {
            let Some((stream, from)) = driven else { return String::new() };
            if stream != s.stream {
                return format!("; the vector named flows on {stream}");
            }
            match c.machine.hops(stream.dir, queue.column, column) {
                None => format!("; {} lies upstream of the instruction named", place_of(column)),
                Some(hops) => format!("; the vector named is here in cycle {}", from + u64::from(hops)),
            }
        };
        let Some(seen) = seen else {
            let finding = Finding::new(Rule::StreamEmpty).cycle(cycle).at(user).other(Some(named));
            self.report(finding, |c| (place, format!("the register is empty{}", instead(c))));
            return;
        };
        if on_the_way && spot.is_some_and(|p| p.position == seen.position) {
            // Both drove the register in one cycle: reported as the conflict that it is.
            return;
        }
        let (rule, message) = if on_the_way {
            (Rule::StreamOverrun, "the vector that the sample is to see was driven over by the second instruction")
        } else {
            (Rule::StreamProvenance, "the sample sees the second instruction's vector, not the one named")
        };
        let finding = Finding::new(rule).cycle(cycle).at(user).other(Some(ExecNo(seen.exec)));
        self.report(finding, |c| (place, format!("{message} ({}){}", c.involved(named), instead(c))));
    }

    fn chain(&mut self, no: IssueNo, from: u8, link: &Link) {
        let latency = u64::from(self.machine.latency.vxm_alu);
        let alu = QueueId::Vxm(from);
        let right_alu = self.flat.queue(link.def).id == alu;
        let width = |inst: &Inst, result: bool| match *inst {
            Inst::Alu { op, ty, .. } => if result { op.result(ty) } else { ty }.bytes(),
            _ => 0,
        };
        let (gives, takes) = (width(&self.flat.issue(link.def).inst, true), width(&self.flat.issue(no).inst, false));
        if gives != takes {
            let (user, named) = (self.exec(no, link.first), link.def_exec);
            self.report(Finding::new(Rule::AluChain).at(user).other(Some(named)), |_| {
                (format!("operand from {alu}"), format!("the result has {gives} bytes, the operand takes {takes}"))
            });
        }
        for i in 0..link.count {
            let k = link.first + i;
            let named_k = link.def_exec.0 - self.exec(link.def, 0).0 + i * link.def_step;
            let cycle = self.cycle_of(no, k);
            if right_alu && self.cycle_of(link.def, named_k) + latency == cycle {
                continue;
            }
            let user = self.exec(no, k);
            let named = self.exec(link.def, named_k);
            let out = cycle.checked_sub(latency).and_then(|t| self.issued_at(alu, t));
            let place = || format!("operand from {alu}");
            match out {
                None => self.report(Finding::new(Rule::AluChain).at(user).other(Some(named)), |_| {
                    (place(), format!("{alu} issued nothing {latency} cycles earlier, so no result comes out"))
                }),
                Some(out) => {
                    self.report(Finding::new(Rule::StateProvenance).at(user).other(Some(out)), |c| {
                        let named = c.involved(named);
                        (place(), format!("the result that comes out is the second instruction's, not that of {named}"))
                    });
                }
            }
        }
        debug_assert_eq!(link.out, OUT_CHAIN);
    }

    /// The execution that a queue issues in a cycle.
    fn issued_at(&self, queue: QueueId, cycle: u64) -> Option<ExecNo> {
        let q = self.flat.queues[self.flat.queue_number(queue)?];
        let (first, last) = (q.first.0 as usize, (q.first.0 + q.len) as usize);
        let upto = self.flat.issues[first..last].partition_point(|i| u64::from(i.cycle) <= cycle);
        // Index 0 is the sync.
        let index = upto.checked_sub(1).filter(|&i| i > 0)?;
        let issue = self.flat.issues[first + index];
        let since = cycle - u64::from(issue.cycle);
        let d = u64::from(issue.repeat.d).max(1);
        let k = since / d;
        (since.is_multiple_of(d) && k <= u64::from(issue.repeat.n))
            .then(|| self.exec(IssueNo((first + index) as u32), k as u32))
    }
}

fn place_of(column: Column) -> String {
    format!("column {}", column.0)
}
