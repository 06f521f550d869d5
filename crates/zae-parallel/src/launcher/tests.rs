#![allow(clippy::unwrap_used)]

use proptest::{collection::vec, prelude::*};

use super::*;

const OPEN_MPI: &str = "OMPI_COMM_WORLD_RANK=2 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=1";
const MPICH: &str = "PMI_RANK=2 PMI_SIZE=4 MPI_LOCALRANKID=1";
const SLURM: &str = "SLURM_STEP_ID=0 SLURM_PROCID=2 SLURM_NTASKS=4 SLURM_LOCALID=1";
const TORCHRUN: &str = "RANK=2 WORLD_SIZE=4 LOCAL_RANK=1 MASTER_ADDR=node1 MASTER_PORT=29500";

fn variables(text: &str) -> impl Fn(&str) -> Option<String> {
    move |name| {
        text.split_whitespace().filter_map(|one| one.split_once('=')).find(|(n, _)| *n == name).map(|(_, v)| v.into())
    }
}

fn place(text: &str) -> (Launcher, World) {
    read(variables(text)).unwrap()
}

fn error(text: &str) -> String {
    read(variables(text)).unwrap_err().to_string()
}

#[test]
fn every_launcher_says_the_same_place() {
    let mut expected = World::new(2, 4);
    expected.local_rank = 1;
    assert_eq!(place(OPEN_MPI), (Launcher::OpenMpi, expected.clone()));
    assert_eq!(place(MPICH), (Launcher::Mpich, expected.clone()));
    assert_eq!(place(SLURM), (Launcher::Slurm, expected.clone()));
    expected.master = Some(("node1".into(), 29500));
    assert_eq!(place(TORCHRUN), (Launcher::Torchrun, expected.clone()));
    // MPI's processes, to be connected by c10d.
    assert_eq!(
        place(&format!("{OPEN_MPI} MASTER_ADDR=node1 MASTER_PORT=29500")),
        (Launcher::OpenMpi, expected.clone())
    );
    assert_eq!(place(&format!("{SLURM} {TORCHRUN}")), (Launcher::Slurm, expected));
}

#[test]
fn without_a_launcher_there_is_one_process() {
    for text in ["", "LOCAL_RANK=1", "MASTER_PORT=x", "SLURM_PROCID=0 SLURM_NTASKS=8", "SLURM_STEP_ID=0"] {
        assert_eq!(place(text).0, Launcher::Alone, "{text}");
        assert_eq!(place(text).1, World::new(0, 1), "{text}");
    }
    // One process needs nobody's address.
    assert_eq!(place("RANK=0 WORLD_SIZE=1 LOCAL_RANK=0").1, World::new(0, 1));
}

#[test]
fn the_innermost_launcher_counts() {
    // `srun` and `mpirun` that start `torchrun` once per machine: its workers have the variables of both.
    for outer in [OPEN_MPI, MPICH, SLURM] {
        let inner = "TORCHELASTIC_RUN_ID=x RANK=7 WORLD_SIZE=8 LOCAL_RANK=3 MASTER_ADDR=node1 MASTER_PORT=1";
        let (launcher, world) = place(&format!("{outer} {inner}"));
        assert_eq!((launcher, world.rank, world.world_size), (Launcher::Torchrun, 7, 8));
    }
    // `mpirun` in a job of Slurm.
    let (launcher, world) = place(&format!("{OPEN_MPI} SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_LOCALID=0"));
    assert_eq!((launcher, world.rank, world.world_size), (Launcher::OpenMpi, 2, 4));
    // A shell that `srun --pty` has opened in a job of eight tasks.
    let shell = "SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=8 SLURM_STEP_NUM_TASKS=1 SLURM_LOCALID=0";
    assert_eq!(place(shell), (Launcher::Slurm, World::new(0, 1)));
    // A container that brings the variables of one process, in which `mpirun` starts four.
    assert_eq!(
        error(&format!("{OPEN_MPI} RANK=0 WORLD_SIZE=1 LOCAL_RANK=0")),
        "this is rank 2 of 4 to mpirun of Open MPI, but RANK=0 and WORLD_SIZE=1: unset RANK and WORLD_SIZE, or set them to what mpirun of Open MPI says"
    );
}

