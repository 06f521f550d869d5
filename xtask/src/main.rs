//! `cargo xtask test`: what CI and a newcomer run. It needs the Rust toolchain, and for the last steps Python; the LibTorch
//! engine needs a C++ compiler, and MPI an MPI.
#![allow(clippy::print_stderr)]

mod chromium;
mod libtorch;
mod mpi;
mod path;
mod python;
mod slurm;

use std::{
    path::Path,
    process::{Command, ExitCode},
};

/// One command, and why it is run.
struct Step<'a> {
    why: &'static str,
    arguments: &'a [&'a str],
}

const TEST: [Step<'_>; 3] = [
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

// By themselves: nothing else needs LibTorch, nor asks for it.
const TCH: [Step<'_>; 3] = [
    Step {
        why: "the LibTorch engine, against the LibTorch in `.libtorch` or that of LIBTORCH",
        arguments: &["test", "--package", "zae-tch-sys", "--package", "zae-tch"],
    },
    Step {
        why: "the examples with LibTorch, for the next step",
        arguments: &["build", "--features", "tch", "--example", "minimal_tch", "--example", "mnist"],
    },
    // Without `--package`, as PYTHON.
    Step {
        why: "what these examples do: they learn, and when they are killed they go on where they were; weights of one engine in the other",
        arguments: &["test", "--features", "tch", "--test", "tch", "--test", "engines"],
    },
];

// Without `--package`, as `cargo test` above: with other packages, crates that Burn shares with them would have other
// features, and Burn would be compiled again.
const PYTHON: Step<'_> = Step {
    why: "PyTorch and Lightning read our checkpoints, and we theirs; models go from both engines to PyTorch and back; torchrun starts ranks",
    arguments: &[
        "test",
        "--features",
        "tch",
        "--test",
        "python",
        "--test",
        "python_folder",
        "--test",
        "pytorch",
        "--test",
        "pytorch_tch",
        "--test",
        "tch",
        "--",
        "--ignored",
    ],
};

// By themselves: one of them builds SQLite, in C, and all of them TLS.
const LOGGERS: Step<'_> = Step {
    why: "the loggers, with servers that behave badly",
    arguments: &["test", "--package", "zae-loggers", "--features", "wandb,neptune,mlflow,nvml"],
};

// By itself: nothing else needs MPI, nor asks for it.
const MPI: [Step<'_>; 3] = [
    Step {
        why: "processes that MPI connects, and what becomes of them when one is lost",
        arguments: &["test", "--package", "zae-parallel", "--features", "mpi"],
    },
    Step {
        why: "the example with MPI, for the next step",
        arguments: &["build", "--features", "mpi", "--example", "mnist"],
    },
    // Without `--package`, as PYTHON.
    Step {
        why: "the example on 1, 2, 4 and 8 ranks ends with the same bits",
        arguments: &["test", "--features", "mpi", "--test", "mpirun"],
    },
];

const SLURM: [Step<'_>; 2] = [
    Step {
        why: "processes that Slurm starts on two nodes, and jobs that it puts back into the queue, over MPI",
        arguments: &["test", "--package", "zae-parallel", "--features", "mpi", "--test", "slurm"],
    },
    Step { why: "such jobs over c10d", arguments: &["test", "--package", "zae-tch", "--test", "slurm"] },
];

// Not among all tests: it compiles LibTorch's bindings once more, and nothing in it that is not tested elsewhere runs without
// two GPUs.
const NCCL: Step<'_> = Step {
    why: "what needs NCCL compiles, and works over Gloo as before, with PyTorch's own LibTorch, which has CUDA",
    arguments: &[
        "test",
        "--package",
        "zae-tch",
        "--features",
        "nccl",
        "--test",
        "overlap",
        "--target-dir",
        "target/nccl",
    ],
};

const CHROMIUM: Step<'_> = Step {
    why: "a report as its readers see it, in Chromium: curves, mouse, keys and fingers, light and dark, wide and narrow",
    // Each of them starts a browser.
    arguments: &["test", "--package", "zae-report", "--test", "browser", "--", "--ignored", "--test-threads", "2"],
};

const LOGGERS_PYTHON: Step<'_> = Step {
    why: "what the trackers' own programs make of our files and requests",
    arguments: &["test", "--package", "zae-loggers", "--features", "wandb,neptune,mlflow,nvml", "--", "--ignored"],
};

