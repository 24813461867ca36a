//! Does a model fail, and in the same way as another? Asked of a process of its own, so that a
//! panic, a signal or a hang is an answer too.

use super::Trial;
use crate::failure::Failure;
use crate::file;
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is done to the model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `quadrille check` lists a problem.
    Check,
    /// `quadrille compile` ends with an error.
    Compile,
    /// `quadrille run` ends with a result that is wrong: the checker objects, bits differ, or outputs are
    /// too far off.
    Wrong,
    /// `quadrille run` (`check` without a target) panics, dies of a signal or does not end.
    Crash,
    /// A command of the shell, `{}` being the file, that does not give 0.
    Command(String),
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        Ok(match text {
            "check" => Kind::Check,
            "compile" => Kind::Compile,
            "wrong" => Kind::Wrong,
            "crash" => Kind::Crash,
            command if command.contains("{}") => Kind::Command(command.to_string()),
            _ => return Err("expected check, compile, wrong, crash, or a command with {} for the file".into()),
        })
    }
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Code(i32),
    Signal(i32),
    Timeout,
}

/// One thing that is wrong: operator and reason with names and numbers taken out.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Fact {
    op: String,
    reason: String,
    /// As it was printed, for people.
    shown: String,
    /// The node that it names.
    node: Option<String>,
}

/// The way in which a model fails.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature {
    end: End,
    fact: Option<Fact>,
}

impl Signature {
    /// In words.
    pub fn describe(&self) -> String {
        let end = match self.end {
            End::Code(c) => format!("exit code {c}"),
            End::Signal(s) => format!("signal {s}"),
            End::Timeout => "it does not end in time".to_string(),
        };
        self.fact.as_ref().map_or(end.clone(), |f| format!("{end}, {}", f.shown))
    }

    /// Nodes that the failure names.
    pub fn suspects(&self) -> Vec<String> {
        self.fact.iter().filter_map(|f| f.node.clone()).collect()
    }
}

/// Runs trials.
pub struct Runner {
    kind: Kind,
    program: PathBuf,
    /// Arguments of the command that say which target and how.
    arguments: Vec<OsString>,
    timeout: Duration,
    folder: tempfile::TempDir,
    wanted: Option<Signature>,
}

struct Observed {
    end: End,
    facts: Vec<Fact>,
}

impl Runner {
    /// Trials of a kind. `program` is this very binary.
    pub fn new(kind: Kind, program: PathBuf, arguments: Vec<OsString>, timeout: Duration) -> Result<Runner, Failure> {
        let folder = tempfile::Builder::new().prefix("quadrille-reduce-").tempdir();
        let folder = folder.map_err(|e| Failure::wrong(format!("no folder for trials can be made: {e}")))?;
        Ok(Runner { kind, program, arguments, timeout, folder, wanted: None })
    }

    /// Learns from the original file in which way models are to fail: with the first problem whose
    /// operator or reason holds `about`.
    pub fn learn(&mut self, path: &Path, extra: &[OsString], about: &str) -> Result<Signature, Failure> {
        let seen = self.observe(path, extra)?;
        let gave = match seen.end {
            End::Code(c) => format!("it gives exit code {c}"),
            End::Signal(s) => format!("it dies of signal {s}"),
            End::Timeout => "it does not end in time".to_string(),
        };
        let fails = match (&self.kind, seen.end) {
            (_, End::Timeout) => true,
            (Kind::Crash, End::Signal(_) | End::Code(101)) => true,
            (Kind::Crash, _) => false,
            (Kind::Wrong, End::Code(1)) | (Kind::Check | Kind::Compile, End::Code(1..=4)) => !seen.facts.is_empty(),
            (Kind::Command(_), end) => end != End::Code(0),
            _ => false,
        };
        if !fails {
            return Err(Failure::usage(format!("{}: the model does not fail this way: {gave}", path.display())));
        }
        let holds = |f: &&Fact| f.shown.contains(about);
        let fact = seen.facts.iter().find(holds).cloned();
        if fact.is_none() && !about.is_empty() {
            return Err(Failure::usage(format!("{}: no problem holds `{about}`", path.display())));
        }
        let signature = Signature { end: seen.end, fact };
        self.wanted = Some(signature.clone());
        Ok(signature)
    }

    fn observe(&self, path: &Path, extra: &[OsString]) -> Result<Observed, Failure> {
        let (stdout, stderr) = (self.folder.path().join("stdout"), self.folder.path().join("stderr"));
        let create = |p: &Path| std::fs::File::create(p).map_err(|e| Failure::io("write", p, &e));
        let mut command = self.command(path, extra);
        command.stdin(Stdio::null()).stdout(create(&stdout)?).stderr(create(&stderr)?);
        let mut child = command.spawn().map_err(|e| Failure::wrong(format!("a trial cannot be started: {e}")))?;
        let start = Instant::now();
        let mut nap = Duration::from_millis(2);
        let end = loop {
            let done = child.try_wait().map_err(|e| Failure::wrong(format!("a trial cannot be waited for: {e}")))?;
            match done {
                Some(status) => break ended(status),
                None if start.elapsed() > self.timeout => {
                    let _ = child.kill();
                    let _ = child.wait();
                    break End::Timeout;
                }
                None => std::thread::sleep(nap),
            }
            nap = (nap * 2).min(Duration::from_millis(50));
        };
        let read = |p: &Path| String::from_utf8_lossy(&file::read(p).unwrap_or_default()).into_owned();
        let facts = match self.kind {
            Kind::Command(_) => Vec::new(),
            Kind::Crash => panicked(&read(&stderr)).into_iter().collect(),
            _ => serde_json::from_str(&read(&stdout)).map_or(Vec::new(), |v| self.facts(&v)),
        };
        Ok(Observed { end, facts })
    }

