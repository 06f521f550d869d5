//! [`MpiGroup`]: the processes that `mpirun` or `srun` has started.

mod failing;
mod notice;
mod patience;
mod roll;
mod shared;
mod sum;
mod thread;
mod word;

use std::{ffi::OsString, sync::Arc, time::Duration};

use zae_core::{
    error::Fallible,
    process_group::{ProcessGroup, Sum, World},
    watch::Watch,
};

use shared::{Lane, Shared};
use sum::ChunkedSum;

/// A handle of MPI's processes.
///
/// One thread of the process owns MPI, from its start to its end: it makes every call, and waits without holding a core. All
/// groups of a process are handles of it, for MPI starts once per process; so several trainers in one program take turns.
///
/// Gradients are copied to that thread and back, in chunks of which the first are summed while the last are still being gathered
/// ([`begin_sum`](ProcessGroup::begin_sum)): a call of MPI cannot be taken back, and memory that was lent to one that never ends
/// could never be used again.
///
/// # What ends how
/// - A rank that does not come within the timeout, does something else than the others, or whose program ends while the others
///   wait for it: every call on every rank fails from then on, with the same error, which names the rank. Of one that has not
///   come but lives, it says what that does instead, if its training thread is [watched](ProcessGroup::watch), as a trainer's is:
///   `rank 3 was last heard of in the data (epoch 2, micro-batch 71, step 812), for 297 s`.
/// - [`abort`](ProcessGroup::abort): the same, at once, with the reason. So it is when a sum is left before its end.
/// - After such a failure MPI cannot be ended in an orderly way. When the process ends, it gives the others a few seconds to
///   tell their error too, and then has MPI end the job: the exit status of `mpirun` is not 0, whatever the programs returned.
/// - A rank that is killed: `mpirun` ends the others at once. So does `srun` with `--mpi=pmix` or `--kill-on-bad-exit`; without,
///   they fail after the timeout.
/// - All well: MPI is ended when the process ends, once all ranks are there; so one that goes on alone, for no longer than the
///   timeout, is waited for. `std::process::exit` is fine; `std::process::abort` is a failure.
pub struct MpiGroup {
    rank: usize,
    world_size: usize,
    timeout: Duration,
    shared: Arc<Shared>,
}

impl MpiGroup {
    /// Connects the processes of this world. Starts MPI, unless another group of this process has.
    ///
    /// # Errors
    /// When MPI does not start within the timeout, was started by another part of the program, or sees other processes than the
    /// launcher has started: then the program was built with another MPI than the `mpirun` that started it belongs to.
    pub fn new(world: &World) -> Fallible<Self> {
        warn_if_untold(world);
        let shared = shared::start(world.timeout)?;
        let (rank, world_size) = (world.rank, world.world_size);
        if shared.size == 1 && world_size > 1 {
            return Err(format!(
                "MPI sees one process where the launcher has started {world_size}: the program is built with {}, and started by another MPI; use the `mpirun` of that one, or build with MPICC set to the `mpicc` of the other (under Slurm, see also `srun --mpi=list`)",
                shared.library
            )
            .into());
        }
        if (shared.rank, shared.size) != (rank, world_size) {
            return Err(format!(
                "MPI says rank {} of {}, the launcher's variables say rank {rank} of {world_size}: start the program with `mpirun` directly, and unset variables that another launcher has left",
                shared.rank, shared.size
            )
            .into());
        }
        Ok(Self { rank, world_size, timeout: world.timeout, shared })
    }

    fn lane(&self) -> Fallible<Lane<'_>> {
        self.shared.lane(self.timeout)
    }
}

/// An Open MPI that `srun` has told nothing of the ranks ends the program while it starts, and takes itself for badly built. Others
/// ask Slurm by themselves, or start as one process: so this cannot be known for an error before.
fn warn_if_untold(world: &World) {
    // PMIx and PMI-2 set names of their own; so does `mpirun`, within a job of Slurm too.
    let is_told = |(name, _): (OsString, _)| name.to_string_lossy().starts_with("PMI");
    if world.world_size > 1 && std::env::var_os("SLURM_STEP_ID").is_some() && !std::env::vars_os().any(is_told) {
        tracing::warn!(
            "`srun` has not told MPI of its {} tasks: if MPI does not start, start with `srun --mpi=pmix`, or with another of `srun --mpi=list`",
            world.world_size
        );
    }
}

impl ProcessGroup for MpiGroup {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    /// A NaN stays one, but which of its bits are set may differ between ranks.
    fn all_reduce_sum(&self, values: &mut [f32]) -> Fallible {
        let mut sum = ChunkedSum::begin(self.lane()?);
        sum.give(values)?;
        sum.take(values)?;
        sum.end()
    }

    /// What is given is copied once, to memory of the process that is kept, and summed in chunks of 4 MB while the next ones are
    /// being filled. `memory` is left as it is.
    fn begin_sum<'a>(&'a self, _memory: &'a mut Vec<f32>) -> Fallible<Box<dyn Sum + 'a>> {
        Ok(Box::new(ChunkedSum::begin(self.lane()?)))
    }

    fn all_gather(&self, own: &[u8]) -> Fallible<Vec<Vec<u8>>> {
        self.lane()?.gather(own.to_vec())
    }

    fn broadcast(&self, bytes: &mut Vec<u8>, from: usize) -> Fallible {
        if from >= self.world_size {
            return Err(format!("there is no rank {from} among {} to broadcast", self.world_size).into());
        }
        let own = if from == self.rank { std::mem::take(bytes) } else { Vec::new() };
        *bytes = self.lane()?.broadcast(own, from)?;
        Ok(())
    }

    /// It says what this rank does when another one has waited for it for too long. Until then nobody is told.
    fn watch(&self) -> Option<Arc<dyn Watch>> {
        Some(self.shared.whereabouts.clone())
    }

    /// The other ranks fail in the call that they wait in, or in their next one, with this reason. This process goes on, so
    /// that it can tell its error; see [`MpiGroup`] for how it ends.
    fn abort(&self, reason: &str) {
        let reason = format!("rank {} has given up: {reason}", self.rank);
        tracing::error!("{reason}");
        self.shared.give_up(reason);
    }
}
