//! What each rank of a test's job does.
// Stopping and killing oneself, and ending with one's parent, are the system's; a rank's status is part of what is tested.
#![allow(unsafe_code, clippy::exit)]

mod places;
pub(crate) mod saving;
mod sums;

use std::{
    fmt,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use zae_core::{
    add_on::AddOn,
    error::Fallible,
    process_group::ProcessGroup,
    testing::{check_group, null::Null},
};
use zae_parallel::{DataParallel, MpiGroup, World, launcher};

pub(crate) const DOES: &str = "ZAE_TEST_RANK_DOES";
pub(crate) const FOLDER: &str = "ZAE_TEST_FOLDER";

/// Not a test: what `mpirun` and `srun` start.
#[test]
#[ignore = "this is a rank of the other tests' jobs"]
fn a_rank() {
    let Ok(does) = std::env::var(DOES) else { return };
    // A job that is killed leaves no ranks.
    #[cfg(target_os = "linux")]
    // SAFETY: no memory is involved.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)
    };
    tracing::subscriber::set_global_default(Log).unwrap();
    let (launcher, mut world) = launcher::from_env().unwrap();
    if matches!(&*does, "stopped" | "stopped midway" | "late" | "sum stopped" | "sum late" | "early sum")
        || does.starts_with("trains: ")
    {
        world.timeout = Duration::from_secs(2);
    }
    if does == "place" {
        let World { rank, world_size, local_rank, .. } = world;
        let node = std::env::var("SLURM_NODEID").unwrap_or_default();
        return say(&format!("place: {launcher}: {rank} of {world_size}, {local_rank} of node {node}"));
    }
    let done = act(&does, &world);
    if does == "abort, and all is well" {
        std::process::exit(0);
    }
    match done {
        Ok(()) => say(&format!("[{}] all is well", world.rank)),
        Err(_) => std::process::exit(3),
    }
}

fn act(does: &str, world: &World) -> Fallible {
    let told = |done: Fallible| done.inspect_err(|e| say(&format!("[{}] error: {e}", world.rank)));
    if let Some(spec) = does.strip_prefix("saves") {
        return told(saving::train(world.rank, spec));
    }
    let group = MpiGroup::new(world).inspect_err(|e| say(&format!("[{}] {e}", world.rank)))?;
    let is_one = world.rank == 1;
    if let Some(spec) = does.strip_prefix("trains: ") {
        return told(places::train(group, spec));
    }
    match does {
        "check" => {
            told(check_group(&group))?;
            // The same, the way that a trainer has it.
            let parallel = DataParallel::from_env()?.parallel(&mut Null::default())?;
            match parallel.and_then(|parallel| parallel.group) {
                Some(group) => told(check_group(&*group)),
                None if world.world_size == 1 => Ok(()),
                None => Err("the add-on has found no other ranks".into()),
            }
        }
        "large" => told(large(&group)),
        "sums" => told(sums::stream(&group)),
        "early sum" => told(sums::early(&group)),
        "longer sum" => told(sums::longer(&group)),
        "twice" => {
            told(check_group(&group))?;
            drop(group);
            let (one, two) = (MpiGroup::new(world)?, MpiGroup::new(world)?);
            std::thread::spawn(move || check_group(&one)).join().unwrap()?;
            told(check_group(&two))
        }
        "linger" => {
            group.sum(&mut [1.0])?;
            if world.rank > 0 {
                return touch(world.rank);
            }
            // The others are at their end now, or soon.
            wait_for(&[1, 2])
        }
        "stopped" => {
            group.sum(&mut [1.0])?;
            if is_one {
                raise(libc::SIGSTOP);
            }
            let done = told(group.all_gather(&[1; 1000]).map(drop));
            let again = group.all_reduce_sum(&mut [1.0]).unwrap_err();
            say(&format!("[{}] again: {again}", world.rank));
            done
        }
        "stopped midway" => {
            let sums = AtomicUsize::new(0);
            let mut values = vec![1.0; 2_500_001];
            std::thread::scope(|scope| {
                if is_one {
                    scope.spawn(|| {
                        while sums.load(Ordering::Relaxed) < 3 {
                            std::thread::yield_now();
                        }
                        raise(libc::SIGSTOP);
                    });
                }
                loop {
                    sums.fetch_add(1, Ordering::Relaxed);
                    told(group.all_reduce_sum(&mut values))?;
                }
            })
        }
        "late" => {
            group.sum(&mut [1.0])?;
            if is_one {
                wait_for(&[0, 2])?;
            }
            let done = told(group.all_reduce_sum(&mut [1.0; 5]));
            touch(world.rank)?;
            done
        }
        "killed" => {
            group.sum(&mut [1.0])?;
            if is_one {
                raise(libc::SIGKILL);
            }
            told(group.all_reduce_sum(&mut [1.0; 5]))
        }
        "abort" | "abort, and all is well" => {
            // A rank may still be in it when another one, which has its sum, gives up.
            told(group.sum(&mut [1.0]))?;
            if is_one {
                group.abort("out of paper");
            }
            told(group.broadcast(&mut vec![1; 1000], 0))
        }
        "abort beside" => std::thread::scope(|scope| {
            told(group.sum(&mut [1.0]))?;
            if !is_one {
                // Its own call is never made: the other rank's waits in vain.
                let error = loop {
                    if let Err(error) = group.all_gather(&[1]) {
                        break error;
                    }
                };
                return told(Err(error));
            }
            let waiting = scope.spawn(|| {
                loop {
                    if let Err(error) = group.all_gather(&[1]) {
                        break told(Err(error));
                    }
                }
            });
            group.abort("out of paper");
            waiting.join().unwrap()
        }),
        "gone" => {
            group.sum(&mut [1.0])?;
            if is_one {
                return Ok(());
            }
            told(group.all_gather(&[1]).map(drop))
        }
        "different" => {
            if world.rank == 2 {
                told(group.broadcast(&mut vec![1], 0))
            } else {
                told(group.all_gather(&[1]).map(drop))
            }
        }
        _ => match does.strip_prefix("sum ") {
            Some(then) => told(sums::half(&group, then)),
            None => panic!("what is {does}?"),
        },
    }
}

