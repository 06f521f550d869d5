//! [`local_rank`]: which of this machine's processes this is.

/// The number of this process among those of the run on this machine, as its launcher says in `LOCAL_RANK` (`torchrun`) or in
/// the variables of MPI and Slurm; `None` if there is no launcher. An engine takes the GPU of that number.
#[must_use]
pub fn local_rank() -> Option<usize> {
    ["LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"]
        .iter()
        .find_map(|name| std::env::var(name).ok()?.trim().parse().ok())
}
