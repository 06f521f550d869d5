//! [`Shared`]: the process's only communication thread, as other threads see it.
// `atexit` and `sysconf` are C's: Rust has no way to do something when a process ends, nor to count cores that it may not use.
#![allow(unsafe_code)]

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, ThreadId},
    time::Duration,
};

use zae_core::{error::Fallible, watch::Whereabouts};

use super::{
    failing::GRACE,
    notice::LENGTH,
    sum::CHUNK,
    thread::{Answer, Call, Communication, Order, Started},
};

/// MPI starts once per process, and cannot start again after its end: so it is kept until the process ends.
static SHARED: Mutex<Option<Arc<Shared>>> = Mutex::new(None);

pub(super) struct Shared {
    pub(super) rank: usize,
    pub(super) size: usize,
    /// Which MPI it is, for errors.
    pub(super) library: String,
    orders: Sender<Order>,
    /// The longest timeout of any group, in milliseconds: how long the others' end is waited for.
    patience: AtomicU64,
    failure: Arc<Failure>,
    /// Where this process's training thread is.
    pub(super) whereabouts: Arc<Whereabouts>,
    table: Mutex<Table>,
    /// The thread that has the table.
    holder: Mutex<Option<ThreadId>>,
}

/// Why the group is of no more use: the first reason counts.
#[derive(Default)]
pub(super) struct Failure(Mutex<Option<String>>);

impl Failure {
    /// As much of it as the other ranks can be told, so that all have the same.
    pub(super) fn set(&self, mut reason: String) {
        reason.truncate(reason.floor_char_boundary(LENGTH));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }

    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn check(&self) -> Fallible {
        self.get().map_or(Ok(()), |reason| Err(reason.into()))
    }
}

/// What one call at a time has.
struct Table {
    answers: Receiver<Result<Answer, String>>,
    /// Memory for numbers to be summed, and for their sums: warm, for it is used in every step.
    spare: Vec<Vec<f32>>,
}

/// The thread, started if it is not yet.
pub(super) fn start(timeout: Duration) -> Fallible<Arc<Shared>> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(shared) = &*shared {
        shared.patience.fetch_max(millis(timeout), Ordering::Relaxed);
        return Ok(shared.clone());
    }
    let (orders, to_do) = mpsc::channel();
    let (reply, answers) = mpsc::channel();
    let (tell, started) = mpsc::channel();
    let failure = Arc::new(Failure::default());
    let whereabouts = Arc::<Whereabouts>::default();
    let (theirs, seen) = (failure.clone(), whereabouts.clone());
    let work = move || Communication::run(&tell, to_do, reply, theirs, seen);
    thread::Builder::new().name("zae-mpi".into()).spawn(work).map_err(|e| format!("cannot start MPI's thread: {e}"))?;
    let Started { rank, size, library } = started
        .recv_timeout(timeout)
        .map_err(|_| format!("MPI has not started within {timeout:?}: do all ranks of the job run this program?"))??;
    let made = Arc::new(Shared {
        rank,
        size,
        library,
        orders,
        patience: AtomicU64::new(millis(timeout)),
        failure,
        whereabouts,
        table: Mutex::new(Table { answers, spare: Vec::new() }),
        holder: Mutex::default(),
    });
    *shared = Some(made.clone());
    #[cfg(unix)]
    warn_if_bound();
    // SAFETY: `leave` is a function of this program, takes nothing, and does not unwind.
    unsafe { libc::atexit(leave) };
    Ok(made)
}

/// `mpirun` and `srun` give each rank one core unless they are told otherwise. Programs with one thread like that, trainers do not.
#[cfg(unix)]
fn warn_if_bound() {
    // SAFETY: no memory is involved.
    let cores = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    if cores > 1 && thread::available_parallelism().is_ok_and(|mine| mine.get() == 1) {
        tracing::warn!(
            "this rank is bound to one of {cores} cores, for all of its threads: start with `mpirun --bind-to none`, or with `--map-by slot:PE=n` or `srun --cpus-per-task n` for n cores per rank"
        );
    }
}

