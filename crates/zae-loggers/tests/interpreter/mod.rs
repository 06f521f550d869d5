//! The Python that has the trackers' own clients.

use std::{path::Path, process::Command};

/// A command of that Python.
pub(crate) fn python() -> Command {
    let python = std::env::var_os("ZAE_PYTHON");
    let mut command = Command::new(python.expect("ZAE_PYTHON is not set: `cargo xtask loggers` sets it"));
    // They leave logs of their own where they are started.
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    // What the user's own settings would change.
    for (name, _) in std::env::vars_os() {
        if ["WANDB_", "NEPTUNE_", "MLFLOW_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs it; it has to succeed. Returns what it prints.
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out
}

/// One of our scripts.
pub(crate) fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name)
}
