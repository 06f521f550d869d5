//! Ranks that are processes train together, and one of them fails: an error, a panic, `SIGKILL`, `SIGSTOP`, in a step or an
//! evaluation, or whenever it happens to be killed. The others have to end with an error that names it, soon. Then the same command
//! goes on from the last checkpoint, and what comes out at last has the bits of the run that was left alone.
//!
//! `ZAE_FAULTS=200 cargo test --release -p zae-tch --test faults` is the full matrix; without the variable it is a short one.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::{
    env, fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use zae_checkpoint::StateManager;
use zae_core::{
    add_on::AddOn,
    engine::Engine,
    error::Fallible,
    process_group::{Parallel, ProcessGroup, World},
    rng::{Pcg64Mcg, Rng},
    task::{At, Mode},
    testing::{
        Architecture, Fixture, FixtureTask, Samples,
        reference::{Batch, Reference},
    },
    trainer::{Every, Trainer, Until},
};
use zae_tch::C10dGroup;

const WORLD: usize = 2;
const STEPS: u64 = 30;
/// How long a silent rank is waited for.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How soon the others have to end.
const SOON: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(2);

// ---- a rank ----

struct Connect(Arc<dyn ProcessGroup>);

impl AddOn for Connect {
    fn name(&self) -> &'static str {
        "connect"
    }
    fn parallel(&mut self, _: &mut dyn Engine) -> Fallible<Option<Parallel>> {
        Ok(Some(Parallel::new(Some(self.0.clone()))))
    }
}

fn data(batches: usize, seed: u64) -> Vec<Batch> {
    let reference = Reference { asynchronous: false };
    let sizes = reference.sizes(Architecture::Full);
    let rows: Vec<usize> = (0..batches).map(|i| 2 + i % 4).collect();
    let samples = Samples::random(rows.iter().sum(), sizes.features, sizes.classes, seed);
    samples.batches(&rows).iter().map(|samples| reference.batch(samples)).collect()
}

fn signal(pid: u32, signal: &str) {
    let done = Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).status();
    assert!(done.unwrap().success());
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
    let numbers: Vec<usize> = place.split(' ').map(|number| number.parse().unwrap()).collect();
    let mut world = World::new(numbers[0], WORLD);
    world.master = Some(("127.0.0.1".to_owned(), numbers[1] as u16));
    world.timeout = TIMEOUT;
    let folder = env::var("ZAE_FOLDER").unwrap();
    let folder = Path::new(&folder);
    let say = |what: &str, text: &[u8]| {
        let path = folder.join(format!("{what}-{}", world.rank));
        fs::write(path.with_extension("new"), text).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    };
    let spec = env::var("ZAE_FAULT").unwrap();
    let reference = Reference { asynchronous: false };
    let task = FixtureTask::new(&reference).before(move |at| fault(&spec, at));
    let group = C10dGroup::connect(&world).unwrap();
    say("works", b"");
    let mut trainer = Trainer::new(task, reference.learner(Architecture::Full))
        .run_dir(folder.join("run"))
        .seed(11)
        .scheduler(0.01)
        .accumulate(2)
        .log_every(3)
        .validate(Every::Steps(4))
        .handle_signals(false)
        .add_on((Connect(group), StateManager::new().every_steps(3)));
    let result = trainer.run(Until::steps(STEPS), data(17, 1), data(7, 2));
    match result {
        Ok(_) => {
            let snapshot = trainer.snapshot().unwrap();
            let weights: Vec<u8> = snapshot
                .learner
                .tensors
                .iter()
                .filter(|(name, _)| !name.contains("running"))
                .flat_map(|(_, tensor)| tensor.data.bytes().unwrap().into_owned())
                .collect();
            let history = format!("{:?}", snapshot.run.history.without_clock());
            say("end", &[weights, history.into_bytes()].concat());
        }
        Err(error) => say("error", error.to_string().as_bytes()),
    }
}

// ---- the test ----

/// The ranks of a run, killed when this goes.
struct Ranks<'a> {
    children: Vec<Child>,
    folder: &'a Path,
}

