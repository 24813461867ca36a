//! Stream registers, by direction, stream and diagonal: nothing is copied per hop.
//!
//! Knows which vector a sample sees. A vector driven at column c in cycle t stays on one
//! diagonal (t - c eastward, t + c westward); a sample sees the nearest drive upstream on its
//! diagonal. Old diagonals are recycled once no sample can reach them.

use quadrille_isa::tsp::{Column, Dir, Machine, Stream};

/// One vector: a byte per lane.
pub(super) type Vector = Box<[u8]>;

struct Diagonal {
    number: i64,
    /// Position counted downstream, and the vector driven there; by position.
    drives: Vec<(u16, Vector)>,
}

pub(super) struct Registers {
    rings: Vec<Diagonal>,
    ring: usize,
    streams: usize,
    columns: u16,
    lanes: usize,
    free: Vec<Vector>,
}

/// Two units drove one register in one cycle.
pub(super) struct Conflict;

impl Registers {
    /// Registers for samples up to `back` cycles before, and drives up to `ahead` cycles after,
    /// the cycle that the simulation is at.
    pub(super) fn new(machine: &Machine, back: u32, ahead: u32) -> Registers {
        let columns = machine.columns();
        let ring = (usize::from(columns) * 2 + (back + ahead) as usize + 4).next_power_of_two();
        let streams = machine.geometry.streams_per_direction as usize;
        let cells = (0..2 * streams * ring).map(|_| Diagonal { number: i64::MIN, drives: Vec::new() });
        Registers { rings: cells.collect(), ring, streams, columns, lanes: machine.lanes(), free: Vec::new() }
    }

    fn locate(&self, stream: Stream, cycle: u64, column: Column) -> (usize, i64, u16) {
        let (t, c) = (cycle as i64, i64::from(column.0));
        let (number, position) = match stream.dir {
            Dir::East => (t - c, column.0),
            Dir::West => (t + c, self.columns - 1 - column.0),
        };
        let row = usize::from(stream.dir == Dir::East) * self.streams + usize::from(stream.id);
        (row * self.ring + number.rem_euclid(self.ring as i64) as usize, number, position)
    }

    /// A vector to fill; its contents are left over from before.
    pub(super) fn blank(&mut self) -> Vector {
        self.free.pop().unwrap_or_else(|| vec![0; self.lanes].into_boxed_slice())
    }

    /// The vector in a register, `None` when it is empty.
    pub(super) fn sample(&self, stream: Stream, cycle: u64, column: Column) -> Option<&[u8]> {
        let (cell, number, position) = self.locate(stream, cycle, column);
        let diagonal = &self.rings[cell];
        if diagonal.number != number {
            return None;
        }
        diagonal.drives.iter().rev().find(|(p, _)| *p <= position).map(|(_, v)| &v[..])
    }

    /// Puts a vector into a register.
    pub(super) fn drive(&mut self, stream: Stream, cycle: u64, column: Column, v: Vector) -> Result<(), Conflict> {
        let (cell, number, position) = self.locate(stream, cycle, column);
        let diagonal = &mut self.rings[cell];
        if diagonal.number != number {
            diagonal.number = number;
            self.free.extend(diagonal.drives.drain(..).map(|(_, v)| v));
        }
        let at = diagonal.drives.partition_point(|(p, _)| *p < position);
        if diagonal.drives.get(at).is_some_and(|(p, _)| *p == position) {
            return Err(Conflict);
        }
        diagonal.drives.insert(at, (position, v));
        Ok(())
    }
}
