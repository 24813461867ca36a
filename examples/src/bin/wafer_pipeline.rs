//! A model as a pipeline on the full mesh: its plan, latency and interval.
//!
//! `cargo run --release -p quadrille-examples --bin wafer_pipeline -- MODEL [--images N] [--side N] [--lanes N] [--only-plan] [--write FILE]`
//!
//! Compiles the model for a batch of N images (extents that the model leaves open are `--side`) with data of their own, checks the program, simulates it and compares every
//! image with the declared order of sums, bit for bit. `--only-plan` compiles alone; `--write` keeps the program.

use quadrille::machine::Target;
use quadrille::pipeline::{self, Feeds, Preparation};
use quadrille_compiler::import::{self, ImportOptions};
use quadrille_isa::container;
use quadrille_isa::wafer::Machine;
use quadrille_onnx::{Dim, ValueInfo, ValueType};
use quadrille_runtime::wafer::{check, simulate};
use quadrille_wafer::{Options, compile};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: wafer_pipeline MODEL [--images N] [--side N] [--lanes N] [--only-plan] [--write FILE]";

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: impl Iterator<Item = String>) -> Result<(), String> {
    let (mut path, mut images, mut side, mut options, mut only_plan) = (None, 1, 224, Options::default(), false);
    let mut file = None;
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|a| a.parse::<usize>().ok()).filter(|&n| n > 0).ok_or(USAGE);
        match arg.as_str() {
            "--images" => images = number()?,
            "--side" => side = number()?,
            "--lanes" => options.lanes = Some(number()?),
            "--only-plan" => only_plan = true,
            "--write" => file = Some(args.next().ok_or(USAGE)?),
            _ => path = Some(arg),
        }
    }
    let path = path.ok_or(USAGE)?;
    let path = Path::new(&path);
    let model = pipeline::load(path).map_err(|e| e.to_string())?;
    let shape = |v: &ValueInfo| match &v.ty {
        ValueType::Tensor { shape: Some(dims), .. } => {
            let known = |(i, d): (usize, &Dim)| match d {
                Dim::Fixed(n) if i > 0 => *n,
                _ if i == 0 => images,
                _ => side,
            };
            Some((v.name.clone(), dims.iter().enumerate().map(known).collect()))
        }
        _ => None,
    };
    let input_shapes = model.graph.inputs.iter().filter_map(shape).collect();
    let import = ImportOptions { input_shapes, ..ImportOptions::default() };
    let graph = import::import(&model, &import).map_err(|e| e.to_string())?;
    let feeds = Feeds::default();
    let graph =
        pipeline::prepare(&graph, &quadrille::machine::Machine::full_size(Target::Wafer), &Preparation::default())
            .map_err(|e| e.to_string())?;
    let machine = Machine::builtin("wafer").ok_or("there is no machine `wafer`")?;
    let timer = Instant::now();
    let compiled = compile(&graph, &machine, &options).map_err(|e| e.to_string())?;
    let e = compiled.estimate;
    if only_plan {
        println!("{}", compiled.tiled);
    }
    println!("compiled in {:.1?}: {e:?}", timer.elapsed());
    if let Some(file) = file {
        let bytes = container::write(&compiled.program.clone().into()).map_err(|e| e.to_string())?;
        std::fs::write(&file, bytes).map_err(|e| format!("{file}: {e}"))?;
    }
    if only_plan {
        return Ok(());
    }
    let timer = Instant::now();
    let report = check(&compiled.program, &machine);
    println!("checked in {:.1?}: {} errors", timer.elapsed(), report.total_errors);
    if let Some(e) = report.errors.first() {
        return Err(e.to_string());
    }
    let inputs = feeds.for_graph(&graph, 0).map_err(|e| e.to_string())?;
    let timer = Instant::now();
    let result = simulate(&compiled.program, &machine, &inputs).map_err(|e| e.to_string())?;
    println!(
        "simulated in {:.1?}: {} cycles, interval {:?}, {} PE-cycles of work",
        timer.elapsed(),
        result.cycles,
        result.interval_cycles,
        result.core_cycles
    );
    let expected = compiled.tiled.eval(&inputs).map_err(|e| e.to_string())?;
    match expected == result.outputs {
        true => println!("all outputs equal, bit for bit"),
        false => return Err("outputs differ from the tiled graph's".to_string()),
    }
    Ok(())
}
