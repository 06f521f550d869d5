//! Data-parallel training: one program, started as several processes, each of which computes its part of every step.
//!
//! [`DataParallel`] is the add-on: one line that means nothing when there is one process, and all of them when a launcher has
//! started more. Launchers are the existing ones ([`launcher`]):
//!
//! ```text
//! torchrun --nproc-per-node 4 --no-python target/release/train     # LibTorch: c10d, over Gloo
//! mpirun -n 4 target/release/train                                 # any engine, with the feature `mpi`
//! srun --mpi=pmix -n 4 target/release/train                        # the same, under Slurm
//! ```
//!
//! Bytes between the processes are carried by somebody else's library: by the engine's own where it has one, and by MPI
//! otherwise (feature `mpi`, `MpiGroup`).
//!
//! Of `mpirun` it is good to know:
//! - it binds two ranks to one core each, and more to a part of the machine's: `--bind-to none` lets all share all,
//!   `--map-by slot:PE=8` gives each eight of its own;
//! - Ctrl-C ends its ranks after a second, by force, and so does Open MPI's end of a job in which one has failed. A run that is
//!   to save what it has before it stops is sent `SIGTERM` itself, not through `mpirun` (`pkill -TERM train` on each machine);
//!   one rank is enough, for the others stop with it;
//! - the program has to be built with the MPI that starts it: `MPICC` names its compiler when the feature `mpi` is built.

mod data_parallel;
pub mod launcher;
#[cfg(feature = "mpi")]
mod mpi;

pub use data_parallel::DataParallel;
pub use launcher::Launcher;
#[cfg(feature = "mpi")]
pub use mpi::MpiGroup;
#[doc(no_inline)]
pub use zae_core::process_group::{Parallel, ProcessGroup, Reduction, Sum, World};
