//! The things of the chip that an instruction can name: directions, streams, slices, queues.
//!
//! Knows their names in text. Does not know where they are ([`super::Machine`]).

use std::fmt;
use std::str::FromStr;

/// Direction in which a stream flows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Dir {
    East,
    West,
}

impl Dir {
    /// The other direction.
    pub fn opposite(self) -> Dir {
        match self {
            Dir::East => Dir::West,
            Dir::West => Dir::East,
        }
    }
}

/// Side of the chip, seen from the VXM.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Hemisphere {
    West,
    East,
}

impl Hemisphere {
    /// Direction from the VXM outwards: towards this hemisphere's MXM.
    pub fn outward(self) -> Dir {
        match self {
            Hemisphere::West => Dir::West,
            Hemisphere::East => Dir::East,
        }
    }

    /// Direction from this hemisphere's MXM to the VXM.
    pub fn inward(self) -> Dir {
        self.outward().opposite()
    }
}

/// One stream: a byte per lane. Prints as `e5` or `w17`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub struct Stream {
    pub dir: Dir,
    pub id: u8,
}

/// An aligned group of 1, 2 or 4 streams; byte k of an element travels on stream `base + k`
/// (little endian). Prints as `e5`, `e4:2`, `w8:4`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub struct StreamGroup {
    pub dir: Dir,
    pub base: u8,
    /// 1, 2 or 4; `base` is a multiple of it.
    pub width: u8,
}

impl StreamGroup {
    /// Stream of byte `k`.
    pub fn stream(self, k: u8) -> Stream {
        Stream { dir: self.dir, id: self.base + k }
    }
}

/// A MEM slice; slice 0 is nearest to the VXM. Prints as `mem.w12`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub struct Slice {
    pub hemisphere: Hemisphere,
    pub index: u8,
}

/// The two in-order threads of a MEM queue.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Thread {
    /// `read` and `gather`.
    Read,
    /// `write` and `scatter`.
    Write,
}

/// The three queues of an MXM plane.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum MxmPart {
    /// `load_weights`.
    Weights,
    /// `install_weights` and `activations`.
    Activations,
    /// `accumulate`.
    Accumulators,
}

/// The units of an SXM, each with two queues.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum SxmUnit {
    /// `shift`, `select`, `permute`.
    Permuter,
    /// `distribute`.
    Distributor(u8),
    /// `transpose`, `rotate`.
    Transposer(u8),
}

/// An instruction queue. A MEM queue is two entries here, one per thread.
///
/// Prints as `mem.w12.read`, `vxm.3`, `mxm.2.weights`, `sxm.e.distribute1.west` (the last
/// word is the direction of the streams that it samples).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum QueueId {
    /// Slice and thread.
    Mem(Slice, Thread),
    /// ALU number.
    Vxm(u8),
    /// Plane and part.
    Mxm(u8, MxmPart),
    /// Hemisphere, unit, and the direction of its inputs.
    Sxm(Hemisphere, SxmUnit, Dir),
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.dir == Dir::East { 'e' } else { 'w' }, self.id)
    }
}

impl fmt::Display for StreamGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream(0).fmt(f)?;
        if self.width == 1 { Ok(()) } else { write!(f, ":{}", self.width) }
    }
}

impl fmt::Display for Hemisphere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Hemisphere::West { "w" } else { "e" })
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mem.{}{}", self.hemisphere, self.index)
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueueId::Mem(s, Thread::Read) => write!(f, "{s}.read"),
            QueueId::Mem(s, Thread::Write) => write!(f, "{s}.write"),
            QueueId::Vxm(n) => write!(f, "vxm.{n}"),
            QueueId::Mxm(p, MxmPart::Weights) => write!(f, "mxm.{p}.weights"),
            QueueId::Mxm(p, MxmPart::Activations) => write!(f, "mxm.{p}.activations"),
            QueueId::Mxm(p, MxmPart::Accumulators) => write!(f, "mxm.{p}.accumulators"),
            QueueId::Sxm(h, unit, dir) => {
                let dir = if *dir == Dir::East { "east" } else { "west" };
                match unit {
                    SxmUnit::Permuter => write!(f, "sxm.{h}.permute.{dir}"),
                    SxmUnit::Distributor(n) => write!(f, "sxm.{h}.distribute{n}.{dir}"),
                    SxmUnit::Transposer(n) => write!(f, "sxm.{h}.transpose{n}.{dir}"),
                }
            }
        }
    }
}

/// Reads what `Display` writes: `mem.w12`. The error says nothing; the caller knows where it is.
impl FromStr for Slice {
    type Err = ();

    fn from_str(text: &str) -> Result<Slice, ()> {
        let place = text.strip_prefix("mem.").ok_or(())?;
        let (hemisphere, index) = match (place.strip_prefix('w'), place.strip_prefix('e')) {
            (Some(i), _) => (Hemisphere::West, i),
            (_, Some(i)) => (Hemisphere::East, i),
            _ => return Err(()),
        };
        Ok(Slice { hemisphere, index: number(index)? })
    }
}

fn number(digits: &str) -> Result<u8, ()> {
    // `u8::from_str` takes a sign, a name does not.
    if digits.starts_with('+') { Err(()) } else { digits.parse().map_err(|_| ()) }
}

/// Reads what `Display` writes: `mem.w12.read`, `vxm.3`, `mxm.2.weights`,
/// `sxm.e.distribute1.west`.
impl FromStr for QueueId {
    type Err = ();

    fn from_str(text: &str) -> Result<QueueId, ()> {
        let parts: Vec<&str> = text.split('.').collect();
        Ok(match parts[..] {
            ["mem", slice, thread] => {
                let slice = format!("mem.{slice}").parse()?;
                match thread {
                    "read" => QueueId::Mem(slice, Thread::Read),
                    "write" => QueueId::Mem(slice, Thread::Write),
                    _ => return Err(()),
                }
            }
            ["vxm", alu] => QueueId::Vxm(number(alu)?),
            ["mxm", plane, part] => {
                let part = match part {
                    "weights" => MxmPart::Weights,
                    "activations" => MxmPart::Activations,
                    "accumulators" => MxmPart::Accumulators,
                    _ => return Err(()),
                };
                QueueId::Mxm(number(plane)?, part)
            }
            ["sxm", hemisphere, unit, dir] => {
                let hemisphere = match hemisphere {
                    "w" => Hemisphere::West,
                    "e" => Hemisphere::East,
                    _ => return Err(()),
                };
                let unit = if unit == "permute" {
                    SxmUnit::Permuter
                } else if let Some(n) = unit.strip_prefix("distribute") {
                    SxmUnit::Distributor(number(n)?)
                } else {
                    SxmUnit::Transposer(number(unit.strip_prefix("transpose").ok_or(())?)?)
                };
                let dir = match dir {
                    "east" => Dir::East,
                    "west" => Dir::West,
                    _ => return Err(()),
                };
                QueueId::Sxm(hemisphere, unit, dir)
            }
            _ => return Err(()),
        })
    }
}
