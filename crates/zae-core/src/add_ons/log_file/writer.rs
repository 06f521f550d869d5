//! [`Writer`]: the thread that formats and writes.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use super::{Table, queue::Batch};
use crate::{add_on::Durable, error::Fallible};

/// A row waits no longer than this before it is written.
const FLUSH_EVERY: Duration = Duration::from_millis(250);
/// So many rows are written at once.
const ENOUGH: usize = 1024;
/// So many rows wait in memory before the training thread does.
const BOUND: usize = 1 << 16;

/// The thread that formats and writes, as the training thread sees it. Dropped, it writes what is left.
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Two batches change places, so that no row is ever moved and no buffer made anew: the training thread fills one while
/// the other is written.
#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// For the writer: there is something to do.
    work: Condvar,
    /// For the others: the writer has done something.
    done: Condvar,
}

#[derive(Default)]
struct Queue {
    batch: Batch,
    /// Rows ever handed over.
    handed: u64,
    /// How many of them are on disk for sure, and how many somebody waits for.
    synced: u64,
    wanted: u64,
    closed: bool,
    ended: bool,
    error: Option<String>,
}

impl Queue {
    fn is_urgent(&self) -> bool {
        self.closed || self.wanted > self.synced || self.batch.records.len() >= ENOUGH
    }

    fn check(&self) -> Fallible {
        self.error.as_ref().map_or(Ok(()), |error| Err(error.clone().into()))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until this many rows are on disk.
    fn wait_for(&self, rows: u64) -> Fallible {
        let mut queue = self.lock();
        queue.wanted = queue.wanted.max(rows);
        self.work.notify_one();
        while queue.synced < rows {
            queue.check()?;
            queue = self.done.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.check()
    }

    /// Waits for rows, and lets a few gather. Returns how many have been handed over, whether they are to be synced, and
    /// whether there will be more.
    fn next(&self, batch: &mut Batch) -> (u64, bool, bool) {
        let mut queue = self.lock();
        while !queue.is_urgent() {
            if queue.batch.records.is_empty() {
                queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = self.work.wait_timeout(queue, FLUSH_EVERY).unwrap_or_else(PoisonError::into_inner);
            queue = waited.0;
            if waited.1.timed_out() {
                break;
            }
        }
        std::mem::swap(&mut queue.batch, batch);
        (queue.handed, queue.closed || queue.wanted > queue.synced, !queue.closed)
    }

    /// What the thread does.
    fn write(&self, table: &mut dyn Table) {
        let _end = End(self);
        let mut batch = Batch::default();
        loop {
            let (handed, sync, more) = self.next(&mut batch);
            self.done.notify_all();
            let result = table.write(&batch).and_then(|()| if sync { table.sync() } else { Ok(()) });
            batch.clear();
            let mut queue = self.lock();
            match result {
                Ok(()) if sync => queue.synced = handed,
                Ok(()) => {}
                Err(error) => queue.error = Some(error.to_string()),
            }
            let ends = queue.error.is_some() || !more;
            drop(queue);
            self.done.notify_all();
            if ends {
                return;
            }
        }
    }
}

/// Nobody waits for a thread that has ended, however it did.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.ended = true;
        if !queue.closed || queue.synced < queue.handed {
            queue.error.get_or_insert_with(|| "the thread that writes the log has died".to_owned());
        }
        drop(queue);
        self.0.done.notify_all();
    }
}

impl Writer {
    pub(super) fn start(mut table: Box<dyn Table>) -> Fallible<Self> {
        let shared = Arc::<Shared>::default();
        let its = shared.clone();
        let thread = std::thread::Builder::new().name("zae-log".to_owned()).spawn(move || its.write(&mut *table))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Hands over rows.
    pub(super) fn push(&self, fill: impl FnOnce(&mut Batch)) -> Fallible {
        let mut queue = self.shared.lock();
        while queue.batch.records.len() >= BOUND && !queue.ended {
            queue = self.shared.done.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.check()?;
        let before = queue.batch.records.len();
        fill(&mut queue.batch);
        let after = queue.batch.records.len();
        queue.handed += (after - before) as u64;
        drop(queue);
        if before == 0 || (before < ENOUGH && after >= ENOUGH) {
            self.shared.work.notify_one();
        }
        Ok(())
    }

    pub(super) fn is_well(&self) -> bool {
        self.shared.lock().check().is_ok()
    }

    /// Waits until every row handed over is on disk.
    pub(super) fn settle(&self) -> Fallible {
        let rows = self.shared.lock().handed;
        self.shared.wait_for(rows)
    }

    /// The same for the rows handed over so far, whenever it is called. It fails no checkpoint: a log that cannot be written
    /// is told of elsewhere.
    pub(super) fn durable(&self) -> Durable {
        let shared = self.shared.clone();
        let rows = shared.lock().handed;
        Arc::new(move || {
            if let Err(error) = shared.wait_for(rows) {
                tracing::warn!(%error, "a checkpoint does not wait for the log that it counts");
            }
            Ok(())
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
