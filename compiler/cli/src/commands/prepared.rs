//! A program ready to look at: compiled from a model or read from a file, with its machine and inputs.

use super::model_args::ModelArgs;
use super::progress::Progress;
use super::verify;
use crate::failure::Failure;
use crate::machine::Machine;
use crate::pipeline::{self, Account, Estimate, Feeds};
use quadrille_isa::Tensor;
use quadrille_isa::container::AnyProgram;
use quadrille_wafer::whole_mesh::PhaseCost;
use std::path::Path;

/// What `trace` and `report` start from.
pub(super) struct Prepared {
    pub(super) program: AnyProgram,
    pub(super) machine: Machine,
    /// Those that were given, the others seeded.
    pub(super) inputs: Vec<Tensor>,
    /// `None` for a program file.
    pub(super) estimate: Option<Estimate>,
    /// As well.
    pub(super) account: Option<Account>,
    /// Of whole-mesh mode: what all PEs do in turn.
    pub(super) phases: Vec<PhaseCost>,
}

impl Prepared {
    pub(super) fn new(path: &Path, args: &ModelArgs, progress: &Progress) -> Result<Prepared, Failure> {
        if pipeline::is_program(path)? {
            let program = pipeline::load_program(path)?;
            let machine = verify::machine_of(path, &program, args.machine.as_deref())?;
            let types = pipeline::declared_inputs(&program);
            let names: Vec<String> = types.iter().map(|d| d.0.clone()).collect();
            let feeds = Feeds::read(args.data.as_deref(), &args.inputs, &[], &names, &[], &[])?;
            return Ok(Prepared {
                program,
                machine,
                inputs: feeds.for_types(&types, 0)?,
                estimate: None,
                account: None,
                phases: Vec::new(),
            });
        }
        let machine = args.machine()?;
        let (compiled, _) = progress.stage("compiling", || {
            let model = pipeline::load(path)?;
            let (inputs, outputs) = (pipeline::input_names(&model), pipeline::output_names(&model));
            let feeds = Feeds::read(args.data.as_deref(), &args.inputs, &[], &inputs, &outputs, &[])?;
            let graph = pipeline::import(path, &model, &args.dims()?, &feeds)?;
            let optimized = pipeline::prepare(&graph, &machine, &args.preparation())?;
            let compiled = pipeline::compile_as(&optimized, &machine, &args.mapping());
            Ok::<_, Failure>((compiled.map_err(|f| f.locate(&model))?, feeds.for_graph(&graph, 0)?))
        });
        let (compiled, inputs) = compiled?;
        let phases = compiled.whole_mesh().map_or(Vec::new(), |m| m.phases.clone());
        let (estimate, account) = (Some(compiled.estimate), compiled.account);
        Ok(Prepared { program: compiled.program, machine, inputs, estimate, account, phases })
    }
}
