//! The product of two f16 matrices on a square of PEs: checks the program, simulates it, compares blocks of
//! the result, bit for bit, with the declared order of sums.
//!
//! `cargo run --release -p quadrille-examples --bin wafer_gemm -- SIDE [BLOCK]`: `SIDE` x `SIDE` PEs with blocks
//! of `BLOCK` (16) rows and columns.

use quadrille_isa::numerics::f32_to_f16;
use quadrille_isa::wafer::{Machine, Pe};
use quadrille_runtime::wafer::{Options, Peek, check, simulate_with};
use quadrille_wafer::collective::gemm;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn values(n: usize, seed: usize) -> Vec<u16> {
    let value = |k: usize| (k.wrapping_mul(2_654_435_761).wrapping_add(seed * 977) >> 7) % 4093;
    (0..n).map(|k| f32_to_f16(value(k) as f32 / 2046.5 - 1.0)).collect()
}

fn run() -> Result<(), String> {
    let usage = "usage: wafer_gemm SIDE [BLOCK]";
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |k: usize, otherwise: Option<u16>| match args.get(k) {
        Some(text) => text.parse::<u16>().map_err(|_| format!("`{text}` is not a number; {usage}")),
        None => otherwise.ok_or(usage.to_owned()),
    };
    let (side, block) = (number(0, None)?, number(1, Some(16))?);
    let machine = Machine::builtin("wafer").ok_or("there is no machine `wafer`")?;
    let mut g = gemm::compile(&machine, side, block.into()).map_err(|e| e.to_string())?;
    let n = g.size();
    let (a, b) = (values(n * n, 1), values(n * n, 2));
    g.fill(&a, &b);
    let timer = Instant::now();
    let report = check(&g.program, &machine);
    if let Some(e) = report.errors.first() {
        return Err(format!("the checker refuses the program: {e}"));
    }
    println!("{n} x {n} x {n} on {side} x {side} PEs, checked in {:.1?}", timer.elapsed());
    let last = side - 1;
    let places = [(0, 0), (last, 0), (0, last), (last, last), (side / 2, side / 3)].map(|(x, y)| Pe { x, y });
    let (addr, len) = g.result();
    let peeks = places.iter().map(|&pe| Peek { pe, addr, len }).collect();
    let timer = Instant::now();
    let r = simulate_with(&g.program, &machine, &[], &Options { peeks, ..Options::default() })
        .map_err(|e| e.to_string())?;
    let took = timer.elapsed();
    let peak = u64::from(machine.rate.f16_mixed_fma);
    let least = u64::from(block) * u64::from(block) * n as u64 / peak;
    println!(
        "{} cycles, declared {}: {:.1} % of peak ({peak} multiply-adds a cycle and PE); simulated in {took:.1?}, \
         {:.0} million PE-cycles a second",
        r.kernel_cycles,
        g.declared_cycles,
        100.0 * least as f64 / r.kernel_cycles as f64,
        f64::from(side) * f64::from(side) * r.kernel_cycles as f64 / took.as_secs_f64() / 1e6
    );
    for (bytes, &pe) in r.peeked.iter().zip(&places) {
        let got: Vec<u32> = bytes.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
        if got != g.expected(pe, &a, &b) {
            return Err(format!("the block on PE ({}, {}) differs from the declared order of sums", pe.x, pe.y));
        }
    }
    println!("the blocks of {} PEs equal the declared order of sums, bit for bit", places.len());
    Ok(())
}
