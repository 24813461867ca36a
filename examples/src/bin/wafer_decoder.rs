//! A decoder layer over a whole rectangle of PEs: compiled from its ONNX file, checked, simulated, and compared with
//! the declared order of sums, bit for bit.
//!
//! `cargo run --release -p quadrille-examples --bin wafer_decoder -- MODEL --grid WIDTHxHEIGHT [--even] [--data DIR] [--phases]`

use quadrille::pipeline::{self, Feeds};
use quadrille_isa::wafer::Machine;
use quadrille_runtime::wafer::{Options, Peek, check, simulate_with};
use quadrille_wafer::collective::gemv::Grid;
use quadrille_wafer::whole_mesh;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: wafer_decoder MODEL --grid WIDTHxHEIGHT [--even] [--data DIR] [--phases]";

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn extents(text: &str) -> Option<Grid> {
    let (w, h) = text.split_once('x')?;
    Some(Grid { width: w.parse().ok()?, height: h.parse().ok()? })
}

fn run(mut args: impl Iterator<Item = String>) -> Result<(), String> {
    let (mut path, mut grid, mut data, mut phases) = (None, None, None, false);
    let mut how = whole_mesh::Options::default();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--grid" => grid = args.next().and_then(|t| extents(&t)),
            "--data" => data = args.next().map(PathBuf::from),
            "--even" => how.even_memory = true,
            "--phases" => phases = true,
            _ => path = Some(PathBuf::from(arg)),
        }
    }
    let (path, grid) = (path.ok_or(USAGE)?, grid.ok_or(USAGE)?);
    let model = pipeline::load(Path::new(&path)).map_err(|e| e.to_string())?;
    let (ins, outs) = (pipeline::input_names(&model), pipeline::output_names(&model));
    let feeds = Feeds::read(data.as_deref(), &[], &[], &ins, &outs, &[]).map_err(|e| e.to_string())?;
    let graph = pipeline::import(&path, &model, &Default::default(), &feeds).map_err(|e| e.to_string())?;
    let graph = pipeline::run_passes(&graph, None, &["clean".to_string()]).map_err(|e| e.to_string())?;
    let machine = Machine::builtin("wafer").ok_or("there is no machine `wafer`")?;
    let timer = Instant::now();
    let mut mesh = whole_mesh::compile(&graph, &machine, grid, &how).map_err(|e| e.to_string())?;
    println!("compiled in {:.1?}; {} bytes of SRAM on the fullest PE", timer.elapsed(), mesh.sram_bytes);
    for layers in [1, 16] {
        match mesh.longest_context(&machine, layers) {
            Some(n) => println!("{layers} layers: {n} positions at most"),
            None => println!("{layers} layers do not fit"),
        }
    }
    let inputs = feeds.for_graph(&graph, 0).map_err(|e| e.to_string())?;
    mesh.fill(&inputs)?;
    let timer = Instant::now();
    let report = check(&mesh.program, &machine);
    if let Some(e) = report.errors.first() {
        return Err(format!("the checker refuses the program: {e}"));
    }
    println!("checked in {:.1?}", timer.elapsed());
    let peeks = mesh.pieces().iter().map(|p| Peek { pe: p.pe, addr: p.addr, len: p.len }).collect();
    let timer = Instant::now();
    let r = simulate_with(&mesh.program, &machine, &[], &Options { peeks, ..Options::default() })
        .map_err(|e| e.to_string())?;
    println!("{} cycles, declared {}; simulated in {:.1?}", r.kernel_cycles, mesh.declared_cycles(), timer.elapsed());
    if phases {
        let mut last = 0;
        for p in &mesh.phases {
            println!("{:7} {:6}  {} ({})", p.end, p.end - last, p.what, p.node);
            last = p.end;
        }
    }
    let (got, want) = (mesh.outputs(&r.peeked), mesh.eval(&inputs)?);
    for (name, (a, b)) in outs.iter().zip(got.iter().zip(&want)) {
        if a != b {
            return Err(format!("output `{name}` differs from the declared order of sums"));
        }
    }
    println!("all {} outputs equal the declared order of sums, bit for bit", got.len());
    Ok(())
}
