//! [`Communication`]: the thread that owns MPI, and the calls it makes.
//!
//! No call of MPI blocks here: each is begun, and asked after until it is done or somebody is lost. So a rank that waits leaves
//! its core to others, notices what goes wrong elsewhere, and never hangs. What is lent to a call that never ends is never
//! given back: the thread does not leave the function that holds it.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use mpi::{
    Count, Threading,
    collective::SystemOperation,
    datatype::PartitionMut,
    environment,
    request::scope,
    topology::SimpleCommunicator,
    traits::{Communicator, CommunicatorCollectives, Root},
};
use zae_core::{error::Fallible, watch::Whereabouts};

use super::{
    patience::Patience,
    roll::Roll,
    shared::Failure,
    word::{self, Act, CARRIES, WORD},
};

/// How many bytes are gathered or broadcast at a time: far from where MPI's counts end, at 2 GiB.
const PIECE: usize = 64 << 20;
/// How often MPI is called while there is nothing to do.
const LOOK: Duration = Duration::from_millis(5);

/// What the thread is asked to do.
pub(super) enum Order {
    Call(Call, Duration),
    /// There is a failure to be looked at.
    Look,
    /// The process ends.
    Leave(Sender<()>, Duration),
}

/// A call that all ranks make, with its memory.
pub(super) enum Call {
    Sum { numbers: Vec<f32>, sums: Vec<f32> },
    Gather(Vec<u8>),
    Broadcast { bytes: Vec<u8>, from: usize },
}

/// What came of it.
pub(super) enum Answer {
    Sum { numbers: Vec<f32>, sums: Vec<f32> },
    Gather(Vec<Vec<u8>>),
    Broadcast(Vec<u8>),
}

/// MPI runs.
pub(super) struct Started {
    pub(super) rank: usize,
    pub(super) size: usize,
    pub(super) library: String,
}

pub(super) struct Communication {
    pub(super) comm: SimpleCommunicator,
    pub(super) orders: Receiver<Order>,
    pub(super) answers: Sender<Result<Answer, String>>,
    pub(super) failure: Arc<Failure>,
    pub(super) whereabouts: Arc<Whereabouts>,
    pub(super) rank: usize,
    pub(super) leaving: bool,
    /// How many calls were begun.
    pub(super) calls: u64,
    /// In which of them another rank waits in vain and was not answered; 0 if there is none.
    pub(super) asked: u64,
    pub(super) roll: Roll,
    /// Ranks whose process is about to end after a failure; this one is among them.
    pub(super) over: Vec<bool>,
}

impl Communication {
    /// What the thread does: from MPI's start to its end.
    pub(super) fn run(
        tell: &Sender<Fallible<Started>>,
        orders: Receiver<Order>,
        answers: Sender<Result<Answer, String>>,
        failure: Arc<Failure>,
        whereabouts: Arc<Whereabouts>,
    ) {
        let Some((universe, _)) = mpi::initialize_with_threading(Threading::Funneled) else {
            let error = "MPI was started by another part of this program already: leave its start to `MpiGroup`";
            let _ = tell.send(Err(error.into()));
            return;
        };
        // What other parts of the program do with MPI never meets what is done here.
        let comm = universe.world().duplicate();
        let (rank, size) = (comm.rank() as usize, comm.size() as usize);
        let library = environment::library_version().unwrap_or_else(|_| "an unknown MPI".to_owned());
        let library = library.split([',', '\n']).next().unwrap_or_default().trim().to_owned();
        let (leaving, calls, asked, roll) = (false, 0, 0, Roll::new(size));
        let over = (0..size).map(|other| other == rank).collect();
        let mut this = Self { comm, orders, answers, failure, whereabouts, rank, leaving, calls, asked, roll, over };
        if tell.send(Ok(Started { rank, size, library })).is_err() {
            let late = "MPI has started later than it was waited for";
            this.fail(late.to_owned());
        }
        let done = this.serve();
        drop(this);
        drop(universe);
        let _ = done.send(());
    }

    /// Returns when all ranks have come to their end.
    fn serve(&mut self) -> Sender<()> {
        loop {
            let order = self.next();
            if let Order::Leave(..) = order {
                self.leaving = true;
            }
            if let Some(reason) = self.failure.get() {
                self.fail(reason);
            }
            match order {
                Order::Call(call, timeout) => {
                    let answer = self.call(call, timeout);
                    let _ = self.answers.send(Ok(answer));
                }
                Order::Look => {}
                Order::Leave(done, timeout) => {
                    self.together(Act::Leave, 0, &[], timeout);
                    return done;
                }
            }
        }
    }