#[test]
fn an_error_names_variable_value_and_fix() {
    let start = "or start the program with torchrun, mpirun or srun";
    for (text, expected) in [
        ("RANK=2", format!("WORLD_SIZE is not set although RANK is: set it to a number from 0, {start}")),
        ("WORLD_SIZE=2", format!("RANK is not set although WORLD_SIZE is: set it to a number from 0, {start}")),
        ("RANK=0 WORLD_SIZE=2", format!("LOCAL_RANK is not set although RANK is: set it to a number from 0, {start}")),
        (
            "RANK=0 WORLD_SIZE=2 LOCAL_RANK=0",
            format!("MASTER_ADDR is not set although RANK is: set it to the host of rank 0, {start}"),
        ),
        (
            "RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 MASTER_ADDR=a",
            format!("MASTER_PORT is not set although MASTER_ADDR is: set it to a free port there, {start}"),
        ),
        ("PMI_RANK=-1 PMI_SIZE=2", format!("PMI_RANK=-1 is no number of a process: unset it, {start}")),
        ("PMI_RANK=0 PMI_SIZE=", format!("PMI_SIZE= is no number of a process: unset it, {start}")),
        ("PMI_RANK=0 PMI_SIZE=2147483648", format!("PMI_SIZE=2147483648 is no number of a process: unset it, {start}")),
        ("PMI_RANK=0 PMI_SIZE=0", "PMI_SIZE=0: there is at least this process; set it to how many there are".into()),
        (
            "PMI_RANK=2 PMI_SIZE=2 MPI_LOCALRANKID=0",
            "PMI_RANK=2 of PMI_SIZE=2: numbers go from 0 to 1; start all processes with one launcher".into(),
        ),
        (
            "PMI_RANK=1 PMI_SIZE=2 LOCAL_RANK=2",
            "LOCAL_RANK=2 of PMI_SIZE=2: numbers go from 0 to 1; start all processes with one launcher".into(),
        ),
        ("ZAE_TIMEOUT=soon", "ZAE_TIMEOUT=soon is no time: set it to seconds, for example 300".into()),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
    for port in ["0", "65536", "-1", "http", "29500.0"] {
        let text = format!("RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 MASTER_ADDR=a MASTER_PORT={port}");
        assert_eq!(error(&text), format!("MASTER_PORT={port} is no port: set it to a number from 1 to 65535"));
    }
}

#[test]
fn the_timeout_is_in_seconds() {
    assert_eq!(place("ZAE_TIMEOUT=1.5").1.timeout, Duration::from_millis(1500));
    assert_eq!(place(&format!("{MPICH} ZAE_TIMEOUT=60")).1.timeout, Duration::from_secs(60));
    for value in ["0", "-1", "nan", "inf", "1e300", "1e-30", "5s"] {
        assert!(error(&format!("ZAE_TIMEOUT={value}")).starts_with(&format!("ZAE_TIMEOUT={value} is no time")));
    }
}

proptest! {
    // Whatever is set to whatever: a place that can be, or an error that names a variable.
    #[test]
    fn any_environment_is_a_place_or_an_error(values in vec(proptest::option::of("[0-4]|-1|x|| 1 |70000|99999999999"), 20)) {
        let names = [
            "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID",
            "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
            "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID",
            "SLURM_STEP_ID", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "ZAE_TIMEOUT",
        ];
        let lookup = |name: &str| values[names.iter().position(|n| *n == name)?].clone();
        match read(lookup) {
            Ok((launcher, world)) => {
                prop_assert!(world.rank < world.world_size && world.local_rank < world.world_size);
                prop_assert!(!world.timeout.is_zero());
                prop_assert!(launcher != Launcher::Alone || world.world_size == 1);
                prop_assert!(launcher != Launcher::Torchrun || world.world_size == 1 || world.master.is_some());
                prop_assert!(world.master.is_none_or(|(host, port)| !host.is_empty() && port > 0));
            }
            Err(error) => prop_assert!(names.iter().any(|name| error.to_string().contains(name)), "{error}"),
        }
    }
}
