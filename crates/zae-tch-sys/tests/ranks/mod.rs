//! Threads as ranks.

use std::{net::TcpListener, thread, time::Duration};

use zae_tch_sys::{Gloo, GlooAddress, GroupOptions, TcpStore};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// A store that is served, and its port.
pub(crate) fn served() -> (TcpStore, u16) {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Somebody may be faster.
        if let Ok(server) = TcpStore::open("127.0.0.1", port, true, TIMEOUT) {
            return (server, port);
        }
    }
}

/// What so many ranks return.
pub(crate) fn all<R: Send>(world_size: usize, work: impl Fn(usize, Gloo) -> R + Sync) -> Vec<R> {
    let (_server, port) = served();
    let run = |rank: usize| {
        // A connection that waits has others wait.
        let own = TcpStore::open("127.0.0.1", port, false, TIMEOUT).unwrap();
        let at = GlooAddress::Host("127.0.0.1");
        let options = GroupOptions { prefix: "all", rank, world_size, timeout: TIMEOUT, at };
        work(rank, Gloo::open(&own, &options).unwrap())
    };
    let run = &run;
    thread::scope(|scope| {
        let ranks: Vec<_> = (0..world_size).map(|rank| scope.spawn(move || run(rank))).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}
