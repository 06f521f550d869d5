//! The store and the group of c10d, with threads as ranks.
#![allow(clippy::unwrap_used)]

mod ranks;

use std::{
    thread,
    time::{Duration, Instant},
};

use tch::{Device, Kind, Tensor};
use zae_tch_sys::{Gloo, GlooAddress, GroupOptions, TcpStore};

use ranks::{TIMEOUT, all, served};

/// A store that is served, and another connection to it.
fn stores() -> (TcpStore, TcpStore) {
    let (server, port) = served();
    (server, TcpStore::open("127.0.0.1", port, false, TIMEOUT).unwrap())
}

fn join(store: &TcpStore, rank: usize, at: GlooAddress<'_>, timeout: Duration) -> zae_tch_sys::Result<Gloo> {
    Gloo::open(store, &GroupOptions { prefix: "test", rank, world_size: 2, timeout, at })
}

/// What two ranks return.
fn both<R: Send>(rank: impl Fn(usize, Gloo) -> R + Sync) -> [R; 2] {
    let (server, client) = stores();
    let run = |number: usize, store: &TcpStore| {
        rank(number, join(store, number, GlooAddress::Host("127.0.0.1"), TIMEOUT).unwrap())
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| run(1, &client));
        [run(0, &server), other.join().unwrap()]
    })
}

#[test]
fn a_store_keeps_values_and_who_is_first() {
    let (server, client) = stores();
    assert!(!client.has("key").unwrap());
    server.set("key", b"value").unwrap();
    server.set("empty", b"").unwrap();
    // Others may ask before the store has heard of it: who gets it waits.
    assert_eq!(client.get("key", TIMEOUT).unwrap(), b"value");
    assert_eq!(client.get("empty", TIMEOUT).unwrap(), b"");
    assert!(client.has("key").unwrap() && client.has("empty").unwrap());
    assert_eq!(client.set_first("first", b"mine").unwrap(), b"mine");
    assert_eq!(server.set_first("first", b"not yours").unwrap(), b"mine");
    let error = client.get("never", Duration::from_millis(20)).unwrap_err().to_string();
    assert!(error.contains("timeout after 20ms") && !error.contains('\n'), "{error}");
    assert!(client == client.clone() && client != server);
    // The connection goes on after that.
    assert!(client.has("key").unwrap());
    drop(server);
    let since = Instant::now();
    assert!(client.get("key", TIMEOUT).is_err());
    assert!(since.elapsed() < TIMEOUT / 2);
}

#[test]
fn who_waits_for_a_group_that_is_given_up_waits_no_longer() {
    let (server, client) = stores();
    let (opening, since) = (server.clone(), Instant::now());
    let waits = thread::spawn(move || join(&opening, 0, GlooAddress::Host("127.0.0.1"), TIMEOUT));
    server.give_up();
    let error = waits.join().unwrap().unwrap_err().to_string();
    assert!(error.contains("has been given up") && since.elapsed() < TIMEOUT / 2, "{error}");
    // The store itself is as before, and other groups at it are.
    server.set("key", b"value").unwrap();
    assert_eq!(client.get("key", TIMEOUT).unwrap(), b"value");
    let other = server.again();
    assert!(other == server);
    let open = |store: &TcpStore, rank| {
        let at = GlooAddress::Host("127.0.0.1");
        Gloo::open(store, &GroupOptions { prefix: "other", rank, world_size: 2, timeout: TIMEOUT, at }).map(drop)
    };
    thread::scope(|scope| {
        let first = scope.spawn(|| open(&other, 0));
        open(&client, 1).unwrap();
        first.join().unwrap().unwrap();
    });
}

