//! Why a command did not do what was asked: grouped by whose fault it is, printed as text or
//! as JSON, and turned into an exit code.
//!
//! Every part of the project has its own error type; here they become one. Must not know how a
//! command came to it.

use crate::check::groups;
use quadrille_compiler::import::{ImportError, ImportErrorKind, ImportErrors, Place};
use quadrille_onnx::{LoadError, Model};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::path::Path;

/// Whose fault it is; decides the exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The model, the program or its data are wrong, or a result is: exit code 1.
    Wrong,
    /// The command was called wrongly: exit code 2.
    Usage,
    /// Right, but Quadrille does not do it: exit code 3.
    Unsupported,
    /// Right and supported, but too large for the machine: exit code 4.
    DoesNotFit,
}

impl Cause {
    /// The exit code of the process.
    pub fn exit_code(self) -> u8 {
        match self {
            Cause::Wrong => 1,
            Cause::Usage => 2,
            Cause::Unsupported => 3,
            Cause::DoesNotFit => 4,
        }
    }
}

/// One thing that is wrong, and where. Fields that do not apply are `null` in JSON.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize)]
pub struct Problem {
    /// Name of the user's node (or input, output, dim).
    pub node: Option<String>,
    /// Operator.
    pub op: Option<String>,
    /// Version of the operator set.
    pub opset: Option<i64>,
    /// Types of the operands or of the result.
    pub shape: Option<String>,
    /// The attribute at fault, with its value.
    pub attribute: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Problem {
    /// Names of the user's nodes that the problem may be with: of one node, of nodes that were fused into
    /// one (`conv1 + relu1`), or of one that it is a part of (`norm/Mul_3`).
    pub fn node_names(&self) -> impl Iterator<Item = &str> {
        self.node.iter().flat_map(|n| n.split(" + ")).flat_map(|part| {
            let ends = part.match_indices('/').map(|(i, _)| i).chain([part.len()]);
            ends.map(move |end| &part[..end])
        })
    }
}

/// Why a command failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Failure {
    /// Whose fault it is.
    pub cause: Cause,
    /// What was being done to what, in one line.
    pub message: String,
    /// All problems found; may be empty when the message says it all.
    pub problems: Vec<Problem>,
}

impl Failure {
    /// A failure that one line explains.
    pub fn new(cause: Cause, message: impl Into<String>) -> Failure {
        Failure { cause, message: message.into(), problems: Vec::new() }
    }

    /// The model, program or data are wrong.
    pub fn wrong(message: impl Into<String>) -> Failure {
        Failure::new(Cause::Wrong, message)
    }

    /// The command was called wrongly.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Cause::Usage, message)
    }

    /// Adds to each problem what the model knows of its node: the operator as the user wrote it
    /// (compilers name the primitive) and its operator set.
    pub fn locate(mut self, model: &Model) -> Failure {
        let nodes = &model.graph.nodes;
        let mut index: HashMap<&str, usize> = HashMap::new();
        if !self.problems.is_empty() {
            nodes.iter().enumerate().for_each(|(i, n)| _ = index.entry(n.name.as_str()).or_insert(i));
        }
        for p in self.problems.iter_mut().filter(|p| p.opset.is_none()) {
            let Some(node) = p.node_names().filter_map(|n| index.get(n)).min().map(|&i| &nodes[i]) else { continue };
            p.opset = model.opsets.get(&node.domain).copied();
            p.op = Some(match &p.op {
                Some(primitive) if !primitive.eq_ignore_ascii_case(&node.op) => format!("{}, as {primitive}", node.op),
                _ => node.op.clone(),
            });
        }
        self
    }

    /// Adds a problem.
    pub fn with(mut self, problem: Problem) -> Failure {
        self.problems.push(problem);
        self
    }

    /// A file that cannot be read or written. A path that was given on the command line and does
    /// not exist is a wrong call; anything else is the file's fault.
    pub fn io(what: &str, path: &Path, e: &std::io::Error) -> Failure {
        let cause = if e.kind() == std::io::ErrorKind::NotFound { Cause::Usage } else { Cause::Wrong };
        Failure::new(cause, format!("cannot {what} {}: {}", path.display(), io_reason(e)))
    }

    /// A model that was not read.
    pub fn load(path: &Path, e: LoadError) -> Failure {
        match e {
            LoadError::Io { path, source } => Failure::io("read", &path, &source),
            LoadError::Invalid(problems) => Failure {
                cause: Cause::Wrong,
                message: format!("{}: the model is not well formed", path.display()),
                problems: problems
                    .into_iter()
                    .map(|p| Problem { node: Some(p.place), reason: p.reason, ..Problem::default() })
                    .collect(),
            },
            e => {
                let cause = if e.is_unsupported() { Cause::Unsupported } else { Cause::Wrong };
                Failure::new(cause, format!("{}: {e}", path.display()))
            }
        }
    }

    /// A model that did not become a graph. A missing dim is a wrong call; a wrong model weighs
    /// more than an unsupported one.
    pub fn import(path: &Path, e: &ImportErrors) -> Failure {
        let has = |k| e.errors.iter().any(|e| e.kind == k);
        // Shapes that were given and do not fit are the call's data, not the model.
        let data = e.errors.iter().all(|e| e.kind != ImportErrorKind::Invalid || e.place != Place::Node);
        let (cause, what) = if has(ImportErrorKind::Invalid) && data {
            (Cause::Wrong, "the dims or data given do not fit the model")
        } else if has(ImportErrorKind::Invalid) {
            (Cause::Wrong, "the model is wrong")
        } else if has(ImportErrorKind::Unsupported) {
            (Cause::Unsupported, "the model is not supported")
        } else {
            (Cause::Usage, "the model leaves open what must be known")
        };
        let n = e.errors.len();
        let problems = e.errors.iter().map(problem).collect();
        let message = format!("{}: {what} ({n} problem{})", path.display(), if n == 1 { "" } else { "s" });
        Failure { cause, message, problems }
    }

    /// The object that `--format json` prints.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            cause: Cause,
            exit_code: u8,
            message: &'a str,
            problems: &'a [Problem],
        }
        #[derive(Serialize)]
        struct Object<'a> {
            error: Body<'a>,
        }
        let (cause, message, problems) = (self.cause, self.message.as_str(), self.problems.as_slice());
        let object = Object { error: Body { cause, exit_code: cause.exit_code(), message, problems } };
        serde_json::to_string_pretty(&object).expect("failures serialise")
    }
}

