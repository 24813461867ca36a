//! The product of two f16 matrices on a square of PEs: checks the program, simulates it, compares blocks of
//! the result, bit for bit, with the declared order of sums. With `--compare` also SUMMA and Cannon's algorithm with the same local
//! product, and a table. With `--unchecked` without the static checker, which takes longer than the simulator on large meshes.
//!
//! `cargo run --release -p quadrille-examples --bin wafer_gemm -- SIDE [BLOCK] [--compare] [--unchecked]`: `SIDE` x `SIDE` PEs
//! with blocks of `BLOCK` (16) rows and columns.

use quadrille_isa::numerics::f32_to_f16;
use quadrille_isa::wafer::{Machine, Pe, Program};
use quadrille_runtime::wafer::{Options, Peek, check, simulate_with};
use quadrille_wafer::collective::{gemm, summa};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: wafer_gemm SIDE [BLOCK] [--compare] [--unchecked]";

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

/// A program with its matrices, and what its blocks must be.
struct Way<'a> {
    name: &'static str,
    program: &'a Program,
    result: (u32, u32),
    declared: Option<u64>,
    expected: &'a dyn Fn(Pe) -> Vec<u32>,
    checked: bool,
}

/// Checks, simulates, compares; gives the row of the table.
fn prove(way: &Way<'_>, machine: &Machine, side: u16, block: u16) -> Result<(), String> {
    let timer = Instant::now();
    if way.checked
        && let Some(e) = check(way.program, machine).errors.first()
    {
        return Err(format!("{}: the checker refuses the program: {e}", way.name));
    }
    let check_time = if way.checked { format!("{:.1?}", timer.elapsed()) } else { "-".to_owned() };
    let last = side - 1;
    let places = [(0, 0), (last, 0), (0, last), (last, last), (side / 2, side / 3)].map(|(x, y)| Pe { x, y });
    let (addr, len) = way.result;
    let peeks = places.iter().map(|&pe| Peek { pe, addr, len }).collect();
    let timer = Instant::now();
    let r = simulate_with(way.program, machine, &[], &Options { peeks, ..Options::default() })
        .map_err(|e| e.to_string())?;
    let took = timer.elapsed();
    for (bytes, &pe) in r.peeked.iter().zip(&places) {
        let got: Vec<u32> = bytes.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
        if got != (way.expected)(pe) {
            let (name, x, y) = (way.name, pe.x, pe.y);
            return Err(format!("{name}: the block on PE ({x}, {y}) differs from the declared order of sums"));
        }
    }
    let peak = u64::from(machine.rate.f16_mixed_fma);
    let least = u64::from(block) * u64::from(block) * u64::from(side) * u64::from(block) / peak;
    let declared = way.declared.map_or("-".to_string(), |d| d.to_string());
    println!(
        "| {} | {} | {declared} | {:.1} % of peak | {check_time} | {took:.1?} | {:.0} | {} |",
        way.name,
        r.kernel_cycles,
        100.0 * least as f64 / r.kernel_cycles as f64,
        f64::from(side) * f64::from(side) * r.kernel_cycles as f64 / took.as_secs_f64() / 1e6,
        r.classes.map_or("-".to_owned(), |n| n.to_string())
    );
    Ok(())
}

fn run() -> Result<(), String> {
    let (flags, args): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|a| a.starts_with("--"));
    let (compare, unchecked) = ("--compare", "--unchecked");
    if flags.iter().any(|f| f != compare && f != unchecked) {
        return Err(USAGE.to_owned());
    }
    let [compare, unchecked] = [compare, unchecked].map(|flag| flags.iter().any(|f| f == flag));
    let checked = !unchecked;
    let number = |k: usize, otherwise: Option<u16>| match args.get(k) {
        Some(text) => text.parse::<u16>().map_err(|_| format!("`{text}` is not a number; {USAGE}")),
        None => otherwise.ok_or(USAGE.to_owned()),
    };
    let (side, block) = (number(0, None)?, number(1, Some(16))?);
    let machine = Machine::builtin("wafer").ok_or("there is no machine `wafer`")?;
    let n = usize::from(side) * usize::from(block);
    let (a, b) = (values(n * n, 1), values(n * n, 2));
    let peak = machine.rate.f16_mixed_fma;
    println!("{n} x {n} x {n} on {side} x {side} PEs, {peak} multiply-adds a cycle and PE at peak");
    println!("| algorithm | cycles | declared | | check | simulate | million PE-cycles a second | classes of PEs |");
    println!("|---|---|---|---|---|---|---|---|");
    let rings = [("folded rings", gemm::Ring::Folded), ("Cannon", gemm::Ring::Wrapped)];
    for (name, ring) in rings.into_iter().take(if compare { 2 } else { 1 }) {
        let mut g = gemm::compile_on(&machine, side, block.into(), ring).map_err(|e| e.to_string())?;
        g.fill(&a, &b);
        let expected = |pe| g.expected(pe, &a, &b);
        let (program, declared) = (&g.program, Some(g.declared_cycles));
        prove(
            &Way { name, program, result: g.result(), declared, expected: &expected, checked },
            &machine,
            side,
            block,
        )?;
    }
    if compare {
        let mut s = summa::compile(&machine, side, block.into()).map_err(|e| e.to_string())?;
        s.fill(&a, &b);
        let expected = |pe| s.expected(pe, &a, &b);
        let (name, program, result) = ("SUMMA", &s.program, s.result());
        prove(&Way { name, program, result, declared: None, expected: &expected, checked }, &machine, side, block)?;
    }
    println!("the blocks of 5 PEs of each equal the declared order of sums, bit for bit");
    Ok(())
}