    /// The next order. Until then MPI is called now and then: what others still have to get from this rank goes its way only
    /// so, and a failure is known before the next call.
    pub(super) fn next(&mut self) -> Order {
        match self.orders.recv_timeout(LOOK) {
            Ok(order) => return order,
            Err(RecvTimeoutError::Timeout) => {}
            // Nobody has waited for MPI's start.
            Err(RecvTimeoutError::Disconnected) => thread::sleep(LOOK),
        }
        self.whereabouts.look();
        self.listen();
        self.answer();
        Order::Look
    }

    fn call(&mut self, call: Call, timeout: Duration) -> Answer {
        match call {
            Call::Sum { numbers, mut sums } => {
                self.sum(&numbers, &mut sums, timeout);
                Answer::Sum { numbers, sums }
            }
            Call::Gather(own) => Answer::Gather(self.gather(&own, timeout)),
            Call::Broadcast { bytes, from } => Answer::Broadcast(self.broadcast(bytes, from, timeout)),
        }
    }

    fn sum(&mut self, numbers: &[f32], sums: &mut Vec<f32>, timeout: Duration) {
        self.together(Act::Sum, numbers.len(), &[], timeout);
        sums.resize(numbers.len(), 0.0);
        if numbers.is_empty() {
            return;
        }
        scope(|scope| {
            let operation = SystemOperation::sum();
            let request = self.comm.immediate_all_reduce_into(scope, numbers, &mut sums[..], operation);
            self.wait(request, Act::Sum, &Patience::for_bytes(timeout));
        });
    }

    fn gather(&mut self, own: &[u8], timeout: Duration) -> Vec<Vec<u8>> {
        let words = self.together(Act::Gather, own.len(), own, timeout);
        let lengths = word::lengths(&words);
        let longest = lengths.iter().copied().max().unwrap_or_default();
        if longest <= CARRIES {
            return words.iter().map(word::carried).collect();
        }
        let mut all: Vec<Vec<u8>> = lengths.iter().map(|len| Vec::with_capacity(*len)).collect();
        let piece = (PIECE / lengths.len()).max(1);
        for start in (0..longest).step_by(piece) {
            let part = |len: usize| start.min(len)..(start + piece).min(len);
            let counts: Vec<Count> = lengths.iter().map(|len| part(*len).len() as Count).collect();
            let starts = counts.iter().scan(0, |end, count| {
                *end += count;
                Some(*end - count)
            });
            let starts: Vec<Count> = starts.collect();
            let mut got = vec![0u8; counts.iter().map(|count| *count as usize).sum()];
            let mine = &own[part(own.len())];
            let mut parts = PartitionMut::new(&mut got[..], &counts[..], &starts[..]);
            scope(|scope| {
                let request = self.comm.immediate_all_gather_varcount_into(scope, mine, &mut parts);
                self.wait(request, Act::Gather, &Patience::for_bytes(timeout));
            });
            for ((all, start), count) in all.iter_mut().zip(&starts).zip(&counts) {
                all.extend_from_slice(&got[*start as usize..(start + count) as usize]);
            }
        }
        all
    }

    fn broadcast(&mut self, mut bytes: Vec<u8>, from: usize, timeout: Duration) -> Vec<u8> {
        let act = Act::Broadcast { from };
        let words = self.together(act, bytes.len(), &bytes, timeout);
        let len = word::lengths(&words)[from];
        if len <= CARRIES {
            return word::carried(&words[from]);
        }
        bytes.resize(len, 0);
        for piece in bytes.chunks_mut(PIECE) {
            scope(|scope| {
                let root = self.comm.process_at_rank(from as Count);
                let request = root.immediate_broadcast_into(scope, piece);
                self.wait(request, act, &Patience::for_bytes(timeout));
            });
        }
        bytes
    }

    /// All ranks come together, say what they are about to do, and find that they do the same.
    fn together(&mut self, act: Act, len: usize, bytes: &[u8], timeout: Duration) -> Vec<[u64; WORD]> {
        self.calls += 1;
        let own = word::word(act, len, bytes);
        let mut all = vec![0u64; WORD * self.over.len()];
        scope(|scope| {
            let request = self.comm.immediate_all_gather_into(scope, &own[..], &mut all[..]);
            self.wait(request, act, &Patience::for_ranks(timeout));
        });
        let words = all.as_chunks::<WORD>().0.to_vec();
        if let Err(reason) = word::agree(&words) {
            self.fail(reason);
        }
        words
    }
}