/// One import problem as ours.
pub(crate) fn problem(e: &ImportError) -> Problem {
    let filled = |s: &str| (!s.is_empty()).then(|| s.to_string());
    let op = match e.domain.as_str() {
        "" => filled(&e.op),
        d => filled(&e.op).map(|op| format!("{d}.{op}")),
    };
    Problem {
        node: filled(&e.node),
        opset: op.is_some().then_some(e.opset),
        op,
        shape: (!e.operands.is_empty()).then(|| e.operands.join(", ")),
        attribute: filled(&e.attribute),
        reason: e.reason.clone(),
        remedy: match e.kind {
            ImportErrorKind::NeedsValue => {
                let files: Vec<String> = e.needs.iter().map(|n| format!("--input {n}=FILE")).collect();
                Some(format!("make it a constant, or give {}", files.join(" ")))
            }
            _ => filled(&e.remedy),
        },
    }
}

/// A list of types, the middle left out when it is long.
pub(crate) fn short_shape(shape: &str) -> String {
    const SHOWN: usize = 4;
    let (operands, result) = shape.split_once(" -> ").map_or((shape, None), |(o, r)| (o, Some(r)));
    let list: Vec<&str> = operands.split(", ").collect();
    if list.len() <= SHOWN + 2 {
        return shape.to_string();
    }
    let result = result.map_or(String::new(), |r| format!(" -> {r}"));
    format!("{}, … {} more{result}", list[..SHOWN].join(", "), list.len() - SHOWN)
}

/// What the system says, without its error number.
fn io_reason(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_string(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_string(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_string(),
        _ => e.to_string(),
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.node {
            write!(f, "{node}")?;
        }
        let about: Vec<String> = [
            self.op.as_ref().map(|op| match self.opset {
                Some(v) => format!("{op}, opset {v}"),
                None => op.clone(),
            }),
            self.shape.as_deref().map(short_shape),
            self.attribute.clone(),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !about.is_empty() {
            write!(f, " ({})", about.join(", "))?;
        }
        if self.node.is_some() || !about.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.reason)?;
        self.remedy.as_ref().map_or(Ok(()), |r| write!(f, "; {r}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        f.write_str(&self.message)?;
        // Problems that read the same are one line, with the first and the names of all.
        let groups = groups::of(self.problems.iter().map(|p| (None, p)));
        for g in groups.iter().take(SHOWN) {
            let about = Problem {
                node: (!g.nodes.is_empty()).then(|| groups::few(&g.nodes, "")),
                op: (!g.ops.is_empty()).then(|| groups::few(&g.ops, "")),
                opset: g.opset,
                shape: g.shape.clone(),
                attribute: g.attribute.clone(),
                reason: g.reason.clone(),
                remedy: g.remedy.clone(),
            };
            write!(f, "\n  {about}")?;
        }
        if groups.len() > SHOWN {
            write!(f, "\n  … and {} more (--format json lists all)", groups.len() - SHOWN)?;
        }
        Ok(())
    }
}
