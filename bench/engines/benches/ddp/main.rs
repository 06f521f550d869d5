//! Our trainer as two processes on LibTorch, against what two processes could do at best, and PyTorch's DDP against the same.
//!
//! `cargo bench -p zae-bench-engines --bench ddp [--features mpi,burn] [-- [--quick] [--link RATE]]`
//!
//! `--quick` makes few blocks. PyTorch is that of the Python which the variable `ZAE_BENCH_PYTHON` names, as for the bench
//! `engines`. With the feature `mpi`, `mpirun` has to be that of the MPI with which it was built; with `burn` beside it, two
//! processes on Burn are measured too, by themselves.
//!
//! `--link 4gbit` runs all in a network namespace whose loopback carries no more than that, both directions and all processes
//! together (Linux, as root, with iproute2). Every name ends in `_4gbit` then.
//!
//! # What runs
//!
//! Pairs of processes on this machine, each process with one thread. Both train the network of `cnn64` (see the bench `engines`),
//! with 32 samples per process and step, from the same weights on the same 16 batches of noise, of which rank r takes the
//! numbers 2s + r at step s: that is how the trainer shares them. AdamW, cross-entropy and the reading of losses are those of
//! `engines`.
//!
//! - `ceiling`: two of our trainers that do not know of each other.
//! - `gloo`: two ranks of our trainer, with `DataParallel` and `C10dGroup`.
//! - `gloo_after`: the same with a group that the learner does not know, so that gradients are summed when all are there, and not
//!   while the backward pass goes on.
//! - `lockstep`: the same, but no gradients are exchanged. All that is left is that ranks wait for each other, and their words.
//! - `mpi`: two ranks with `MpiGroup`, started by `mpirun`.
//! - `mpi_whole`: the same, but all gradients are gathered before the first is summed, and summed before the first is written back.
//! - `pytorch_ddp`: `DistributedDataParallel` over Gloo as it comes, in a hand-written loop with `AdamW(fused=True)`.
//! - `pytorch_ceiling`: the same loop, twice, without it.
//! - `burn_mpi`, `burn_ceiling`: as `mpi` and `ceiling`, with the same network and optimizer on Burn.
//! - `sums`: nothing but sums of as many numbers as the network has, by `C10dGroup` and by the Gloo of `zae-tch-sys`.
//! - `words`: nothing but words, as ranks exchange them twice a step, and 1,025 bytes, which c10d gathers in its ring.
//!
//! At the end the mean losses of both ranks have to be equal, and close to those of PyTorch's DDP; those of the ceilings too,
//! rank by rank.
//!
//! # How it is timed
//!
//! As in `engines`: laps of some steps in random order, five sets of processes, and of ratios of neighbours in time the median
//! and its 95 % interval, as `name value unit [low high]`. Both processes of a pair are told to start at the same time, and the
//! lap takes as long as the slower one. Connecting, sending rank 0's weights and the first steps are in no lap.
//!
//! - `ddp_of_ceiling_gloo`, `ddp_of_ceiling_mpi`: wall time of a step of `ceiling`, over one of ours. 1 is perfect.
//! - `ddp_of_lockstep_gloo`: the same, of `lockstep` over ours: what moving gradients leaves of it.
//! - `pytorch_ddp_of_ceiling`, `ddp_of_ceiling_burn_mpi`: as the first, each with its own ceiling.
//! - `ddp_samples_over_pytorch_ddp`: samples per second of `gloo` over those of `pytorch_ddp`. More is better.
//! - `ddp_after_over_early`: wall time of a step of `gloo_after` over one of `gloo`. More speaks for summing early.
//! - `ddp_mpi_whole_over_streamed`: wall time of a step of `mpi_whole` over one of `mpi`. More speaks for summing in chunks.
//! - `ddp_step_us_{name}`: wall time of a step; `ddp_step_cpu_us_{name}` is CPU time of all threads of a process. Where it grows
//!   less than wall time, ranks have waited for each other.
//! - `all_reduce_over_raw_gloo`: time of `all_reduce_sum` over that of the call below it, by turns in the same two processes.
//!   Less is better. `all_reduce_us` is that of the first.
//! - `word_over_ring`: the same of a word, over the ring of c10d; `word_us`. The processes have nothing else to do here.
//!
//! Run it on an idle machine with two cores or more: ranks wait for each other in every step, so whatever takes a core from
//! one of them stops both. Where a process runs is left to the system, as it is under `torchrun`.
//!
//! The allocator is the system's for all. `TchLearner` has glibc keep what a step gives back (`zae_tch_sys::keep_memory`), so our
//! ceiling is higher than PyTorch's; with `MALLOC_TRIM_THRESHOLD_=1000000000 MALLOC_MMAP_THRESHOLD_=1000000000` before the command
//! both have it.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod link;
mod lockstep;
mod pairs;
mod rank;
#[cfg(feature = "burn")]
mod with_burn;

