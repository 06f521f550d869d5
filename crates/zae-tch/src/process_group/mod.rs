//! [`C10dGroup`]: processes connected by PyTorch's c10d, over Gloo.

mod address;
mod connect;
mod notes;

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError},
    time::Duration,
};

use tch::Tensor;
use zae_core::{
    error::Fallible,
    process_group::{ProcessGroup, World},
};
use zae_tch_sys::Gloo;

use self::notes::{Cause, Notes};

/// What a rank says in one message, whatever its length: eight bytes of length, and the first of what it has to say.
const PACKET: usize = 256;
const FIRST: usize = PACKET - 8;

/// Processes that train one model together, connected by PyTorch's c10d, over Gloo (TCP). The ranks are told apart by their
/// numbers only: on one machine or on several, on the CPU or with GPUs.
///
/// A rank whose process has ended is noticed at once, one that is silent after the timeout: every other rank returns an error
/// then, which names it. So it does when one gives up ([`ProcessGroup::abort`]), also while it is connecting.
///
/// All ranks sum equally many numbers in a call. That is not checked: see [`Gloo`].
///
/// # Environment
/// `GLOO_SOCKET_IFNAME` names the network interface by which the others reach this process. Without it that is the address
/// from which it reaches rank 0.
#[derive(Debug)]
pub struct C10dGroup {
    rank: usize,
    world_size: usize,
    /// Until the group is of no more use. Dropping it closes the connections: all others fail too, one after the other.
    gloo: Mutex<Option<Gloo>>,
    notes: Notes,
    failure: OnceLock<String>,
}

impl C10dGroup {
    /// Connects all ranks of this world; each calls it. Rank 0 opens the port of `world.master`, and all find each other there.
    ///
    /// # Errors
    /// When `world.master` is not given, when the port cannot be had, and when a rank does not come within the timeout.
    pub fn connect(world: &World) -> Fallible<Arc<Self>> {
        let (gloo, notes) = connect::connect(world)?;
        let (rank, world_size) = (world.rank, world.world_size);
        Ok(Arc::new(Self { rank, world_size, gloo: Mutex::new(Some(gloo)), notes, failure: OnceLock::new() }))
    }

    /// Each number of a tensor becomes the sum over all ranks, in its place, without a copy by this crate; autograd does not
    /// hear of it. From a GPU c10d takes it to the host and back.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_sum`], and when c10d has no sum for tensors of this kind.
    pub fn all_reduce_tensor(&self, tensor: &mut Tensor) -> Fallible {
        let what = format!("the sum of a tensor of {} numbers", tensor.numel());
        self.call(|| what, |gloo| gloo.all_reduce(tensor))
    }

    /// A call of all ranks. When it fails the group is of no more use.
    fn call<R>(
        &self,
        what: impl FnOnce() -> String,
        body: impl FnOnce(&mut Gloo) -> zae_tch_sys::Result<R>,
    ) -> Fallible<R> {
        let result = {
            let mut place = self.gloo.lock().unwrap_or_else(PoisonError::into_inner);
            match (self.failure.get(), place.as_mut()) {
                (None, Some(gloo)) => body(gloo).map_err(|error| self.fail(place, Cause::of(&what(), &error))),
                (failure, _) => Err(failure.cloned().unwrap_or_else(|| "the group is closed".to_owned())),
            }
        };
        // Who gave up meanwhile could not close it.
        self.close_if_failed();
        Ok(result?)
    }

    /// Says why the group failed, and closes it. The others learn the cause before they see the connections closed.
    fn fail(&self, mut place: MutexGuard<'_, Option<Gloo>>, cause: Cause) -> String {
        let first = self.notes.leave(cause);
        *place = None;
        self.failure.get_or_init(|| self.notes.verdict(first)).clone()
    }

    fn close_if_failed(&self) {
        if self.failure.get().is_some() {
            match self.gloo.try_lock() {
                Ok(mut place) => *place = None,
                Err(TryLockError::Poisoned(place)) => *place.into_inner() = None,
                // Whoever is in a call closes it afterwards.
                Err(TryLockError::WouldBlock) => {}
            }
        }
    }
}

impl ProcessGroup for C10dGroup {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    /// Gloo's ring: each number is summed on one rank, and goes from there to the others.
    fn all_reduce_sum(&self, values: &mut [f32]) -> Fallible {
        let what = format!("the sum of {} numbers", values.len());
        // Gloo sends nothing for nothing.
        self.call(|| what, |gloo| if values.is_empty() { Ok(()) } else { gloo.all_reduce_f32(values) })
    }

    /// A few bytes take one round, more of them a second one, in which all give as many as the one with most.
    fn all_gather(&self, own: &[u8]) -> Fallible<Vec<Vec<u8>>> {
        self.call(
            || format!("gathering {} bytes", own.len()),
            |gloo| {
                let all = gloo.all_gather(&packet(own))?;
                let lengths: Vec<usize> = all.chunks_exact(PACKET).map(length).collect();
                let longest = lengths.iter().copied().max().unwrap_or(0);
                let cut = |all: &[u8], size: usize, from: usize| {
                    all.chunks_exact(size)
                        .zip(&lengths)
                        .map(|(bytes, &length)| bytes[from..from + length].to_vec())
                        .collect()
                };
                if longest <= FIRST {
                    return Ok(cut(&all, PACKET, PACKET - FIRST));
                }
                let mut padded = own.to_vec();
                padded.resize(longest, 0);
                Ok(cut(&gloo.all_gather(&padded)?, longest, 0))
            },
        )
    }

    fn broadcast(&self, bytes: &mut Vec<u8>, from: usize) -> Fallible {
        if from >= self.world_size {
            return Err(format!("there is no rank {from} to broadcast: there are {}", self.world_size).into());
        }
        self.call(
            || format!("a broadcast of rank {from}"),
            |gloo| {
                let mut first = packet(bytes);
                gloo.broadcast(&mut first, from)?;
                let length = length(&first);
                if self.rank != from {
                    *bytes = first[PACKET - FIRST..][..length.min(FIRST)].to_vec();
                    bytes.resize(length, 0);
                }
                if length > FIRST { gloo.broadcast(bytes, from) } else { Ok(()) }
            },
        )
    }

    fn abort(&self, reason: &str) {
        if self.failure.get().is_none() {
            let reason = format!("rank {} has given up: {reason}", self.rank);
            let _ = self.notes.leave(Cause::GivenUp(reason.clone()));
            self.failure.get_or_init(|| reason);
            self.close_if_failed();
        }
    }
}

impl Drop for C10dGroup {
    fn drop(&mut self) {
        if self.failure.get().is_some() {
            self.notes.wait_for_readers();
        }
    }
}

fn packet(bytes: &[u8]) -> Vec<u8> {
    let mut packet = (bytes.len() as u64).to_le_bytes().to_vec();
    packet.extend(&bytes[..bytes.len().min(FIRST)]);
    packet.resize(PACKET, 0);
    packet
}

fn length(packet: &[u8]) -> usize {
    packet.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes) as usize)
}

/// What a call gives, unless that takes longer than `limit`: the store of a rank that is halted does not answer, and a call
/// that waits for it cannot be called back.
fn within<R: Send + 'static>(limit: Duration, call: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    let (give, take) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name("c10d-store".to_owned());
    drop(thread.spawn(move || drop(give.send(call()))).ok()?);
    take.recv_timeout(limit).ok()
}
