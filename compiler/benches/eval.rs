//! Times the oracle on one model, some evaluations per line read from standard input.
//!
//! `tests/corpus/eval_ratio.py` starts it and takes turns with ONNX Runtime, so that both see the same
//! load of the machine. Knows the folders of the corpus (`model.onnx`, `test_data_set_0`); judges
//! nothing.
//!
//! ```text
//! eval FOLDER [imported|clean]
//! ```
//!
//! prints `ready NODES`, then for each line of input, a number of evaluations, the wall seconds of one
//! and the processor seconds of all its threads (0 where the system does not tell), on average.

use quadrille_compiler::import::{self, ImportErrorKind, ImportOptions};
use quadrille_compiler::ir::{Graph, Tensor, eval};
use quadrille_compiler::passes;
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    // `cargo bench` itself adds `--bench`, and without a folder there is nothing to do.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let Some(folder) = arguments.first() else {
        eprintln!("usage: eval FOLDER [imported|clean]; see tests/corpus/eval_ratio.py");
        return ExitCode::SUCCESS;
    };
    match serve(Path::new(folder), arguments.get(1).map(String::as_str)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{folder}: {e}");
            ExitCode::FAILURE
        }
    }
}

fn serve(folder: &Path, stage: Option<&str>) -> Result<(), Failure> {
    let (mut graph, inputs) = load(folder)?;
    if stage == Some("clean") {
        passes::run_pipeline(&mut graph, &["clean"])?;
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready {}", graph.nodes().len())?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        let count: u32 = line?.trim().parse()?;
        let (start, before) = (Instant::now(), processor_seconds());
        for _ in 0..count {
            drop(eval::eval(&graph, &inputs)?);
        }
        let (seconds, processor) = (start.elapsed().as_secs_f64(), processor_seconds() - before);
        writeln!(out, "{:.9} {:.9}", seconds / f64::from(count), processor / f64::from(count))?;
        out.flush()?;
    }
    Ok(())
}

/// Time that the threads of this process have run, on Linux.
fn processor_seconds() -> f64 {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let nanoseconds = threads.filter_map(|t| {
        let text = std::fs::read_to_string(t.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    nanoseconds.sum::<u64>() as f64 * 1e-9
}

/// The imported graph and the tensors for its inputs.
fn load(folder: &Path) -> Result<(Graph, Vec<Tensor>), Failure> {
    let model = quadrille_onnx::load(&folder.join("model.onnx"))?;
    let mut given = BTreeMap::new();
    for path in files(&folder.join("test_data_set_0")) {
        let (name, tensor) = quadrille_onnx::load_tensor(&path)?;
        let tensor = import::tensor(&tensor).map_err(|e| e.reason)?;
        given.insert(name, tensor);
    }
    let mut options = ImportOptions {
        input_shapes: given.iter().map(|(n, t)| (n.clone(), t.shape.clone())).collect(),
        ..ImportOptions::default()
    };
    let graph = loop {
        let errors = match import::import(&model, &options) {
            Ok(graph) => break graph,
            Err(errors) => errors,
        };
        // Inputs that decide about shapes become constants.
        let needs = errors.errors.iter().filter(|e| e.kind == ImportErrorKind::NeedsValue).flat_map(|e| &e.needs);
        let known: Vec<_> = needs
            .filter(|n| !options.values.contains_key(*n))
            .filter_map(|n| given.get(n).map(|t| (n.clone(), t.clone())))
            .collect();
        if known.is_empty() {
            return Err(errors.into());
        }
        options.values.extend(known);
    };
    let inputs = graph.inputs.iter().map(|&v| {
        let name = &graph.value(v).name;
        given.get(name).cloned().ok_or_else(|| Failure::from(format!("no tensor for input `{name}`")))
    });
    let inputs = inputs.collect::<Result<Vec<Tensor>, Failure>>()?;
    Ok((graph, inputs))
}

fn files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let folder = folder.to_path_buf();
    (0..).map(move |i| folder.join(format!("input_{i}.pb"))).take_while(|p| p.exists())
}
