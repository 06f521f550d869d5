//! What the examples share: options, the summary they write, and one add-on.

#![allow(clippy::print_stdout)]

use std::{fs, path::PathBuf, time::Instant};

use clap::Args;
use serde_json::{Value, json};
use zae_engine::prelude::*;

/// Options that every example has.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Epochs to train, in all
    #[arg(long)]
    pub(crate) epochs: u64,
    /// Samples per batch
    #[arg(long)]
    pub(crate) batch_size: usize,
    /// Decides everything random
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// At most so many batches per epoch, for a quick look
    #[arg(long)]
    pub(crate) limit_batches: Option<u64>,
    /// Batches per optimizer step
    #[arg(long, default_value_t = 1)]
    pub(crate) accumulate: u64,
    /// The highest learning rate
    #[arg(long)]
    pub(crate) lr: f64,
    /// Threads for the tensor kernels [default: one per core]
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Start over, even if there are checkpoints to go on from
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Where metrics.csv, summary.json and checkpoints go
    #[arg(long)]
    pub(crate) run_dir: PathBuf,
}

/// The command line. Each example has its own defaults.
pub(crate) fn command<A: Args>(about: &'static str, defaults: &[(&'static str, &'static str)]) -> clap::Command {
    let mut command = A::augment_args(clap::Command::new(env!("CARGO_CRATE_NAME"))).about(about);
    for &(name, value) in defaults {
        command = command.mut_arg(name, |arg| arg.required(false).default_value(value));
    }
    command
}

impl Options {
    /// Takes the number of threads into account for Burn. Comes before any tensor.
    pub(crate) fn set_threads(&self) -> Result<(), BoxError> {
        if let Some(threads) = self.threads {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
        }
        Ok(())
    }

    /// How many batches of an epoch are used.
    pub(crate) fn limit(&self) -> u64 {
        self.limit_batches.unwrap_or(u64::MAX)
    }
}

/// What `main` fails with. Its `Debug`, which is what the user sees, is the message.
pub(crate) struct Failure(BoxError);

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// An add-on that takes the time from the start of the program to the end of its first optimizer step.
pub(crate) struct FirstStep {
    started: Instant,
    pub(crate) seconds: Option<f64>,
}

impl FirstStep {
    pub(crate) fn since(started: Instant) -> Self {
        Self { started, seconds: None }
    }
}

impl AddOn for FirstStep {
    fn name(&self) -> &str {
        "first-step"
    }
    fn on_step_end(&mut self, _: &mut Context<'_>) -> Fallible {
        self.seconds.get_or_insert_with(|| self.started.elapsed().as_secs_f64());
        Ok(())
    }
}

/// Writes `summary.json` into the run folder, and the closing line to standard output.
pub(crate) fn finish<T: Task>(trainer: &Trainer<T>, options: &Options, test: &Evaluation) -> Result<(), BoxError> {
    // Of several processes, the first speaks for all.
    if trainer.rank() > 0 {
        return Ok(());
    }
    let progress = trainer.progress();
    let seconds = progress.elapsed().as_secs_f64();
    let measured =
        |evaluation: &Evaluation| json!({ "loss": evaluation.loss(), "accuracy": evaluation.get("accuracy") });
    let summary = json!({
        "test": measured(test),
        "valid": trainer.history().evaluations.last().map(measured),
        "epochs": progress.epoch(),
        "steps": progress.step(),
        "samples": progress.samples(),
        "seconds": seconds,
        "samples_per_second": progress.samples() / seconds,
        "peak_rss_mb": peak_rss_mb(),
        "seconds_to_first_step": trainer.get::<FirstStep>().and_then(|first| first.seconds),
    });
    fs::write(options.run_dir.join("summary.json"), serde_json::to_string_pretty(&summary)? + "\n")?;
    let number = |name| test.get(name).unwrap_or(f64::NAN);
    println!("test loss {:.4} accuracy {:.4}", number("loss"), number("accuracy"));
    Ok(())
}

/// The most memory this process has had, where the system tells (Linux).
fn peak_rss_mb() -> Value {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    peak.map_or(Value::Null, |kib| json!((kib / 102.4).round() / 10.0))
}
