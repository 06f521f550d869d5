//! What logging costs. Ends with lines `name value unit`.
//!
//! `row_ns_wandb`, `row_cpu_ns_wandb`: what a row of five values costs the training thread with the logger, against the same run
//! without, in pairs; of wall time, and of the CPU time of that thread, where Linux tells it. The median, and in brackets what
//! holds it with 95 %. `row_ns_all_sinks`, `row_cpu_ns_all_sinks`: the same with TensorBoard, W&B, Neptune and MLflow at once, the
//! last with a server that is not there; steps take 50 microseconds, so that there is time for what all of them write. `wandb_100k_rows_s`: from the first of 100,000 such rows until all are on disk in W&B's format, the making
//! of the rows included. `rss_mb_dead_server`: by how much more the memory of a process grows at most when it logs a million
//! rows to a server that is not there than when it logs a hundred thousand.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use zae_core::{
    add_on::{AddOn, Context},
    data::from_fn,
    error::Fallible,
    step::Step,
    task::{At, StepResult, Task},
    testing::null::Null,
    trainer::{Trainer, Until},
};
use zae_loggers::{MlflowLogger, NeptuneLogger, TensorBoardLogger, WandbLogger, wandb::Mode};

/// Works for a while, and reports four metrics; the fifth is the learning rate.
struct Working(Duration);

impl Task for Working {
    type Learner = Null;
    type Batch = f64;
    fn train_step(&self, (): &(), batch: f64, _: &At) -> StepResult<Self> {
        let since = Instant::now();
        while since.elapsed() < self.0 {
            std::hint::spin_loop();
        }
        Ok(Step::new(batch, 32)
            .metric("accuracy", 1.0 - batch)
            .metric("top5", batch * 0.3)
            .metric("entropy", batch * 7.0))
    }
    fn test_step(&self, model: &(), batch: f64, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

/// Notes when the first and the last step were done: what a run costs once is no cost of a row.
struct Stopwatch {
    last: u64,
    times: Arc<Mutex<Vec<(Instant, f64)>>>,
}

/// Nanoseconds this thread was on a CPU; NaN where that is not known.
fn cpu_time() -> f64 {
    // The count is brought up to date when the scheduler is called.
    std::thread::yield_now();
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(f64::NAN)
}

impl AddOn for Stopwatch {
    fn name(&self) -> &'static str {
        "stopwatch"
    }
    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        if cx.progress.step() == 1 || cx.progress.step() == self.last {
            self.times.lock().unwrap().push((Instant::now(), cpu_time()));
        }
        Ok(())
    }
}

fn trainer(dir: &Path, work: Duration) -> Trainer<Working> {
    Trainer::new(Working(work), Null::default()).scheduler(1e-3).run_dir(dir).handle_signals(false)
}

fn wandb() -> WandbLogger {
    WandbLogger::new("bench").mode(Mode::Offline)
}

fn train(mut trainer: Trainer<Working>, steps: u64) {
    let data = from_fn(|_| (0..u64::MAX).map(|i| Ok(1.0 / (i as f64 + 3.0))));
    trainer.run(Until::steps(steps), data, ()).unwrap();
}

/// All files of a run, in bytes.
fn logged(dir: &Path) -> u64 {
    let sizes = fs::read_dir(dir.join("wandb")).unwrap().map(|run| {
        let files = fs::read_dir(run.unwrap().path()).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>()
    });
    sizes.sum()
}

/// Nanoseconds per step, of time and of CPU time. A step works for so long.
fn steps(loggers: Option<Vec<Box<dyn AddOn>>>, work: Duration, steps: u64) -> [f64; 2] {
    let dir = tempfile::tempdir().unwrap();
    let times = Arc::default();
    let watch = Stopwatch { last: steps, times: Arc::clone(&times) };
    let is_logged = loggers.is_some();
    train(trainer(dir.path(), work).add_on((watch, loggers)), steps);
    assert!(!is_logged || logged(dir.path()) > steps * 100, "rows are missing");
    let times = times.lock().unwrap();
    let ((from, cpu_from), (to, cpu_to)) = (times[0], times[1]);
    [(to - from).as_nanos() as f64, cpu_to - cpu_from].map(|nanos| nanos / (steps - 1) as f64)
}

