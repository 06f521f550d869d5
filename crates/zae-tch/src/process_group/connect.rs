//! How the ranks find each other: at rank 0's store, which is c10d's, and then over Gloo.

use std::{
    net::IpAddr,
    process,
    time::{Duration, Instant, SystemTime},
};

use zae_core::{error::Fallible, process_group::World};
use zae_tch_sys::{BatchNormLane, Error, Gloo, GlooAddress, GradientSums, GroupOptions};

use super::{
    address,
    notes::{Cause, MOMENT, Notes, who},
    store::{forget, store},
    within,
};

/// How much longer than rank 0 the others wait for what it has to say.
const LONGER: Duration = Duration::from_secs(5);

/// The longest timeout. Beyond it some of c10d's counts of milliseconds overflow.
const FOREVER: Duration = Duration::from_hours(24 * 20);

/// A group's first connections, its notes, and the address of this process.
pub(super) fn connect(world: &World) -> Fallible<(Gloo, Notes, IpAddr)> {
    let Some(master) = world.master.clone() else {
        return Err(
            "c10d needs an address where the ranks meet: set MASTER_ADDR and MASTER_PORT to those of rank 0".into()
        );
    };
    let World { rank, world_size, .. } = *world;
    let timeout = world.timeout.min(FOREVER);
    if rank >= world_size {
        return Err(format!("there is no rank {rank} of {world_size}: RANK counts from 0").into());
    }
    zae_tch_sys::short_errors();
    let (store, group) = store(&master, rank, timeout)?;
    // torchrun's own store outlives the ranks that it starts again: what those before have left there is not theirs.
    let start = std::env::var("TORCHELASTIC_RESTART_COUNT").unwrap_or_default();
    let notes = Notes { store, prefix: format!("zae/{start}/{group}"), rank, world_size, timeout };
    let (limit, at) = (timeout * 2 + LONGER, format!("{}:{}", master.0, master.1));
    let meeting = notes.clone();
    let connect = move || -> Fallible<_> {
        let address = meet(&meeting, &master)?;
        Ok((open(&meeting, address)?, address))
    };
    let connected = within(limit, connect)
        .unwrap_or_else(|| Err(format!("rank 0 at {at} has not answered within {limit:?}").into()));
    if connected.is_err() {
        forget(&notes);
    }
    let (gloo, address) = connected?;
    Ok((gloo, notes, address))
}

/// Waits for all ranks. Returns the address of this one.
fn meet(notes: &Notes, (host, port): &(String, u16)) -> Fallible<IpAddr> {
    let by = Instant::now() + notes.timeout;
    let own = address::toward(host, *port)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let here = format!("{} {own} {} {}", notes.world_size, process::id(), now.as_nanos());
    let there = notes.store.set_first(&notes.key("here", notes.rank), here.as_bytes())?;
    if there != here.as_bytes() {
        return Err(format!("there are two processes of rank {}: each needs a RANK of its own", notes.rank).into());
    }
    if notes.rank == 0 {
        let all = all_here(notes, by);
        let word = all.as_ref().map_or_else(|error| format!("no {error}"), |all| format!("yes {}", words(all)));
        notes.store.set(&notes.key("start", 0), word.as_bytes())?;
        if all.is_err() {
            // The others hear it before the store is gone.
            notes.missing("told", Instant::now() + MOMENT)?;
        }
        return Ok(address::among(own, &all?));
    }
    let word = notes.store.get(&notes.key("start", 0), notes.timeout + LONGER);
    let word = word.map_err(|e| format!("rank 0 at {host}:{port} is gone, or does not answer ({e})"))?;
    notes.store.set(&notes.key("told", notes.rank), b"")?;
    match String::from_utf8_lossy(&word).split_once(' ') {
        Some(("yes", all)) => {
            let all: Vec<IpAddr> = all.split(' ').filter_map(|address| address.parse().ok()).collect();
            let (theirs, world) = (all.len(), notes.world_size);
            if theirs != world {
                let error =
                    format!("rank 0 counts {theirs} processes, this one {world}: WORLD_SIZE has to be the same");
                return Err(error.into());
            }
            Ok(address::among(own, &all))
        }
        Some(("no", error)) => Err(error.into()),
        _ => Err("rank 0 is of another version of this program".into()),
    }
}

