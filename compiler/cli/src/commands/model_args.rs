//! Arguments of every command that takes a model to a target.

use crate::compare::Precision;
use crate::data::Named;
use crate::failure::Failure;
use crate::machine::{Machine, Target};
use crate::pipeline::{self, Extents, Mapping, Mode, Preparation};
use clap::Args;
use quadrille_compiler::ir::Graph;
use quadrille_compiler::rewrite::{Extraction, Objective, RewriteOptions};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Model, machine, and what the model leaves open.
#[derive(Args, Clone, Debug)]
pub struct ModelArgs {
    /// The machine to compile for
    #[arg(long, value_enum)]
    pub target: Option<Target>,

    /// A shipped machine description by name, or a TOML file [default: the target's full-size machine]
    #[arg(long, value_name = "NAME|FILE")]
    pub machine: Option<String>,

    /// Arithmetic of the program [default: int8 for quantised models, else f16]
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,

    /// Extent of a named dim of the model, e.g. `--dim batch=1`; dims not given are taken from the data
    #[arg(long = "dim", value_name = "NAME=N", value_parser = dim)]
    pub dims: Vec<(String, usize)>,

    /// Folder of input_k.pb and output_k.pb (ONNX's convention), in the model's order
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Input tensor from a .npy, .npz or .pb file; inputs not given are seeded
    #[arg(long = "input", value_name = "NAME=FILE", value_parser = Named::parse)]
    pub inputs: Vec<Named>,

    /// Passes and pipelines to run instead of the standard `clean,rewrite,clean` (with `integer-kernels` first for int8, `whole-numbers` on a mesh)
    #[arg(long, value_name = "A,B,C", value_delimiter = ',')]
    pub passes: Option<Vec<String>>,

    #[command(flatten)]
    #[allow(missing_docs)] // a doc comment here would become help text
    pub rewrite: RewriteArgs,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub mesh: MeshArgs,
}

/// How a model lies on a mesh.
#[derive(Args, Clone, Debug)]
pub struct MeshArgs {
    /// How the PEs of a mesh share the work
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,

    /// PEs of whole-mesh mode [default: the square of least declared cycles]
    #[arg(long, value_name = "COLUMNSxROWS")]
    pub grid: Option<Extents>,

    /// Whole-mesh mode: PEs that hold no heads of an attention take more of the other weights
    #[arg(long)]
    pub even_memory: bool,

    /// Whole-mesh mode: what runs along the mesh's columns runs along its rows, and the other way round
    #[arg(long)]
    pub turned: bool,

    /// Pipelines on a mesh: images in so many lanes of columns [default: as the planner finds best]
    #[arg(long, value_name = "N")]
    pub lanes: Option<usize>,

    /// Pipelines on a mesh: images in so many bands of rows, each in lanes [default: as the planner finds best]
    #[arg(long, value_name = "N")]
    pub bands: Option<usize>,

    /// Pipelines on a mesh: the images of a batch in so many groups, each with PEs of its own [default: as the planner finds best]
    #[arg(long, value_name = "N")]
    pub groups: Option<usize>,

    /// Pipelines on a mesh: the rows of a sequence in so many parts, each with PEs of its own [default: as the planner finds best]
    #[arg(long, value_name = "N")]
    pub sequence: Option<usize>,

    /// Pipelines on a mesh: each sum of a product or convolution by so many kernels, a power of two [default: as the planner
    /// finds best]
    #[arg(long, value_name = "N")]
    pub sums: Option<usize>,

    /// Pipelines on a mesh: PEs of a kernel, at most [default: as many as help]
    #[arg(long, value_name = "N")]
    pub kernel_pes: Option<usize>,
}

impl MeshArgs {
    /// Switches of pipelines that take a number, by name.
    fn numbers(&self) -> [(&'static str, Option<usize>); 6] {
        [
            ("--lanes", self.lanes),
            ("--bands", self.bands),
            ("--groups", self.groups),
            ("--sequence", self.sequence),
            ("--sums", self.sums),
            ("--kernel-pes", self.kernel_pes),
        ]
    }

    /// What of it is given, in words.
    fn given(&self) -> Option<&'static str> {
        match self {
            MeshArgs { mode: Mode::WholeMesh, .. } => Some("--mode whole-mesh"),
            MeshArgs { grid: Some(_), .. } => Some("--grid"),
            MeshArgs { even_memory: true, .. } => Some("--even-memory"),
            MeshArgs { turned: true, .. } => Some("--turned"),
            _ => self.numbers().iter().find(|n| n.1.is_some()).map(|n| n.0),
        }
    }

    /// As words of a command line.
    pub(super) fn words(&self) -> Vec<String> {
        let mut out = Vec::new();
        if self.mode == Mode::WholeMesh {
            out.extend(["--mode".to_string(), "whole-mesh".to_string()]);
        }
        if let Some(g) = self.grid {
            out.extend(["--grid".to_string(), g.to_string()]);
        }
        if self.even_memory {
            out.push("--even-memory".to_string());
        }
        if self.turned {
            out.push("--turned".to_string());
        }
        for (name, n) in self.numbers() {
            out.extend(n.map(|n| [name.to_string(), n.to_string()]).into_iter().flatten());
        }
        out
    }

