//! [`Worker`]: the thread that writes, as the training thread sees it.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use zae_core::{
    add_on::{Durable, Notice},
    error::Fallible,
};

use crate::{Aside, Entries, News, Status, Writer, clock::now, system::Sampler};

/// An entry waits no longer than this before it is written.
const FLUSH_EVERY: Duration = Duration::from_millis(250);
/// So many entries are written at once.
const ENOUGH: usize = 1024;
/// So many bytes of numbers are moved at once to where the writer takes them.
const LATEST: usize = 6 << 10;
/// So much memory numbers may take that a full or hanging disk does not. What comes then is dropped and counted: training
/// does not wait for a log.
const BOUND: usize = 64 << 20;
/// And what is no number, by itself: pictures may come faster than they are written, and push no metric out.
const HEAVY_BOUND: usize = 256 << 20;
/// How long until a disk that failed is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How long a checkpoint waits for the log that it counts.
const DURABLE_WITHIN: Duration = Duration::from_secs(30);
/// How long the end of a run waits for the disk, beyond what its writer may wait for a server.
const GRACE: Duration = Duration::from_secs(5);

/// The thread that writes.
pub(crate) struct Worker {
    name: &'static str,
    shared: Arc<Shared>,
}

/// Two batches change places, so that no entry is ever moved and no buffer made anew: the training thread fills one while
/// the other is written.
#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// For the thread: there is something to do.
    work: Condvar,
    /// For the others: the thread has done something.
    done: Condvar,
}

#[derive(Default)]
struct Queue {
    entries: Entries,
    /// The latest of them. So few stay in the cache of the training thread's core, which buffers do not that another core has
    /// read since they were last written.
    latest: Entries,
    /// Entries ever handed over, how many of them are on disk for sure, and how many somebody waits for.
    handed: u64,
    synced: u64,
    wanted: u64,
    /// The memory of what the thread has taken and not yet written: of numbers, and of what is none.
    held: usize,
    held_heavy: usize,
    /// Entries there was no room for.
    dropped: u64,
    /// The same of what is no number, and whether people know.
    dropped_heavy: u64,
    /// The disk fails.
    failing: bool,
    /// The thread has waited for entries in vain, and sleeps until it is woken.
    asleep: bool,
    /// How the run ended, and until when its end may take.
    end: Option<(Status, Instant)>,
    ended: bool,
    last_words: Option<Notice>,
}

impl Queue {
    fn is_urgent(&self) -> bool {
        self.end.is_some() || self.wanted > self.synced || (self.entries.len() >= ENOUGH && !self.failing)
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.latest.is_empty()
    }
}

