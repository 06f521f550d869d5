//! Processes that train the same in different ways, by turns.

use std::{process::Command, time::Duration};

use zae_bench_engines::{
    python::Python,
    worker::{End, Worker, again},
    workload::Workload,
};
use zae_bench_peers::{lap::Lap, order::order};

use Variant::{Lightning, LightningBarebones, PyTorch, PyTorchFused, Tch, Trainer};

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
        match self {
            Self::Trainer | Self::Tch => again(&[&[self.name().to_owned()], &words[..]].concat()),
            Self::PyTorch => python.script(loop_by_hand, &words),
            Self::PyTorchFused => python.script(loop_by_hand, &[&words[..], &["fused".to_owned()]].concat()),
            Self::Lightning => python.script("with_lightning.py", &words),
            Self::LightningBarebones => {
                python.script("with_lightning.py", &[&words[..], &["barebones".to_owned()]].concat())
            }
        }
    }
}

/// Who does what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) workload: &'static str,
    /// The first is ours.
    variants: &'static [Variant],
    /// Steps of one variant in one block.
    lap: u64,
    pub(crate) blocks: u64,
}

pub(crate) const PLANS: [Plan; 4] = [
    Plan {
        workload: "mlp8",
        variants: &[Trainer, Tch, PyTorchFused, PyTorch, Lightning, LightningBarebones],
        lap: 30,
        blocks: 350,
    },
    Plan { workload: "tiny8", variants: &[Trainer, Tch], lap: 200, blocks: 350 },
    Plan { workload: "cnn64", variants: &[Trainer, PyTorchFused, PyTorch], lap: 2, blocks: 150 },
    Plan { workload: "adamw", variants: &[Trainer, PyTorchFused], lap: 5, blocks: 200 },
];

/// Makes some steps.
fn lap(worker: &mut Worker, steps: u64) -> Lap {
    // The threads of the one before may still be looking for work.
    std::thread::sleep(Duration::from_millis(2));
    worker.ask(steps);
    let numbers = worker.numbers();
    Lap { wall: numbers[0], cpu: numbers[1] }
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
    pub(crate) fn run(plan: Plan, blocks: u64, threads: usize, python: &Python) -> Self {
        let workload = Workload::named(plan.workload).unwrap();
        let variants = plan.variants.iter().copied();
        let variants: Vec<_> = variants.filter(|v| python.has_lightning() || !v.is_lightning()).collect();
        let mut contest = Self { workload, variants, laps: Vec::new(), ends: Vec::new() };
        for process in 0..PROCESSES {
            contest.go(process, plan.lap, blocks / PROCESSES, threads, python);
        }
        contest
    }

    fn go(&mut self, process: u64, steps_per_lap: u64, blocks: u64, threads: usize, python: &Python) {
        let workload = self.workload;
        // One more, so that the last lap ends where a step starts.
        let steps = (WARM_UP + blocks) * steps_per_lap + 1;
        let start = |variant: &Variant| {
            let command = variant.command(workload, steps, threads, python);
            let mut worker = Worker::start(variant.name(), command, threads);
            worker.wait(threads);
            worker
        };
        let mut workers: Vec<_> = self.variants.iter().map(start).collect();
        for block in 0..WARM_UP + blocks {
            let mut laps = vec![Lap::default(); workers.len()];
            for i in order(workers.len(), process, block) {
                laps[i] = lap(&mut workers[i], steps_per_lap);
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
