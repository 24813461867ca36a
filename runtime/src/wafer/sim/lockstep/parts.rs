//! The values of a run in parts of the mesh, with a thread each.

use super::super::super::fabric::Fabric;
use super::super::super::lower::{self, LowClass};
use super::super::Peek;
use super::super::engine;
use super::super::shape::Shape;
use super::super::values::{Part, Values};
use super::Epoch;
use quadrille_isa::Tensor;
use quadrille_isa::wafer::{Machine, Program};
use std::ops::Range;

pub(super) struct Parts<'a> {
    parts: Vec<Values<'a>>,
    /// First site of each part, and one past the last site.
    begins: Vec<usize>,
}

impl<'a> Parts<'a> {
    /// Before the first cycle; nothing when there is not so much memory, or a parameter has no value.
    pub(super) fn new(
        program: &'a Program,
        (fabric, classes, shapes): (&Fabric, &[LowClass], &'a [Shape]),
        inputs: &'a [Tensor],
        threads: usize,
    ) -> Option<Parts<'a>> {
        let data_end = engine::data_ends(program, fabric);
        let mut cores = Vec::new();
        let mut all = 0usize;
        for (ix, site) in fabric.sites.iter().enumerate() {
            let Some(region) = program.regions.get(site.region as usize) else { continue };
            let params = lower::params(region, site.pe).ok()?;
            let reach = lower::reach(&classes[region.class.0 as usize], &params);
            let len = reach.max(data_end[ix]).next_multiple_of(8);
            all += len as usize;
            cores.push((ix as u32, len));
        }
        if all > engine::MEMORY_LIMIT {
            return None;
        }
        let count = threads.clamp(1, Part::MOST.min(cores.len().max(1)));
        let begin = |k: usize| if k == 0 { 0 } else { cores[k * cores.len() / count].0 as usize };
        let mut begins: Vec<usize> = (0..count).map(begin).collect();
        let part = |me: usize| {
            let mine = |site: u32| me == begins.partition_point(|&b| b <= site as usize) - 1;
            let cores = cores.iter().copied().filter(|c| mine(c.0));
            Values::new(program, fabric, shapes, inputs, cores, Part { begins: &begins, me })
        };
        let parts = (0..count).map(part).collect();
        begins.push(fabric.sites.len());
        Some(Parts { parts, begins })
    }

    /// Does for every PE what its class did, as far as there are words.
    pub(super) fn follow(&mut self, epoch: &Epoch) {
        let begins = self.begins.clone();
        let sites = |part: usize| begins[part]..begins[part + 1];
        self.all(|part, values| {
            let sites: Range<usize> = sites(part);
            values.give(sites, |site| epoch.trace_of[epoch.class_of[site] as usize].clone());
            values.follow_all();
            false
        });
        loop {
            while self.exchange() {}
            if self.are_done() || !self.all(|_, values| values.follow_stuck()) {
                break;
            }
        }
    }

    /// Gives the parts what others have for them; true when there was anything.
    fn exchange(&mut self) -> bool {
        let mut mail: Vec<Vec<(u32, Vec<u8>)>> = vec![Vec::new(); self.parts.len()];
        for (to, mail) in mail.iter_mut().enumerate() {
            self.parts.iter_mut().for_each(|p| mail.append(&mut p.take_post(to)));
        }
        let any = mail.iter().any(|m| !m.is_empty());
        if any {
            let mail: Vec<_> = mail.into_iter().map(std::sync::Mutex::new).collect();
            self.all(|part, values| {
                let mut mail = mail[part].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                values.receive(&mut mail);
                false
            });
        }
        any
    }

    /// Does something for every part, on a thread of its own; whether any says true.
    fn all(&mut self, what: impl Fn(usize, &mut Values<'a>) -> bool + Sync) -> bool {
        match &mut self.parts[..] {
            [one] => what(0, one),
            many => std::thread::scope(|scope| {
                let what = &what;
                let spawn = |(k, v)| scope.spawn(move || what(k, v));
                let threads: Vec<_> = many.iter_mut().enumerate().map(spawn).collect();
                let said = threads.into_iter().map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p)));
                said.fold(false, |any, one| any | one)
            }),
        }
    }

    /// True when all that was to be done is done.
    pub(super) fn are_done(&self) -> bool {
        self.parts.iter().all(Values::are_done)
    }

    /// Part of the SRAM of a PE; nothing when there is no such place.
    pub(super) fn peek(&self, fabric: &Fabric, p: &Peek, machine: &Machine) -> Option<Vec<u8>> {
        if u64::from(p.addr) + u64::from(p.len) > u64::from(machine.geometry.sram_bytes_per_pe) {
            return None;
        }
        let site = fabric.site(p.pe)?;
        self.parts.iter().find_map(|v| v.peek(site, p))
    }

    /// Outputs in SRAM.
    pub(super) fn outputs(&mut self, fabric: &Fabric) -> Vec<Vec<u8>> {
        let Some((first, rest)) = self.parts.split_first_mut() else { return Vec::new() };
        let mut outputs = first.outputs(fabric);
        rest.iter().for_each(|v| v.unload(fabric, &mut outputs));
        outputs
    }
}