impl<'a> Ranks<'a> {
    /// Starts all ranks; one of them has this fault.
    fn start(folder: &'a Path, faulty: usize, fault: &str) -> Self {
        for rank in 0..WORLD {
            ["works", "end", "error"]
                .iter()
                .for_each(|what| drop(fs::remove_file(folder.join(format!("{what}-{rank}")))));
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let start = |rank: usize| {
            Command::new(env::current_exe().unwrap())
                .args(["--exact", "rank", "--nocapture"])
                .envs([("ZAE_FAULT", if rank == faulty { fault } else { "" }), ("OMP_NUM_THREADS", "1")])
                .env("ZAE_FOLDER", folder)
                .env("ZAE_RANK", format!("{rank} {port}"))
                .stdout(Stdio::null())
                .stderr(fs::File::create(folder.join(format!("stderr-{rank}"))).unwrap())
                .spawn()
                .unwrap()
        };
        Self { children: (0..WORLD).map(start).collect(), folder }
    }

    fn said(&self, rank: usize, what: &str) -> Option<Vec<u8>> {
        fs::read(self.folder.join(format!("{what}-{rank}"))).ok()
    }

    /// Waits until a rank has an error or an end to tell, and returns it.
    fn outcome(&mut self, rank: usize, since: Instant) -> (Option<String>, Vec<u8>) {
        loop {
            let has_ended = self.children[rank].try_wait().unwrap().is_some();
            if let Some(error) = self.said(rank, "error") {
                return (Some(String::from_utf8(error).unwrap()), Vec::new());
            }
            if let Some(end) = self.said(rank, "end") {
                return (None, end);
            }
            if has_ended || since.elapsed() > PATIENCE {
                let stderr = fs::read_to_string(self.folder.join(format!("stderr-{rank}"))).unwrap();
                panic!("rank {rank} ends without a word:\n{stderr}");
            }
            thread::sleep(TICK);
        }
    }

    fn has_stopped(&self, rank: usize) -> bool {
        let state = fs::read_to_string(format!("/proc/{}/stat", self.children[rank].id())).unwrap_or_default();
        state.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    }
}

impl Drop for Ranks<'_> {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs to the end, and returns what came out on each rank.
fn finish(folder: &Path) -> Vec<Vec<u8>> {
    let mut ranks = Ranks::start(folder, WORLD, "");
    let outcomes = (0..WORLD).map(|rank| ranks.outcome(rank, Instant::now())).collect::<Vec<_>>();
    outcomes.into_iter().map(|(error, end)| error.map_or(Ok(end), Err).unwrap()).collect()
}

/// Runs until the fault; whether it came before the end.
fn fails(folder: &Path, faulty: usize, spec: &str, rng: &mut Pcg64Mcg) -> bool {
    let other = 1 - faulty;
    let whenever = spec.is_empty();
    let mut ranks = Ranks::start(folder, faulty, spec);
    if whenever {
        while ranks.said(faulty, "works").is_none() {
            assert!(ranks.children[faulty].try_wait().unwrap().is_none());
        }
        thread::sleep(Duration::from_micros(u64::from(rng.next_u32() % 60_000)));
        ranks.children[faulty].kill().unwrap();
    }
    // The fault is not before the process has ended, or stopped, or says so itself.
    let begun = Instant::now();
    let of_itself = spec.starts_with("error") || spec.starts_with("panic");
    while !of_itself && ranks.children[faulty].try_wait().unwrap().is_none() && !ranks.has_stopped(faulty) {
        if ranks.said(faulty, "end").is_some() {
            return false;
        }
        assert!(begun.elapsed() < PATIENCE, "no fault comes of `{spec}`");
        thread::sleep(TICK);
    }
    if ranks.said(faulty, "end").is_some() {
        return false;
    }
    let since = Instant::now();
    let (error, _) = ranks.outcome(other, since);
    let Some(error) = error else { return false };
    let patience = if spec.starts_with("stop") { TIMEOUT + SOON } else { SOON };
    assert!(of_itself || since.elapsed() < patience, "`{spec}` was noticed after {:?}: {error}", since.elapsed());
    assert!(error.contains(&format!("rank {faulty}")), "`{spec}`: {error}");
    if of_itself {
        let (own, _) = ranks.outcome(faulty, since);
        assert_eq!(error, format!("rank {faulty}: {}", own.unwrap()));
        assert!(error.contains("boom") && error.contains("_step"), "{error}");
    }
    true
}

#[test]
fn a_run_whose_ranks_fail_ends_with_the_bits_of_the_undisturbed_one() {
    let faults: u64 = env::var("ZAE_FAULTS").map_or(16, |faults| faults.parse().unwrap());
    let whole = tempfile::tempdir().unwrap();
    let expected = finish(whole.path());
    assert!(expected[0].len() > 1000 && expected.iter().all(|end| *end == expected[0]), "the ranks part");
    let mut rng = Pcg64Mcg::new(7);
    let mut below = |n: u64| u64::from(rng.next_u32()) % n;
    let (mut fired, mut runs, mut i) = (0, 0, 0u64);
    while fired < faults {
        let folder = tempfile::tempdir().unwrap();
        runs += 1;
        // A run fails up to three times, each time further on.
        let mut step = 0;
        for _ in 0..3 {
            step += below(STEPS / 2);
            let mode = if below(4) == 0 { "evaluate" } else { "train" };
            // Waiting for those that are stopped takes the most time.
            let kind = ["error", "kill", "whenever", "panic", "kill", "whenever", "stop", "whenever"][i as usize % 8];
            let spec = if kind == "whenever" { String::new() } else { format!("{kind} {mode} {step}") };
            let faulty = below(2) as usize;
            i += 1;
            fired += u64::from(fails(folder.path(), faulty, &spec, &mut Pcg64Mcg::new(u128::from(i))));
        }
        assert!(finish(folder.path()) == expected, "other bits after faults of run {runs}");
        assert!(i < 4 * faults + 16, "hardly any fault fires");
    }
    println!("{fired} faults in {runs} runs of {WORLD} ranks: all ended with the same bits");
}
