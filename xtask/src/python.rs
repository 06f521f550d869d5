//! The Python against which files are checked: PyTorch and Lightning in `target/python`, installed once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const REQUIREMENTS: &str = "crates/zae-checkpoint/tests/python/requirements.txt";
const FIX: &str = "install Python 3.11 or later with its module venv (Debian: `apt-get install python3 python3-venv`)";

/// The interpreter; makes its environment if it is not there, or not of these requirements.
pub(crate) fn interpreter() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no folder above it")?;
    let requirements = root.join(REQUIREMENTS);
    let wanted = fs::read(&requirements).map_err(|e| format!("cannot read `{}`: {e}", requirements.display()))?;
    let folder = root.join("target/python");
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let stamp = folder.join("installed.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    eprintln!("\n==> Python with PyTorch and Lightning, once: some minutes, 4 GB in `{}`", folder.display());
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), FIX)?;
    // The list is complete, and leaves out what PyTorch asks for but does not need.
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
    let fix = "look at the message above: it needs network, 4 GB of disk, and Python 3.11 or later";
    run(Command::new(&python).args(pip).arg(&requirements), fix)?;
    // Last, so that an installation that was cut short is made again.
    fs::write(&stamp, wanted).map_err(|e| format!("cannot write `{}`: {e}", stamp.display()))?;
    Ok(python)
}

fn run(command: &mut Command, fix: &str) -> Result<(), String> {
    let said = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{said} failed ({status}): {fix}")),
        Err(e) => Err(format!("cannot start {said} ({e}): {fix}")),
    }
}
