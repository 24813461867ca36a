//! The `tsp` machine description: geometry and declared latencies, read from TOML.
//!
//! Nothing else in the project holds one of these numbers.

use super::inst::{Dir, Hemisphere, QueueId, Slice};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A machine description. `Machine::builtin("tsp")` is the full-size chip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Name, as given to `--machine`.
    pub name: String,
    /// Always `tsp`.
    pub target: String,
    /// Counts and extents.
    pub geometry: Geometry,
    /// Declared latencies in cycles.
    #[serde(rename = "latency_cycles")]
    pub latency: Latency,
    /// Program text parameters.
    pub program: ProgramParams,
}

/// Counts and extents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Geometry {
    pub superlanes: u32,
    pub lanes_per_superlane: u32,
    pub mem_slices_per_hemisphere: u32,
    pub mem_slices_per_column: u32,
    pub words_per_slice: u32,
    pub banks_per_slice: u32,
    pub streams_per_direction: u32,
    pub alus: u32,
    pub planes_per_hemisphere: u32,
    pub accumulator_rows_per_plane: u32,
    pub weight_rows_per_load: u32,
    pub sxm_distributors_per_hemisphere: u32,
    pub sxm_transposers_per_hemisphere: u32,
    pub clock_mhz: u32,
}

/// Declared latencies in cycles, all counted from the issue cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Latency {
    pub hop: u32,
    pub mem_read: u32,
    pub mem_gather: u32,
    pub mem_write_sample: u32,
    pub mem_write_readable: u32,
    pub mem_scatter_sample: u32,
    pub mem_scatter_readable: u32,
    pub vxm_entry: u32,
    pub vxm_alu: u32,
    pub vxm_exit: u32,
    pub sxm_entry: u32,
    pub sxm_distribute: u32,
    pub sxm_shift: u32,
    pub sxm_select: u32,
    pub sxm_rotate: u32,
    pub sxm_permute: u32,
    pub sxm_transpose: u32,
    pub mxm_weight_row: u32,
    pub mxm_install: u32,
    pub mxm_activation_to_sum: u32,
    pub mxm_sum_to_stream: u32,
    pub mxm_f16_row_interval: u32,
    pub barrier: u32,
}

/// Program text parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ProgramParams {
    pub instruction_bytes: u32,
    pub reserved_slices_per_hemisphere: u32,
}

/// What is wrong with a machine description.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Not TOML, a missing or an unknown key, a value of the wrong type.
    #[error("machine description: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A value that no machine of this kind can have.
    #[error("machine description `{name}`: {key} = {value}: {reason}")]
    Value {
        /// Name of the machine.
        name: String,
        /// Key at fault, with its table.
        key: &'static str,
        /// Value given.
        value: String,
        /// What it must be.
        reason: &'static str,
    },
}

/// The descriptions that ship with the compiler: (name, TOML text).
pub const BUILTIN: [(&str, &str); 2] =
    [("tsp", include_str!("../../machines/tsp.toml")), ("tsp-small", include_str!("../../machines/tsp-small.toml"))];

/// A position west to east; stream registers exist at each.
///
/// Column 0 is MXM_W, then SXM_W, the MEM_W groups (highest slice numbers first), VXM, the
/// MEM_E groups (lowest first), SXM_E, and last MXM_E.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Column(pub u16);

impl Machine {
    /// A description that ships with the compiler.
    pub fn builtin(name: &str) -> Option<Machine> {
        let text = BUILTIN.iter().find(|(n, _)| *n == name)?.1;
        Some(Machine::parse(text).expect("built-in descriptions are valid; a test parses them"))
    }

    /// Reads and validates a description.
    pub fn parse(text: &str) -> Result<Machine, MachineError> {
        let m: Machine = toml::from_str(text)?;
        m.validate()?;
        Ok(m)
    }

