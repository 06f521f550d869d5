//! Ranks that are processes: this program starts itself again for each of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    env, fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tch::{Kind, Tensor};
use zae_core::{
    engine::Engine,
    error::Fallible,
    learner::Learner,
    process_group::{ProcessGroup, World},
    testing::check_group,
};
use zae_tch::{C10dGroup, Sgd, TchLearner};

/// A rank is looked at so often, and waited for so long.
const TICK: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(60);

/// A port that is free, and stays so: the system gives none below 32768 to those that ask for any.
fn port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(97));
        let port = 10_000 + (next % 20_000) as u16;
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// The ranks of a test, killed at its end.
struct Ranks {
    children: Vec<Child>,
    folder: tempfile::TempDir,
}

impl Ranks {
    /// Starts ranks 0 to `started` of `world`.
    fn start(scene: &str, world: usize, started: usize, timeout: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = port();
        let start = |rank: usize| {
            Command::new(env::current_exe().unwrap())
                .args(["--exact", "rank", "--nocapture"])
                .envs([("ZAE_SCENE", scene), ("OMP_NUM_THREADS", "1")])
                .env("ZAE_FOLDER", folder.path())
                .envs((scene == "no-interface" && rank == 1).then_some(("GLOO_SOCKET_IFNAME", "none")))
                .env("ZAE_RANK", format!("{rank} {world} {port} {}", timeout.as_millis()))
                .stdout(Stdio::null())
                .stderr(fs::File::create(folder.path().join(format!("stderr-{rank}"))).unwrap())
                .spawn()
                .unwrap()
        };
        Self { children: (0..started).map(start).collect(), folder }
    }

    /// What a rank says, and how long that took.
    fn says(&mut self, rank: usize, what: &str) -> (String, Duration) {
        let (path, since) = (self.folder.path().join(format!("{what}-{rank}")), Instant::now());
        loop {
            let ended = self.children[rank].try_wait().unwrap().is_some();
            if let Ok(text) = fs::read_to_string(&path) {
                return (text, since.elapsed());
            }
            if ended || since.elapsed() > PATIENCE {
                let stderr = fs::read_to_string(self.folder.path().join(format!("stderr-{rank}"))).unwrap();
                panic!("rank {rank} does not say `{what}`:\n{stderr}");
            }
            thread::sleep(TICK);
        }
    }

