//! The side of a process: one of two.

use std::{sync::Arc, time::Duration};

use tch::{Device, nn};
use zae_bench_engines::{
    ours,
    turns::{self, Turns},
    workload::Workload,
};
use zae_bench_peers::{
    lap::{Lap, Start},
    order::order,
};
use zae_core::{
    process_group::{ProcessGroup, World},
    testing::Unknown,
};
use zae_tch::C10dGroup;
use zae_tch_sys::{Gloo, GlooAddress, GroupOptions, TcpStore};

use crate::lockstep::Lockstep;

pub(crate) const RANKS: usize = 2;
pub(crate) const WORKLOAD: &str = "cnn32";
const HOST: &str = "127.0.0.1";

/// Does what it was told: way, steps, rank, port.
pub(crate) fn work(words: &[String]) {
    let [way, steps, rank, port] = words else { panic!("the bench says {words:?}") };
    let steps: u64 = steps.parse().unwrap();
    let turns = Turns::new(1);
    match &**way {
        "mpi" => return over_mpi(turns, port.parse().unwrap(), |group| train_with(group, steps)),
        "mpi_whole" => {
            return over_mpi(turns, port.parse().unwrap(), |group| train_with(Arc::new(Unknown(group)), steps));
        }
        #[cfg(feature = "burn")]
        "burn_mpi" => {
            let all = 0..steps * RANKS as u64;
            return over_mpi(turns, port.parse().unwrap(), |group| crate::with_burn::train(&all, Some(group)));
        }
        _ => {}
    }
    let rank: u64 = rank.parse().unwrap();
    let connect = || connect(rank, port.parse().unwrap());
    match &**way {
        "sums" => sums(turns, &connect(), port.parse().unwrap()),
        "words" => exchange(turns, &connect(), port.parse().unwrap()),
        "gloo" => {
            turns.watch();
            turns::finish(train_with(connect(), steps));
        }
        "gloo_after" => {
            turns.watch();
            turns::finish(train_with(Arc::new(Unknown(connect())), steps));
        }
        "lockstep" => {
            turns.watch();
            turns::finish(train_with(Arc::new(Lockstep(connect())), steps));
        }
        _ => {
            turns.watch();
            let own = (0..steps).map(move |step| step * RANKS as u64 + rank);
            #[cfg(feature = "burn")]
            if way == "burn_ceiling" {
                return turns::finish(crate::with_burn::train(&own, None));
            }
            turns::finish(ours::train(workload(), &own, None));
        }
    }
}

fn workload() -> Workload {
    Workload::named(WORKLOAD).unwrap()
}

fn connect(rank: u64, port: u16) -> Arc<C10dGroup> {
    let mut world = World::new(rank as usize, RANKS);
    world.master = Some((HOST.to_owned(), port));
    C10dGroup::connect(&world).unwrap()
}

/// Trains; the trainer takes this rank's part of the batches.
fn train_with(group: Arc<dyn ProcessGroup>, steps: u64) -> f64 {
    ours::train(workload(), &(0..steps * RANKS as u64), Some(group))
}

/// Sums of as many zeros as the network has numbers: by the group, and by the call below it.
fn sums(turns: Turns, group: &C10dGroup, port: u16) {
    let vs = nn::VarStore::new(Device::Cpu);
    let _net = workload().net(&vs.root());
    let mut numbers = vec![0.0; vs.trainable_variables().iter().map(tch::Tensor::numel).sum()];
    let mut raw = raw(group, port);
    by_turns(turns, |is_first| {
        if is_first { group.all_reduce_sum(&mut numbers).unwrap() } else { raw.all_reduce_f32(&mut numbers).unwrap() }
    });
}

/// Words: as ranks exchange them, and around the ring, which Gloo takes for a few bytes more.
fn exchange(turns: Turns, group: &C10dGroup, port: u16) {
    let mut raw = raw(group, port);
    by_turns(turns, |is_first| {
        if is_first { group.sum(&mut [0.0; 10]).unwrap() } else { drop(raw.all_gather(&[0; 1025]).unwrap()) }
    });
}

/// Another Gloo between the same ranks.
fn raw(group: &C10dGroup, port: u16) -> Gloo {
    let timeout = Duration::from_secs(60);
    // Rank 0 serves it to the group already.
    let store = TcpStore::open(HOST, port, false, timeout).unwrap();
    let at = GlooAddress::Host(HOST);
    let options = GroupOptions { prefix: "raw", rank: group.rank(), world_size: RANKS, timeout, at };
    Gloo::open(&store, &options).unwrap()
}

/// Does two things as often as it is told to, by turns.
fn by_turns(mut turns: Turns, mut work: impl FnMut(bool)) {
    let mut laps = 0;
    while let Some(times) = turns.next_lap() {
        let mut took = [0.0; 2];
        for time in 0..times {
            for way in order(2, laps, time) {
                let start = Start::now();
                work(way == 0);
                took[way] += start.lap(times).wall;
            }
        }
        laps += 1;
        // The two numbers of a lap are those of the two ways here.
        Turns::answer(Lap { wall: took[0], cpu: took[1] });
    }
    turns::finish(0.0);
}

/// `mpirun` lets rank 0 alone hear what the bench says, and so that one tells the other: not by MPI, for who waits there wakes up
/// now and then, also while others have their laps.
#[cfg(feature = "mpi")]
fn over_mpi(mut turns: Turns, port: u16, train: impl FnOnce(Arc<dyn ProcessGroup>) -> f64) {
    use std::net::{TcpListener, TcpStream};

    let (_, world) = zae_parallel::launcher::from_env().unwrap();
    let group: Arc<dyn ProcessGroup> = Arc::new(zae_parallel::MpiGroup::new(&world).unwrap());
    let is_first = world.rank == 0;
    let listener = is_first.then(|| TcpListener::bind((HOST, port)).unwrap());
    // The other one comes when somebody listens.
    group.sum(&mut []).unwrap();
    let stream = listener.map_or_else(|| TcpStream::connect((HOST, port)), |own| Ok(own.accept()?.0)).unwrap();
    stream.set_nodelay(true).unwrap();
    zae_bench_peers::lap::watch(move |lap| {
        if let Some(Lap { wall, cpu }) = lap {
            if is_first {
                let [walls, cpus] = [wall, cpu].map(|own| own.max(receive(&stream)));
                Turns::answer(Lap { wall: walls, cpu: cpus });
            } else {
                [wall, cpu].into_iter().for_each(|own| send(&stream, own));
            }
        }
        if !is_first {
            return receive(&stream) as u64;
        }
        let next = turns.next_lap().unwrap_or(1);
        send(&stream, next as f64);
        next
    });
    let mean_loss = train(group);
    if is_first {
        turns::finish(mean_loss);
    }
}

#[cfg(feature = "mpi")]
fn send(mut to: &std::net::TcpStream, number: f64) {
    std::io::Write::write_all(&mut to, &number.to_le_bytes()).unwrap();
}

#[cfg(feature = "mpi")]
fn receive(mut from: &std::net::TcpStream) -> f64 {
    let mut bytes = [0; 8];
    std::io::Read::read_exact(&mut from, &mut bytes).unwrap();
    f64::from_le_bytes(bytes)
}

#[cfg(not(feature = "mpi"))]
fn over_mpi(_: Turns, _: u16, _: impl FnOnce(Arc<dyn ProcessGroup>) -> f64) {
    panic!("this bench was built without the feature `mpi`");
}
