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

/// The writer rests this many times as long as it has worked. It copies as fast as memory does, and a step that trains on
/// all cores waits for the slowest of them: at full speed the next step would pay for most of the save.
const REST: u32 = 4;
/// The longest rest, after which it writes 4 MB: a machine on which all is slow still gets its checkpoint.
const LONGEST_REST: Duration = Duration::from_millis(50);

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
    /// Whether the training thread waits for all to be written.
    awaited: bool,
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

    /// The folder, with rests while its files are written.
    fn paced(shared: &Arc<Self>, folder: Folder) -> Folder {
        let shared = shared.clone();
        folder.with_pause(Arc::new(move |worked| shared.rest((worked * REST).min(LONGEST_REST))))
    }

    /// Rests so long, but not while anybody waits for the writer.
    fn rest(&self, time: Duration) {
        let nobody_waits = |state: &mut State| !state.awaited && !state.closed && state.waiting.is_none();
        drop(self.changed.wait_timeout_while(self.lock(), time, nobody_waits));
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
        let folder = if settings.background { Shared::paced(&shared, folder) } else { folder };
        let work = move || write_all(&theirs, &folder, &settings);
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
        self.shared.lock().awaited = true;
        self.shared.changed.notify_all();
        let mut state = self.shared.wait_while(self.shared.lock(), |state| state.busy || state.waiting.is_some());
        state.awaited = false;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Would not come back otherwise.
    #[test]
    fn nobody_waits_for_a_writer_that_rests() {
        const FOREVER: Duration = Duration::from_secs(1 << 30);
        let states = [State { awaited: true, ..State::default() }, State { closed: true, ..State::default() }];
        for state in states {
            let shared = Arc::new(Shared::default());
            let resting = shared.clone();
            let writer = thread::spawn(move || resting.rest(FOREVER));
            *shared.lock() = state;
            shared.changed.notify_all();
            assert!(writer.join().is_ok());
        }
    }
}
