//! `reduce`: a small model that fails as a large one does.

use super::model_args::ModelArgs;
use super::output::{self, Format};
use super::progress::Progress;
use crate::failure::Failure;
use crate::file;
use crate::pipeline::{self, Feeds};
use crate::reduce::{Kind, Runner, Subject};
use prost::Message;
use serde_json::json;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Shrink a model while it still fails in the same way
///
/// Leaves out nodes, turning what they made into inputs, and makes extents smaller, as long as the
/// failure stays: the same exit code, and the same reason at the same operator (or the same place of a
/// panic). Writes an ONNX file with fixed dims. The same call gives the same file.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The ONNX model
    model: PathBuf,

    #[command(flatten)]
    args: ModelArgs,

    /// How it fails: check, compile, wrong (a wrong result of run), crash, or a command of the shell
    /// with {} for the file
    #[arg(long, value_name = "KIND|COMMAND")]
    fails: Kind,

    /// Of several problems, the first whose operator or reason holds this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    about: String,

    /// Where the small model goes
    #[arg(short = 'o', long = "out", value_name = "FILE", default_value = "reduced.onnx")]
    out: PathBuf,

    /// A trial that takes longer does not fail in the same way (unless the model does so too)
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,

    /// Models to try, at most
    #[arg(long, value_name = "N", default_value_t = 2000)]
    trials: usize,

    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Args {
    /// Runs the command.
    pub fn run(&self) -> Result<u8, Failure> {
        let program = std::env::current_exe()
            .map_err(|e| Failure::wrong(format!("this program's own file is not known: {e}")))?;
        let progress = Progress::new();
        let timeout = Duration::from_secs(self.timeout);
        let mut runner = Runner::new(self.fails.clone(), program, self.how(), timeout)?;
        let (learnt, _) =
            progress.stage("running the model", || runner.learn(&self.model, &self.openings(), &self.about));
        let signature = learnt?;
        let (reduced, _) = progress.stage("reducing", || {
            let model = pipeline::load(&self.model)?;
            let (inputs, outputs) = (pipeline::input_names(&model), pipeline::output_names(&model));
            let feeds = Feeds::read(self.args.data.as_deref(), &self.args.inputs, &[], &inputs, &outputs, &[])?;
            let survey = pipeline::survey_guessing(&model, &self.args.dims()?, &feeds);
            let subject = Subject::read(&self.model, &model, survey.values)?;
            subject.reduce(&mut runner, &signature.suspects(), self.trials)
        });
        let reduced = reduced?;
        drop(progress);
        let bytes = reduced.model.encode_to_vec();
        file::write(&self.out, &bytes)?;
        let nodes = reduced.model.graph.as_ref().map_or(&[][..], |g| &g.node);
        let how = signature.describe();
        match self.format {
            Format::Json => output::print_json(&json!({
                "model": self.model.display().to_string(),
                "reduced": self.out.display().to_string(),
                "failure": how,
                "nodes_before": reduced.nodes_before,
                "nodes": nodes.iter().map(|n| json!({"node": n.name, "op": n.op_type})).collect::<Vec<_>>(),
                "bytes": bytes.len(),
                "trials": reduced.trials,
                "stopped_by_limit": reduced.stopped,
            }))?,
            Format::Text => {
                let mut text = format!(
                    "{}: {} of {} nodes, {} bytes, after {} trials\n  fails with {how}\n",
                    self.out.display(),
                    nodes.len(),
                    reduced.nodes_before,
                    bytes.len(),
                    reduced.trials
                );
                for n in nodes.iter().take(20) {
                    text += &format!("  {} ({})\n", n.name, n.op_type);
                }
                if reduced.stopped {
                    text += "  --trials ended the search; it may become smaller\n";
                }
                output::print(&text)?;
            }
        }
        Ok(0)
    }

    /// What goes to every trial: target and how to compile.
    fn how(&self) -> Vec<OsString> {
        let a = &self.args;
        let mut out: Vec<OsString> = Vec::new();
        let mut add = |name: &str, value: &str| out.extend([OsString::from(name), OsString::from(value)]);
        if let Some(t) = a.target {
            add("--target", t.name());
        }
        if let Some(m) = &a.machine {
            add("--machine", m);
        }
        if let Some(p) = a.precision {
            add("--precision", p.name());
        }
        if let Some(p) = &a.passes {
            add("--passes", &p.join(","));
        }
        a.rewrite.rules.iter().for_each(|r| add("--rules", r));
        a.rewrite.disable_rules.iter().for_each(|r| add("--disable-rule", r));
        if a.rewrite.strict_float {
            out.push("--strict-float".into());
        }
        if let Some(e) = a.rewrite.extraction.named() {
            out.push(format!("--extraction={e}").into());
        }
        if let Some(seed) = a.rewrite.check_rewrites {
            out.push(format!("--check-rewrites={seed}").into());
        }
        out.extend(a.mesh.words().into_iter().map(OsString::from));
        out
    }

    /// What goes to the original alone: dims and data. Trials have fixed dims and seeded inputs.
    fn openings(&self) -> Vec<OsString> {
        let a = &self.args;
        let mut out: Vec<OsString> = Vec::new();
        for (name, n) in &a.dims {
            out.extend(["--dim".into(), format!("{name}={n}").into()]);
        }
        if let Some(d) = &a.data {
            out.extend(["--data".into(), d.into()]);
        }
        for i in &a.inputs {
            let mut word = OsString::from(i.name.as_ref().map_or(String::new(), |n| format!("{n}=")));
            word.push(&i.file);
            out.extend(["--input".into(), word]);
        }
        out
    }
}
