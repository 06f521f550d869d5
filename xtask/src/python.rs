//! The Pythons against which files are checked, each installed once: PyTorch and Lightning in `target/python`, trackers in
//! `target/python-loggers`.
//!
//! And what others need of Python too: an environment of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// An environment and what is in it.
pub(crate) struct Environment {
    folder: &'static str,
    /// A complete list: what packages ask for but is not needed is left out.
    requirements: &'static str,
    what: &'static str,
}

pub(crate) const TORCH: Environment = Environment {
    folder: "target/python",
    requirements: "crates/zae-checkpoint/tests/python/requirements.txt",
    what: "PyTorch and Lightning, once: some minutes, 4 GB",
};

pub(crate) const LOGGERS: Environment = Environment {
    folder: "target/python-loggers",
    requirements: "crates/zae-loggers/tests/python/requirements.txt",
    what: "the clients of W&B, TensorBoard, Neptune and MLflow, once: some minutes, 1 GB",
};

const FIX: &str = "install Python 3.11 or later with its module venv (Debian: `apt-get install python3 python3-venv`)";

/// The interpreter; makes its environment if it is not there, or not of these requirements.
pub(crate) fn interpreter(wanted: &Environment) -> Result<PathBuf, String> {
    let (root, what) = (crate::root(), wanted.what);
    let requirements = root.join(wanted.requirements);
    let folder = root.join(wanted.folder);
    let wanted = fs::read(&requirements).map_err(|e| format!("cannot read `{}`: {e}", requirements.display()))?;
    let stamp = folder.join("installed.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(executable(&folder));
    }
    eprintln!("\n==> Python with {what} in `{}`", folder.display());
    let python = environment(&folder)?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
    let fix = "look at the message above: it needs network, room on the disk, and Python 3.11 or later";
    run(Command::new(&python).args(pip).arg(&requirements), fix)?;
    // Last, so that an installation that was cut short is made again.
    fs::write(&stamp, wanted).map_err(|e| format!("cannot write `{}`: {e}", stamp.display()))?;
    Ok(python)
}

/// Where an interpreter's packages are.
pub(crate) fn packages(python: &Path) -> Result<PathBuf, String> {
    let code = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let output = Command::new(python).args(["-c", code]).output();
    let output = output.map_err(|e| format!("cannot start `{}`: {e}", python.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

/// Makes an environment with nothing but `pip` in it; returns its interpreter.
pub(crate) fn environment(folder: &Path) -> Result<PathBuf, String> {
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder), FIX)?;
    Ok(executable(folder))
}

fn executable(environment: &Path) -> PathBuf {
    environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" })
}

/// Runs a command; `fix` is what to do if it fails.
pub(crate) fn run(command: &mut Command, fix: &str) -> Result<(), String> {
    let said = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{said} failed ({status}): {fix}")),
        Err(e) => Err(format!("cannot start {said} ({e}): {fix}")),
    }
}