    fn check(&self, target: Target) -> Result<(), Failure> {
        let wrong = |text: String| Err(Failure::usage(text));
        match (self.given(), self.mode) {
            (Some(what), _) if target != Target::Wafer => {
                wrong(format!("{what} is for --target wafer, not for {}", target.name()))
            }
            (Some(what @ ("--grid" | "--even-memory" | "--turned")), Mode::Pipeline) => {
                wrong(format!("{what} is for --mode whole-mesh"))
            }
            (_, mode) => match self.numbers().into_iter().find_map(|(name, n)| Some((name, n?))) {
                Some((name, _)) if mode == Mode::WholeMesh => wrong(format!("{name} is for --mode pipeline")),
                _ => self.numbers().iter().try_for_each(|&(name, n)| match n {
                    Some(0) => wrong(format!("{name} 0: give a number of 1 or more")),
                    Some(n) if name == "--sums" && !n.is_power_of_two() => {
                        wrong(format!("--sums {n}: sums are taken apart by halves; give 1, 2, 4 or 8"))
                    }
                    _ => Ok(()),
                }),
            },
        }
    }
}

/// How one of the equal forms is taken.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Taken {
    /// The shortest program of `overlap`, `sum`, `sequential` and `untouched` where programs are made quickly, else `overlap`
    #[default]
    Best,
    /// The busiest resource or the longest chain of operations, and a sixteenth of the sum
    Overlap,
    /// The busiest resource or the longest chain of operations, and the sum
    Both,
    /// The sum of all operations
    Sum,
    /// One rule after the other, each wherever it makes the model cheaper
    Sequential,
    /// No rule
    Untouched,
}

impl Taken {
    /// The extraction, if it names one.
    pub fn named(self) -> Option<Extraction> {
        Some(match self {
            Taken::Best => return None,
            Taken::Overlap => Extraction::By(Objective::Overlap),
            Taken::Both => Extraction::By(Objective::Both),
            Taken::Sum => Extraction::By(Objective::Sum),
            Taken::Sequential => Extraction::Sequential,
            Taken::Untouched => Extraction::Untouched,
        })
    }
}

/// Switches of the rewriter.
#[derive(Args, Clone, Debug)]
pub struct RewriteArgs {
    /// Rules, or themes of rules, that `rewrite` may use [default: all]; docs/rules.md lists them
    #[arg(long, value_name = "RULE,...", value_delimiter = ',')]
    pub rules: Vec<String>,

    /// Rules, or themes of rules, that `rewrite` must not use
    #[arg(long = "disable-rule", value_name = "RULE")]
    pub disable_rules: Vec<String>,

    /// Rewrite only where no bit of a float result changes
    #[arg(long)]
    pub strict_float: bool,

    /// How `rewrite` takes one of the equal forms of a model
    #[arg(long, value_enum, default_value_t)]
    pub extraction: Taken,

    /// Evaluate the graph before and after `rewrite` on random inputs of this seed, and fail if they differ [seed: 0]
    #[arg(long, value_name = "SEED", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    pub check_rewrites: Option<u64>,
}

impl RewriteArgs {
    /// As the rewriter takes them.
    pub fn options(&self) -> RewriteOptions {
        RewriteOptions {
            only_rules: self.rules.clone(),
            disable_rules: self.disable_rules.clone(),
            strict_float: self.strict_float,
            check: self.check_rewrites,
            extraction: self.extraction.named(),
            ..RewriteOptions::default()
        }
    }
}

pub(super) fn dim(text: &str) -> Result<(String, usize), String> {
    // Names of dims may hold `=`, extents not.
    let (name, n) = text.rsplit_once('=').ok_or("expected NAME=N, as in batch=1")?;
    let n = n.parse().map_err(|_| format!("`{n}` is not an extent"))?;
    if name.is_empty() {
        return Err("expected NAME=N, as in batch=1".into());
    }
    Ok((name.to_string(), n))
}

impl ModelArgs {
    /// The machine that was asked for.
    pub fn machine(&self) -> Result<Machine, Failure> {
        let machine = Machine::choose(self.target, self.machine.as_deref())?;
        self.mesh.check(machine.target())?;
        Ok(machine)
    }

    /// True when only one machine can be meant.
    pub fn names_machine(&self) -> bool {
        self.target.is_some() || self.machine.is_some() || self.mesh.given().is_some()
    }

    /// How the model is to lie on a mesh.
    pub fn mapping(&self) -> Mapping {
        let MeshArgs { mode, grid, even_memory, turned, lanes, bands, groups, sequence, sums, kernel_pes } = self.mesh;
        Mapping { mode, grid, even_memory, turned, lanes, bands, groups, sequence, sums, kernel_pes }
    }

    /// The precision of a program for an imported graph.
    pub fn precision(&self, imported: &Graph, target: Target) -> Precision {
        pipeline::precision(imported, target, self.precision)
    }

    /// Extents by name; a name given twice with different extents is a wrong call.
    pub fn dims(&self) -> Result<BTreeMap<String, usize>, Failure> {
        ModelArgs::collect_dims(&self.dims)
    }

    /// Extents by name, from a list.
    pub(super) fn collect_dims(list: &[(String, usize)]) -> Result<BTreeMap<String, usize>, Failure> {
        let mut dims = BTreeMap::new();
        for (name, n) in list {
            if dims.insert(name.clone(), *n).is_some_and(|old| old != *n) {
                return Err(Failure::usage(format!("--dim {name} is given twice, with different extents")));
            }
        }
        Ok(dims)
    }

    /// What happens between import and compilation.
    pub fn preparation(&self) -> Preparation {
        Preparation {
            passes: self.passes.clone(),
            rewrite: self.rewrite.options(),
            precision: self.precision,
            mapping: self.mapping(),
        }
    }
}