    fn validate(&self) -> Result<(), MachineError> {
        let g = &self.geometry;
        let bad = |key, value: u32, reason| {
            Err(MachineError::Value { name: self.name.clone(), key, value: value.to_string(), reason })
        };
        if self.target != "tsp" {
            return Err(MachineError::Value {
                name: self.name.clone(),
                key: "target",
                value: self.target.clone(),
                reason: "must be \"tsp\"",
            });
        }
        if !(1..=64).contains(&g.superlanes) {
            return bad("geometry.superlanes", g.superlanes, "must be 1 to 64");
        }
        if g.lanes_per_superlane != 16 {
            return bad(
                "geometry.lanes_per_superlane",
                g.lanes_per_superlane,
                "must be 16 (the transposer is 16 x 16)",
            );
        }
        if g.weight_rows_per_load != 16 {
            return bad("geometry.weight_rows_per_load", g.weight_rows_per_load, "must be 16 (one stream a row)");
        }
        if g.streams_per_direction != 32 {
            return bad(
                "geometry.streams_per_direction",
                g.streams_per_direction,
                "must be 32 (5 bits in an instruction)",
            );
        }
        if g.alus == 0 || g.alus > 16 {
            return bad("geometry.alus", g.alus, "must be 1 to 16");
        }
        if g.mem_slices_per_hemisphere == 0 || g.mem_slices_per_hemisphere > 256 {
            return bad("geometry.mem_slices_per_hemisphere", g.mem_slices_per_hemisphere, "must be 1 to 256");
        }
        if g.mem_slices_per_column == 0 || !g.mem_slices_per_hemisphere.is_multiple_of(g.mem_slices_per_column) {
            return bad(
                "geometry.mem_slices_per_column",
                g.mem_slices_per_column,
                "must divide mem_slices_per_hemisphere",
            );
        }
        if !g.words_per_slice.is_power_of_two() || g.words_per_slice < 2 || g.words_per_slice > 32768 {
            return bad("geometry.words_per_slice", g.words_per_slice, "must be a power of two, 2 to 32768");
        }
        if g.banks_per_slice != 2 {
            return bad("geometry.banks_per_slice", g.banks_per_slice, "must be 2 (the top address bit)");
        }
        if g.planes_per_hemisphere != 2 {
            return bad("geometry.planes_per_hemisphere", g.planes_per_hemisphere, "must be 2 (an f16 pair)");
        }
        if g.accumulator_rows_per_plane == 0 || g.accumulator_rows_per_plane > 65536 {
            return bad("geometry.accumulator_rows_per_plane", g.accumulator_rows_per_plane, "must be 1 to 65536");
        }
        if g.sxm_distributors_per_hemisphere > 16 || g.sxm_transposers_per_hemisphere > 16 {
            return bad(
                "geometry.sxm_distributors_per_hemisphere",
                g.sxm_distributors_per_hemisphere,
                "at most 16 units of a kind",
            );
        }
        if g.clock_mhz == 0 {
            return bad("geometry.clock_mhz", g.clock_mhz, "must be positive");
        }
        let l = &self.latency;
        // Entry, exit and sample offsets may be 0; what takes time takes a cycle at least. The
        // upper end keeps every sum of a cycle and some latencies within 32 bits.
        let latencies: [(&'static str, u32, u32); 22] = [
            ("latency_cycles.mem_read", l.mem_read, 1),
            ("latency_cycles.mem_gather", l.mem_gather, 1),
            ("latency_cycles.mem_write_sample", l.mem_write_sample, 0),
            ("latency_cycles.mem_write_readable", l.mem_write_readable, 1),
            ("latency_cycles.mem_scatter_sample", l.mem_scatter_sample, 0),
            ("latency_cycles.mem_scatter_readable", l.mem_scatter_readable, 1),
            ("latency_cycles.vxm_entry", l.vxm_entry, 0),
            ("latency_cycles.vxm_alu", l.vxm_alu, 1),
            ("latency_cycles.vxm_exit", l.vxm_exit, 0),
            ("latency_cycles.sxm_entry", l.sxm_entry, 0),
            ("latency_cycles.sxm_distribute", l.sxm_distribute, 1),
            ("latency_cycles.sxm_shift", l.sxm_shift, 1),
            ("latency_cycles.sxm_select", l.sxm_select, 1),
            ("latency_cycles.sxm_rotate", l.sxm_rotate, 1),
            ("latency_cycles.sxm_permute", l.sxm_permute, 1),
            ("latency_cycles.sxm_transpose", l.sxm_transpose, 1),
            ("latency_cycles.mxm_weight_row", l.mxm_weight_row, 1),
            ("latency_cycles.mxm_install", l.mxm_install, 1),
            ("latency_cycles.mxm_activation_to_sum", l.mxm_activation_to_sum, 1),
            ("latency_cycles.mxm_sum_to_stream", l.mxm_sum_to_stream, 0),
            ("latency_cycles.mxm_f16_row_interval", l.mxm_f16_row_interval, 1),
            ("latency_cycles.barrier", l.barrier, 0),
        ];
        if let Some(&(key, value, _)) = latencies.iter().find(|&&(_, v, least)| !(least..=100_000).contains(&v)) {
            return bad(key, value, "must be at most 100000 cycles, and at least 1 where something happens");
        }
        if self.program.instruction_bytes != 16 {
            return bad("program.instruction_bytes", self.program.instruction_bytes, "must be 16 (the binary form)");
        }
        if self.latency.hop != 1 {
            return bad("latency_cycles.hop", self.latency.hop, "must be 1");
        }
        if self.program.reserved_slices_per_hemisphere >= g.mem_slices_per_hemisphere {
            return bad(
                "program.reserved_slices_per_hemisphere",
                self.program.reserved_slices_per_hemisphere,
                "must leave slices for data",
            );
        }
        Ok(())
    }

    /// SHA-256 of the description in canonical TOML, lower-case hex: programs carry it.
    pub fn hash(&self) -> String {
        let text = toml::to_string(self).expect("a description serialises");
        Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Lanes of a vector, which is also its bytes and the side of an MXM plane.
    pub fn lanes(&self) -> usize {
        (self.geometry.superlanes * self.geometry.lanes_per_superlane) as usize
    }

    /// Number of stream-register columns.
    pub fn columns(&self) -> u16 {
        (2 * self.mem_columns() + 5) as u16
    }

    fn mem_columns(&self) -> u32 {
        self.geometry.mem_slices_per_hemisphere / self.geometry.mem_slices_per_column
    }

    /// Words of one bank of a slice.
    pub fn words_per_bank(&self) -> u32 {
        self.geometry.words_per_slice / self.geometry.banks_per_slice
    }

    /// Column of the VXM.
    pub fn vxm_column(&self) -> Column {
        Column((self.mem_columns() + 2) as u16)
    }

    /// Column of an MXM.
    pub fn mxm_column(&self, h: Hemisphere) -> Column {
        match h {
            Hemisphere::West => Column(0),
            Hemisphere::East => Column(self.columns() - 1),
        }
    }

    /// Column of an SXM.
    pub fn sxm_column(&self, h: Hemisphere) -> Column {
        match h {
            Hemisphere::West => Column(1),
            Hemisphere::East => Column(self.columns() - 2),
        }
    }

    /// Column of a MEM slice. Slice 0 is the nearest to the VXM in either hemisphere; a slice that
    /// the machine does not have counts as its outermost.
    pub fn slice_column(&self, s: Slice) -> Column {
        let group = (u32::from(s.index) / self.geometry.mem_slices_per_column).min(self.mem_columns() - 1);
        match s.hemisphere {
            Hemisphere::West => Column((self.mem_columns() + 1 - group) as u16),
            Hemisphere::East => Column((self.mem_columns() + 3 + group) as u16),
        }
    }

    /// Column at which a queue's unit sits.
    pub fn queue_column(&self, q: QueueId) -> Column {
        match q {
            QueueId::Mem(slice, _) => self.slice_column(slice),
            QueueId::Vxm(_) => self.vxm_column(),
            QueueId::Mxm(plane, _) => self.mxm_column(self.plane_hemisphere(plane)),
            QueueId::Sxm(h, _, _) => self.sxm_column(h),
        }
    }

    /// Hemisphere of a plane: planes 0, 1 are west, 2, 3 east.
    pub fn plane_hemisphere(&self, plane: u8) -> Hemisphere {
        if u32::from(plane) < self.geometry.planes_per_hemisphere { Hemisphere::West } else { Hemisphere::East }
    }

    /// Number of MXM planes.
    pub fn planes(&self) -> u8 {
        (2 * self.geometry.planes_per_hemisphere) as u8
    }

    /// Hops from `from` to `to` on streams of direction `dir`; `None` when `to` lies upstream.
    pub fn hops(&self, dir: Dir, from: Column, to: Column) -> Option<u32> {
        match dir {
            Dir::East => to.0.checked_sub(from.0),
            Dir::West => from.0.checked_sub(to.0),
        }
        .map(u32::from)
    }

    /// int8 multiply-accumulates per cycle of all planes.
    pub fn peak_i8_macs_per_cycle(&self) -> u64 {
        let n = self.lanes() as u64;
        n * n * u64::from(self.planes())
    }

    /// f16 multiply-accumulates per cycle: a pair of planes takes one row per row interval.
    pub fn peak_f16_macs_per_cycle(&self) -> u64 {
        self.peak_i8_macs_per_cycle() / 2 / u64::from(self.latency.mxm_f16_row_interval)
    }
}
