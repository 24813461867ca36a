//! The `wafer` machine description, read from TOML. Nothing else holds one of its numbers.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A machine description. `Machine::builtin("wafer")` is the full-size mesh.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Name, as given to `--machine`.
    pub name: String,
    /// Always `wafer`.
    pub target: String,
    /// Counts and extents.
    pub geometry: Geometry,
    /// Router parameters.
    pub router: Router,
    /// Queues between router and core.
    pub queues: Queues,
    /// Declared latencies in cycles.
    #[serde(rename = "latency_cycles")]
    pub latency: Latency,
    /// Elements per cycle of each kind of vector operation.
    #[serde(rename = "rate_elements_per_cycle")]
    pub rate: Rate,
    /// Program text parameters.
    pub program: ProgramParams,
}

/// Counts and extents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Geometry {
    pub width_pes: u32,
    pub height_pes: u32,
    pub clock_mhz: u32,
    pub sram_bytes_per_pe: u32,
    pub colors: u32,
    pub io_port_rows: u32,
}

/// Router parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Router {
    pub link_buffer_wavelets: u32,
    pub hop_cycles: u32,
    pub ramp_cycles: u32,
}

/// Queues between router and core.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Queues {
    pub input_depth_words: Vec<u32>,
    pub output_depth_words: Vec<u32>,
    pub microthreads: u32,
}

/// Declared latencies in cycles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Latency {
    pub vector_launch: u32,
    pub task_switch: u32,
    pub fabric_to_fabric: u32,
}

/// Elements per cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Rate {
    pub f16_fma: u32,
    pub f16_mixed_fma: u32,
    pub f32_fma: u32,
    pub f32_mul: u32,
    pub f32_add: u32,
    pub f32_mov: u32,
    pub f16_add: u32,
    pub f16_mul: u32,
    pub f16_mov: u32,
    pub i16_add: u32,
    pub i16_mov: u32,
    pub f32_max: u32,
    pub cast: u32,
    pub exp2: u32,
    pub recip: u32,
    pub rsqrt: u32,
    pub min: u32,
    pub compare: u32,
    pub select: u32,
    pub i8_fma: u32,
}

/// Program text parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ProgramParams {
    pub vector_op_bytes: u32,
    pub task_bytes: u32,
}

/// What is wrong with a machine description.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Not TOML, a missing or an unknown key, a value of the wrong type.
    #[error("machine description: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A value that no machine of this kind can have.
    #[error("machine description `{name}`: {key}: {reason}")]
    Value {
        /// Name of the machine.
        name: String,
        /// Key at fault, with its table.
        key: &'static str,
        /// What it must be.
        reason: &'static str,
    },
}

/// The descriptions that ship with the compiler: (name, TOML text).
pub const BUILTIN: [(&str, &str); 2] = [
    ("wafer", include_str!("../../machines/wafer.toml")),
    ("wafer-small", include_str!("../../machines/wafer-small.toml")),
];

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
        let r = &self.rate;
        let rates = [
            r.f16_fma,
            r.f16_mixed_fma,
            r.f32_fma,
            r.f32_mul,
            r.f32_add,
            r.f32_mov,
            r.f16_add,
            r.f16_mul,
            r.f16_mov,
            r.i16_add,
            r.i16_mov,
            r.f32_max,
            r.cast,
            r.exp2,
            r.recip,
            r.rsqrt,
            r.min,
            r.compare,
            r.select,
            r.i8_fma,
        ];
        let g = &self.geometry;
        let rules: [(bool, &'static str, &'static str); 11] = [
            (self.target == "wafer", "target", "must be \"wafer\""),
            ((1..=4096).contains(&g.width_pes), "geometry.width_pes", "must be 1 to 4096"),
            ((1..=4096).contains(&g.height_pes), "geometry.height_pes", "must be 1 to 4096"),
            ((1..=24).contains(&g.colors), "geometry.colors", "must be 1 to 24"),
            (g.clock_mhz > 0 && g.io_port_rows > 0, "geometry", "clock_mhz and io_port_rows must be positive"),
            ((64..=65536).contains(&g.sram_bytes_per_pe), "geometry.sram_bytes_per_pe", "must be 64 to 65536"),
            (
                self.router.link_buffer_wavelets > 0 && self.router.hop_cycles == 1,
                "router",
                "link_buffer_wavelets must be positive and hop_cycles 1",
            ),
            (
                self.queues.input_depth_words.len() == 8
                    && self.queues.output_depth_words.len() == 6
                    && self.queues.input_depth_words.iter().chain(&self.queues.output_depth_words).all(|&d| d > 0)
                    && (1..=8).contains(&self.queues.microthreads),
                "queues",
                "8 input and 6 output queues of positive depth, 1 to 8 microthreads",
            ),
            (
                [&self.latency.vector_launch, &self.latency.task_switch, &self.latency.fabric_to_fabric]
                    .into_iter()
                    .chain([&self.router.ramp_cycles])
                    .all(|&c| c <= 100_000),
                "latency_cycles",
                "every latency, and router.ramp_cycles, must be at most 100000",
            ),
            (
                self.queues
                    .input_depth_words
                    .iter()
                    .chain(&self.queues.output_depth_words)
                    .chain([&self.router.link_buffer_wavelets])
                    .chain([&self.program.vector_op_bytes, &self.program.task_bytes])
                    .all(|&n| n <= 65_536),
                "queues, router or program",
                "depths, buffers and program text sizes must be at most 65536",
            ),
            (rates.iter().all(|&r| r > 0), "rate_elements_per_cycle", "every rate must be positive"),
        ];
        match rules.into_iter().find(|(ok, ..)| !ok) {
            Some((_, key, reason)) => Err(MachineError::Value { name: self.name.clone(), key, reason }),
            None => Ok(()),
        }
    }

    /// SHA-256 of the description in canonical TOML, lower-case hex: programs carry it.
    pub fn hash(&self) -> String {
        let text = toml::to_string(self).expect("a description serialises");
        Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
    }
}
