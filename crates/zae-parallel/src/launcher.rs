//! Who has started this process, and which of how many it is: what launchers say in environment variables.

use std::{fmt, time::Duration};

use zae_core::{error::Fallible, process_group::World};

/// What has started this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Launcher {
    /// Nothing that says so: it is the only one.
    Alone,
    /// `torchrun`, or somebody who sets its variables by hand.
    Torchrun,
    /// `mpirun` of Open MPI.
    OpenMpi,
    /// `mpirun` of MPICH, Intel MPI or another one with the Hydra launcher; or `srun --mpi=pmi2`, which says it in the same words.
    Mpich,
    /// `srun` of Slurm.
    Slurm,
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alone => "no launcher",
            Self::Torchrun => "torchrun",
            Self::OpenMpi => "mpirun of Open MPI",
            Self::Mpich => "mpirun of MPICH",
            Self::Slurm => "srun",
        })
    }
}

impl Launcher {
    /// Whether MPI knows the processes that it starts.
    #[must_use]
    pub fn speaks_mpi(self) -> bool {
        matches!(self, Self::OpenMpi | Self::Mpich | Self::Slurm)
    }
}

/// Reads the environment of this process.
///
/// # Errors
/// As [`read`].
pub fn from_env() -> Fallible<(Launcher, World)> {
    // What is no UTF-8 is no number either, and is told as that.
    read(|name| Some(std::env::var_os(name)?.to_string_lossy().into_owned()))
}

/// Reads what launchers set, from any source of variables.
///
/// | | rank | processes | on this machine | rank 0 is found at |
/// |---|---|---|---|---|
/// | `torchrun` | `RANK` | `WORLD_SIZE` | `LOCAL_RANK` | `MASTER_ADDR`, `MASTER_PORT` |
/// | Open MPI | `OMPI_COMM_WORLD_RANK` | `OMPI_COMM_WORLD_SIZE` | `OMPI_COMM_WORLD_LOCAL_RANK` | the same, if set |
/// | MPICH, Intel MPI | `PMI_RANK` | `PMI_SIZE` | `MPI_LOCALRANKID`, `LOCAL_RANK` or `SLURM_LOCALID` | the same, if set |
/// | `srun` (where `SLURM_STEP_ID` is set) | `SLURM_PROCID` | `SLURM_STEP_NUM_TASKS`, or `SLURM_NTASKS` | `SLURM_LOCALID` | the same, if set |
///
/// With `TORCHELASTIC_RUN_ID`, which torchrun sets, its row counts; else the first of the others that is set; else `RANK` and
/// `WORLD_SIZE`, set by hand. Set by hand beside another launcher's, they have to say the same as those.
///
/// `ZAE_TIMEOUT` is after how many seconds a silent rank is lost; 300 if it is not set.
///
/// # Errors
/// When a launcher's variables are incomplete, no numbers, or contradict each other.
pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Fallible<(Launcher, World)> {
    let variables = Variables(&lookup);
    let (launcher, mut world) = variables.place()?;
    if let Some(timeout) = variables.timeout()? {
        world.timeout = timeout;
    }
    Ok((launcher, world))
}

struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    /// Of launchers within each other the innermost counts, for it knows how many processes there are in the end.
    fn place(&self) -> Fallible<(Launcher, World)> {
        let torchrun = self.world(["RANK", "WORLD_SIZE"], &["LOCAL_RANK"])?;
        // `torchrun`'s workers inherit the variables of the `srun` or `mpirun` that has started `torchrun` itself on each
        // machine. It marks them as its own.
        if let (Some(world), Some(_)) = (&torchrun, self.get("TORCHELASTIC_RUN_ID")) {
            return Ok((Launcher::Torchrun, self.with_master(world.clone(), true)?));
        }
        let Some((launcher, world)) = self.process_manager()? else {
            return Ok(match torchrun {
                Some(world) => (Launcher::Torchrun, self.with_master(world, true)?),
                None => (Launcher::Alone, World::new(0, 1)),
            });
        };
        // `RANK` and `WORLD_SIZE` beside those of `mpirun` were set by hand, to connect its processes the way of torchrun. Where
        // they say the same it is the same place. Where they do not, any choice would be wrong for somebody: as when a
        // container brings `RANK=0 WORLD_SIZE=1`, and each of four ranks would take itself for the only one.
        if let Some(by_hand) = torchrun.filter(|by| (by.rank, by.world_size) != (world.rank, world.world_size)) {
            return Err(format!(
                "this is rank {} of {} to {launcher}, but RANK={} and WORLD_SIZE={}: unset RANK and WORLD_SIZE, or set them to what {launcher} says",
                world.rank, world.world_size, by_hand.rank, by_hand.world_size
            )
            .into());
        }
        Ok((launcher, self.with_master(world, false)?))
    }

    fn process_manager(&self) -> Fallible<Option<(Launcher, World)>> {
        // Before Slurm: `mpirun` in a job of Slurm starts its helpers with `srun`, and the processes inherit those's variables.
        let names = ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"];
        if let Some(world) = self.world(names, &["OMPI_COMM_WORLD_LOCAL_RANK"])? {
            return Ok(Some((Launcher::OpenMpi, world)));
        }
        if let Some(world) =
            self.world(["PMI_RANK", "PMI_SIZE"], &["MPI_LOCALRANKID", "LOCAL_RANK", "SLURM_LOCALID"])?
        {
            return Ok(Some((Launcher::Mpich, world)));
        }
        // A batch script has these variables too, with the number of tasks of the whole job: only in a step of `srun` they
        // are about this process.
        if self.get("SLURM_STEP_ID").is_none() || self.get("SLURM_PROCID").is_none() {
            return Ok(None);
        }
        // A step may have fewer tasks than its job: an interactive shell has one.
        let size = if self.get("SLURM_STEP_NUM_TASKS").is_some() { "SLURM_STEP_NUM_TASKS" } else { "SLURM_NTASKS" };
        Ok(self.world(["SLURM_PROCID", size], &["SLURM_LOCALID"])?.map(|world| (Launcher::Slurm, world)))
    }

    /// A launcher's place, if it has set any of its variables. The first of `local` that is set counts.
    fn world(&self, [rank, size]: [&str; 2], local: &[&str]) -> Fallible<Option<World>> {
        let set = [rank, size].map(|name| self.get(name).is_some());
        if set == [false, false] {
            return Ok(None);
        }
        let (rank_of, world_size) = (self.number(rank, size)?, self.number(size, rank)?);
        if world_size == 0 {
            return Err(format!("{size}=0: there is at least this process; set it to how many there are").into());
        }
        let local = local.iter().find(|name| self.get(name).is_some()).or(local.first()).copied().unwrap_or(rank);
        let local_rank = self.number(local, rank)?;
        for (name, number) in [(rank, rank_of), (local, local_rank)] {
            if number >= world_size {
                return Err(format!(
                    "{name}={number} of {size}={world_size}: numbers go from 0 to {}; start all processes with one launcher",
                    world_size - 1
                )
                .into());
            }
        }
        let mut world = World::new(rank_of, world_size);
        world.local_rank = local_rank;
        Ok(Some(world))
    }

    fn with_master(&self, mut world: World, needed: bool) -> Fallible<World> {
        let (host, port) = ("MASTER_ADDR", "MASTER_PORT");
        let given = [host, port].map(|name| self.get(name).is_some());
        if given == [false, false] && (!needed || world.world_size == 1) {
            return Ok(world);
        }
        let address = self.get(host).filter(|address| !address.is_empty());
        let address = address.ok_or_else(|| unset(host, if given[1] { port } else { "RANK" }, "the host of rank 0"))?;
        let number = self.get(port).ok_or_else(|| unset(port, host, "a free port there"))?;
        match number.parse::<u16>() {
            Ok(number) if number > 0 => world.master = Some((address, number)),
            _ => return Err(format!("{port}={number} is no port: set it to a number from 1 to 65535").into()),
        }
        Ok(world)
    }

    fn timeout(&self) -> Fallible<Option<Duration>> {
        let Some(value) = self.get("ZAE_TIMEOUT") else { return Ok(None) };
        let seconds = value.parse::<f64>().ok().filter(|seconds| *seconds > 0.0);
        match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).filter(|time| !time.is_zero()) {
            Some(timeout) => Ok(Some(timeout)),
            None => Err(format!("ZAE_TIMEOUT={value} is no time: set it to seconds, for example 300").into()),
        }
    }

    /// The number in a variable; `beside` is set, and tells that this one should be.
    fn number(&self, name: &str, beside: &str) -> Fallible<usize> {
        let value = self.get(name).ok_or_else(|| unset(name, beside, "a number from 0"))?;
        // No launcher counts beyond that, and MPI cannot.
        let number = value.parse::<u32>().ok().filter(|number| *number <= i32::MAX as u32);
        number.map(|number| number as usize).ok_or_else(|| {
            format!(
                "{name}={value} is no number of a process: unset it, or start the program with torchrun, mpirun or srun"
            )
            .into()
        })
    }

    fn get(&self, name: &str) -> Option<String> {
        Some((self.0)(name)?.trim().to_owned())
    }
}

fn unset(name: &str, beside: &str, to: &str) -> String {
    format!(
        "{name} is not set although {beside} is: set it to {to}, or start the program with torchrun, mpirun or srun"
    )
}

#[cfg(test)]
mod tests;