use std::process::ExitCode;

use pairs::{
    Laps,
    Way::{
        self, BurnCeiling, BurnMpi, Ceiling, Gloo, GlooAfter, Lockstep, Mpi, MpiWhole, PyTorchCeiling, PyTorchDdp,
        Sums, Words,
    },
};
use zae_bench_engines::{python::Python, worker};
use zae_bench_peers::stats::Median;

/// Blocks of laps of all that train, and of those that sum.
const BLOCKS: [u64; 2] = [100, 100];
const QUICK: [u64; 2] = [15, 15];

/// Prints the median of what a block has come to.
fn print(laps: &Laps, name: &str, unit: &str, figure: impl Fn(&dyn Fn(Way) -> [f64; 2]) -> f64) {
    let name = format!("{name}{}", link::suffix());
    println!("{}", Median::of(laps.blocks().map(|block| figure(&block))).line(&name, unit));
}

fn print_training(laps: &Laps) {
    print_of_ceilings(laps);
    print(laps, "ddp_samples_over_pytorch_ddp", "ratio", |block| block(PyTorchDdp)[0] / block(Gloo)[0]);
    print(laps, "ddp_after_over_early", "ratio", |block| block(GlooAfter)[0] / block(Gloo)[0]);
    if laps.ways.contains(&MpiWhole) {
        print(laps, "ddp_mpi_whole_over_streamed", "ratio", |block| block(MpiWhole)[0] / block(Mpi)[0]);
    }
    print_steps(laps);
}

fn print_of_ceilings(laps: &Laps) {
    let of_ceiling = [
        ("ddp_of_ceiling_gloo", Gloo, Ceiling),
        ("ddp_lockstep_of_ceiling", Lockstep, Ceiling),
        ("ddp_of_lockstep_gloo", Gloo, Lockstep),
        ("ddp_of_ceiling_mpi", Mpi, Ceiling),
        ("pytorch_ddp_of_ceiling", PyTorchDdp, PyTorchCeiling),
        ("ddp_of_ceiling_burn_mpi", BurnMpi, BurnCeiling),
    ];
    for (name, way, ceiling) in of_ceiling.into_iter().filter(|(_, way, _)| laps.ways.contains(way)) {
        print(laps, name, "ratio", |block| block(ceiling)[0] / block(way)[0]);
    }
}

fn print_steps(laps: &Laps) {
    for way in &laps.ways {
        print(laps, &format!("ddp_step_us_{}", way.name()), "us", |block| block(*way)[0]);
        print(laps, &format!("ddp_step_cpu_us_{}", way.name()), "us", |block| block(*way)[1]);
    }
}

fn main() -> ExitCode {
    if let Some(words) = worker::told() {
        rank::work(&words);
        return ExitCode::SUCCESS;
    }
    let mut args = std::env::args().skip_while(|arg| arg != "--link");
    if args.next().is_some() {
        let done = args
            .next()
            .ok_or_else(|| "--link needs a rate: `--link 4gbit`".to_owned())
            .and_then(|rate| link::run(&rate));
        return done.unwrap_or_else(|e| {
            eprintln!("{e}");
            ExitCode::FAILURE
        });
    }
    let python = match Python::find() {
        Ok(python) => python,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::FAILURE;
        }
    };
    let [training, sums] = if std::env::args().any(|arg| arg == "--quick") { QUICK } else { BLOCKS };
    let mut ways = vec![Ceiling, Gloo, GlooAfter, Lockstep, PyTorchDdp, PyTorchCeiling];
    if cfg!(feature = "mpi") {
        ways.extend([Mpi, MpiWhole]);
    }
    print_training(&Laps::of(ways, training, &python));
    if cfg!(all(feature = "mpi", feature = "burn")) {
        let laps = Laps::of(vec![BurnCeiling, BurnMpi], training, &python);
        print_of_ceilings(&laps);
        print_steps(&laps);
    }
    let laps = Laps::of(vec![Sums], sums, &python);
    print(&laps, "all_reduce_over_raw_gloo", "ratio", |block| block(Sums)[0] / block(Sums)[1]);
    print(&laps, "all_reduce_us", "us", |block| block(Sums)[0]);
    let laps = Laps::of(vec![Words], sums, &python);
    print(&laps, "word_over_ring", "ratio", |block| block(Words)[0] / block(Words)[1]);
    print(&laps, "word_us", "us", |block| block(Words)[0]);
    ExitCode::SUCCESS
}
