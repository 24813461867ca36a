//! The shipped machine descriptions are valid, name what they should, and bad ones are refused
//! with the key at fault.

use quadrille_isa::tsp::{self, Hemisphere};
use quadrille_isa::wafer;

#[test]
fn builtin_chips() {
    for (name, text) in tsp::BUILTIN {
        let m = tsp::Machine::parse(text).unwrap();
        assert_eq!(m.name, name);
        assert_eq!(tsp::Machine::builtin(name), Some(m));
    }
    let m = tsp::Machine::builtin("tsp").unwrap();
    assert_eq!((m.lanes(), m.columns(), m.planes()), (320, 27, 4));
    assert_eq!(m.peak_i8_macs_per_cycle(), 409_600);
    assert_ne!(m.hash(), tsp::Machine::builtin("tsp-small").unwrap().hash());
    assert_eq!(tsp::Machine::builtin("wafer"), None);
}

#[test]
fn weights_reach_all_planes_in_under_forty_cycles() {
    // The one published end-to-end figure: weights of all four planes, from SRAM to installed,
    // in under 40 cycles. Twenty loads of sixteen rows a plane, one a cycle and both planes of a
    // hemisphere at once, out of the slices next to the MXM; a read drives its stream
    // `mem_read` later, then hops over the SXM.
    let m = tsp::Machine::builtin("tsp").unwrap();
    for h in [Hemisphere::West, Hemisphere::East] {
        let last = tsp::Slice { hemisphere: h, index: (m.geometry.mem_slices_per_hemisphere - 1) as u8 };
        let hops = m.hops(h.outward(), m.slice_column(last), m.mxm_column(h)).unwrap();
        let loads = m.lanes() as u32 / m.geometry.weight_rows_per_load;
        // Two planes take 32 streams: 16 words a plane and cycle out of 32 slices, 8 columns.
        let columns = 32 / m.geometry.mem_slices_per_column;
        let cycles =
            m.latency.mem_read + hops + columns + (loads - 1) + m.latency.mxm_weight_row + m.latency.mxm_install;
        assert!(cycles < 40, "{cycles}");
    }
}

#[test]
fn builtin_meshes() {
    for (name, text) in wafer::BUILTIN {
        let m = wafer::Machine::parse(text).unwrap();
        assert_eq!(m.name, name);
        assert_eq!(wafer::Machine::builtin(name), Some(m));
    }
    let m = wafer::Machine::builtin("wafer").unwrap();
    assert_eq!((m.geometry.width_pes, m.geometry.height_pes), (750, 994));
}

/// Every key of a description, damaged one at a time, and what the message must hold.
fn refused(text: &str, parse: impl Fn(&str) -> Result<(), String>) {
    parse(text).unwrap();
    for (i, line) in text.lines().enumerate() {
        let Some((key, _)) = line.split_once(" = ").filter(|(k, _)| !k.starts_with('#')) else { continue };
        let with = |new: String| {
            let lines: Vec<String> =
                text.lines().enumerate().map(|(j, l)| if i == j { new.clone() } else { l.to_string() }).collect();
            parse(&lines.join("\n"))
        };
        let e = with(format!("{key} = -1")).unwrap_err();
        assert!(e.contains(key) || e.contains("-1"), "{key} negative: {e}");
        let e = with(format!("{key}_of_another_kind = 1")).unwrap_err();
        assert!(e.contains("unknown field") || e.contains("missing field"), "{key} renamed: {e}");
        assert!(with(String::new()).is_err(), "{key} missing");
        assert!(with(format!("{key} = [[]]")).is_err(), "{key} of another type");
        assert!(with(format!("{key} = 1e3")).is_err(), "{key} a float");
        assert!(with(format!("{key} = 5000000000")).is_err(), "{key} too large");
        assert!(with(format!("{line}\n{line}")).is_err(), "{key} twice");
    }
    assert!(parse("").is_err());
    assert!(parse("name = \"x\"\ntarget = ").is_err());
}

#[test]
fn damaged_chips_are_refused() {
    refused(tsp::BUILTIN[0].1, |t| tsp::Machine::parse(t).map(drop).map_err(|e| e.to_string()));
}

#[test]
fn damaged_meshes_are_refused() {
    refused(wafer::BUILTIN[0].1, |t| wafer::Machine::parse(t).map(drop).map_err(|e| e.to_string()));
}

#[test]
fn values_that_no_machine_has_are_named() {
    let chip = tsp::BUILTIN[0].1;
    for (from, to, key) in [
        ("superlanes = 20", "superlanes = 0", "geometry.superlanes"),
        ("superlanes = 20", "superlanes = 65", "geometry.superlanes"),
        ("words_per_slice = 8192", "words_per_slice = 8191", "geometry.words_per_slice"),
        ("mem_slices_per_column = 4 ", "mem_slices_per_column = 5 ", "geometry.mem_slices_per_column"),
        ("banks_per_slice = 2", "banks_per_slice = 4", "geometry.banks_per_slice"),
        ("alus = 16", "alus = 0", "geometry.alus"),
        ("clock_mhz = 900", "clock_mhz = 0", "geometry.clock_mhz"),
        ("hop = 1", "hop = 2", "latency_cycles.hop"),
        ("mem_read = 2", "mem_read = 0", "latency_cycles.mem_read"),
        ("vxm_alu = 3", "vxm_alu = 4000000000", "latency_cycles.vxm_alu"),
        ("instruction_bytes = 16", "instruction_bytes = 8", "program.instruction_bytes"),
        ("target = \"tsp\"", "target = \"wafer\"", "target"),
    ] {
        assert!(chip.contains(from), "{from}");
        let e = tsp::Machine::parse(&chip.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(e.contains(key), "{to}: {e}");
    }
    let mesh = wafer::BUILTIN[0].1;
    for (from, to, key) in [
        ("width_pes = 750", "width_pes = 0", "geometry.width_pes"),
        ("colors = 24", "colors = 25", "geometry.colors"),
        ("sram_bytes_per_pe = 49152", "sram_bytes_per_pe = 0", "geometry.sram_bytes_per_pe"),
        ("f32_max = 1", "f32_max = 0", "rate_elements_per_cycle"),
        ("input_depth_words = [6,", "input_depth_words = [", "queues"),
        ("hop_cycles = 1", "hop_cycles = 3", "router"),
        ("vector_launch = 4", "vector_launch = 4000000000", "latency_cycles"),
    ] {
        assert!(mesh.contains(from), "{from}");
        let e = wafer::Machine::parse(&mesh.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(e.contains(key), "{to}: {e}");
    }
}