const READERS: [&str; 6] = ["csv", "images", "jsonl", "npy", "tar", "text"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["test"] => {
            let steps = TEST.iter().try_for_each(|step| run(step, |_| {}));
            steps
                .and_then(|()| readers())
                .and_then(|()| loggers())
                .and_then(|()| with_chromium_if_there())
                .and_then(|()| with_mpi_if_there())
                .and_then(|()| with_slurm_if_there())
                .and_then(|()| with_libtorch())
                .and_then(|()| with_python())
        }
        ["loggers"] => loggers(),
        ["report"] => with_chromium(),
        ["mpi"] => with_mpi(),
        ["slurm"] => with_slurm(),
        ["tch"] => with_libtorch(),
        ["python"] => with_python(),
        ["nccl"] => with_nccl(),
        ["libtorch"] => libtorch::install(false),
        ["libtorch", "--cuda"] => libtorch::install(true),
        _ => {
            eprintln!("cargo xtask test               runs all tests, and checks what cannot be run here");
            eprintln!("cargo xtask loggers            runs those of the loggers alone");
            eprintln!("cargo xtask report             runs those of reports in a browser alone");
            eprintln!("cargo xtask mpi                runs those between processes of MPI alone");
            eprintln!("cargo xtask slurm              runs those of jobs of Slurm alone, on one that it starts");
            eprintln!("cargo xtask tch                runs those of the LibTorch engine alone");
            eprintln!(
                "cargo xtask python             runs the last of them alone: what PyTorch says about checkpoints"
            );
            eprintln!("cargo xtask nccl               compiles what needs NCCL; not among `test`");
            eprintln!("cargo xtask libtorch [--cuda]  installs LibTorch in `.libtorch`, unless LIBTORCH names one");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn readers() -> Result<(), String> {
    READERS.iter().try_for_each(|feature| {
        let arguments = ["check", "--package", "zae-data", "--no-default-features", "--features", feature];
        run(&Step { why: "each reader builds without the others", arguments: &arguments }, |_| {})
    })
}

fn loggers() -> Result<(), String> {
    run(&LOGGERS, |_| {})?;
    let python = python::interpreter(&python::LOGGERS)?;
    run(&LOGGERS_PYTHON, |cargo| {
        cargo.env("ZAE_PYTHON", &python);
    })
}

fn with_chromium() -> Result<(), String> {
    chromium::complete()?;
    run(&CHROMIUM, |_| {})
}

fn with_chromium_if_there() -> Result<(), String> {
    match chromium::complete() {
        Ok(()) => with_chromium(),
        Err(missing) => {
            eprintln!("\n==> SKIPPED: {}\n    {missing}", CHROMIUM.why);
            Ok(())
        }
    }
}

fn with_mpi() -> Result<(), String> {
    mpi::complete()?;
    MPI.iter().try_for_each(|step| run(step, |_| {}))
}

fn with_mpi_if_there() -> Result<(), String> {
    match mpi::complete() {
        Ok(()) => with_mpi(),
        Err(missing) => {
            eprintln!("\n==> SKIPPED: {}\n    {missing}", MPI[0].why);
            Ok(())
        }
    }
}

fn slurm_complete() -> Result<(), String> {
    mpi::complete()?;
    slurm::complete()
}

fn with_slurm() -> Result<(), String> {
    slurm_complete()?;
    libtorch::install(false)?;
    let cluster = slurm::Cluster::start()?;
    let enter = |cargo: &mut Command| {
        find_libtorch(cargo);
        cluster.enter(cargo);
    };
    SLURM.iter().try_for_each(|step| run(step, enter))
}

fn with_slurm_if_there() -> Result<(), String> {
    match slurm_complete() {
        Ok(()) => with_slurm(),
        Err(missing) => {
            eprintln!("\n==> SKIPPED: {}\n    {missing}", SLURM[0].why);
            Ok(())
        }
    }
}

fn with_libtorch() -> Result<(), String> {
    libtorch::install(false)?;
    TCH.iter().try_for_each(|step| run(step, find_libtorch))
}

fn with_python() -> Result<(), String> {
    libtorch::install(false)?;
    let python = python::interpreter(&python::TORCH)?;
    run(&TCH[1], find_libtorch)?;
    run(&PYTHON, |cargo| {
        find_libtorch(cargo);
        cargo.env("ZAE_PYTHON", &python);
    })
}

/// Headers of CUDA that nothing else here needs.
const CUDA_HEADERS: [&str; 3] =
    ["nvidia-cuda-cccl==13.3.5.0.6", "nvidia-cuda-crt==13.0.88", "nvidia-cusolver==12.0.4.66"];

fn with_nccl() -> Result<(), String> {
    let python = python::interpreter(&python::TORCH)?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
    python::run(Command::new(&python).args(pip).args(CUDA_HEADERS), "it needs network, and room on the disk")?;
    let libtorch = python::packages(&python)?.join("torch");
    run(&NCCL, |cargo| {
        cargo.env("LIBTORCH", &libtorch);
    })
}

/// What Cargo gave us may be from before the installation.
fn find_libtorch(cargo: &mut Command) {
    if libtorch::own().is_none() {
        cargo.env_remove("LIBTORCH");
    }
}

/// The workspace's folder.
fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

fn run(Step { why, arguments }: &Step<'_>, prepare: impl FnOnce(&mut Command)) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    eprintln!("\n==> {why}\n    cargo {}", arguments.join(" "));
    let mut command = Command::new(&cargo);
    prepare(command.args(*arguments));
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`cargo {}` failed ({status})", arguments.join(" "))),
        Err(e) => Err(format!("cannot start cargo: {e}")),
    }
}
