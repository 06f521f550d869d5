//! [`C10dGroup`]: processes connected by PyTorch's c10d, over Gloo.

mod address;
mod beside;
mod connect;
mod notes;
mod packet;
mod store;
mod whereabouts;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError},
    time::Duration,
};

use tch::{Device, Tensor};
use zae_core::{
    error::Fallible,
    process_group::{ProcessGroup, World},
    watch::Watch,
};
use zae_tch_sys::{BatchNormLane, Error, Gloo, GradientSums};

use self::{
    beside::beside,
    notes::{Cause, Notes},
    packet::{Call, Failed, History, PACKET, Packet, packet, parse},
    whereabouts::Written,
};

/// Processes that train one model together, on one machine or on several, connected by PyTorch's c10d over Gloo (TCP).
///
/// A rank whose process has ended is noticed at once; one that is silent, after the timeout. Then every other rank that is in
/// a call, or makes the next, returns an error within seconds, which names it and says what it did when it was last heard of; so
/// it does when one gives up ([`ProcessGroup::abort`]).
///
/// All ranks make the same calls in the same order, and sum equally many numbers in each. Ranks that do not are told so by the
/// next call that is not a sum, unless Gloo has ended a process of theirs before: see [`Gloo`].
///
/// # Environment
/// `GLOO_SOCKET_IFNAME` names the network interface by which the others reach this process. Without it that is the one by which
/// it reaches rank 0. While this crate uses c10d's store, LibTorch's log is silent unless `TORCH_CPP_LOG_LEVEL` is set.
#[derive(Debug)]
pub struct C10dGroup {
    rank: usize,
    world_size: usize,
    /// Until the group is of no more use. Dropping it closes the connections: all others fail too, one after the other.
    open: Mutex<Option<Open>>,
    notes: Notes,
    /// Where the others reach this process.
    address: IpAddr,
    failure: OnceLock<String>,
    written: OnceLock<Written>,
}

#[derive(Debug)]
struct Open {
    gloo: Gloo,
    history: History,
    /// Gradients travel over connections of their own, once a learner has asked for it.
    sums: Option<GradientSums>,
    /// How many times layers were connected: each has a name of its own in the store.
    lanes: u64,
}

impl C10dGroup {
    /// Connects all ranks of this world; each calls it. Rank 0 opens the port of `world.master`, unless `torchrun` serves it
    /// already (`TORCHELASTIC_USE_AGENT_STORE`), and all find each other there.
    ///
    /// # Errors
    /// When `world.master` is not given, when the port cannot be had, and when a rank does not come within the timeout.
    pub fn connect(world: &World) -> Fallible<Arc<Self>> {
        let (gloo, notes, address) = connect::connect(world)?;
        let (rank, world_size) = (world.rank, world.world_size);
        let open = Mutex::new(Some(Open { gloo, history: History::default(), sums: None, lanes: 0 }));
        let (failure, written) = (OnceLock::new(), OnceLock::new());
        Ok(Arc::new(Self { rank, world_size, open, notes, address, failure, written }))
    }

    /// Each number of a tensor becomes the sum over all ranks, in its place, without a copy by this crate; autograd does not
    /// hear of it. From a GPU c10d takes it to the host and back.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_sum`], and when c10d has no sum for tensors of this kind.
    pub fn all_reduce_tensor(&self, tensor: &mut Tensor) -> Fallible {
        self.call(Call::SumOfTensor(tensor.numel()), |open| Ok(open.gloo.all_reduce(tensor)?))
    }

    /// Has the gradients of these parameters summed while others are computed: see [`GradientSums::set`]. A call of all ranks.
    pub(crate) fn sum_gradients_of(&self, params: &[&Tensor], pieces: &[usize]) -> Fallible {
        self.call(Call::Gradients, |open| {
            let sums = match open.sums.take() {
                Some(sums) => sums,
                None => {
                    let is_on_gpu = params.first().is_some_and(|param| param.device() != Device::Cpu);
                    let (notes, address) = (self.notes.clone(), self.address);
                    beside(&mut open.gloo, move || connect::gradients(&notes, address, is_on_gpu))?
                }
            };
            Ok(open.sums.insert(sums).set(params, pieces)?)
        })
    }

    /// Connects layers of a model, over connections of their own. A call of all ranks.
    pub(crate) fn connect_layers(&self) -> Fallible<BatchNormLane> {
        self.call(Call::Layers, |open| {
            open.lanes += 1;
            let (notes, address, number) = (self.notes.clone(), self.address, open.lanes);
            beside(&mut open.gloo, move || connect::layers(&notes, address, number))
        })
    }

