//! Examples on ranks that `mpirun` has started.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

#[path = "common/process.rs"]
mod process;

use std::{fs, path::Path, process::Command};

use process::{assert_closing_line, example, mnist_files, rows, text};

/// The weights and the optimizer of the last checkpoint.
fn end(folder: &Path) -> [Vec<u8>; 2] {
    let checkpoints = folder.join("checkpoints");
    let last = checkpoints.join(fs::read_to_string(checkpoints.join("last")).unwrap().trim());
    ["model.safetensors", "optimizer.safetensors"].map(|name| fs::read(last.join(name)).unwrap())
}

#[test]
fn mnist_on_several_ranks_ends_with_the_bits_of_one_process() {
    let data = mnist_files();
    let mut expected = None;
    for world_size in ["1", "2", "4", "8"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("mpirun");
        command.args(["--oversubscribe", "--bind-to", "none", "-n", world_size]);
        // Ranks that share a core let each other work, and tests may run as root.
        command.envs([("OMPI_MCA_mpi_yield_when_idle", "1"), ("OMPI_ALLOW_RUN_AS_ROOT", "1")]);
        command.env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1").arg(example("mnist").get_program());
        command.arg("--run-dir").arg(folder.path()).arg("--data").arg(data.path());
        command.args([
            "--epochs",
            "2",
            "--limit-batches",
            "20",
            "--threads",
            "1",
            "--micro-batches",
            "8",
            "--reproducible",
        ]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{world_size} ranks: {}", text(&output.stderr));
        // Once, not by each of them.
        assert_closing_line(&output);
        assert_eq!((rows(folder.path(), "step"), rows(folder.path(), "epoch")), (6, 2));
        let found = end(folder.path());
        assert!(*expected.get_or_insert_with(|| found.clone()) == found, "{world_size} ranks end elsewhere");
    }
}
