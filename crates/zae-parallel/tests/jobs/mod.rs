//! Jobs of ranks, whatever has started them.

use std::{
    fs,
    io::Write,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use crate::ranks;

/// Far longer than any of these takes, also on a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(120);

/// A job that has ended.
pub(crate) struct Job {
    pub(crate) status: ExitStatus,
    pub(crate) said: String,
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

/// Never takes longer than the deadline, and leaves nothing behind.
pub(crate) fn run(mut command: Command) -> Job {
    let mut output = tempfile::tempfile().unwrap();
    let folder = tempfile::tempdir().unwrap();
    command.env(ranks::FOLDER, folder.path());
    command.stdout(output.try_clone().unwrap()).stderr(output.try_clone().unwrap()).process_group(0);
    let mut child = command.spawn().unwrap();
    let since = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if since.elapsed() > DEADLINE {
            kill(&mut child);
            panic!("the job hangs:\n{}", read(&mut output));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Job { status, said: read(&mut output) }
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
