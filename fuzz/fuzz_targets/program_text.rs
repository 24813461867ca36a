//! Any text: see `quadrille_tests::fuzz::program_text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| quadrille_tests::fuzz::program_text(text));
