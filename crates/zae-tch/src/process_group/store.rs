//! The store at which ranks meet: c10d's, served by rank 0.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use zae_core::error::Fallible;
use zae_tch_sys::TcpStore;

use super::{notes::Notes, within};

/// How often rank 0 is looked for.
const TICK: Duration = Duration::from_millis(20);

/// How long one address of it is tried, for another may be right.
const TRY: Duration = Duration::from_secs(2);

/// The stores of this process. They stay, so that its next group, which may be the next run's, does not find a port that is not
/// free yet, or keys of the group before.
static STORES: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

struct Kept {
    master: (String, u16),
    rank: usize,
    store: TcpStore,
    groups: u64,
}

/// The store, and how many groups of this process it has had. All ranks make their groups in the same order.
pub(super) fn store(master: &(String, u16), rank: usize, timeout: Duration) -> Fallible<(TcpStore, u64)> {
    let kept = |stores: &mut Vec<Kept>| {
        let kept = stores.iter_mut().find(|kept| kept.master == *master && kept.rank == rank)?;
        kept.groups += 1;
        Some((kept.store.again(), kept.groups))
    };
    if let Some(kept) = kept(&mut STORES.lock().unwrap_or_else(PoisonError::into_inner)) {
        return Ok(kept);
    }
    let ((host, port), place) = (master, master.clone());
    if rank != 0 {
        wait_for_server(master, timeout)?;
    }
    let opened = within(timeout, move || TcpStore::open(&place.0, place.1, rank == 0, timeout));
    let store = opened.ok_or_else(|| format!("rank 0 at {host}:{port} has not answered within {timeout:?}"))?;
    let store = store.map_err(|e| match rank {
        0 => format!("rank 0 cannot open the port {port}: if it is taken, set MASTER_PORT to another one ({e})"),
        _ => format!("rank 0 at {host}:{port} cannot be reached: {e}"),
    })?;
    let new = Kept { master: master.clone(), rank, store: store.again(), groups: 0 };
    STORES.lock().unwrap_or_else(PoisonError::into_inner).push(new);
    Ok((store, 0))
}

/// c10d waits too, but looks once in a second or two only.
fn wait_for_server((host, port): &(String, u16), timeout: Duration) -> Fallible {
    let by = Instant::now() + timeout;
    loop {
        let left = by.saturating_duration_since(Instant::now()).clamp(TICK, TRY);
        let try_all = |addresses: std::vec::IntoIter<SocketAddr>| {
            let mut last = None;
            for address in addresses {
                match TcpStream::connect_timeout(&address, left) {
                    Ok(_) => return Ok(()),
                    Err(error) => last = Some(error),
                }
            }
            Err(last.unwrap_or_else(|| ErrorKind::NotFound.into()))
        };
        let Err(error) = (&**host, *port).to_socket_addrs().and_then(try_all) else { return Ok(()) };
        if Instant::now() >= by {
            let fix = "MASTER_ADDR and MASTER_PORT have to be the same everywhere";
            return Err(format!("rank 0 has not come to {host}:{port} within {timeout:?} ({error}): {fix}").into());
        }
        thread::sleep(TICK);
    }
}

/// After a failure the ranks' groups are no longer counted alike: the next one takes a new store.
pub(super) fn forget(notes: &Notes) {
    notes.store.give_up();
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    stores.retain(|kept| !(kept.rank == notes.rank && kept.store == notes.store));
}
