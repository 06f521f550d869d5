//! What a rank of a test does: it trains, saves, and fails when it is told to; and how a test starts several.

mod normed;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use zae_checkpoint::{StateManager, disk::Disk};
use zae_core::{
    data::Loader,
    error::Fallible,
    process_group::{Reduction, World},
    task::{At, Mode, Task},
    testing::{
        Architecture, Connect, Fixture, FixtureTask, Samples,
        reference::{Batch, Reference},
    },
    trainer::{Every, Trainer, Until},
};
use zae_tch::C10dGroup;

pub(crate) const STEPS: u64 = 30;
/// How long a silent rank is waited for.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3);
/// How soon the others have to end.
pub(crate) const SOON: Duration = Duration::from_secs(5);
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const TICK: Duration = Duration::from_millis(2);

fn data(batches: usize, seed: u64) -> Vec<Batch> {
    let reference = Reference { asynchronous: false };
    let sizes = reference.sizes(Architecture::Full);
    let rows: Vec<usize> = (0..batches).map(|i| 2 + i % 4).collect();
    let samples = Samples::random(rows.iter().sum(), sizes.features, sizes.classes, seed);
    samples.batches(&rows).iter().map(|samples| reference.batch(samples)).collect()
}

pub(crate) fn signal(pid: u32, signal: &str) {
    let done = Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).status();
    assert!(done.unwrap().success());
}

/// This process is killed at file operation N of its saves: `disk N`.
fn disk(spec: &str) -> Disk {
    let Some(last) = spec.strip_prefix("disk ") else { return Disk::default() };
    let (last, done): (u64, _) = (last.parse().unwrap(), AtomicU64::new(0));
    Disk::with_hook(move |_| {
        if done.fetch_add(1, Ordering::SeqCst) + 1 == last {
            signal(std::process::id(), "KILL");
        }
        Ok(())
    })
}

/// What goes wrong: `KIND MODE STEP`.
fn fault(spec: &str, at: &At) -> Fallible {
    let words: Vec<&str> = spec.split(' ').collect();
    let [kind, mode, step] = words[..] else { return Ok(()) };
    let is_here = (mode == "train") == (at.mode == Mode::Train) && at.step >= step.parse()?;
    match kind {
        _ if !is_here => Ok(()),
        "error" => Err("boom".into()),
        "panic" => panic!("boom"),
        "kill" => {
            signal(std::process::id(), "KILL");
            Ok(())
        }
        "stop" => {
            signal(std::process::id(), "STOP");
            Ok(())
        }
        other => panic!("{other}?"),
    }
}

/// One rank, when this program was started as such.
#[test]
fn rank() {
    let Ok(place) = env::var("ZAE_RANK") else { return };
    let words: Vec<&str> = place.split(' ').collect();
    let mut world = World::new(words[0].parse().unwrap(), words[1].parse().unwrap());
    world.master = Some((words[2].to_owned(), words[3].parse().unwrap()));
    world.timeout = TIMEOUT;
    let folder = env::var("ZAE_FOLDER").unwrap();
    let folder = Path::new(&folder);
    let say = |what: &str, text: &[u8]| {
        let path = folder.join(format!("{what}-{}", world.rank));
        fs::write(path.with_extension("new"), text).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    };
    let spec = env::var("ZAE_FAULT").unwrap();
    let manager = StateManager::new().every_steps(3).disk(disk(&spec));
    let group = C10dGroup::connect(&world).unwrap();
    say("works", b"");
    let add_ons = (Connect::new(Some(group), Reduction::Fast, 0), manager);
    let result = if env::var_os("ZAE_NORMED").is_some() {
        train(
            Trainer::new(normed::Normed(spec), normed::learner()).add_on(add_ons),
            folder,
            normed::data(17),
            normed::data(7),
        )
    } else {
        let reference = Reference { asynchronous: false };
        let task = FixtureTask::new(&reference).before(move |at| fault(&spec, at));
        let trainer = Trainer::new(task, reference.learner(Architecture::Full)).add_on(add_ons);
        train(trainer, folder, data(17, 1), data(7, 2))
    };
    match result {
        Ok(end) => say("end", &end),
        Err(error) => say("error", error.as_bytes()),
    }
}

