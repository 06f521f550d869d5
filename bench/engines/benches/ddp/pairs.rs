//! The side of the bench: pairs of processes, by turns.

use std::{
    net::TcpListener,
    process::Command,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use Way::{
    BurnCeiling, BurnMpi, Ceiling, Gloo, GlooAfter, Lockstep, Mpi, MpiWhole, PyTorchCeiling, PyTorchDdp, Sums, Words,
};
use zae_bench_engines::{
    python::Python,
    worker::{Worker, again},
};
use zae_bench_peers::order::order;

use crate::rank::{RANKS, WORKLOAD};

/// Laps before those that count.
const WARM_UP: u64 = 3;
/// How many pairs of each way share the blocks.
const PROCESSES: u64 = 5;
/// Of each process.
const THREADS: usize = 1;
/// Steps in a lap.
const STEPS: u64 = 5;

/// A way for two processes to do something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    BurnCeiling,
    BurnMpi,
    Ceiling,
    Gloo,
    GlooAfter,
    Lockstep,
    Mpi,
    MpiWhole,
    PyTorchCeiling,
    PyTorchDdp,
    Sums,
    Words,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            BurnCeiling => "burn_ceiling",
            BurnMpi => "burn_mpi",
            Ceiling => "ceiling",
            Gloo => "gloo",
            GlooAfter => "gloo_after",
            Lockstep => "lockstep",
            Mpi => "mpi",
            MpiWhole => "mpi_whole",
            PyTorchCeiling => "pytorch_ceiling",
            PyTorchDdp => "pytorch_ddp",
            Sums => "sums",
            Words => "words",
        }
    }

    /// What starts it: a command for each rank, or one for both.
    fn commands(self, steps: u64, python: &Python) -> Vec<Command> {
        let (port, steps) = (port().to_string(), steps.to_string());
        let ours = |rank: &str| again(&[self.name(), &steps, rank, &port].map(str::to_owned));
        let script = |rank: &str, port: &[String]| {
            let words = [WORKLOAD, &steps, &THREADS.to_string(), rank].map(str::to_owned);
            python.script("ddp.py", &[&words, port].concat())
        };
        match self {
            BurnMpi | Mpi | MpiWhole => vec![mpirun(&ours("-"))],
            BurnCeiling | Ceiling | Gloo | GlooAfter | Lockstep | Sums | Words => ["0", "1"].map(ours).into(),
            PyTorchCeiling => ["0", "1"].map(|rank| script(rank, &[])).into(),
            PyTorchDdp => ["0", "1"].map(|rank| script(rank, std::slice::from_ref(&port))).into(),
        }
    }
}

/// Has `mpirun` start both.
fn mpirun(program: &Command) -> Command {
    let mut mpirun = Command::new("mpirun");
    mpirun.args(["-n", &RANKS.to_string(), "--bind-to", "none"]).arg(program.get_program());
    mpirun.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // What Open MPI needs for root; others do not know these variables.
    mpirun.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    mpirun
}

/// A port that is free, and stays so: the system gives none below 32768 to those that ask for any.
fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let next = std::process::id() as u16 % 10_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000;
        if TcpListener::bind(("0.0.0.0", 10_000 + next)).is_ok() {
            return 10_000 + next;
        }
    }
}

/// Two processes that do something together, or one that speaks for both.
struct Pair(Vec<Worker>);

impl Pair {
    /// Starts them; they wait at their first step.
    fn start(way: Way, steps: u64, python: &Python) -> Self {
        let start = |command| Worker::start(way.name(), command, THREADS);
        let mut workers: Vec<_> = way.commands(steps, python).into_iter().map(start).collect();
        workers.iter_mut().for_each(|worker| worker.wait(THREADS));
        Self(workers)
    }

    /// Makes some steps. Of each of the two numbers, the slower one's.
    fn lap(&mut self) -> [f64; 2] {
        // What the pair before has left to do in the background.
        std::thread::sleep(Duration::from_millis(2));
        self.0.iter_mut().for_each(|worker| worker.ask(STEPS));
        let numbers = self.0.iter_mut().map(Worker::numbers);
        numbers.fold([0.0; 2], |slower, own| [slower[0].max(own[0]), slower[1].max(own[1])])
    }

    /// Lets them run to their end. Returns their mean losses.
    fn finish(mut self) -> Vec<f64> {
        // Both, before one is waited for.
        self.0.iter_mut().for_each(Worker::end);
        self.0.into_iter().map(|worker| worker.finish().mean_loss).collect()
    }
}

/// What came out.
pub(crate) struct Laps {
    pub(crate) ways: Vec<Way>,
    /// Of every block, the lap of each way.
    blocks: Vec<Vec<[f64; 2]>>,
}

impl Laps {
    pub(crate) fn of(ways: Vec<Way>, blocks: u64, python: &Python) -> Self {
        let mut laps = Self { ways, blocks: Vec::new() };
        for process in 0..PROCESSES {
            laps.go(process, blocks / PROCESSES, python);
        }
        laps
    }

    fn go(&mut self, process: u64, blocks: u64, python: &Python) {
        // One more, so that the last lap ends where a step starts.
        let steps = (WARM_UP + blocks) * STEPS + 1;
        let mut pairs: Vec<_> = self.ways.iter().map(|way| Pair::start(*way, steps, python)).collect();
        for block in 0..WARM_UP + blocks {
            let mut laps = vec![[0.0; 2]; pairs.len()];
            for i in order(pairs.len(), process, block) {
                laps[i] = pairs[i].lap();
            }
            if block >= WARM_UP {
                self.blocks.push(laps);
            }
        }
        self.check(&pairs.into_iter().map(Pair::finish).collect::<Vec<_>>());
    }

    /// That all have trained the same.
    fn check(&self, losses: &[Vec<f64>]) {
        for (way, losses) in self.ways.iter().zip(losses) {
            let together = !matches!(way, BurnCeiling | Ceiling | PyTorchCeiling);
            assert!(
                !together || losses.iter().all(|loss| *loss == losses[0]),
                "{}: mean losses {losses:?}",
                way.name()
            );
        }
        for (way, other, allowed) in [
            (Gloo, PyTorchDdp, 1e-4),
            (Ceiling, PyTorchCeiling, 1e-4),
            (Gloo, GlooAfter, 1e-12),
            (Gloo, Mpi, 1e-12),
            (Mpi, MpiWhole, 1e-12),
        ] {
            let of = |way| self.place(way).map(|place| &losses[place]);
            for (own, theirs) in of(way).into_iter().flatten().zip(of(other).into_iter().flatten()) {
                let apart = (own / theirs - 1.0).abs();
                assert!(apart <= allowed, "mean loss of {} {own}, of {} {theirs}", way.name(), other.name());
            }
        }
    }

    fn place(&self, way: Way) -> Option<usize> {
        self.ways.iter().position(|other| *other == way)
    }

    /// Of every block, the laps by way.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = impl Fn(Way) -> [f64; 2]> {
        self.blocks.iter().map(|laps| |way| laps[self.place(way).unwrap()])
    }
}
