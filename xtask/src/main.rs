//! `cargo xtask test`: what CI and a newcomer run. It needs nothing but the Rust toolchain.
#![allow(clippy::print_stderr)]

use std::process::{Command, ExitCode};

/// One command, and why it is run.
struct Step {
    why: &'static str,
    arguments: &'static [&'static str],
}

const TEST: [Step; 3] = [
    Step {
        why: "every test of the core, the Burn engine, the facade and its examples, and every example in the documentation",
        arguments: &["test"],
    },
    Step {
        why: "the core builds without any of its features",
        arguments: &["check", "--package", "zae-core", "--no-default-features"],
    },
    Step {
        why: "Burn on GPUs compiles (nothing runs: that takes a GPU)",
        arguments: &["check", "--package", "zae-engine", "--features", "vulkan"],
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["test"] => run(&TEST),
        _ => {
            eprintln!("cargo xtask test    runs all tests, and checks what cannot be run here");
            ExitCode::from(2)
        }
    }
}

fn run(steps: &[Step]) -> ExitCode {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for Step { why, arguments } in steps {
        eprintln!("\n==> {why}\n    cargo {}", arguments.join(" "));
        match Command::new(&cargo).args(*arguments).status() {
            Ok(status) if status.success() => {}
            Ok(status) => {
                eprintln!("`cargo {}` failed ({status})", arguments.join(" "));
                return ExitCode::FAILURE;
            }
            Err(e) => {
                eprintln!("cannot start cargo: {e}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