/// Several chunks of a sum, and more than one piece of what is gathered and broadcast.
fn large(group: &MpiGroup) -> Fallible {
    let (rank, world) = (group.rank(), group.world_size());
    let number = |rank: usize, i: usize| ((i * 7 + rank) % 1013) as f32;
    let mut values: Vec<f32> = (0..2_500_001).map(|i| number(rank, i)).collect();
    group.all_reduce_sum(&mut values)?;
    let exact = |i: usize| (0..world).map(|rank| number(rank, i)).sum::<f32>();
    assert!((0..values.len()).all(|i| values[i] == exact(i)));
    // A period that no piece is a multiple of.
    let period = |rank: usize| (0..1009).map(|i| (i * 31 + rank) as u8).collect::<Vec<u8>>();
    let own = |rank: usize| period(rank).repeat((rank + 1) * 36_000);
    for (rank, theirs) in group.all_gather(&own(rank))?.iter().enumerate() {
        assert!(*theirs == own(rank));
    }
    let mut bytes = own(rank);
    group.broadcast(&mut bytes, 1)?;
    assert!(bytes == own(1));
    Ok(())
}

fn raise(signal: i32) {
    // SAFETY: no memory is involved, and what handlers there are set flags.
    unsafe { libc::raise(signal) };
}

fn mark(rank: usize) -> PathBuf {
    PathBuf::from(std::env::var_os(FOLDER).unwrap()).join(rank.to_string())
}

fn touch(rank: usize) -> Fallible {
    Ok(std::fs::write(mark(rank), "")?)
}

fn wait_for(ranks: &[usize]) -> Fallible {
    while !ranks.iter().all(|rank| mark(*rank).exists()) {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// One write, so that the lines of several ranks do not mix.
fn say(line: &str) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Says what is logged.
struct Log;

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Message(String);
        impl tracing::field::Visit for Message {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn fmt::Debug) {
                self.0.push_str(&format!("{value:?}"));
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        say(&format!("logged: {}", message.0));
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}
