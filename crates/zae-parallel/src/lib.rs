//! Data-parallel training: one program, started as several processes, each of which computes its part of every step.
//!
//! [`DataParallel`] is the add-on: one line that means nothing when there is one process, and all of them when a launcher has
//! started more. Launchers are the existing ones ([`launcher`]):
//!
//! ```text
//! torchrun --nproc-per-node 4 --no-python target/release/train     # LibTorch: c10d (Gloo, NCCL)
//! mpirun -n 4 target/release/train                                 # any engine, with the feature `mpi`
//! srun -n 4 target/release/train                                   # the same, under Slurm
//! ```
//!
//! Bytes between the processes are carried by somebody else's library: by the engine's own where it has one, and by MPI
//! otherwise (feature `mpi`, `MpiGroup`).

mod data_parallel;
pub mod launcher;
#[cfg(feature = "mpi")]
mod mpi;

pub use data_parallel::DataParallel;
pub use launcher::Launcher;
#[cfg(feature = "mpi")]
pub use mpi::MpiGroup;
#[doc(no_inline)]
pub use zae_core::process_group::{Parallel, ProcessGroup, Reduction, World};
