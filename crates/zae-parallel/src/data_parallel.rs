//! [`DataParallel`]: the add-on that brings a run its processes.

use std::{sync::Arc, time::Duration};

use zae_core::{
    add_on::AddOn,
    engine::Engine,
    error::Fallible,
    process_group::{Parallel, ProcessGroup, Reduction, World},
};

use crate::launcher::{self, Launcher};

/// Trains with all the processes that a launcher has started.
///
/// ```no_run
/// use zae_core::error::Fallible;
/// use zae_parallel::DataParallel;
///
/// # fn main() -> Fallible {
/// let add_on = DataParallel::from_env()?; // .add_on(add_on): one process, or as many as `mpirun -n` says
/// # let _ = add_on;
/// # Ok(())
/// # }
/// ```
///
/// Which library carries the gradients is decided when the run starts:
///
/// 1. the engine's own, if it has one and the address of rank 0 is known (`MASTER_ADDR` and `MASTER_PORT`; torchrun sets them):
///    for LibTorch that is PyTorch's own c10d, over Gloo. Under `mpirun` and `srun` it is asked for by setting the two variables
///    (Open MPI: `mpirun -x MASTER_ADDR=node1 -x MASTER_PORT=29500`), and turned down by leaving them out;
/// 2. MPI, if `mpirun` or `srun` has started the processes: for every engine, with the feature `mpi`.
pub struct DataParallel {
    processes: Processes,
    reduction: Reduction,
    check_every: u64,
}

enum Processes {
    Launched(Launcher, World),
    Given(Arc<dyn ProcessGroup>),
}

impl DataParallel {
    /// The processes that the environment of this one tells of. They are connected when the run starts.
    ///
    /// # Errors
    /// When a launcher's variables are incomplete or contradict each other: see [`launcher::read`].
    pub fn from_env() -> Fallible<Self> {
        let (launcher, world) = launcher::from_env()?;
        Ok(Self::of(Processes::Launched(launcher, world)))
    }

    /// Processes that are connected already.
    #[must_use]
    pub fn with(group: Arc<dyn ProcessGroup>) -> Self {
        Self::of(Processes::Given(group))
    }

    fn of(processes: Processes) -> Self {
        Self { processes, reduction: Reduction::Fast, check_every: 0 }
    }

    /// How gradients become one: fast, or with the same bits whatever the number of processes is.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Compares the weights of all ranks after so many steps, over and over; only at the start if this is 0, as it is without
    /// this call.
    #[must_use]
    pub fn check_every(mut self, steps: u64) -> Self {
        self.check_every = steps;
        self
    }

    /// After how long a silent rank is lost, instead of what `ZAE_TIMEOUT` says, or of five minutes. It has to be longer than
    /// what one rank does alone while others wait, such as writing a checkpoint. A group given to [`DataParallel::with`] keeps
    /// its own.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        if let Processes::Launched(_, world) = &mut self.processes {
            world.timeout = timeout;
        }
        self
    }

    /// The place of this process; `None` if its group was given to [`DataParallel::with`].
    #[must_use]
    pub fn world(&self) -> Option<&World> {
        match &self.processes {
            Processes::Launched(_, world) => Some(world),
            Processes::Given(_) => None,
        }
    }

    fn connect(&self, engine: &mut dyn Engine) -> Fallible<Option<Arc<dyn ProcessGroup>>> {
        let (launcher, world) = match &self.processes {
            Processes::Given(group) => return Ok((group.world_size() > 1).then(|| group.clone())),
            Processes::Launched(_, world) if world.world_size == 1 => return Ok(None),
            Processes::Launched(launcher, world) => (*launcher, world),
        };
        if world.master.is_some()
            && let Some(group) = engine.process_group(world)?
        {
            return Ok(Some(group));
        }
        if launcher.speaks_mpi() { mpi(launcher, world).map(Some) } else { Err(no_way(launcher, world, engine).into()) }
    }
}

#[cfg(feature = "mpi")]
fn mpi(_launcher: Launcher, world: &World) -> Fallible<Arc<dyn ProcessGroup>> {
    Ok(Arc::new(crate::MpiGroup::new(world)?))
}

#[cfg(not(feature = "mpi"))]
fn mpi(launcher: Launcher, world: &World) -> Fallible<Arc<dyn ProcessGroup>> {
    let World { rank, world_size, .. } = world;
    Err(format!(
        "{launcher} has started this program as rank {rank} of {world_size}, but it was built without the feature `mpi`: build it with `--features mpi`, or use the LibTorch engine and set MASTER_ADDR and MASTER_PORT"
    )
    .into())
}

fn no_way(launcher: Launcher, world: &World, engine: &dyn Engine) -> String {
    format!(
        "the engine `{}` cannot connect the {} processes of {launcher}: start them with `mpirun` and build with the feature `mpi`, or use the LibTorch engine",
        engine.name(),
        world.world_size
    )
}

impl AddOn for DataParallel {
    fn name(&self) -> &str {
        "data_parallel"
    }

    fn parallel(&mut self, engine: &mut dyn Engine) -> Fallible<Option<Parallel>> {
        let mut parallel = Parallel::new(self.connect(engine)?);
        parallel.reduction = self.reduction;
        parallel.check_every = self.check_every;
        Ok(Some(parallel))
    }
}

#[cfg(test)]
mod tests;
