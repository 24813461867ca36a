//! Snapshots of what people see: help of every command, and errors with their exit codes.
//!
//! `TRYCMD=overwrite cargo test -p quadrille --test cli` takes what is printed now.

#[test]
fn help_and_errors() {
    trycmd::TestCases::new().case("tests/cmd/*.trycmd");
}
