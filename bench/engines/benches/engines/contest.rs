//! The side of the bench: processes that train the same in different ways, by turns.

use std::{
    io::{BufRead, BufReader, Lines, Read, Seek, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use zae_bench_peers::{lap::Lap, order::order};

use crate::{CHILD, python::Python, workload::Workload};

/// Laps before those that count.
const WARM_UP: u64 = 3;
/// How many processes of each variant share the blocks.
const PROCESSES: u64 = 5;

/// A way to train.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Variant {
    Trainer,
    Tch,
    PyTorch,
    PyTorchFused,
    Lightning,
    LightningBarebones,
}

impl Variant {
    /// How it is called in the names of what is printed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Trainer => "trainer",
            Self::Tch => "raw_tch",
            Self::PyTorch => "pytorch",
            Self::PyTorchFused => "pytorch_fused",
            Self::Lightning => "lightning",
            Self::LightningBarebones => "lightning_barebones",
        }
    }

    /// Whether it needs Lightning.
    pub(crate) fn is_lightning(self) -> bool {
        matches!(self, Self::Lightning | Self::LightningBarebones)
    }

    fn command(self, workload: Workload, steps: u64, threads: usize, python: &Python) -> Command {
        let loop_by_hand = if workload.name == "adamw" { "adamw.py" } else { "raw.py" };
        let words = [workload.name.to_owned(), steps.to_string(), threads.to_string()];
        let mut command = match self {
            Self::Trainer | Self::Tch => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.env(CHILD, format!("{} {}", self.name(), words.join(" ")));
                command
            }
            Self::PyTorch => python.script(loop_by_hand, &words),
            Self::PyTorchFused => python.script(loop_by_hand, &[&words[..], &["fused".to_owned()]].concat()),
            Self::Lightning => python.script("with_lightning.py", &words),
            Self::LightningBarebones => {
                python.script("with_lightning.py", &[&words[..], &["barebones".to_owned()]].concat())
            }
        };
        // For what is parallel before anybody has asked LibTorch for a number of threads.
        command.env("OMP_NUM_THREADS", threads.to_string());
        command
    }
}

/// A process, waiting for what it is told.
struct Worker {
    name: &'static str,
    child: Child,
    requests: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    messages: std::fs::File,
}

/// What a process says at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    mean_loss: f64,
    /// The most memory that it had, in kB, where the system tells.
    pub(crate) peak: Option<f64>,
}

impl Worker {
    /// Starts it; it waits at its first step.
    fn start(variant: Variant, workload: Workload, steps: u64, threads: usize, python: &Python) -> Self {
        let messages = tempfile::tempfile().unwrap();
        let mut command = variant.command(workload, steps, threads, python);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(messages.try_clone().unwrap());
        let mut child = command.spawn().unwrap();
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut worker = Self { name: variant.name(), child, requests, answers, messages };
        let answer = worker.answer();
        assert!(answer.starts_with(&format!("ready {threads} ")), "{} runs on other threads: {answer}", worker.name);
        worker
    }

    fn answer(&mut self) -> String {
        if let Some(Ok(line)) = self.answers.next() {
            return line;
        }
        let status = self.child.wait().unwrap();
        let mut messages = String::new();
        self.messages.rewind().unwrap();
        self.messages.read_to_string(&mut messages).unwrap();
        panic!("{} ended ({status}):\n{messages}", self.name);
    }

    fn numbers(&mut self) -> Vec<f64> {
        let answer = self.answer();
        let numbers: Result<_, _> = answer.split_whitespace().map(str::parse).collect();
        numbers.unwrap_or_else(|_| panic!("{} says: {answer}", self.name))
    }

    /// Makes some steps.
    fn lap(&mut self, steps: u64) -> Lap {
        // The threads of the one before may still be looking for work.
        std::thread::sleep(Duration::from_millis(2));
        writeln!(self.requests.as_mut().unwrap(), "{steps}").unwrap();
        let numbers = self.numbers();
        Lap { wall: numbers[0], cpu: numbers[1] }
    }

    /// Lets it run to its end.
    fn finish(mut self) -> End {
        self.requests = None;
        let numbers = self.numbers();
        assert!(self.child.wait().unwrap().success(), "{} failed", self.name);
        End { mean_loss: numbers[0], peak: numbers.get(1).copied() }
    }
}

/// What came out for some variants of a workload.
pub(crate) struct Contest {
    pub(crate) workload: Workload,
    pub(crate) variants: Vec<Variant>,
    /// Of every block, the lap of each variant.
    pub(crate) laps: Vec<Vec<Lap>>,
    /// Of every set of processes, the end of each.
    pub(crate) ends: Vec<Vec<End>>,
}

impl Contest {
    pub(crate) fn run(workload: Workload, blocks: u64, threads: usize, python: &Python) -> Self {
        let variants = workload.variants.iter().copied();
        let variants: Vec<_> = variants.filter(|v| python.has_lightning() || !v.is_lightning()).collect();
        let mut contest = Self { workload, variants, laps: Vec::new(), ends: Vec::new() };
        for process in 0..PROCESSES {
            contest.go(process, blocks / PROCESSES, threads, python);
        }
        contest
    }

    fn go(&mut self, process: u64, blocks: u64, threads: usize, python: &Python) {
        let workload = self.workload;
        // One more, so that the last lap ends where a step starts.
        let steps = (WARM_UP + blocks) * workload.lap + 1;
        let start = |variant: &Variant| Worker::start(*variant, workload, steps, threads, python);
        let mut workers: Vec<_> = self.variants.iter().map(start).collect();
        for block in 0..WARM_UP + blocks {
            let mut laps = vec![Lap::default(); workers.len()];
            for i in order(workers.len(), process, block) {
                laps[i] = workers[i].lap(workload.lap);
            }
            if block >= WARM_UP {
                self.laps.push(laps);
            }
        }
        let ends: Vec<_> = workers.into_iter().map(Worker::finish).collect();
        self.check(&ends);
        self.ends.push(ends);
    }

    /// That all have trained the same: ours is the hand-written loop's bit for bit, but for the order of a sum.
    fn check(&self, ends: &[End]) {
        let ours = ends[0].mean_loss;
        for (variant, end) in self.variants.iter().zip(ends) {
            let allowed = if *variant == Variant::Tch { 1e-12 } else { 1e-4 };
            let apart = (end.mean_loss / ours - 1.0).abs();
            assert!(apart <= allowed, "{}: mean loss {}, and ours is {ours}", variant.name(), end.mean_loss);
        }
    }

    /// The place of a variant, if it took part.
    pub(crate) fn place(&self, variant: Variant) -> Option<usize> {
        self.variants.iter().position(|other| *other == variant)
    }
}
