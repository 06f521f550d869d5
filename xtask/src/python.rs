//! The Python against which files are checked: PyTorch and Lightning in `target/python`, installed once.
//!
//! And what others need of Python too: an environment of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const REQUIREMENTS: &str = "crates/zae-checkpoint/tests/python/requirements.txt";
const FIX: &str = "install Python 3.11 or later with its module venv (Debian: `apt-get install python3 python3-venv`)";

/// The interpreter; makes its environment if it is not there, or not of these requirements.
pub(crate) fn interpreter() -> Result<PathBuf, String> {
    let root = crate::root();
    let requirements = root.join(REQUIREMENTS);
    let wanted = fs::read(&requirements).map_err(|e| format!("cannot read `{}`: {e}", requirements.display()))?;
    let folder = root.join("target/python");
    let stamp = folder.join("installed.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(executable(&folder));
    }
    eprintln!("\n==> Python with PyTorch and Lightning, once: some minutes, 4 GB in `{}`", folder.display());
    let python = environment(&folder)?;
    // The list is complete, and leaves out what PyTorch asks for but does not need.
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
    let fix = "look at the message above: it needs network, 4 GB of disk, and Python 3.11 or later";
    run(Command::new(&python).args(pip).arg(&requirements), fix)?;
    // Last, so that an installation that was cut short is made again.
    fs::write(&stamp, wanted).map_err(|e| format!("cannot write `{}`: {e}", stamp.display()))?;
    Ok(python)
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
