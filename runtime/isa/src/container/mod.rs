//! The program container: one file that can be memory-mapped.
//!
//! ```text
//! page 0   magic "QUADRILL" · version u32 · target u32 · sections u32 · 0 u32 · file bytes u64
//!          then per section: kind u32 · version u32 · offset u64 · bytes u64 · 0 u64
//! page 1…  the sections, each at a multiple of 4096, in ascending order
//! ```
//!
//! All numbers are little-endian. [`read`] copies neither the SRAM image nor wafer data: their
//! `Bytes` are slices of what was given. It believes nothing: every offset, length and count is
//! checked, and what it allocates is bounded by the bytes that are there.

mod meta;
mod section;
mod tsp;
mod wafer;

use bytes::Bytes;

/// A program of either target.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum AnyProgram {
    Tsp(crate::tsp::Program),
    Wafer(crate::wafer::Program),
}

impl AnyProgram {
    /// `tsp` or `wafer`.
    pub fn target(&self) -> &'static str {
        match self {
            AnyProgram::Tsp(_) => "tsp",
            AnyProgram::Wafer(_) => "wafer",
        }
    }

    /// The text form.
    pub fn print(&self) -> String {
        match self {
            AnyProgram::Tsp(p) => crate::tsp::text::print(p),
            AnyProgram::Wafer(p) => crate::wafer::text::print(p),
        }
    }

    /// Reads the text form of either target, told apart by its first word.
    pub fn parse(text: &str) -> Result<AnyProgram, crate::TextError> {
        if crate::text::Scanner::new(text).peek() == "wafer" {
            crate::wafer::text::parse(text).map(AnyProgram::Wafer)
        } else {
            crate::tsp::text::parse(text).map(AnyProgram::Tsp)
        }
    }
}

impl From<crate::tsp::Program> for AnyProgram {
    fn from(p: crate::tsp::Program) -> AnyProgram {
        AnyProgram::Tsp(p)
    }
}

impl From<crate::wafer::Program> for AnyProgram {
    fn from(p: crate::wafer::Program) -> AnyProgram {
        AnyProgram::Wafer(p)
    }
}

/// First bytes of every container.
pub const MAGIC: [u8; 8] = *b"QUADRILL";
/// Version of the header and the section table.
pub const VERSION: u32 = 1;

/// Why bytes are not a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    /// The magic is missing.
    #[error("not a program container: it does not start with \"QUADRILL\"")]
    Magic,
    /// Written by another version.
    #[error("{what} has version {found}, this build reads version {known}")]
    #[allow(missing_docs)]
    Version { what: String, found: u32, known: u32 },
    /// Header or section table do not hold together.
    #[error("container header: {0}")]
    Header(String),
    /// A section does not hold what it should.
    #[error("section {section}: {reason}")]
    #[allow(missing_docs)]
    Section { section: &'static str, reason: String },
}

/// Why a program has no binary form: it holds what no machine has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// An instruction has no encoding.
    #[error(transparent)]
    Tsp(#[from] crate::tsp::binary::EncodeError),
    /// Something else cannot exist.
    #[error("{0}")]
    Impossible(String),
}

/// Writes a program.
pub fn write(p: &AnyProgram) -> Result<Vec<u8>, WriteError> {
    match p {
        AnyProgram::Tsp(p) => tsp::write(p),
        AnyProgram::Wafer(p) => wafer::write(p),
    }
}

/// Reads a program. SRAM contents stay slices of `bytes`.
pub fn read(bytes: &Bytes) -> Result<AnyProgram, ContainerError> {
    let sections = section::Sections::parse(bytes)?;
    match sections.target() {
        section::TARGET_TSP => tsp::read(&sections).map(AnyProgram::Tsp),
        section::TARGET_WAFER => wafer::read(&sections).map(AnyProgram::Wafer),
        other => Err(ContainerError::Header(format!("target {other} is neither 1 (tsp) nor 2 (wafer)"))),
    }
}

/// Reads a program from borrowed bytes, copying them once.
pub fn read_slice(bytes: &[u8]) -> Result<AnyProgram, ContainerError> {
    read(&Bytes::copy_from_slice(bytes))
}