/// The thread itself keeps to the timeout: for the ranks to come, and for the bytes to come, of two calls under way. Who waits
/// for longer than that waits for an MPI that does not return from what should never wait.
fn limit(timeout: Duration) -> Duration {
    timeout.saturating_mul(4).saturating_add(GRACE * 4)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// When the process ends: MPI has to be ended before, or `mpirun` takes it for a failure. Whatever happens, this does not hang.
extern "C" fn leave() {
    let Ok(Some(shared)) = SHARED.try_lock().map(|shared| shared.clone()) else { return };
    let (tell, done) = mpsc::channel();
    let timeout = Duration::from_millis(shared.patience.load(Ordering::Relaxed));
    if shared.orders.send(Order::Leave(tell, timeout)).is_err() {
        return;
    }
    // The thread ends MPI, or the job if there was a failure. If it does neither it is stuck, in a call that should not wait or
    // in MPI's end. This status is one that `mpirun` ends the job for.
    if done.recv_timeout(limit(timeout)).is_err() {
        std::process::abort();
    }
}

impl Shared {
    /// Makes all ranks fail, with this reason.
    pub(super) fn give_up(&self, reason: String) {
        self.failure.set(reason);
        // Gone already: then there is nobody to be told.
        let _ = self.orders.send(Order::Look);
    }

    /// For one call; others wait for their turn.
    pub(super) fn lane(&self, timeout: Duration) -> Fallible<Lane<'_>> {
        let own = Some(thread::current().id());
        if *self.holder() == own {
            return Err("this thread has begun a sum that is not at its end: it would wait for itself".into());
        }
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        // Only then: what a call that failed has left in the channel is never looked at.
        self.failure.check()?;
        *self.holder() = own;
        Ok(Lane { shared: self, table, timeout })
    }

    fn holder(&self) -> MutexGuard<'_, Option<ThreadId>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call's way to the thread and back.
pub(super) struct Lane<'a> {
    shared: &'a Shared,
    table: MutexGuard<'a, Table>,
    timeout: Duration,
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        *self.shared.holder() = None;
    }
}

impl Lane<'_> {
    /// Memory for a chunk, with whatever was in it. What is never written takes none.
    fn memory(&mut self) -> Vec<f32> {
        self.table.spare.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK))
    }

    /// Such memory, for numbers to be summed.
    pub(super) fn empty(&mut self) -> Vec<f32> {
        let mut memory = self.memory();
        memory.clear();
        memory
    }

    /// Keeps such memory for the next chunk.
    pub(super) fn keep(&mut self, memory: Vec<f32>) {
        self.table.spare.push(memory);
    }

    pub(super) fn send_chunk(&mut self, numbers: Vec<f32>) -> Fallible {
        let sums = self.memory();
        self.send(Call::Sum { numbers, sums })
    }

    /// The sums of the first chunk that was sent and not taken.
    pub(super) fn take_sums(&mut self) -> Fallible<Vec<f32>> {
        match self.answer()? {
            Answer::Sum { numbers, sums } if sums.len() == numbers.len() => {
                self.keep(numbers);
                Ok(sums)
            }
            _ => Err(self.mixed_up()),
        }
    }

    /// This rank cannot go on with its call.
    pub(super) fn give_up(&self, reason: &str) {
        self.shared.give_up(format!("rank {} has given up: {reason}", self.shared.rank));
    }

    pub(super) fn gather(&mut self, own: Vec<u8>) -> Fallible<Vec<Vec<u8>>> {
        self.send(Call::Gather(own))?;
        match self.answer()? {
            Answer::Gather(all) => Ok(all),
            _ => Err(self.mixed_up()),
        }
    }

    pub(super) fn broadcast(&mut self, own: Vec<u8>, from: usize) -> Fallible<Vec<u8>> {
        self.send(Call::Broadcast { bytes: own, from })?;
        match self.answer()? {
            Answer::Broadcast(bytes) => Ok(bytes),
            _ => Err(self.mixed_up()),
        }
    }

    fn send(&self, call: Call) -> Fallible {
        // Between two chunks the group may have failed: nobody gathers any more for it.
        self.shared.failure.check()?;
        self.shared.orders.send(Order::Call(call, self.timeout)).map_err(|_| "MPI's thread has ended".into())
    }

    fn answer(&mut self) -> Fallible<Answer> {
        self.shared.failure.check()?;
        let limit = limit(self.timeout);
        match self.table.answers.recv_timeout(limit) {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                let reason =
                    self.shared.failure.get().unwrap_or_else(|| format!("MPI has not answered within {limit:?}"));
                self.shared.failure.set(reason.clone());
                Err(reason.into())
            }
        }
    }

    /// Cannot be: answers come in the order of calls.
    fn mixed_up(&self) -> zae_core::error::BoxError {
        let reason = "MPI's thread has answered another call";
        self.shared.failure.set(reason.to_owned());
        reason.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_counts_and_is_no_longer_than_a_notice() {
        let failure = Failure::default();
        assert!(failure.check().is_ok());
        failure.set("ä".repeat(LENGTH));
        failure.set("another".to_owned());
        assert_eq!(failure.get(), Some("ä".repeat(LENGTH / 2)));
    }
}