/// What comes out.
fn train<T: Task>(
    trainer: Trainer<T>,
    folder: &Path,
    train: impl Loader<T::Batch>,
    valid: impl Loader<T::Batch>,
) -> Result<Vec<u8>, String> {
    let mut trainer = trainer
        .run_dir(folder.join("run"))
        .seed(11)
        .scheduler(0.01)
        .accumulate(2)
        .log_every(3)
        .validate(Every::Steps(4))
        .handle_signals(false);
    let steps = env::var("ZAE_STEPS").unwrap().parse().unwrap();
    trainer.run(Until::steps(steps), train, valid).map_err(|error| error.to_string())?;
    let snapshot = trainer.snapshot().unwrap();
    let tensors = snapshot.learner.tensors.iter().filter(|(name, _)| !name.contains("running"));
    let weights: Vec<u8> = tensors.flat_map(|(_, tensor)| tensor.data.bytes().unwrap().into_owned()).collect();
    let history = format!("{:?}", snapshot.run.history.without_clock());
    Ok([weights, history.into_bytes()].concat())
}

/// The ranks of a run, killed when this goes.
pub(crate) struct Ranks {
    pub(crate) children: Vec<Child>,
    folder: PathBuf,
}

/// A run of several ranks.
pub(crate) struct Job<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) world_size: usize,
    pub(crate) steps: u64,
    /// Where rank 0 is found.
    pub(crate) master: (&'a str, u16),
    /// The rank that fails, and how.
    pub(crate) fault: Option<(usize, &'a str)>,
    /// Its ranks exchange statistics of their batches.
    pub(crate) normed: bool,
}

impl Job<'_> {
    /// Starts all ranks; `program` is the command that starts this program where a rank is to be.
    pub(crate) fn start(&self, program: impl Fn(usize) -> Command) -> Ranks {
        let Self { folder, world_size, steps, master: (host, port), fault, normed } = self;
        let start = |rank: usize| {
            ["works", "end", "error"]
                .iter()
                .for_each(|what| drop(fs::remove_file(folder.join(format!("{what}-{rank}")))));
            program(rank)
                .args(["--exact", "training::rank", "--nocapture"])
                .env("ZAE_FAULT", fault.filter(|(faulty, _)| *faulty == rank).map_or("", |(_, spec)| spec))
                .envs([("ZAE_STEPS", steps.to_string()), ("OMP_NUM_THREADS", "1".to_owned())])
                .envs(normed.then_some(("ZAE_NORMED", "1")))
                .env("ZAE_FOLDER", folder)
                .env("ZAE_RANK", format!("{rank} {world_size} {host} {port}"))
                .stdout(Stdio::null())
                .stderr(fs::File::create(folder.join(format!("stderr-{rank}"))).unwrap())
                .spawn()
                .unwrap()
        };
        Ranks { children: (0..*world_size).map(start).collect(), folder: folder.to_path_buf() }
    }
}

/// This program.
pub(crate) fn here(_: usize) -> Command {
    Command::new(env::current_exe().unwrap())
}

impl Ranks {
    pub(crate) fn said(&self, rank: usize, what: &str) -> Option<Vec<u8>> {
        fs::read(self.folder.join(format!("{what}-{rank}"))).ok()
    }

    /// Waits until a rank has an error or an end to tell, and returns it.
    pub(crate) fn outcome(&mut self, rank: usize, since: Instant) -> Result<Vec<u8>, String> {
        loop {
            let has_ended = self.children[rank].try_wait().unwrap().is_some();
            if let Some(error) = self.said(rank, "error") {
                return Err(String::from_utf8(error).unwrap());
            }
            if let Some(end) = self.said(rank, "end") {
                return Ok(end);
            }
            if has_ended || since.elapsed() > PATIENCE {
                let stderr = fs::read_to_string(self.folder.join(format!("stderr-{rank}"))).unwrap();
                panic!("rank {rank} ends without a word:\n{stderr}");
            }
            thread::sleep(TICK);
        }
    }

    /// What came out on each rank.
    pub(crate) fn ends(&mut self) -> Vec<Vec<u8>> {
        (0..self.children.len()).map(|rank| self.outcome(rank, Instant::now()).unwrap()).collect()
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
