//! The `quadrille` binary.

use clap::Parser;
use quadrille::commands::Cli;
use quadrille::failure::{Cause, Failure};
use std::process::ExitCode;

fn main() -> ExitCode {
    let json = wants_json();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are no errors.
        Err(e) if !e.use_stderr() || !json => {
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(Cause::Usage.exit_code()));
        }
        Err(e) => {
            let text = e.render().to_string();
            return fail(&Failure::usage(text.trim_start_matches("error: ").trim_end()), json);
        }
    };
    match cli.run() {
        Ok(code) => ExitCode::from(code),
        Err(failure) => fail(&failure, json),
    }
}

/// Whether errors are printed as JSON. Read from the raw arguments, since arguments that do not
/// parse have errors too.
fn wants_json() -> bool {
    let args: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    args.iter().any(|a| a == "--format=json") || args.windows(2).any(|w| w[0] == "--format" && w[1] == "json")
}

fn fail(failure: &Failure, json: bool) -> ExitCode {
    if json {
        println!("{}", failure.to_json());
    } else {
        eprintln!("error: {failure}");
    }
    ExitCode::from(failure.cause.exit_code())
}
