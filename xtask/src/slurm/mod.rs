//! A Slurm of two nodes on this machine, for as long as tests need one: daemons and folders of its own, whatever else runs here.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};

use crate::path::{all_there, program};

const NODES: [&str; 2] = ["node1", "node2"];
/// With the tree that Slurm takes for a barrier otherwise, a rank may be sent something before it is through with its start. Open
/// MPI does not survive that.
const MPI: &str = "PMIxCollFence=ring\n";
/// Far longer than daemons take to find each other, and jobs to end that were told to.
const PATIENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(100);

/// Says what is missing, and how it is installed.
pub(crate) fn complete() -> Result<(), String> {
    if said(Command::new("id").arg("-u"))?.trim() != "0" {
        return Err("nodes of Slurm are root's: run this as root".to_owned());
    }
    all_there(&[
        (program("slurmctld"), "slurmctld", "slurmctld"),
        (program("slurmd"), "slurmd", "slurmd slurm-wlm-basic-plugins"),
        (program("srun"), "srun", "slurm-client"),
        (program("munged"), "munged", "munge"),
        (program("setpriv"), "setpriv", "util-linux"),
    ])
}

/// Ends with this: first its jobs, then its daemons, then its folder.
pub(crate) struct Cluster {
    folder: PathBuf,
    daemons: Vec<(&'static str, Child)>,
}

impl Cluster {
    pub(crate) fn start() -> Result<Self, String> {
        // Cargo and the tests hear Ctrl-C by themselves. Their end is a failed step, after which all of this ends in its order.
        let heard = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::new(AtomicBool::new(false)));
        heard.map_err(|e| format!("cannot listen to signals: {e}"))?;
        let folder = std::env::temp_dir().join(format!("zae-slurm-{}", std::process::id()));
        let mut cluster = Self { folder, daemons: Vec::new() };
        let folder = &cluster.folder;
        for name in ["", "state", NODES[0], NODES[1]] {
            fs::create_dir(folder.join(name)).map_err(|e| format!("cannot make `{}`: {e}", folder.display()))?;
        }
        for (path, text) in
            [(cluster.configuration(), configuration(folder, ports()?)), (folder.join("mpi.conf"), MPI.to_owned())]
        {
            fs::write(&path, text).map_err(|e| format!("cannot write `{}`: {e}", path.display()))?;
        }

        let own = ["key-file", "socket", "pid-file", "log-file", "seed-file"];
        let own = own.map(|what| format!("--{what}={}", cluster.path(&format!("munge.{what}"))));
        said(Command::new("mungekey").args(["--create", "--keyfile", &cluster.path("munge.key-file")]))?;
        cluster.daemon("munged", &[&own[..], &["--foreground".to_owned()]].concat())?;
        cluster.wait("munged", |cluster| Path::new(&cluster.path("munge.socket")).exists())?;
        cluster.daemon("slurmctld", &["-D".to_owned()])?;
        for node in NODES {
            cluster.daemon("slurmd", &["-D".to_owned(), "-N".to_owned(), node.to_owned()])?;
        }
        cluster.wait("its nodes", |cluster| {
            let states = said(cluster.command("sinfo").args(["--noheader", "--Node", "--format=%T"]));
            states.is_ok_and(|states| states.lines().eq(NODES.map(|_| "idle")))
        })?;
        Ok(cluster)
    }

    /// What a program needs to be on the cluster.
    pub(crate) fn enter(&self, command: &mut Command) {
        command.env("SLURM_CONF", self.configuration());
        // What Open MPI keeps in shared memory has the machine's name: its two nodes would write into each other's. And what
        // connects machines is not asked to connect this one to itself.
        command.envs([("OMPI_MCA_btl", "tcp,self"), ("OMPI_MCA_btl_tcp_if_include", "lo")]);
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", self.configuration());
        command
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn configuration(&self) -> PathBuf {
        self.folder.join("slurm.conf")
    }

    /// Starts one that ends with this process, however that ends, and does not hear what is typed.
    fn daemon(&mut self, name: &'static str, arguments: &[String]) -> Result<(), String> {
        let cannot = |e| format!("cannot start {name}: {e}");
        let log = self.folder.join(format!("daemon-{}.log", self.daemons.len()));
        let log = fs::File::create(log).map_err(cannot)?;
        let mut command = self.command("setpriv");
        command.args(["--pdeathsig", "KILL", "setsid", name]).args(arguments).stdin(Stdio::null());
        command.stdout(log.try_clone().map_err(cannot)?).stderr(log);
        self.daemons.push((name, command.spawn().map_err(cannot)?));
        Ok(())
    }

    fn wait(&mut self, what: &str, is_there: impl Fn(&Self) -> bool) -> Result<(), String> {
        let since = Instant::now();
        while !is_there(self) {
            let gone = self.daemons.iter_mut().position(|(_, daemon)| !matches!(daemon.try_wait(), Ok(None)));
            if let Some(gone) = gone.or((since.elapsed() > PATIENCE).then_some(self.daemons.len() - 1)) {
                let log = fs::read_to_string(self.path(&format!("daemon-{gone}.log"))).unwrap_or_default();
                return Err(format!(
                    "Slurm does not start: {what} did not come. {} said:\n{log}",
                    self.daemons[gone].0
                ));
            }
            thread::sleep(TICK);
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // What a node runs does not end with its daemon.
        let since = Instant::now();
        let end = |signal: &str| said(self.command("scancel").args(["--user=root", signal]));
        let jobs = |_| said(self.command("squeue").arg("--noheader"));
        let _ = end("--signal=KILL").and_then(|_| end("--quiet"));
        while end("--quiet").and_then(jobs).is_ok_and(|jobs| !jobs.is_empty()) && since.elapsed() < PATIENCE {
            thread::sleep(TICK);
        }
        for (_, daemon) in self.daemons.iter_mut().rev() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// One for each daemon.
fn ports() -> Result<[u16; 3], String> {
    let cannot = |e| format!("there is no free port: {e}");
    // All at once, so that they differ.
    let free = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let mut ports = [0; 3];
    for (port, free) in ports.iter_mut().zip(free) {
        *port = free.and_then(|free| free.local_addr()).map_err(cannot)?.port();
    }
    Ok(ports)
}

fn configuration(folder: &Path, [control, first, second]: [u16; 3]) -> String {
    let ports = [("CONTROL_PORT", control), ("FIRST_PORT", first), ("SECOND_PORT", second)];
    let text = include_str!("slurm.conf").replace("FOLDER", &folder.display().to_string());
    ports.iter().fold(text, |text, (name, port)| text.replace(name, &port.to_string()))
}

/// What a program says that does something short.
fn said(command: &mut Command) -> Result<String, String> {
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(e) => Err(format!("cannot start {command:?}: {e}")),
    }
}