#[test]
fn two_ranks_sum_gather_and_broadcast() {
    let found = both(|rank, mut gloo| {
        let mut values = vec![rank as f32 + 1.0; 1001];
        gloo.all_reduce_f32(&mut values).unwrap();
        assert!(values.iter().all(|value| *value == 3.0));
        for kind in [Kind::Double, Kind::BFloat16, Kind::Int64] {
            let mut tensor = Tensor::full([2, 3], 2, (kind, Device::Cpu));
            gloo.all_reduce(&mut tensor).unwrap();
            assert_eq!(tensor, Tensor::full([2, 3], 4, (kind, Device::Cpu)));
        }
        let mut rows = Tensor::arange(4, (Kind::Float, Device::Cpu)).reshape([2, 2]).tr();
        gloo.all_reduce(&mut rows).unwrap();
        assert_eq!(Vec::<f32>::try_from(rows.reshape([-1])).unwrap(), [0.0, 4.0, 2.0, 6.0]);
        let mut sent = [rank as u8 + 5; 3];
        gloo.broadcast(&mut sent, 1).unwrap();
        assert_eq!(sent, [6; 3]);
        gloo.all_gather(&[rank as u8, 7]).unwrap()
    });
    assert_eq!(found, [vec![0, 7, 1, 7], vec![0, 7, 1, 7]]);
}

#[test]
fn any_number_of_ranks_gathers_few_bytes_and_many() {
    for world_size in [1, 2, 3, 4, 5, 8, 11] {
        let found = all(world_size, |rank, mut gloo| {
            let of = |rank: usize, i: usize| (rank * 31 + i * 7 + 1) as u8;
            // In between there is another call, and nothing at all.
            for (i, length) in [(0, 1), (1, 256), (2, 0), (3, 1024), (4, 1025), (5, 5), (6, 100_000), (7, 256)] {
                let gathered = gloo.all_gather(&vec![of(rank, i); length]).unwrap();
                let expected: Vec<u8> = (0..world_size).flat_map(|rank| vec![of(rank, i); length]).collect();
                assert_eq!(gathered, expected, "{length} bytes of {world_size} ranks");
                let mut sum = [rank as f32];
                gloo.all_reduce_f32(&mut sum).unwrap();
                assert_eq!(sum, [(0..world_size).sum::<usize>() as f32]);
            }
        });
        assert_eq!(found.len(), world_size);
    }
}

#[test]
fn a_tensor_that_cannot_be_summed_is_an_error() {
    let errors = both(|_, mut gloo| {
        let gaps = gloo.all_reduce(&mut Tensor::ones([4, 4], (Kind::Float, Device::Cpu)).slice(1, 0, 2, 1));
        let expanded = gloo.all_reduce(&mut Tensor::ones([1], (Kind::Float, Device::Cpu)).expand([1000], false));
        let undefined = gloo.all_reduce(&mut Tensor::new());
        // Nothing was sent, so the group is as good as before.
        gloo.all_reduce_f32(&mut [1.0]).unwrap();
        [gaps, expanded, undefined].map(|result| result.unwrap_err().to_string())
    });
    for error in errors.iter().flatten() {
        assert!(error.contains("cannot be summed") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_group_that_is_dropped_ends_the_calls_of_the_others() {
    let [_, after] = both(|rank, mut gloo| {
        if rank == 0 {
            thread::sleep(Duration::from_millis(50));
            drop(gloo);
            return Duration::ZERO;
        }
        let since = Instant::now();
        let error = gloo.all_reduce_f32(&mut [1.0]).unwrap_err().to_string();
        assert!(error.contains("Connection closed by peer"), "{error}");
        since.elapsed()
    });
    assert!(after < TIMEOUT / 2, "{after:?}");
}

#[test]
fn who_does_not_come_is_waited_for_as_long_as_said() {
    let (server, _client) = stores();
    let (timeout, since) = (Duration::from_millis(300), Instant::now());
    assert!(join(&server, 0, GlooAddress::Host("127.0.0.1"), timeout).is_err());
    assert!(since.elapsed() >= timeout && since.elapsed() < TIMEOUT / 2, "{:?}", since.elapsed());
    assert!(join(&server, 0, GlooAddress::Interface("none"), timeout).is_err());
    assert!(join(&server, 0, GlooAddress::Host("nowhere.invalid"), timeout).is_err());
}