/// The median, and between what it is with 95 %.
fn median(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let (middle, around) = (values.len() / 2, (values.len() as f64).sqrt() as usize);
    (values[middle], values[middle.saturating_sub(around)], values[(middle + around).min(values.len() - 1)])
}

fn report(name: &str, values: Vec<f64>, unit: &str, digits: usize) {
    match median(values) {
        (middle, ..) if middle.is_nan() => println!("{name} n/a (the system does not tell)"),
        (middle, low, high) => println!("{name} {middle:.digits$} {unit} [{low:.digits$} {high:.digits$}]"),
    }
}

/// Seconds until so many rows are on disk.
fn on_disk(rows: u64) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let times = Arc::default();
    let watch = Stopwatch { last: rows, times: Arc::clone(&times) };
    train(trainer(dir.path(), Duration::ZERO).add_on((watch, wandb())), rows);
    assert!(logged(dir.path()) > rows * 100, "rows are missing");
    times.lock().unwrap()[0].0.elapsed().as_secs_f64()
}

/// What a row costs with these loggers.
fn row(name: &str, loggers: impl Fn() -> Vec<Box<dyn AddOn>>, work: Duration, rows: u64) {
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    for i in 0..41u32 {
        // Which one goes first changes, so that a machine that gets faster or slower favours none.
        let with_first = i.is_multiple_of(2);
        let run = |with: bool| steps(with.then(&loggers), work, rows);
        let (first, second) = (run(with_first), run(!with_first));
        let (with, without) = if with_first { (first, second) } else { (second, first) };
        wall.push(with[0] - without[0]);
        cpu.push(with[1] - without[1]);
    }
    report(&format!("row_ns_{name}"), wall, "ns", 1);
    report(&format!("row_cpu_ns_{name}"), cpu, "ns", 1);
}

/// All there are. No server gets anything.
fn all() -> Vec<Box<dyn AddOn>> {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mlflow = MlflowLogger::new("bench").tracking_uri(format!("http://{nobody}")).finish_within(Duration::ZERO);
    vec![
        Box::new(TensorBoardLogger::new()),
        Box::new(wandb()),
        Box::new(NeptuneLogger::new("me/bench").offline()),
        Box::new(mlflow),
    ]
}

const ROWS: &str = "ZAE_BENCH_ROWS";

/// The most memory that a process takes that logs so many rows to nobody, in MiB.
fn peak(rows: u64) -> Option<f64> {
    let child = Command::new(std::env::current_exe().ok()?).env(ROWS, rows.to_string()).output().ok()?;
    String::from_utf8_lossy(&child.stdout).trim().parse().ok()
}

fn log_to_nobody(rows: u64) {
    let dir = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let logger =
        WandbLogger::new("bench").api_key("key").base_url(format!("http://{nobody}")).finish_within(Duration::ZERO);
    train(trainer(dir.path(), Duration::from_micros(5)).add_on(logger), rows);
    assert!(logged(dir.path()) > rows * 100, "rows are missing");
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    peak.into_iter().for_each(|kib| println!("{}", kib / 1024.0));
}

fn main() {
    if let Ok(rows) = std::env::var(ROWS) {
        log_to_nobody(rows.parse().unwrap());
        return;
    }
    row("wandb", || vec![Box::new(wandb())], Duration::from_micros(5), 20_000);
    row("all_sinks", all, Duration::from_micros(50), 10_000);
    report("wandb_100k_rows_s", (0..11).map(|_| on_disk(100_000)).collect(), "s", 3);
    match peak(100_000).zip(peak(1_000_000)) {
        Some((few, many)) => println!("rss_mb_dead_server {:.1} MiB", many - few),
        None => println!("rss_mb_dead_server n/a (the system does not tell)"),
    }
}
