//! How a model is to lie on a mesh, as far as the user decides it.

use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// How PEs share the work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Every node on PEs of its own, activations stream through
    #[default]
    Pipeline,
    /// Steps one after the other, each over all PEs of a rectangle: a token's way through decoder layers
    WholeMesh,
}

/// Columns and rows of PEs, written `420x420`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Extents {
    pub width: u16,
    pub height: u16,
}

impl FromStr for Extents {
    type Err = String;

    fn from_str(text: &str) -> Result<Extents, String> {
        let parts = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
        let (width, height) = parts.ok_or("expected columns and rows of PEs, as in 420x420")?;
        Ok(Extents { width, height })
    }
}

impl fmt::Display for Extents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// What the user decides of the way onto a mesh.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mapping {
    /// How PEs share the work.
    pub mode: Mode,
    /// PEs of whole-mesh mode; without it, the square of least declared cycles.
    pub grid: Option<Extents>,
    /// Whole-mesh mode: PEs without heads take more of the other weights.
    pub even_memory: bool,
    /// Whole-mesh mode: columns and rows are exchanged.
    pub turned: bool,
    /// Pipelines: images in so many lanes of columns; without it, as the planner finds best.
    pub lanes: Option<usize>,
    /// Pipelines: images in so many bands of rows, each in lanes; without it, as the planner finds best.
    pub bands: Option<usize>,
    /// Pipelines: the images of a batch in so many groups, each with PEs of its own; without it, as the planner finds best.
    pub groups: Option<usize>,
    /// Pipelines: the rows of a sequence in so many parts; without it, as the planner finds best.
    pub sequence: Option<usize>,
    /// Pipelines: the sums of products and convolutions in so many kernels; without it, as the planner finds best.
    pub sums: Option<usize>,
    /// Pipelines: PEs of a kernel, at most; without it, as many as help.
    pub kernel_pes: Option<usize>,
}
