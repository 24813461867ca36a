//! Where results go: standard output as text or JSON, or a file.

use crate::failure::Failure;
use crate::file;
use std::io::Write;
use std::path::{Path, PathBuf};

/// How results and errors are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For scripts: one object on standard output, errors too.
    Json,
}

/// The `-o` of a command.
#[derive(clap::Args, Clone, Debug)]
pub struct Output {
    /// Write to this file instead of standard output; it appears whole or not at all
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    pub out: Option<PathBuf>,
}

impl Output {
    /// Writes to the file if there is one, else prints.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        match &self.out {
            Some(path) => file::write(path, text.as_bytes()),
            None => print(text),
        }
    }
}

/// Prints to standard output. A reader that has gone away (`| head`) is no error.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::io("write", Path::new("standard output"), &e))
        }
        _ => Ok(()),
    }
}

/// Prints an object as JSON.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value).expect("reports serialise");
    text.push('\n');
    print(&text)
}
