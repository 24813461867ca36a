//! Any text: see `quadrille_tests::fuzz::graph_text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| quadrille_tests::fuzz::graph_text(text));
