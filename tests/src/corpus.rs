//! Brings models from outside into `target/corpus`, once, on first use.
//!
//! A test asks for a model by name; the scripts in `tests/corpus` fetch it with pinned versions and
//! hashes, or generate it, and let ONNX Runtime compute the expected outputs. Whatever goes wrong
//! is a panic with the script's own words: a test never skips for want of its data.

use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies in the repository")
}

/// Where fetched things are kept: `target/corpus`.
pub fn cache() -> PathBuf {
    repository().join("target").join("corpus")
}

/// A model with one set of inputs and expected outputs.
#[derive(Clone, Debug)]
pub struct Model {
    /// The ONNX file.
    pub path: PathBuf,
    /// Folder of `input_k.pb` and `output_k.pb`, the outputs by ONNX Runtime.
    pub data: PathBuf,
}

impl Model {
    /// Where the model lies. A quantised one has more outputs there: `unfused`, by ONNX Runtime's float
    /// kernels, and `steps`, a model cut at every quantisation, with its data.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

/// A model of the corpus, fetched or generated if this is the first use.
///
/// Names: those of `tests/corpus/models.json` and of `tests/corpus/generated.py`.
pub fn model(name: &str) -> Model {
    let models = cache().join("models");
    let folder = models.join(name);
    if !folder.is_dir() {
        let _lock = lock();
        // Another process may have brought it while this one waited for the lock.
        if !folder.is_dir() {
            let script = repository().join("tests/corpus/fetch.py");
            run(Command::new(python()).arg(script).arg(&models).arg(name));
        }
    }
    Model { path: folder.join("model.onnx"), data: folder.join("test_data_set_0") }
}

/// Names of all models of the corpus.
pub fn names() -> Vec<String> {
    let folder = repository().join("tests/corpus");
    let read = |file: &str| fs::read_to_string(folder.join(file)).expect("it is in the repository");
    let list: serde_json::Value = serde_json::from_str(&read("models.json")).expect("a list of models");
    let files = list.as_array().expect("a list").iter().map(|e| e["name"].as_str().expect("a name").to_string());
    let generated = read("generated.py");
    let made =
        generated.lines().filter_map(|l| l.strip_prefix("    \"")?.split_once("\":").map(|(n, _)| n.to_string()));
    files.chain(made).collect()
}

/// Every model there is: the digits, and all of [`names`].
pub fn all_names() -> Vec<String> {
    std::iter::once("digits".to_string()).chain(names()).collect()
}

/// The model of a name of [`all_names`].
pub fn any(name: &str) -> Model {
    if name == "digits" { digits(0) } else { model(name) }
}

/// Sees that a page of `docs` has every model in a table, and that there are reasons only for models that there are.
pub fn assert_all_are_on(page: &str, reasons: &[(&str, &str)]) {
    let path = repository().join("docs").join(page);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let all = all_names();
    assert!(all.len() >= 30, "{all:?}");
    for name in &all {
        assert!(text.contains(&format!("| {name} |")), "{name} is not on docs/{page}");
    }
    assert!(reasons.iter().all(|(n, _)| all.iter().any(|a| a == n)), "reasons for models that there are");
}

/// The digits classifier that lies in this repository, with the inputs of one digit.
pub fn digits(digit: usize) -> Model {
    let models = repository().join("examples/models");
    Model { path: models.join("digits.onnx"), data: models.join(format!("digits/test_data_set_{digit}")) }
}

/// A Python interpreter that has the packages of `tests/corpus/requirements.txt`, installed into
/// `target/corpus/venv` on first use. The caller holds the lock.
fn python() -> PathBuf {
    let requirements = repository().join("tests/corpus/requirements.txt");
    let wanted = fs::read(&requirements).expect("tests/corpus/requirements.txt is in the repository");
    let venv = cache().join("venv");
    let interpreter = venv.join("bin").join("python");
    // Written last, so that a broken installation is made anew.
    let stamp = venv.join("installed.txt");
    if fs::read(&stamp).ok().as_ref() != Some(&wanted) {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r"];
        run(Command::new(&interpreter).args(pip).arg(&requirements));
        fs::write(&stamp, &wanted).expect("the virtual environment is writable");
    }
    interpreter
}

/// Runs a script of `tests/corpus` with the pinned packages, holding the lock that keeps test
/// processes from fetching the same thing at once.
pub fn run_script(script: &str, arguments: &[&str]) {
    let _lock = lock();
    run(Command::new(python()).arg(repository().join("tests/corpus").join(script)).args(arguments));
}

/// The folder that a script of `tests/corpus` fills, called with a folder to write to; made anew whenever one of
/// the `sources` beside it changes.
pub fn made_by(script: &str, sources: &[&str]) -> PathBuf {
    let mut hash = Sha256::new();
    for name in sources.iter().chain([&script]) {
        let path = repository().join("tests/corpus").join(name);
        hash.update(fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())));
    }
    let digest: String = hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
    let stem = script.trim_end_matches(".py");
    let folder = cache().join(format!("{stem}-{digest}"));
    if !folder.is_dir() {
        // Written beside its place and renamed, so that a broken run leaves nothing half-written.
        fs::create_dir_all(cache()).expect("target/corpus can be made");
        let scratch = tempfile::tempdir_in(cache()).expect("target/corpus is writable");
        let partial = scratch.path().join(stem);
        run_script(script, &[&partial.to_string_lossy()]);
        // Another process may have been faster.
        let renamed = fs::rename(&partial, &folder);
        assert!(renamed.is_ok() || folder.is_dir(), "{}: {renamed:?}", folder.display());
    }
    assert!(folder.is_dir(), "{} cannot be made", folder.display());
    folder
}

fn lock() -> File {
    let folder = cache();
    fs::create_dir_all(&folder).expect("target/corpus can be made");
    let file = File::create(folder.join("lock")).expect("target/corpus/lock can be made");
    file.lock().expect("target/corpus/lock can be locked");
    file
}

fn run(command: &mut Command) {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?} cannot be started: {e}"));
    if !out.status.success() {
        panic!(
            "{command:?} failed ({}):\n{}{}",
            out.status,
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
    }
}