impl Shared {
    #[inline]
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is_done`, or the deadline. Returns whether it is.
    fn wait(&self, deadline: Instant, is_done: impl Fn(&Queue) -> bool) -> bool {
        let mut queue = self.lock();
        self.work.notify_one();
        while !is_done(&queue) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            queue = self.done.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Waits for entries, and lets a few gather, or until it is time for a sample; adds them to those that could not be
    /// written.
    fn next(&self, entries: &mut Entries, sample_due: Option<Instant>) -> Todo {
        let mut queue = self.lock();
        let again = Instant::now() + RETRY_EVERY;
        while queue.failing && queue.end.is_none() {
            let left = again.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            queue = self.work.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut in_vain = false;
        while !queue.is_urgent() && !queue.failing {
            let due = sample_due.map_or(Duration::MAX, |due| due.saturating_duration_since(Instant::now()));
            if due.is_zero() {
                break;
            }
            // Waking costs the training thread more than a row does: as long as entries come, this one looks by itself.
            queue.asleep = in_vain;
            let time = if in_vain { due } else { due.min(FLUSH_EVERY) };
            let (waited, result) = self.work.wait_timeout(queue, time).unwrap_or_else(PoisonError::into_inner);
            queue = waited;
            queue.asleep = false;
            if result.timed_out() && !queue.is_empty() {
                break;
            }
            in_vain = result.timed_out();
        }
        if entries.is_empty() {
            entries.exchange(&mut queue.entries);
        } else {
            entries.append(&mut queue.entries);
        }
        entries.append(&mut queue.latest);
        (queue.held, queue.held_heavy) = (entries.bytes(), entries.heavy());
        Todo { handed: queue.handed, sync: queue.wanted > queue.synced, end: queue.end.take() }
    }

    /// What the thread does.
    fn write(&self, name: &str, writer: Box<dyn Writer>, mut sampler: Option<Sampler>, news: &News) {
        let _ended = Ended { shared: self, name, news };
        // Gone before the end is told: whoever waits for it may open the same files.
        let mut writer = writer;
        let (mut entries, mut last_step) = (Entries::default(), 0);
        loop {
            let Todo { handed, sync, end } = self.next(&mut entries, sampler.as_ref().map(Sampler::due));
            let sync = sync || end.is_some();
            last_step = entries.last_step().unwrap_or(last_step);
            if let Some(values) = sampler.as_mut().and_then(Sampler::sample) {
                entries.push_aside(Aside::System { time: now(), step: last_step, values });
            }
            let result = writer.write(&entries).and_then(|()| {
                entries.clear();
                if sync { writer.sync() } else { Ok(()) }
            });
            let mut queue = self.lock();
            match result {
                Ok(()) => {
                    (queue.failing, queue.held, queue.held_heavy) = (false, 0, 0);
                    if sync {
                        queue.synced = handed;
                    }
                }
                Err(error) => {
                    let path = writer.path();
                    if !std::mem::replace(&mut queue.failing, true) {
                        news.warn(format!(
                            "{name}: cannot write `{}` ({error}): it is tried again; make room, or what is logged until the \
                             end of the run is lost there",
                            path.display()
                        ));
                    }
                }
            }
            let (lost, not_shown) = (entries.len() as u64 + queue.dropped, queue.dropped_heavy);
            drop(queue);
            self.done.notify_all();
            let Some((status, deadline)) = end else { continue };
            let words = writer.end(&status, deadline).unwrap_or_else(|error| {
                Some(Notice::Warning(format!("{name}: cannot end `{}`: {error}", writer.path().display())))
            });
            if lost > 0 {
                let path = writer.path();
                news.warn(format!("{name}: the disk has not taken {lost} entries of `{}`", path.display()));
            }
            if not_shown > 0 {
                news.warn(format!(
                    "{name}: {not_shown} pictures and the like came faster than they were written: they are not logged"
                ));
            }
            self.lock().last_words = words;
            return;
        }
    }
}

struct Todo {
    handed: u64,
    sync: bool,
    end: Option<(Status, Instant)>,
}

/// Nobody waits for a thread that has ended, however it did.
struct Ended<'a> {
    shared: &'a Shared,
    name: &'a str,
    news: &'a News,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.news
                .warn(format!("{}: the thread that writes its log has died, and nothing more is logged", self.name));
        }
        self.shared.lock().ended = true;
        self.shared.done.notify_all();
    }
}

impl Worker {
    pub(crate) fn start(
        name: &'static str,
        writer: Box<dyn Writer>,
        sampler: Option<Sampler>,
        news: News,
    ) -> Fallible<Self> {
        let shared = Arc::<Shared>::default();
        let its = shared.clone();
        let work = move || its.write(name, writer, sampler, &news);
        std::thread::Builder::new().name(format!("zae-{name}")).spawn(work)?;
        Ok(Self { name, shared })
    }

    /// Hands over what is no number: so many entries, or something beside them. If there is no room for it, it is counted as
    /// dropped. Returns whether it is the first.
    pub(crate) fn push_heavy(&self, count: u64, fill: impl FnOnce(&mut Entries)) -> bool {
        let mut queue = self.shared.lock();
        let held = queue.held_heavy + queue.entries.heavy() + queue.latest.heavy();
        if !queue.ended && held >= HEAVY_BOUND {
            queue.dropped_heavy += 1;
            return queue.dropped_heavy == 1;
        }
        self.add(queue, count, |entries, _| fill(entries));
        false
    }

    /// Hands over so many entries, which `fill` adds; it is told whether they are the first ones since the thread has taken
    /// what there was. If there is no room for them, they are counted as dropped.
    pub(crate) fn push(&self, count: u64, fill: impl FnOnce(&mut Entries, bool)) {
        self.add(self.shared.lock(), count, fill);
    }

    #[inline]
    fn add(&self, mut lock: MutexGuard<'_, Queue>, count: u64, fill: impl FnOnce(&mut Entries, bool)) {
        if lock.ended {
            return;
        }
        let queue = &mut *lock;
        // What is latest is little.
        if queue.held + queue.entries.bytes() >= BOUND {
            queue.dropped += count;
            return;
        }
        let is_first = queue.is_empty();
        fill(&mut queue.latest, is_first);
        queue.handed += count;
        let mut wakes = std::mem::take(&mut queue.asleep);
        if queue.latest.bytes() >= LATEST {
            let before = queue.entries.len();
            queue.entries.append(&mut queue.latest);
            wakes |= before < ENOUGH && queue.entries.len() >= ENOUGH;
        }
        drop(lock);
        if wakes {
            self.shared.work.notify_one();
        }
    }

    /// What waits until the entries handed over so far are on disk. It fails no checkpoint: a log that the disk does not take
    /// was told of.
    pub(crate) fn durable(&self) -> Durable {
        let shared = self.shared.clone();
        let handed = shared.lock().handed;
        let name = self.name;
        Arc::new(move || {
            let deadline = Instant::now() + DURABLE_WITHIN;
            {
                let mut queue = shared.lock();
                queue.wanted = queue.wanted.max(handed);
            }
            let is_done = |queue: &Queue| queue.synced >= handed || queue.ended || queue.failing;
            if !shared.wait(deadline, is_done) {
                tracing::warn!(logger = name, "a checkpoint does not wait any longer for the log that it counts");
            }
            Ok(())
        })
    }

    /// Begins to end the run.
    pub(crate) fn end(self, status: Status, deadline: Instant) -> Ending {
        self.shared.lock().end = Some((status, deadline));
        self.shared.work.notify_one();
        Ending { worker: self, since: Instant::now(), deadline }
    }
}

/// A run that ends.
pub(crate) struct Ending {
    worker: Worker,
    pub(crate) since: Instant,
    deadline: Instant,
}

impl Ending {
    /// Whether it has ended, or does within this time.
    pub(crate) fn is_over(&self, within: Duration) -> bool {
        self.worker.shared.wait(Instant::now() + within, |queue| queue.ended)
    }

    /// Waits until it has ended. Returns what people should know.
    ///
    /// # Errors
    /// When the disk hangs. The thread is left to itself, and whenever the disk goes on, so does it: its files must not be
    /// opened again.
    pub(crate) fn wait(self) -> Result<Option<Notice>, Notice> {
        let Worker { name, shared } = self.worker;
        if !shared.wait(self.deadline + GRACE, |queue| queue.ended) {
            return Err(Notice::Warning(format!(
                "{name}: the disk hangs: the end of its log is left to itself, and nothing more is logged by this program",
            )));
        }
        Ok(shared.lock().last_words.take())
    }
}

#[cfg(test)]
mod tests;