    fn command(&self, path: &Path, extra: &[OsString]) -> Command {
        if let Kind::Command(text) = &self.kind {
            let mut c = Command::new("sh");
            c.arg("-c").arg(text.replace("{}", &quoted(path)));
            return c;
        }
        let mut c = Command::new(&self.program);
        let targeted = self.arguments.iter().any(|a| a == "--target" || a == "--machine");
        match &self.kind {
            Kind::Check => c.arg("check"),
            Kind::Compile => c.arg("compile").arg("-o").arg(self.folder.path().join("program")),
            Kind::Crash if !targeted => c.arg("check"),
            _ => c.arg("run"),
        };
        c.arg("--format=json").args(&self.arguments).args(extra).arg(path);
        c
    }

    fn facts(&self, v: &Value) -> Vec<Fact> {
        let of = |f: &dyn Fn(&Value) -> bool, name: &str| f(v).then(|| fact("", name, None));
        if self.kind == Kind::Wrong {
            let wrong = [
                of(&|v| v["check"]["ok"] == false, "the checker objects"),
                of(&|v| v["exact"] == false, "simulated bits differ from the tiled graph's"),
                of(&|v| v["compare"]["ok"] == false, "outputs are too far off"),
            ];
            return wrong.into_iter().flatten().collect();
        }
        let inside = if v["error"].is_object() { &v["error"] } else { v };
        let text = |p: &Value, key: &str| p[key].as_str().unwrap_or_default().to_string();
        let problems = inside["problems"].as_array().map_or(&[][..], Vec::as_slice);
        let mut facts: Vec<Fact> = problems
            .iter()
            .map(|p| fact(&text(p, "op"), &text(p, "reason"), p["node"].as_str().map(str::to_string)))
            .collect();
        if facts.is_empty() && v["error"].is_object() {
            // The path comes first and differs from trial to trial.
            let message = text(inside, "message");
            let message = message.rsplit_once(".onnx: ").map_or(message.as_str(), |(_, m)| m);
            facts.push(fact("", message, None));
        }
        facts
    }
}

impl Trial for Runner {
    fn fails(&mut self, model: &[u8]) -> Result<bool, Failure> {
        let path = self.folder.path().join("trial.onnx");
        std::fs::write(&path, model).map_err(|e| Failure::io("write", &path, &e))?;
        let seen = self.observe(&path, &[])?;
        let Some(wanted) = &self.wanted else { return Ok(false) };
        let same = |f: &Fact| wanted.fact.as_ref().is_some_and(|w| (&w.op, &w.reason) == (&f.op, &f.reason));
        Ok(seen.end == wanted.end && (wanted.fact.is_none() || seen.facts.iter().any(same)))
    }
}

fn ended(status: std::process::ExitStatus) -> End {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        if let Some(s) = status.signal() {
            return End::Signal(s);
        }
    }
    End::Code(status.code().unwrap_or(-1))
}

/// A path as one word of the shell; plain where it can be, so that `"{}"` works too.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c)) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn fact(op: &str, reason: &str, node: Option<String>) -> Fact {
    let shown = if op.is_empty() { reason.to_string() } else { format!("{op}: {reason}") };
    Fact { op: op.to_string(), reason: general(reason), shown, node }
}

/// Where a panic was: `thread 'main' panicked at src/x.rs:1:2:`.
fn panicked(stderr: &str) -> Option<Fact> {
    let at = stderr.lines().find_map(|l| l.split_once(" panicked at ").map(|(_, at)| at.trim_end_matches(':')))?;
    Some(Fact { op: String::new(), reason: at.to_string(), shown: format!("panicked at {at}"), node: None })
}

/// A message without what changes when a model gets smaller: numbers, and names in quotes.
fn general(message: &str) -> String {
    let mut out = String::new();
    let mut rest = message;
    while let Some(c) = rest.chars().next() {
        let quote = (c == '`' || c == '\'').then(|| rest[1..].find(c)).flatten();
        if let Some(end) = quote.filter(|_| out.is_empty() || out.ends_with([' ', '(', ','])) {
            out.push('_');
            rest = &rest[end + 2..];
        } else if c.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && !"x, ".contains(c)).unwrap_or(rest.len());
            // A list of numbers is one thing, whatever its length; what follows it keeps its space.
            let end = rest[..end].rfind(|c: char| c.is_ascii_digit()).map_or(end, |last| last + 1);
            out.push('#');
            rest = &rest[end..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_do_not_matter() {
        assert_eq!(
            general("axis 7 of 'conv1' is out of range for f32[1x3x8]"),
            "axis # of _ is out of range for f#[#]"
        );
        assert_eq!(general("shape [3, 4, 5] differs"), general("shape [1] differs"));
        assert_eq!(general("the model's own 'x'"), "the model's own _");
        assert_ne!(general("no kernel"), general("no form"));
    }

    #[test]
    fn kinds_are_words_or_commands() {
        assert_eq!("wrong".parse(), Ok(Kind::Wrong));
        assert_eq!("test -s {}".parse(), Ok(Kind::Command("test -s {}".into())));
        assert!("frob".parse::<Kind>().is_err());
        assert_eq!(quoted(Path::new("a'b")), r"'a'\''b'");
    }

    #[test]
    fn a_panic_is_known_by_its_place() {
        let f = panicked("thread 'main' (12) panicked at src/x.rs:10:5:\nindex out of bounds").expect("a panic");
        assert_eq!(f.reason, "src/x.rs:10:5");
    }
}