    /// If a rank was waited for in vain within these layers, the group has failed: nobody waits for it once more.
    pub(crate) fn layers_have_failed(&self, error: &Error) {
        let cause = Cause::of("the statistics of a `sync_batch_norm`", error);
        let place = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if place.is_some() && matches!(cause, Cause::Late(_)) {
            self.fail(place, cause);
        }
    }

    /// What these sums are asked, unless the group is closed.
    pub(crate) fn sums<R>(&self, ask: impl FnOnce(&mut GradientSums) -> R) -> Option<R> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.sums.as_mut().map(ask)
    }

    /// As [`GradientSums::finish`]: a call of all ranks.
    pub(crate) fn finish_sums(&self, pieces: usize) -> Fallible {
        self.call(Call::Gradients, |open| match &mut open.sums {
            Some(sums) => Ok(sums.finish(pieces)?),
            None => Ok(()),
        })
    }

    /// A call of all ranks. When it fails the group is of no more use.
    fn call<R>(&self, call: Call, body: impl FnOnce(&mut Open) -> Result<R, Failed>) -> Fallible<R> {
        let result = {
            let mut place = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            match (self.failure.get(), place.as_mut()) {
                (None, Some(open)) => {
                    open.history.add(call);
                    body(open).map_err(|failed| self.fail(place, failed.cause(call)))
                }
                (failure, _) => Err(failure.cloned().unwrap_or_else(|| "the group is closed".to_owned())),
            }
        };
        // Who gave up meanwhile could not close it.
        self.close_if_failed();
        Ok(result?)
    }

    /// Says why the group failed, and closes it. The others learn the cause before they see the connections closed.
    fn fail(&self, mut place: MutexGuard<'_, Option<Open>>, cause: Cause) -> String {
        let first = self.notes.leave(cause);
        *place = None;
        self.failure.get_or_init(|| self.notes.verdict(first)).clone()
    }

    fn close_if_failed(&self) {
        if self.failure.get().is_some() {
            match self.open.try_lock() {
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
        // Gloo sends nothing for nothing.
        self.call(Call::Sum(values.len()), |open| {
            if !values.is_empty() {
                open.gloo.all_reduce_f32(values)?;
            }
            Ok(())
        })
    }

    /// A few bytes take one round, more of them a second one, in which all give as many as the one with most.
    fn all_gather(&self, own: &[u8]) -> Fallible<Vec<Vec<u8>>> {
        self.call(Call::Gather(own.len()), |open| {
            let first = open.gloo.all_gather(&packet(own, &open.history))?;
            let packets: Vec<_> = first.chunks_exact(PACKET).map(parse).collect();
            for (rank, packet) in packets.iter().enumerate() {
                open.history.check(rank, packet)?;
            }
            let longest = packets.iter().map(|packet| packet.length).max().unwrap_or(0);
            if packets.iter().all(Packet::is_whole) {
                return Ok(packets.iter().map(|packet| packet.first.to_vec()).collect());
            }
            let mut padded = own.to_vec();
            padded.resize(longest, 0);
            let all = open.gloo.all_gather(&padded)?;
            Ok(all.chunks_exact(longest).zip(packets).map(|(all, packet)| all[..packet.length].to_vec()).collect())
        })
    }

    fn broadcast(&self, bytes: &mut Vec<u8>, from: usize) -> Fallible {
        if from >= self.world_size {
            return Err(format!("there is no rank {from} to broadcast: there are {}", self.world_size).into());
        }
        self.call(Call::Broadcast(from), |open| {
            let mut first = packet(bytes, &open.history);
            open.gloo.broadcast(&mut first, from)?;
            let packet = parse(&first);
            open.history.check(from, &packet)?;
            if self.rank != from {
                *bytes = packet.first.to_vec();
                bytes.resize(packet.length, 0);
            }
            if !packet.is_whole() {
                open.gloo.broadcast(bytes, from)?;
            }
            Ok(())
        })
    }

    /// It writes down what this rank does once a second, at rank 0's store.
    fn watch(&self) -> Option<Arc<dyn Watch>> {
        Some(self.written.get_or_init(|| Written::begin(self.notes.clone())).whereabouts.clone())
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
        drop(self.written.take());
        if self.failure.get().is_some() {
            self.notes.wait_for_readers();
        }
    }
}

/// What a call gives, unless that takes longer than `limit`: the store of a rank that is halted does not answer, and a call
/// that waits for it cannot be called back.
fn within<R: Send + 'static>(limit: Duration, call: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    let (give, take) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name("c10d-store".to_owned());
    drop(thread.spawn(move || drop(give.send(call()))).ok()?);
    take.recv_timeout(limit).ok()
}
