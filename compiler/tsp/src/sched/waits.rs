//! What planes waited for between two bursts.
//!
//! Every idle cycle of a plane has one cause: what held back the burst that ended the pause.

use super::Scheduler;
use super::burst::Landing;
use crate::tiled::{Kernel, NodeNo};

/// What held a burst back. The first ones are known before a place is searched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cause {
    /// The plane worked on something else.
    Plane,
    /// Weights were not installed.
    Load,
    /// A row was not written yet.
    Data,
    /// Words that it writes were still read.
    Space,
    /// A queue or bank of a slice was taken.
    Port,
    /// Too few ALUs were free.
    Vxm,
    /// Too few streams were free.
    Stream,
}

impl Cause {
    /// How many causes are known before a place is searched.
    pub(crate) const FIXED: usize = 4;
    /// All of them, in order.
    pub const ALL: [Cause; 7] =
        [Cause::Plane, Cause::Load, Cause::Data, Cause::Space, Cause::Port, Cause::Vxm, Cause::Stream];

    /// Word of a report.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Plane => "plane",
            Cause::Load => "load",
            Cause::Data => "dependency",
            Cause::Space => "space",
            Cause::Port => "port",
            Cause::Vxm => "VXM",
            Cause::Stream => "stream",
        }
    }
}

/// Cycles by cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Waits(pub [u32; Cause::ALL.len()]);

impl Waits {
    /// All causes, in order.
    pub fn by_cause(&self) -> impl Iterator<Item = (Cause, u64)> {
        Cause::ALL.into_iter().zip(self.0).map(|(c, n)| (c, n.into()))
    }

    pub(super) fn add(&mut self, why: Cause, cycles: u32) {
        self.0[why as usize] += cycles;
    }
}

/// A pause of a plane before a burst of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    pub(crate) node: NodeNo,
    /// Sums to the length of the pause.
    pub(crate) waits: Waits,
}

impl Scheduler<'_> {
    /// A plane takes rows for `cycles`, from `at` cycles behind the start of a burst on. Notes why it stood still before.
    pub(super) fn takes_rows(&mut self, k: &Kernel, plane: u8, landing: &Landing, at: i64, cycles: u32) {
        let free = i64::from(self.planes[usize::from(plane)].act_free);
        let first = i64::from(landing.start) + at;
        let mut waits = Waits::default();
        let fixed =
            [Cause::Load, Cause::Space, Cause::Data].map(|c| (landing.earliest[c as usize].saturating_add(at), c));
        let (last, why) = fixed.into_iter().fold((free, Cause::Plane), |a, b| if b.0 > a.0 { b } else { a });
        waits.add(why, (last - free) as u32);
        // What the search lost counts from there; another plane of the same burst may have come later.
        let mut left = (first - last).max(0) as u32;
        for why in [Cause::Port, Cause::Vxm, Cause::Stream] {
            let cycles = landing.waits.0[why as usize].min(left);
            waits.add(why, cycles);
            left -= cycles;
        }
        waits.add(Cause::Plane, left);
        self.busy += u64::from(cycles);
        self.out.idle.push(Idle { node: k.node, waits });
        self.planes[usize::from(plane)].act_free = first as u32 + cycles;
    }
}
