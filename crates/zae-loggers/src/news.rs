//! [`News`]: what the threads of a logger have to tell the run.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use zae_core::add_on::{Notice, Requests};

/// What the threads of a logger have to tell the run: clones tell the same one. Whoever trains looks at it between two steps.
#[derive(Clone, Default, Debug)]
pub struct News(Arc<Inner>);

#[derive(Default, Debug)]
struct Inner {
    /// So that looking costs no lock where there is nothing.
    there: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Default, Debug)]
pub(crate) struct Held {
    pub(crate) notices: Vec<Notice>,
    pub(crate) stop: Option<String>,
}

impl News {
    /// Something that the person who runs the program should read.
    pub fn tell(&self, notice: Notice) {
        self.change(|held| held.notices.push(notice));
    }

    /// Something went wrong, and the run goes on.
    pub fn warn(&self, text: impl Into<String>) {
        self.tell(Notice::Warning(text.into()));
    }

    /// Somebody wants the run to end, for this reason.
    pub fn stop(&self, reason: impl Into<String>) {
        self.change(|held| held.stop = Some(reason.into()));
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.0.held.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.there.store(true, Ordering::Release);
    }

    /// Takes what there is.
    #[inline]
    pub(crate) fn take(&self) -> Option<Held> {
        self.0.there.load(Ordering::Relaxed).then(|| self.take_held())
    }

    #[cold]
    fn take_held(&self) -> Held {
        self.0.there.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.0.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Held {
    /// Tells the run.
    pub(crate) fn tell(self, requests: &mut Requests) {
        self.notices.into_iter().for_each(|notice| requests.notice(notice));
        self.stop.into_iter().for_each(|reason| requests.stop(reason));
    }
}
