//! What the trainer itself costs, on a learner that does nothing. Ends with lines `name value unit`.
//!
//! `step_ns_bare`, `step_ns_eight_add_ons`: wall time per step. `step_ns_defaults`: what the default add-ons (progress
//! bar, table of epochs, CSV file) cost the training thread per step of a learner that works for 20 us, against the same
//! run without them, in pairs; `step_cpu_ns_defaults`: the same in the CPU time of that thread, where Linux tells it,
//! which other programs on the machine do not change much. `step_instructions_bare`: instructions per step, counted by
//! callgrind where valgrind is installed. `one_process_instructions`: how many more there are with an add-on that connects
//! processes, when there is one process only.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::{
    hint::black_box,
    io::{IsTerminal, sink, stderr},
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use zae_core::{
    add_on::{AddOn, Context},
    add_ons::{CsvLogger, EpochTable, ProgressBar},
    data::from_fn,
    engine::{Engine, Visit},
    error::Fallible,
    learner::{Clip, Learner, Readout, StateDict, Stepped, Update},
    process_group::Parallel,
    step::Step,
    task::{At, Mode, StepResult, Task},
    trainer::{NonFinite, Trainer, Until},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A learner that does nothing, or spins.
struct Null {
    weight: f64,
    spin: Duration,
}

impl Engine for Null {
    fn name(&self) -> &'static str {
        "null"
    }
    fn gradients(&mut self, _: Visit<'_>) -> Fallible {
        Ok(())
    }
    fn parameters(&mut self, _: Visit<'_>) -> Fallible {
        Ok(())
    }
}

impl Learner for Null {
    type Model = f64;
    type Scalar = f64;
    type Device = ();
    fn init(&mut self, _: u64) -> Fallible {
        Ok(())
    }
    fn device(&self, _: Mode) {}
    fn to_device(&mut self, (): &()) -> Fallible {
        Ok(())
    }
    fn seed(&mut self, seed: u64) {
        black_box(seed);
    }
    fn train<R>(&mut self, f: impl FnOnce(&f64) -> R) -> Fallible<R> {
        if !self.spin.is_zero() {
            let since = Instant::now();
            while since.elapsed() < self.spin {
                std::hint::spin_loop();
            }
        }
        Ok(f(&self.weight))
    }
    fn eval<R>(&mut self, f: impl FnOnce(&f64) -> R) -> Fallible<R> {
        Ok(f(&self.weight))
    }
    fn backward(&mut self, loss: f64, _: f64, _: bool) -> Fallible<f64> {
        Ok(black_box(loss))
    }
    fn detach(&self, value: f64) -> f64 {
        value
    }
    fn read(&self, lazy: &[f64], out: &mut Readout) -> Fallible {
        lazy.iter().for_each(|value| out.push(&[*value]));
        Ok(())
    }
    fn clip(&mut self, _: f64, _: &Clip) -> Fallible<Option<f64>> {
        Ok(None)
    }
    fn step(&mut self, update: &Update) -> Fallible<Stepped> {
        self.weight -= black_box(update.lr);
        Ok(Stepped::Applied)
    }
    fn zero_grad(&mut self) {}
    fn snapshot(&mut self) -> Fallible<StateDict> {
        Ok(StateDict::default())
    }
    fn load(&mut self, _: &StateDict) -> Fallible {
        Ok(())
    }
    fn model(&mut self) -> Fallible<&f64> {
        Ok(&self.weight)
    }
    fn into_model(self) -> Fallible<f64> {
        Ok(self.weight)
    }
}

struct Nothing;

impl Task for Nothing {
    type Learner = Null;
    type Batch = f64;
    fn train_step(&self, model: &f64, batch: f64, _: &At) -> StepResult<Self> {
        Ok(Step::new(model * batch, 32).metric("accuracy", batch))
    }
    fn test_step(&self, model: &f64, batch: f64, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

struct Count(u64, String);

impl AddOn for Count {
    fn name(&self) -> &str {
        &self.1
    }
    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.0 += cx.progress.step();
        Ok(())
    }
}

/// Connects processes, of which there is one.
struct OneProcess;

impl AddOn for OneProcess {
    fn name(&self) -> &'static str {
        "one-process"
    }
    fn parallel(&mut self, _: &mut dyn Engine) -> Fallible<Option<Parallel>> {
        Ok(Some(Parallel::new(None)))
    }
}

/// Notes when the first and the last step were done: what a run costs once is no cost of a step.
struct Stopwatch {
    last: u64,
    times: Arc<Mutex<Vec<(Instant, f64)>>>,
}

