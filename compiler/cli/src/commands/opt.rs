//! `opt`: text graph in and out, any passes.

use super::model_args::{ModelArgs, RewriteArgs};
use super::output::{self, Output};
use crate::data::extension;
use crate::failure::Failure;
use crate::file;
use crate::machine::{Machine, Target};
use crate::pipeline::{self, Feeds, REWRITE};
use comfy_table::{Table, presets};
use quadrille_compiler::ir::{self, Graph};
use quadrille_compiler::passes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Run passes on a graph and print it
///
/// Takes an ONNX model or a graph in text form, as `compile --emit=imported` prints it.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// An ONNX model or a text graph
    #[arg(required_unless_present = "list")]
    graph: Option<PathBuf>,

    /// Passes and pipelines, in order; `rewrite` is the e-graph, for --target
    #[arg(long, value_name = "A,B,C", value_delimiter = ',')]
    passes: Vec<String>,

    /// The target whose cost `rewrite` goes by
    #[arg(long, value_enum)]
    target: Option<Target>,

    /// Extent of a named dim of the model
    #[arg(long = "dim", value_name = "NAME=N", value_parser = super::model_args::dim)]
    dims: Vec<(String, usize)>,

    #[command(flatten)]
    rewrite: RewriteArgs,

    /// List passes and pipelines
    #[arg(long)]
    list: bool,

    #[command(flatten)]
    output: Output,
}

impl Args {
    /// Runs the command.
    pub fn run(&self) -> Result<u8, Failure> {
        if let (false, Some(path)) = (self.list, &self.graph) {
            let dims = ModelArgs::collect_dims(&self.dims)?;
            let graph = read_graph(path, &dims)?;
            let machine = self.target.map(Machine::full_size);
            let graph = pipeline::run_passes_with(&graph, machine.as_ref(), &self.passes, &self.rewrite.options())?;
            self.output.text(&ir::text::print(&graph))?;
        } else {
            list()?;
        }
        Ok(0)
    }
}

/// Reads a model or a graph in text form.
pub(super) fn read_graph(path: &Path, dims: &BTreeMap<String, usize>) -> Result<Graph, Failure> {
    if extension(path) == "onnx" {
        return pipeline::import(path, &pipeline::load(path)?, dims, &Feeds::default());
    }
    let bytes = file::read(path)?;
    let wrong = |e: &dyn std::fmt::Display| Failure::wrong(format!("{}: {e}", path.display()));
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong(&"neither an .onnx file nor a graph in text form"))?;
    let graph = ir::text::parse(text).map_err(|e| wrong(&e))?;
    ir::verify::verify(&graph).map_err(|errors| {
        let list: Vec<String> = errors.iter().map(ToString::to_string).collect();
        wrong(&format!("the graph is not well formed: {}", list.join("; ")))
    })?;
    Ok(graph)
}

fn list() -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_width(100);
    for p in passes::TABLE {
        table.add_row([p.name.to_string(), p.summary.to_string()]);
    }
    table.add_row([REWRITE, "Equality saturation: the cheapest of many equal graphs for --target."]);
    for p in passes::PIPELINES {
        table.add_row([format!("{} = {}", p.name, p.passes.join(", ")), p.summary.to_string()]);
    }
    output::print(&format!("{}\n", table.trim_fmt()))
}
