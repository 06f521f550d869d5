//! Jobs of ranks, whatever has started them.

// Not every test uses everything.
#![allow(dead_code)]

pub(crate) mod saving;

use std::{
    env, fs,
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::ranks;

/// Far longer than any of these takes, also on a machine that is busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// A job that has ended.
pub(crate) struct Job {
    pub(crate) status: ExitStatus,
    pub(crate) said: String,
    /// What its ranks have left.
    pub(crate) folder: TempDir,
}

impl Job {
    pub(crate) fn assert_failed(&self) {
        assert!(!self.status.success(), "the job has failed, but its status is 0:\n{}", self.said);
    }

    /// Others may say it too: a rank that was stopped goes on for a moment when `mpirun` ends it.
    pub(crate) fn assert_say(&self, ranks: impl IntoIterator<Item = usize>, text: &str) {
        for line in ranks.into_iter().map(|rank| format!("[{rank}] {text}")) {
            assert!(self.said.contains(&line), "nobody says `{line}`:\n{}", self.said);
        }
    }
}

/// Ranks are this file's program again, of which each runs `ranks::a_rank`.
pub(crate) fn rank_command(program: &mut Command, does: &str) {
    program.args(["--exact", "ranks::a_rank", "--ignored", "--nocapture"]).env(ranks::DOES, does);
    // What the programs of Open MPI need on few cores, and for root; others do not know these variables.
    for on in ["RMAPS_BASE_OVERSUBSCRIBE", "MPI_YIELD_WHEN_IDLE"] {
        program.env(format!("OMPI_MCA_{}", on.to_lowercase()), "1");
    }
    program.env("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe");
    program.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
}

/// `mpirun` with so many of them.
pub(crate) fn mpirun(world_size: usize, does: &str) -> Command {
    let mut mpirun = Command::new("mpirun");
    mpirun.args(["-n", &world_size.to_string()]).arg(env::current_exe().unwrap());
    rank_command(&mut mpirun, does);
    mpirun
}

/// Never takes longer than the deadline, and leaves no process behind.
pub(crate) fn run(command: Command) -> Job {
    run_and_look(command, |_| ())
}

/// The same, and looks at what its ranks leave in their folder: over and over, and at last when it has ended.
pub(crate) fn run_and_look(mut command: Command, mut look: impl FnMut(&Path)) -> Job {
    let mut output = tempfile::tempfile().unwrap();
    let folder = tempfile::tempdir().unwrap();
    command.env(ranks::FOLDER, folder.path());
    command.stdout(output.try_clone().unwrap()).stderr(output.try_clone().unwrap()).process_group(0);
    let mut child = command.spawn().unwrap();
    let since = Instant::now();
    let status = loop {
        let ended = child.try_wait().unwrap();
        look(folder.path());
        if let Some(status) = ended {
            break status;
        }
        if since.elapsed() > DEADLINE {
            kill(&mut child);
            panic!("the job hangs:\n{}", read(&mut output));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Job { status, said: read(&mut output), folder }
}

/// The ranks end with it: see `ranks::a_rank`.
fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn read(file: &mut fs::File) -> String {
    use std::io::{Read, Seek};
    let _ = file.flush();
    let mut said = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut said).unwrap();
    String::from_utf8_lossy(&said).into_owned()
}
