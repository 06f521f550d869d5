//! The thread that writes: one save in flight, one waiting.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use zae_core::{
    error::{Fallible, Panicked},
    metrics::Metrics,
    snapshot::Snapshot,
};

use super::{finite, settings::Settings};
use crate::{
    export,
    folder::{Folder, Pointer},
};

/// How far the writer stands back: of a core that both want, a thread that trains gets nine times as much.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// A save that was made, or has failed, and what it cost.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Save {
    /// Optimizer steps done.
    pub step: u64,
    /// The checkpoint; `None` if it was not written.
    pub path: Option<PathBuf>,
    /// Why not; or, with a path, what failed after it: a pointer, the removal of older ones, the export.
    pub error: Option<String>,
    /// The size of its files.
    pub bytes: u64,
    /// How long the training thread was held up: taking the snapshot, handing it on, and waiting if it had to.
    pub stall: Duration,
    /// How long the writer took until it was on disk, and older ones were removed.
    pub write: Duration,
}

/// A snapshot to be written.
pub(super) struct Job {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) metrics: Metrics,
    /// Whether it has to be written even if a newer one comes.
    pub(super) must_be_kept: bool,
    /// When the training thread began to take it.
    pub(super) begun: Instant,
    pub(super) stall: Duration,
}

#[derive(Default)]
struct State {
    waiting: Option<Job>,
    busy: bool,
    closed: bool,
    done: Vec<Save>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether `done` has something, to be looked at every step.
    news: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while<'a>(
        &self,
        state: MutexGuard<'a, State>,
        condition: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        self.changed.wait_while(state, |state| condition(state)).unwrap_or_else(PoisonError::into_inner)
    }
}

/// The training thread's end. Dropping it waits until everything is written.
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(folder: Folder, settings: Settings) -> Fallible<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let work = move || {
            if settings.background {
                give_way();
            }
            write_all(&theirs, &folder, &settings);
        };
        let thread = thread::Builder::new().name("zae-checkpoint".to_owned()).spawn(work)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Hands a snapshot over. Waits only if another one waits that has to be kept.
    pub(super) fn submit(&self, mut job: Job) {
        let state = self.shared.lock();
        let mut state = self.shared.wait_while(state, |s| s.waiting.as_ref().is_some_and(|job| job.must_be_kept));
        job.stall = job.begun.elapsed();
        let replaced = state.waiting.replace(job);
        drop(state);
        self.shared.changed.notify_all();
        if let Some(job) = replaced {
            tracing::debug!(step = job.snapshot.run.progress.step(), "a newer checkpoint takes the place of this one");
        }
    }

    /// Waits until everything is written.
    pub(super) fn settle(&self) {
        drop(self.shared.wait_while(self.shared.lock(), |state| state.busy || state.waiting.is_some()));
    }

    pub(super) fn has_news(&self) -> bool {
        self.shared.news.load(Ordering::Relaxed)
    }

    pub(super) fn take_done(&self) -> Vec<Save> {
        self.shared.news.store(false, Ordering::Relaxed);
        std::mem::take(&mut self.shared.lock().done)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It catches its panics.
            let _ = thread.join();
        }
    }
}

/// Lets the threads that train go first: a step waits for the slowest of them, and on a machine without an idle core the
/// writer would take its full share of one of theirs.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn give_way() {
    // SAFETY: it takes no pointers. On Linux it is about the calling thread, not the process.
    let _ = unsafe { libc::nice(NICE) };
}

#[cfg(not(target_os = "linux"))]
fn give_way() {}

fn write_all(shared: &Shared, folder: &Folder, settings: &Settings) {
    loop {
        let mut state = shared.wait_while(shared.lock(), |state| state.waiting.is_none() && !state.closed);
        let Some(job) = state.waiting.take() else { return };
        state.busy = true;
        drop(state);
        // The place of the one that waits is free.
        shared.changed.notify_all();
        let save = write(&job, folder, settings);
        // The buffers of its tensors are free for the next snapshot.
        drop(job);
        let mut state = shared.lock();
        state.busy = false;
        state.done.push(save);
        shared.news.store(true, Ordering::Relaxed);
        drop(state);
        shared.changed.notify_all();
    }
}

fn write(job: &Job, folder: &Folder, settings: &Settings) -> Save {
    let begun = Instant::now();
    let step = job.snapshot.run.progress.step();
    let mut save = Save { step, path: None, error: None, bytes: 0, stall: job.stall, write: Duration::ZERO };
    // What an add-on has to make durable is its own code, and may panic.
    let commit = || commit(job, folder, settings, &mut save);
    let committed = catch_unwind(AssertUnwindSafe(commit)).unwrap_or_else(|panic| Err(Panicked::new(&*panic).into()));
    if let Err(error) = committed {
        // Nothing half done stays until the next run.
        folder.sweep();
        save.error = Some(error.to_string());
    }
    save.write = begun.elapsed();
    tracing::debug!(?save, "a checkpoint was written");
    save
}

/// Writes one snapshot, then its pointers, then removes what is no longer kept.
fn commit(job: &Job, folder: &Folder, settings: &Settings, save: &mut Save) -> Fallible {
    if let Some(name) = finite::first_not_finite(&job.snapshot.learner)? {
        return Err(format!("`{name}` is not finite").into());
    }
    let saved = folder.save(&job.snapshot, settings.format, &job.metrics)?;
    save.path = Some(folder.dir().join(saved.name.to_string()));
    save.bytes = saved.bytes;
    folder.point(Pointer::Last, Some(saved.name))?;
    let best = folder.prune(&settings.retention)?.best;
    if let Some(path) = settings.export.as_deref().filter(|_| best.is_none_or(|best| best == saved.name)) {
        export::weights(path, &job.snapshot.learner, &settings.disk)?;
    }
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(unsafe_code, clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_the_writers_thread_gives_way() {
        // SAFETY: it takes no pointers.
        let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let before = nice();
        let writers = thread::spawn(move || {
            give_way();
            nice()
        });
        assert_eq!(writers.join().unwrap(), (before + NICE).min(19));
        assert_eq!(nice(), before);
    }
}
