//! [`Recorder`]: an add-on that remembers what it was told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    add_on::{AddOn, Context, Moment, Pass, Phase},
    error::{Error, Fallible},
    metrics::{EpochSummary, Evaluation, Rows},
    progress::ProgressChecker,
    snapshot::Snapshot,
    trainer::Run,
};

/// What a [`Recorder`] was told.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Recorded {
    /// Names of the hooks, in the order in which they were called; those called per step or batch are left out.
    pub hooks: Vec<String>,
    /// One entry per step: the step, and every column's name and bits.
    pub rows: Vec<(u64, Vec<(String, u64)>)>,
    /// How many rows came at once.
    pub groups: Vec<usize>,
    /// Snapshots, each with the moment at which it was asked for.
    pub snapshots: Vec<(Moment, Arc<Snapshot>)>,
    /// The error that the run ended with.
    pub error: Option<String>,
}

/// An add-on for tests: it remembers hooks, rows and snapshots, and its clone sees what it remembers.
#[derive(Clone, Default)]
pub struct Recorder {
    recorded: Arc<Mutex<Recorded>>,
    wants_snapshots: bool,
    moment: Arc<Mutex<Option<Moment>>>,
}

impl Recorder {
    /// Remembers hooks and rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a snapshot at every moment too.
    #[must_use]
    pub fn with_snapshots(mut self) -> Self {
        self.wants_snapshots = true;
        self
    }

    /// What was recorded so far.
    pub fn get(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hook(&self, name: &str) -> Fallible {
        self.get().hooks.push(name.to_owned());
        Ok(())
    }
}

impl AddOn for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }
    fn phase(&self) -> Phase {
        Phase::Report
    }
    fn leaves_traces(&self) -> bool {
        false
    }
    fn on_run_start(&mut self, _: &mut Context<'_>) -> Fallible {
        self.hook("run_start")
    }
    fn on_epoch_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.hook(&format!("epoch_start {}", cx.progress.epoch()))
    }
    fn on_rows(&mut self, rows: &Rows<'_>, _: &mut Context<'_>) -> Fallible {
        let mut recorded = self.get();
        recorded.groups.push(rows.len());
        for row in rows.iter() {
            let names = rows.names().iter().map(ToString::to_string);
            let bits = names.zip(row.values.iter().map(|x| x.to_bits())).collect();
            recorded.rows.push((row.head.step, bits));
        }
        Ok(())
    }
    fn on_pass(&mut self, pass: &Pass<'_>, _: &mut Context<'_>) -> Fallible {
        if pass.done == 0 { self.hook(&format!("pass {}", pass.set)) } else { Ok(()) }
    }
    fn on_evaluation_end(&mut self, evaluation: &Evaluation, _: &mut Context<'_>) -> Fallible {
        self.hook(&format!("evaluation_end {} {}", evaluation.set, evaluation.epoch))
    }
    fn on_epoch_end(&mut self, epoch: &EpochSummary, _: &mut Context<'_>) -> Fallible {
        self.hook(&format!("epoch_end {}", epoch.epoch))
    }
    fn on_run_end(&mut self, _: &Run, _: &mut Context<'_>) -> Fallible {
        self.hook("run_end")
    }
    fn on_error(&mut self, error: &Error, _: &mut Context<'_>) -> Fallible {
        self.get().error = Some(error.to_string());
        self.hook("error")
    }
    fn wants_snapshot(&self, moment: Moment, _: &ProgressChecker) -> bool {
        if self.wants_snapshots {
            *self.moment.lock().unwrap_or_else(PoisonError::into_inner) = Some(moment);
        }
        self.wants_snapshots
    }
    fn on_snapshot(&mut self, snapshot: &Arc<Snapshot>, _: &mut Context<'_>) -> Fallible {
        let moment = self.moment.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(moment) = moment {
            self.get().snapshots.push((moment, Arc::clone(snapshot)));
        }
        Ok(())
    }
}
