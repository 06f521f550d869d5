//! Threads as ranks.

use std::{net::TcpListener, sync::Arc, thread, time::Duration};

use zae_core::process_group::World;
use zae_tch::C10dGroup;

/// Each thread is a rank, with a group.
pub(crate) fn on_ranks<R: Send>(world_size: usize, work: impl Fn(Arc<C10dGroup>) -> R + Sync) -> Vec<R> {
    on_ranks_within(Duration::from_secs(60), world_size, work)
}

/// The same, with another timeout.
pub(crate) fn on_ranks_within<R: Send>(
    timeout: Duration,
    world_size: usize,
    work: impl Fn(Arc<C10dGroup>) -> R + Sync,
) -> Vec<R> {
    // A port of the system's, which rank 0 takes a moment later; some other program may have been faster.
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    thread::scope(|scope| {
        let start = |rank| {
            let work = &work;
            scope.spawn(move || {
                let mut world = World::new(rank, world_size);
                world.master = Some(("127.0.0.1".to_owned(), port));
                world.timeout = timeout;
                work(C10dGroup::connect(&world).unwrap())
            })
        };
        let threads: Vec<_> = (0..world_size).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
