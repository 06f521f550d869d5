//! [`Live`]: what the training thread tells the thread that draws.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{add_on::Context, metrics::Rows};

/// What the training thread tells the thread that draws.
///
/// The drawing thread asks, at most 10 times a second; the training thread looks at a flag per step, answers the next
/// time it has something to say, and never waits.
#[derive(Default)]
pub(super) struct Live {
    wanted: [AtomicBool; 3],
    now: Mutex<Now>,
    /// Lines to be written above the bar.
    lines: Mutex<Vec<String>>,
}

/// What there is to tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum News {
    Step,
    Row,
    Pass,
}

/// Where the run is.
#[derive(Clone, Debug, Default)]
pub(super) struct Now {
    /// From 0.
    pub(super) epoch: u64,
    pub(super) epochs: Option<u64>,
    /// Batches of the epoch done.
    pub(super) batch: u64,
    pub(super) batches: Option<u64>,
    pub(super) step: u64,
    pub(super) steps: Option<u64>,
    /// When the step was done, or training went on after a pause.
    pub(super) at: Option<Instant>,
    pub(super) eta: Option<Duration>,
    /// The last row.
    pub(super) names: Vec<Arc<str>>,
    pub(super) values: Vec<f64>,
    pub(super) pass: Option<Pass>,
}

/// A pass over data without training.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Pass {
    pub(super) set: String,
    pub(super) done: u64,
    pub(super) total: Option<u64>,
}

impl Live {
    /// For what happens rarely.
    pub(super) fn change(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.lock());
    }

    /// For what happens at every step: does nothing unless it is asked for.
    pub(super) fn tell(&self, news: News, change: impl FnOnce(&mut Now)) {
        let wanted = &self.wanted[news as usize];
        if wanted.load(Ordering::Relaxed)
            && let Ok(mut now) = self.now.try_lock()
        {
            wanted.store(false, Ordering::Relaxed);
            change(&mut now);
        }
    }

    /// What was told last. Asks for more.
    pub(super) fn look(&self) -> Now {
        let now = self.lock().clone();
        self.wanted.iter().for_each(|wanted| wanted.store(true, Ordering::Relaxed));
        now
    }

    /// Has a line written above the bar.
    pub(super) fn say(&self, line: String) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// The lines to be written.
    pub(super) fn take_lines(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for nothing more.
    pub(super) fn stop_asking(&self) {
        self.wanted.iter().for_each(|wanted| wanted.store(false, Ordering::Relaxed));
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Now {
    pub(super) fn enter_epoch(&mut self, cx: &Context<'_>) {
        let progress = cx.progress;
        let pass = self.pass.take();
        *self = Self {
            epoch: progress.epoch(),
            epochs: progress.epochs(),
            batch: progress.micro_batch(),
            batches: progress.plan.epoch_micro_batches,
            step: progress.step(),
            steps: progress.total_steps(),
            at: Some(Instant::now()),
            pass,
            ..std::mem::take(self)
        };
    }

    pub(super) fn step_done(&mut self, cx: &Context<'_>) {
        let progress = cx.progress;
        // After an epoch's last batch the cursor is at the next epoch already.
        self.batch =
            if progress.epoch() == self.epoch { progress.micro_batch() } else { self.batches.unwrap_or(self.batch) };
        self.step = progress.step();
        self.at = Some(Instant::now());
        self.eta = progress.eta();
    }

    pub(super) fn set_row(&mut self, rows: &Rows<'_>) {
        if let Some(row) = rows.iter().last() {
            self.names.clear();
            self.names.extend_from_slice(rows.names());
            self.values.clear();
            self.values.extend_from_slice(row.values);
        }
    }
}
