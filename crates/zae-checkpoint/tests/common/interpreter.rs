//! Python, which tests of several packages start: each has its scripts in `tests/python`.
#![allow(clippy::expect_used, clippy::panic, unreachable_pub)]

use std::{path::Path, process::Command};

/// Runs a script; returns what it has printed.
pub fn python(script: &str, arguments: &[&Path]) -> Vec<u8> {
    let python = std::env::var_os("ZAE_PYTHON");
    let python = python.expect("ZAE_PYTHON is not set: `cargo xtask test` sets it to a Python that has torch");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    // With LibTorch among the packages Cargo points it there, which is not all that Python's PyTorch has.
    let output = Command::new(&python).env_remove("LD_LIBRARY_PATH").arg(&script).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("cannot start {}: {e}", python.display()));
    let said = [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat();
    assert!(output.status.success(), "{} failed ({}):\n{said}", script.display(), output.status);
    output.stdout
}
