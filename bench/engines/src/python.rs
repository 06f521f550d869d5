//! The Python that has PyTorch.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Names the interpreter.
const VARIABLE: &str = "ZAE_BENCH_PYTHON";

/// An interpreter that has PyTorch.
pub struct Python {
    program: PathBuf,
    /// Lightning's version, if it is there.
    lightning: Option<String>,
}

impl Python {
    /// That of the environment, or else the one in which `cargo xtask` tests checkpoints.
    pub fn find() -> Result<Self, String> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/python/bin/python");
        let program = std::env::var_os(VARIABLE).map_or(own, PathBuf::from);
        let mut python = Self { program, lightning: None };
        let Some(torch) = python.version_of("torch") else {
            let program = python.program.display();
            return Err(format!(
                "`{program}` is no Python with PyTorch: `cargo xtask python` makes one, or {VARIABLE} names one of yours"
            ));
        };
        python.lightning = python.version_of("lightning");
        let lightning = python.lightning.as_deref().unwrap_or("missing, its lines are left out");
        eprintln!("PyTorch {torch}, Lightning {lightning}, LibTorch {}", zae_tch_sys::version());
        Ok(python)
    }

    /// Whether Lightning is there.
    pub fn has_lightning(&self) -> bool {
        self.lightning.is_some()
    }

    fn version_of(&self, package: &str) -> Option<String> {
        let code = format!("import {package}; print({package}.__version__)");
        let output = self.command().args(["-c", &code]).stderr(Stdio::null()).output().ok()?;
        let version = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        output.status.success().then_some(version)
    }

    /// Runs a file of `python/`.
    pub fn script(&self, name: &str, arguments: &[String]) -> Command {
        let mut command = self.command();
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name)).args(arguments);
        command
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Cargo's, with our LibTorch in it: PyTorch has its own. And nothing is written into the repository.
        command.env_remove("LD_LIBRARY_PATH").env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}