/// Rank 0 waits for all, so that all hear the same.
fn all_here(notes: &Notes, by: Instant) -> Fallible<Vec<IpAddr>> {
    let missing = notes.missing("here", by)?;
    if let Some(who) = who(&missing) {
        let (here, world) = (notes.world_size - missing.len(), notes.world_size);
        return Err(format!("{who} has not come within {:?}: {here} of {world} are here", notes.timeout).into());
    }
    let mut all = Vec::new();
    for rank in 0..notes.world_size {
        let here = notes.store.get(&notes.key("here", rank), notes.timeout)?;
        let here = String::from_utf8_lossy(&here).into_owned();
        let mut words = here.split(' ');
        let (world, address) = (words.next().unwrap_or("?"), words.next().unwrap_or("?"));
        if world != notes.world_size.to_string() {
            let own = notes.world_size;
            return Err(
                format!("rank {rank} counts {world} processes, rank 0 {own}: WORLD_SIZE has to be the same").into()
            );
        }
        all.push(address.parse().map_err(|e| format!("rank {rank} has no address: {e}"))?);
    }
    Ok(all)
}

fn words(all: &[IpAddr]) -> String {
    all.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ")
}

/// Connects all ranks over connections for gradients alone: by NCCL those of GPUs, if this program has it.
pub(super) fn gradients(notes: &Notes, address: IpAddr, is_on_gpu: bool) -> Result<GradientSums, Error> {
    let prefix = format!("{}/gradients", notes.prefix);
    with_options(notes, &prefix, address, |options| {
        #[cfg(feature = "nccl")]
        if is_on_gpu {
            return GradientSums::over_nccl(&notes.store, options);
        }
        // Gloo takes what is on a GPU to the host and back.
        let _ = is_on_gpu;
        GradientSums::new(Gloo::open(&notes.store, options)?)
    })
}

/// Connects all ranks over connections for the layers of a model, the `number`th ones.
pub(super) fn layers(notes: &Notes, address: IpAddr, number: u64) -> Result<BatchNormLane, Error> {
    let prefix = format!("{}/layers/{number}", notes.prefix);
    with_options(notes, &prefix, address, |options| BatchNormLane::new(Gloo::open(&notes.store, options)?))
}

fn with_options<R>(notes: &Notes, prefix: &str, address: IpAddr, open: impl FnOnce(&GroupOptions<'_>) -> R) -> R {
    let (address, interface) = (address.to_string(), interface());
    open(&GroupOptions {
        prefix,
        rank: notes.rank,
        world_size: notes.world_size,
        timeout: notes.timeout,
        at: interface.as_deref().map_or(GlooAddress::Host(&address), GlooAddress::Interface),
    })
}

fn interface() -> Option<String> {
    std::env::var("GLOO_SOCKET_IFNAME").ok().filter(|name| !name.is_empty())
}

fn open(notes: &Notes, address: IpAddr) -> Fallible<Gloo> {
    with_options(notes, &notes.prefix, address, |options| Gloo::open(&notes.store, options)).map_err(|error| {
        let at = interface().map_or_else(|| address.to_string(), |name| format!("GLOO_SOCKET_IFNAME={name}"));
        let cause = match Cause::of("connecting all ranks", &error) {
            Cause::Late(what) => Cause::Late(what),
            _ => Cause::GivenUp(format!("rank {} cannot be reached at {at}: {error}", notes.rank)),
        };
        let verdict = notes.verdict(notes.leave(cause));
        notes.wait_for_readers();
        verdict.into()
    })
}