/// Nanoseconds this thread was on a CPU; NaN where that is not known.
fn cpu_time() -> f64 {
    // The count is brought up to date when the scheduler is called.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
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

fn trainer(spin: Duration) -> Trainer<Nothing> {
    Trainer::new(Nothing, Null { weight: 0.0, spin }).scheduler(1e-3).on_non_finite(NonFinite::Stop)
}

/// Nanoseconds per step.
fn time(mut trainer: Trainer<Nothing>, steps: u64) -> f64 {
    let data = from_fn(|_| (0..u64::MAX).map(|i| Ok(i as f64 * 1e-9)));
    let since = Instant::now();
    let run = trainer.run(Until::steps(steps), data, ()).unwrap();
    let nanos = since.elapsed().as_nanos() as f64;
    assert_eq!(trainer.progress().step(), steps, "{:?}", run.outcome);
    nanos / steps as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn eight() -> Vec<Count> {
    (0..8).map(|i| Count(0, format!("count {i}"))).collect()
}

/// Nanoseconds per step, of time and of CPU time, of a learner that works for 20 us, with the default add-ons or without.
/// No row may be missing.
fn working(with_defaults: bool, steps: u64) -> [f64; 2] {
    let dir = tempfile::tempdir().unwrap();
    let times = Arc::default();
    let watch = Stopwatch { last: steps, times: Arc::clone(&times) };
    let mut trainer = trainer(Duration::from_micros(20)).run_dir(dir.path()).add_on(watch);
    if with_defaults {
        // A bar where there is a terminal to draw it on; in any case its thread and its hooks.
        let bar = ProgressBar::new();
        let bar = if stderr().is_terminal() { bar } else { bar.to(sink()) };
        trainer = trainer.add_on((bar, EpochTable::to(sink()), CsvLogger::new()));
    }
    time(trainer, steps);
    if with_defaults {
        let log = std::fs::read_to_string(dir.path().join("metrics.csv")).unwrap();
        let rows = log.lines().skip(1).enumerate();
        let right = rows.filter(|(i, row)| row.starts_with(&format!("step,0,{i},{i},"))).count();
        assert_eq!(right as u64, steps, "rows are missing");
    }
    let times = times.lock().unwrap();
    let ((from, cpu_from), (to, cpu_to)) = (times[0], times[1]);
    [(to - from).as_nanos() as f64, cpu_to - cpu_from].map(|nanos| nanos / (steps - 1) as f64)
}

/// Instructions of this very program, training `steps` steps in a process of its own.
fn instructions(steps: u64, one_process: bool) -> Option<f64> {
    let program = std::env::current_exe().ok()?;
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .env("ZAE_BENCH_STEPS", steps.to_string())
        .envs(one_process.then_some(("ZAE_BENCH_ONE_PROCESS", "1")))
        .output()
        .ok()?;
    let log = String::from_utf8_lossy(&out.stderr);
    log.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

fn main() {
    if let Ok(steps) = std::env::var("ZAE_BENCH_STEPS") {
        let one = std::env::var_os("ZAE_BENCH_ONE_PROCESS").is_some().then_some(OneProcess);
        time(trainer(Duration::ZERO).add_on(one), steps.parse().unwrap());
        return;
    }
    let blocks = 11;
    let (mut bare, mut with_eight) = (Vec::new(), Vec::new());
    for _ in 0..blocks {
        bare.push(time(trainer(Duration::ZERO), 1_000_000));
        with_eight.push(time(trainer(Duration::ZERO).add_on(eight()), 1_000_000));
    }
    println!("step_ns_bare {:.1} ns", median(bare));
    println!("step_ns_eight_add_ons {:.1} ns", median(with_eight));
    let (pairs, steps) = (41u32, 15_000);
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    for i in 0..pairs {
        // Which one goes first changes, so that a machine that gets faster or slower favours none.
        let with_first = i.is_multiple_of(2);
        let (first, second) = (working(with_first, steps), working(!with_first, steps));
        let (with, without) = if with_first { (first, second) } else { (second, first) };
        wall.push(with[0] - without[0]);
        cpu.push(with[1] - without[1]);
    }
    println!("step_ns_defaults {:.1} ns", median(wall));
    match median(cpu) {
        nanos if nanos.is_nan() => println!("step_cpu_ns_defaults n/a (the system does not tell)"),
        nanos => println!("step_cpu_ns_defaults {nanos:.1} ns"),
    }
    let per_step = |one| Some((instructions(120_000, one)? - instructions(20_000, one)?) / 100_000.0);
    match per_step(false).zip(per_step(true)) {
        Some((bare, one)) => {
            println!("step_instructions_bare {bare:.0} instructions");
            println!("one_process_instructions {:.0} instructions", one - bare);
        }
        None => println!("step_instructions_bare n/a (valgrind is not installed)"),
    }
}