    fn signal(&self, rank: usize, signal: &str) {
        let pid = self.children[rank].id();
        assert!(Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).status().unwrap().success());
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

/// One rank, when this program was started as such.
#[test]
fn rank() {
    let Ok(place) = env::var("ZAE_RANK") else { return };
    let numbers: Vec<usize> = place.split(' ').map(|number| number.parse().unwrap()).collect();
    let mut world = World::new(numbers[0], numbers[1]);
    world.master = Some(("localhost".to_owned(), numbers[2] as u16));
    world.timeout = Duration::from_millis(numbers[3] as u64);
    let folder = env::var("ZAE_FOLDER").unwrap();
    let say = |what: &str, text: &str| {
        let path = Path::new(&folder).join(format!("{what}-{}", world.rank));
        fs::write(path.with_extension("new"), text).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    };
    let name = env::var("ZAE_SCENE").unwrap();
    if name == "miscounted" && world.rank == 1 {
        world.world_size = 3;
    }
    let done = scene(&name, &world, &say);
    say("end", &done.map_or_else(|error| error.to_string(), |()| "done".to_owned()));
}

fn scene(scene: &str, world: &World, say: &dyn Fn(&str, &str)) -> Fallible {
    let group = C10dGroup::connect(world)?;
    match scene {
        "check" => {
            check_group(&*group)?;
            tensors(&group)?;
            // The next run's, on the same port.
            let next = C10dGroup::connect(world)?;
            drop(group);
            assert_eq!(next.all_gather(&[world.rank as u8])?.concat(), (0..world.world_size as u8).collect::<Vec<_>>());
            Ok(())
        }
        "abort-in-call" if world.rank == 0 => {
            let call = thread::spawn({
                let group = group.clone();
                move || group.all_gather(&[0]).map_err(|error| error.to_string())
            });
            thread::sleep(Duration::from_millis(50));
            group.abort("out of paper");
            say("aborted", "");
            // It was in the call of all, and the others need not miss what it gave.
            assert_eq!(call.join().unwrap()?, [[0], [1]]);
            group.sum(&mut [1.0])
        }
        "abort-in-call" => {
            let (aborted, since) = (Path::new(&env::var("ZAE_FOLDER").unwrap()).join("aborted-0"), Instant::now());
            while !aborted.exists() && since.elapsed() < PATIENCE {
                thread::sleep(TICK);
            }
            group.all_gather(&[1])?;
            group.sum(&mut [1.0])
        }
        "connects" => {
            group.sum(&mut [1.0])?;
            say("works", "");
            if world.rank + 1 == world.world_size {
                // The others wait for it there.
                thread::sleep(PATIENCE);
            }
            let build = |path: &tch::nn::Path<'_>| tch::nn::linear(path, 2, 2, tch::nn::LinearConfig::default());
            let group: Arc<dyn ProcessGroup> = group;
            let mut learner = TchLearner::new(build, Sgd::new(), tch::Device::Cpu);
            learner.init(0)?;
            learner.overlap(&group).map(|sums| assert!(sums))
        }
        "out-of-step" => {
            // What Gloo may not notice.
            if world.rank == 1 {
                group.all_reduce_sum(&mut [])?;
            }
            group.sum(&mut [1.0])
        }
        _ => {
            let error = rounds(&group, scene, world, say);
            // The group is of no more use, and says so at once.
            let since = Instant::now();
            let again = group.all_gather(&[1]).unwrap_err().to_string();
            assert_eq!(error, again);
            assert!(since.elapsed() < Duration::from_millis(500), "{:?}", since.elapsed());
            Err(error.into())
        }
    }
}

/// Works until that fails.
fn rounds(group: &Arc<C10dGroup>, scene: &str, world: &World, say: &dyn Fn(&str, &str)) -> String {
    let last = world.rank + 1 == world.world_size;
    for round in 0.. {
        if let Err(error) = group.all_reduce_sum(&mut vec![1.0; 1000]) {
            return error.to_string();
        }
        match round {
            10 => say("works", ""),
            100 if scene == "abort" && last => group.abort("out of paper"),
            100 if scene == "abort-0" && world.rank == 0 => group.abort("out of paper"),
            _ => {}
        }
    }
    unreachable!()
}

/// A tensor's numbers are summed where they are.
fn tensors(group: &C10dGroup) -> Fallible {
    let world = group.world_size() as i64;
    for kind in [Kind::Float, Kind::Double, Kind::BFloat16, Kind::Int64] {
        let mut tensor = Tensor::arange(6, (kind, tch::Device::Cpu)).reshape([2, 3]);
        let _ = tensor.requires_grad_(kind == Kind::Float);
        group.all_reduce_tensor(&mut tensor)?;
        assert_eq!(tensor.detach(), Tensor::arange(6, (kind, tch::Device::Cpu)).reshape([2, 3]) * world);
    }
    Ok(())
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn processes_are_a_group() {
    for world in [1, 2, 3, 4, 8] {
        let mut ranks = Ranks::start("check", world, world, LONG);
        for rank in 0..world {
            assert_eq!(ranks.says(rank, "end").0, "done");
        }
    }
}

/// The ranks that work; `lost` is none of them any more.
fn errors(ranks: &mut Ranks, lost: usize) -> Vec<(String, Duration)> {
    let others: Vec<usize> = (0..ranks.children.len()).filter(|rank| *rank != lost).collect();
    others.into_iter().map(|rank| ranks.says(rank, "end")).collect()
}

#[test]
fn a_rank_that_is_killed_is_missed_at_once() {
    for lost in [2, 0] {
        let mut ranks = Ranks::start("work", 3, 3, LONG);
        (0..3).for_each(|rank| drop(ranks.says(rank, "works")));
        ranks.children[lost].kill().unwrap();
        for (error, after) in errors(&mut ranks, lost) {
            let expected = format!("rank {lost} is gone: the sum of 1000 numbers has failed: ");
            assert!(error.starts_with(&expected) && !error.contains(".cc"), "{error}");
            assert!(after < Duration::from_secs(5), "{after:?}");
        }
    }
}

/// There is no connection yet that could break.
#[test]
fn a_rank_that_is_killed_while_others_connect_for_something_more_is_missed_at_once() {
    for lost in [1, 2] {
        let mut ranks = Ranks::start("connects", lost + 1, lost + 1, LONG);
        (0..=lost).for_each(|rank| drop(ranks.says(rank, "works")));
        ranks.children[lost].kill().unwrap();
        for (error, after) in errors(&mut ranks, lost) {
            assert!(error.starts_with(&format!("rank {lost} is gone: the sum of gradients has failed: ")), "{error}");
            assert!(after < Duration::from_secs(5), "{after:?}");
        }
    }
}

#[test]
fn a_rank_that_hangs_is_missed_after_the_timeout() {
    for lost in [2, 0] {
        let timeout = Duration::from_secs(3);
        let mut ranks = Ranks::start("work", 3, 3, timeout);
        (0..3).for_each(|rank| drop(ranks.says(rank, "works")));
        ranks.signal(lost, "STOP");
        for (error, after) in errors(&mut ranks, lost) {
            assert_eq!(error, format!("rank {lost} has not come within 3s: the sum of 1000 numbers"));
            assert!(after < timeout + Duration::from_secs(5), "{after:?}");
        }
    }
}

#[test]
fn who_gives_up_is_not_waited_for() {
    for (scene, who) in [("abort", 2), ("abort-0", 0)] {
        let mut ranks = Ranks::start(scene, 3, 3, LONG);
        (0..3).for_each(|rank| drop(ranks.says(rank, "works")));
        for rank in 0..3 {
            let (error, after) = ranks.says(rank, "end");
            assert_eq!(error, format!("rank {who} has given up: out of paper"));
            assert!(after < Duration::from_secs(10), "{after:?}");
        }
    }
}

#[test]
fn who_gives_up_during_a_call_ends_it_first() {
    let mut ranks = Ranks::start("abort-in-call", 2, 2, LONG);
    for rank in 0..2 {
        let (error, after) = ranks.says(rank, "end");
        assert_eq!(error, "rank 0 has given up: out of paper");
        assert!(after < LONG / 2, "{after:?}");
    }
}

#[test]
fn ranks_that_do_different_things_are_told_so() {
    let mut ranks = Ranks::start("out-of-step", 2, 2, LONG);
    for rank in 0..2 {
        let error = ranks.says(rank, "end").0;
        assert!(
            error.starts_with("rank ") && error.contains(" is out of step: all have to make the same calls"),
            "{error}"
        );
    }
}

#[test]
fn a_rank_that_never_comes_is_named() {
    let mut ranks = Ranks::start("work", 3, 2, Duration::from_secs(4));
    for rank in 0..2 {
        assert_eq!(ranks.says(rank, "end").0, "rank 2 has not come within 4s: 2 of 3 are here");
    }
}

#[test]
fn without_an_address_there_is_no_group_of_this_engine() {
    let build = |path: &tch::nn::Path<'_>| tch::nn::linear(path, 2, 2, tch::nn::LinearConfig::default());
    let mut learner = TchLearner::new(build, Sgd::new(), tch::Device::Cpu);
    let mut world = World::new(0, 1);
    assert!(learner.process_group(&world).unwrap().is_none());
    assert!(C10dGroup::connect(&world).unwrap_err().to_string().contains("MASTER_ADDR"));
    world.master = Some(("127.0.0.1".to_owned(), port()));
    check_group(&*learner.process_group(&world).unwrap().unwrap()).unwrap();
}

#[test]
fn ranks_that_cannot_be_right_are_told_so() {
    let mut ranks = Ranks::start("miscounted", 2, 2, LONG);
    for rank in 0..2 {
        let error = ranks.says(rank, "end").0;
        assert_eq!(error, "rank 1 counts 3 processes, rank 0 2: WORLD_SIZE has to be the same");
    }
    let mut ranks = Ranks::start("no-interface", 2, 2, Duration::from_secs(4));
    for rank in 0..2 {
        let error = ranks.says(rank, "end").0;
        assert!(error.starts_with("rank 1 cannot be reached at GLOO_SOCKET_IFNAME=none: "), "{error}");
    }
}

#[test]
fn what_cannot_be_connected_says_what_would_help() {
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let mut world = World::new(0, 2);
    world.timeout = Duration::from_secs(1);
    world.master = Some(("127.0.0.1".to_owned(), taken.local_addr().unwrap().port()));
    let error = C10dGroup::connect(&world).unwrap_err().to_string();
    assert!(error.contains("set MASTER_PORT to another one"), "{error}");
    let free = port();
    (world.rank, world.master) = (1, Some(("127.0.0.1".to_owned(), free)));
    let error = C10dGroup::connect(&world).unwrap_err().to_string();
    assert!(error.starts_with(&format!("rank 0 has not come to 127.0.0.1:{free} within 1s")), "{error}");
    world.rank = 2;
    assert!(C10dGroup::connect(&world).unwrap_err().to_string().contains("no rank 2 of 2"));
}
