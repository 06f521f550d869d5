//! Waiting for the other ranks, and what is done when that is in vain.

use std::{mem, time::Duration};

use mpi::{
    request::{Request, Scope},
    traits::Communicator,
};

use super::{
    notice::{self, Notice},
    patience::{Patience, Waited},
    thread::{Communication, Order},
    word::Act,
};

/// How long a process that ends after a failure lets the others tell theirs, before the job is ended.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// How long ranks have to say whether they are there. Those that live say so at once.
const ROUND_UP: Duration = Duration::from_secs(2);

impl Communication {
    /// Returns when the request is done. If it never will be, this never returns: so its memory stays MPI's.
    pub(super) fn wait<'a, D: ?Sized, S: Scope<'a>>(
        &mut self,
        mut request: Request<'a, D, S>,
        act: Act,
        patience: &Patience,
    ) {
        loop {
            match request.test() {
                Ok(_) => return,
                Err(not_yet) => request = not_yet,
            }
            match patience.pause() {
                Waited::Briefly => {}
                Waited::Long => {
                    self.listen();
                    if let Some(reason) = self.failure.get() {
                        self.fail(reason);
                    }
                    if self.roll.is_called() {
                        self.round_up(act, patience.limit());
                    }
                }
                Waited::TooLong => self.round_up(act, patience.limit()),
            }
        }
    }

    /// Somebody has waited for too long: who does not say that he waits too, or has done so, is the one who is missing. It ends
    /// as soon as all have said whether they are.
    fn round_up(&mut self, act: Act, timeout: Duration) -> ! {
        self.say_here();
        let patience = Patience::for_ranks(ROUND_UP);
        while self.failure.get().is_none() && !self.roll.is_complete() && patience.pause() != Waited::TooLong {
            self.listen();
        }
        self.fail(self.roll.verdict(act.name(), timeout))
    }

    fn say_here(&mut self) {
        self.roll.here(self.rank);
        notice::tell(&self.comm, &Notice::Here(self.calls));
    }

    /// Another rank waits in vain: if that is in a call that this one is done with, this is not the one who is missing. Who has
    /// not begun it is, and nobody knows better what it does instead.
    pub(super) fn answer(&mut self) {
        match mem::take(&mut self.asked) {
            0 => {}
            call if call <= self.calls => self.say_here(),
            _ => {
                let place = self.whereabouts.text().unwrap_or_default();
                self.roll.away(self.rank, place.clone());
                notice::tell(&self.comm, &Notice::Away(place));
            }
        }
    }

    /// From now on there are only failures. The other ranks are told, so that theirs is the same.
    pub(super) fn fail(&mut self, reason: String) -> ! {
        self.failure.set(reason);
        let reason = self.failure.get().unwrap_or_default();
        notice::tell(&self.comm, &Notice::Failed(reason.clone()));
        // For a call that may be waiting for its answer. If there is none, nobody ever looks at this.
        let _ = self.answers.send(Err(reason.clone()));
        while !self.leaving {
            match self.next() {
                Order::Call(..) => _ = self.answers.send(Err(reason.clone())),
                Order::Leave(done, _) => {
                    self.leaving = true;
                    // Who waits is to wait until the job ends, not until this is gone.
                    std::mem::forget(done);
                }
                Order::Look => {}
            }
        }
        notice::tell(&self.comm, &Notice::Over);
        let patience = Patience::for_ranks(GRACE);
        while self.over.contains(&false) && patience.pause() != Waited::TooLong {
            self.listen();
        }
        self.comm.abort(1)
    }

    /// Hears what others have told.
    pub(super) fn listen(&mut self) {
        while let Some((rank, notice)) = notice::hear(&self.comm) {
            match notice {
                Notice::Here(call) => {
                    self.asked = self.asked.max(call);
                    self.roll.here(rank);
                }
                Notice::Away(place) => self.roll.away(rank, place),
                Notice::Failed(reason) => self.failure.set(reason),
                Notice::Over => self.over[rank] = true,
            }
        }
    }
}
