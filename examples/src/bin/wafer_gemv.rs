//! One vector times a matrix, or two products in a row, over the whole mesh: places the work, checks
//! the program, simulates it and compares the result, bit for bit, with the declared order of sums.
//!
//! `cargo run --release -p quadrille-examples --bin wafer_gemv -- 16384 [--chained] [--grid WIDTHxHEIGHT]`

use quadrille_isa::numerics::f32_to_f16;
use quadrille_isa::wafer::Machine;
use quadrille_runtime::wafer::{Options, Peek, check, simulate_with};
use quadrille_wafer::collective::gemv::{self, Grid};
use std::process::ExitCode;
use std::time::Instant;

/// Values between -1 and 1 that are not exact in few bits.
fn values(n: usize, seed: u64) -> Vec<u16> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f32_to_f16((state >> 40) as f32 / 8_388_608.0 - 1.0)
    };
    (0..n).map(|_| next()).collect()
}

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
    let usage = "usage: wafer_gemv N [--chained] [--grid WIDTHxHEIGHT]";
    let (mut n, mut chained, mut grid) = (None, false, None);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--chained" => chained = true,
            "--grid" => {
                let text = args.next().ok_or(usage)?;
                let (w, h) = text.split_once('x').ok_or(usage)?;
                let extent = |t: &str| t.parse::<u16>().map_err(|_| format!("`{t}` is not a number of PEs; {usage}"));
                grid = Some(Grid { width: extent(w)?, height: extent(h)? });
            }
            _ => n = Some(arg.parse::<u32>().map_err(|_| format!("`{arg}` is not a size; {usage}"))?),
        }
    }
    let n = n.filter(|n| (1..=65_536).contains(n)).ok_or(format!("sizes are from 1 to 65536; {usage}"))?;
    let machine = Machine::builtin("wafer").ok_or("there is no machine `wafer`")?;
    let sizes = if chained { vec![n; 3] } else { vec![n; 2] };
    let timer = Instant::now();
    let grid = grid.unwrap_or_else(|| gemv::best_grid(&machine, n, n));
    let mut product = gemv::compile(&machine, &sizes, grid).map_err(|e| e.to_string())?;
    println!(
        "[1, {n}] x [{n}, {n}]{}, f16, on {} x {} PEs, block {} x {}, compiled in {:.1?}",
        if chained { " twice" } else { "" },
        grid.width,
        grid.height,
        product.products[0].k,
        product.products[0].n,
        timer.elapsed()
    );
    let square = n as usize * n as usize;
    let vector = values(n as usize, 7);
    let matrices: Vec<Vec<u16>> = (1..sizes.len()).map(|p| values(square, p as u64 * 1_000_003)).collect();
    let matrices: Vec<&[u16]> = matrices.iter().map(Vec::as_slice).collect();
    product.fill(&vector, &matrices);
    let timer = Instant::now();
    let report = check(&product.program, &machine);
    if let Some(e) = report.errors.first() {
        return Err(format!("the checker refuses the program: {e}"));
    }
    println!("checked in {:.1?}", timer.elapsed());
    let piece = product.products[product.products.len() - 1].n;
    let peeks = product.results().into_iter().map(|(pe, addr)| Peek { pe, addr, len: 2 * piece }).collect();
    let timer = Instant::now();
    let r = simulate_with(&product.program, &machine, &[], &Options { peeks, ..Options::default() })
        .map_err(|e| e.to_string())?;
    let took = timer.elapsed();
    let pe_cycles = f64::from(grid.width) * f64::from(grid.height) * r.kernel_cycles as f64;
    println!(
        "{} cycles, declared {}; simulated in {took:.1?}, {:.0} million PE-cycles a second",
        r.kernel_cycles,
        product.declared_cycles,
        pe_cycles / took.as_secs_f64() / 1e6
    );
    let got: Vec<u16> = r
        .peeked
        .iter()
        .flat_map(|b| b.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect::<Vec<_>>())
        .take(n as usize)
        .collect();
    let want = product.expected(&vector, &matrices);
    match got.iter().zip(&want).position(|(a, b)| a != b) {
        None if got.len() == want.len() => println!("all {n} results equal the declared order of sums, bit for bit"),
        at => return Err(format!("results differ from the declared order of sums at {at:?}")),
    }
    Ok(())
}
