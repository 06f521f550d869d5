//! The loop over epochs.

use super::{
    Outcome, Run, Trainer, Until,
    evaluate::check_names,
    ranks::{Place, Word},
    window::Ahead,
};
use crate::{
    add_on::{AddOn, Moment},
    data::{Batches, Draw, Loader},
    error::{Error, Stage},
    metrics::{EpochSummary, Metrics, is_measured},
    task::Task,
};

impl<T: Task> Trainer<T> {
    /// Trains until the end, validating on the way.
    ///
    /// `until` is a number of epochs, or any [`Until`]. Without validation data, give `()`; with several sets, give each a name,
    /// `[("clean", &clean), ("noisy", &noisy)]`: their metrics are `valid/clean/loss` and so on. If an add-on has kept a
    /// snapshot of this run, it goes on from there: the same program, started again, continues.
    ///
    /// ```
    /// # use zae_core::{data::Loader, error::Error, task::Task, trainer::{Run, Trainer}};
    /// # fn train<T: Task>(trainer: &mut Trainer<T>, data: Vec<T::Batch>) -> Result<Run, Error> where T::Batch: Clone {
    /// trainer.run(10, &data, ())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Whatever goes wrong, with the place; add-ons have been told, and what they keep is safe. An interrupt is no
    /// error: see [`Outcome::Interrupted`].
    pub fn run<D, V>(&mut self, until: impl Into<Until>, train: D, valid: V) -> Result<Run, Error>
    where
        D: Loader<T::Batch>,
        V: Loader<T::Batch>,
    {
        let until = until.into();
        self.whole(|t| {
            let (until, train, valid) = (t.soon(until), t.few(train), t.few(valid));
            check_names(&valid)?;
            t.plan(&until, &train)?;
            t.drive(&until, &train, &valid)
        })
    }

    /// Trains to the end of the current epoch, without validation, for programs that keep the loop over epochs to
    /// themselves. The length of the run is unknown then: schedules that need it have to be given one.
    ///
    /// # Errors
    /// As [`Trainer::run`]; after an interrupt, [`Error::Interrupted`]; also when an add-on has stopped the run before the
    /// end of the epoch.
    pub fn run_epoch<D: Loader<T::Batch>>(&mut self, train: D) -> Result<EpochSummary, Error> {
        let mut before = 0;
        let run = self.whole(|t| {
            before = t.state.history.epochs.len();
            if let Some(signal) = t.signal() {
                return Ok(Outcome::Interrupted { signal });
            }
            // An epoch whose end is still owed is the one to end.
            let until = Until::epochs(t.state.progress.cursor.epoch + u64::from(!t.state.due.epoch_end));
            let train = t.few(train);
            t.plan_without_end()?;
            t.check_config(&t.state.progress.plan.clone(), &train, false, false)?;
            t.drive(&until, &train, &())
        })?;
        match (run.outcome, run.history.epochs.get(before..).and_then(<[_]>::last)) {
            (Outcome::Interrupted { signal }, _) => Err(Error::Interrupted { signal }),
            (_, Some(summary)) => Ok(summary.clone()),
            (_, None) => {
                let reason = self.state.stopped.as_deref().unwrap_or("for no reason");
                Err(Error::Misuse(format!("it was stopped before the epoch's end ({reason}): build a new trainer")))
            }
        }
    }

    /// Makes one optimizer step of one batch, and returns its metrics (`train/loss`, ..., `lr`), for programs that keep
    /// the whole loop to themselves. Add-ons get the hooks about steps, not those about runs and epochs; `accumulate` does
    /// not apply.
    ///
    /// # Errors
    /// As [`Trainer::run`].
    pub fn run_batch(&mut self, batch: T::Batch) -> Result<Metrics, Error> {
        self.open()?;
        let result = self.guard(|t| {
            t.meet()?;
            t.connect_learner()?;
            if let Some(signal) = t.signal() {
                return Err(Error::Interrupted { signal });
            }
            t.plan_without_end()?;
            t.pending.wants_rows = true;
            // One of each rank. A further one that is never drawn keeps the epoch open.
            let window = t.ranks.world_size() as u64;
            t.state.progress.plan.window = window;
            let shard = t.ranks.shard(window);
            let at = t.state.progress.cursor.micro_batch;
            let mut own = Some(batch);
            let all = (at..at + window).map(move |i| Ok(if shard.has(i) { own.take() } else { None }));
            let end = std::iter::once(Err("one batch only".into()));
            let mut batches = (Box::new(all.chain(end)) as Batches<'_, Option<T::Batch>>).peekable();
            t.window(&mut batches)?;
            t.each_of_step("on_step_end", AddOn::on_step_end)?;
            t.settle_own_rows()?;
            if (t.pending.waiting() > 0 || !t.ranks.is_one())
                && let Some(bad) = t.read()?
            {
                return Err(bad);
            }
            let row = |rows: crate::metrics::Rows<'_>| -> Metrics {
                let values = rows.iter().last().map_or(&[][..], |row| row.values);
                rows.names().iter().map(ToString::to_string).zip(values.iter().copied()).collect()
            };
            let metrics = t.pending.ready().last().map(row).unwrap_or_default();
            t.hand_out()?;
            t.snapshot_if_wanted(Moment::Step)?;
            Ok(metrics)
        });
        let result = result.map_err(|error| self.tell_ranks(error));
        if result.is_err() {
            self.abandon();
        }
        self.signals = None;
        result
    }

    /// A run from its first hook to its last.
    fn whole(&mut self, work: impl FnOnce(&mut Self) -> Result<Outcome, Error>) -> Result<Run, Error> {
        self.open()?;
        let _run = tracing::info_span!("run", rank = self.rank(), world_size = self.world_size()).entered();
        self.pending.wants_rows = !self.add_ons.is_empty();
        let mut ended = false;
        let result = self.guard(|t| {
            t.resume_from_add_ons()?;
            t.meet()?;
            t.connect_learner()?;
            t.state.progress.start_clock();
            let outcome = match work(t) {
                Err(Error::Interrupted { signal }) => Outcome::Interrupted { signal },
                done => done?,
            };
            t.flush()?;
            if !matches!(outcome, Outcome::AlreadyComplete | Outcome::AlreadyStopped(_)) {
                let interrupted = matches!(outcome, Outcome::Interrupted { .. });
                t.snapshot_if_wanted(if interrupted { Moment::Interrupted } else { Moment::End })?;
            }
            let run = Run { outcome, history: t.state.history.clone() };
            ended = true;
            let told = t.each("on_run_end", |add_on, cx| add_on.on_run_end(&run, cx));
            told.and(t.each("finish", AddOn::finish))?;
            t.part_well()?;
            tracing::info!(outcome = ?run.outcome, step = t.state.progress.step, "the run has ended");
            Ok(run)
        });
        let result = result.map_err(|error| self.tell_ranks(error));
        // Add-ons that were told of the end are not told of an error, for nothing but one of them has failed.
        if let (Err(error), false) = (&result, ended) {
            self.report(error);
        }
        self.state.progress.stop_clock();
        self.signals = None;
        result
    }

    /// Tells the add-ons of an error, after handing out every row that can still be read.
    pub(super) fn report(&mut self, error: &Error) {
        self.abandon();
        let told = self.guard(|t| t.each("on_error", |add_on, cx| add_on.on_error(error, cx)));
        if let Err(second) = told.and(self.guard(|t| t.each("finish", AddOn::finish))) {
            tracing::error!(error = %second, "failed while an error was reported");
        }
    }

    /// The loop. Reads like the blackboard: what is due, then an epoch, and again.
    fn drive<D, V>(&mut self, until: &Until, train: &D, valid: &V) -> Result<Outcome, Error>
    where
        D: Loader<T::Batch>,
        V: Loader<T::Batch>,
    {
        tracing::info!(step = self.state.progress.step, epoch = self.state.progress.cursor.epoch, "the run starts");
        if std::mem::take(&mut self.settings.continue_stopped) {
            self.state.stopped = None;
        }
        let stopped = self.state.stopped.clone();
        self.check_alike()?;
        self.ranks.time = until.time;
        self.add_ons.set_minimum(until.min_epochs, until.min_steps);
        self.each("on_run_start", AddOn::on_run_start)?;
        self.agree(Place::Start, Word::default())?;
        let due = (self.state.due.evaluation || self.state.due.epoch_end) && !self.is_beyond(until);
        if let (false, Some(reason)) = (due, &stopped) {
            tracing::warn!(reason, "the run was stopped before: nothing is trained");
            return Ok(Outcome::AlreadyStopped(reason.clone()));
        }
        if !due && self.is_complete(until) {
            tracing::warn!("the run was complete already: nothing is trained; `.fresh()` starts over");
            return Ok(Outcome::AlreadyComplete);
        }
        self.begin(valid)?;
        loop {
            if let Some(outcome) = self.settle(until, valid)? {
                return Ok(outcome);
            }
            if let Some(outcome) = self.epoch(until, train, valid)? {
                return Ok(outcome);
            }
        }
    }

    /// Trains to the end of the current epoch, or to the end of the run.
    fn epoch<D, V>(&mut self, until: &Until, train: &D, valid: &V) -> Result<Option<Outcome>, Error>
    where
        D: Loader<T::Batch>,
        V: Loader<T::Batch>,
    {
        let from = self.state.progress.cursor;
        (self.site.cursor, self.site.step) = (from, self.state.progress.step);
        let _epoch = tracing::info_span!("epoch", epoch = from.epoch, rank = self.rank()).entered();
        let batches = self.at(Stage::Data, |_| Ok(train.micro_batches(from.epoch)))?;
        let window = self.window_in(from.epoch);
        let plan = &mut self.state.progress.plan;
        (plan.epoch_micro_batches, plan.window) = (batches, window);
        self.state.epoch_batches = batches.map(|batches| (from.epoch, batches));
        let draw = Draw::new(self.state.seed, from);
        if self.ranks.in_step && batches.is_none() {
            return Err(Error::Misuse(format!(
                "the loader does not say how many batches epoch {} has, and a layer that exchanges statistics has to know in which \
                 windows every rank has one: implement `Loader::micro_batches`, or give a loader that knows its length",
                from.epoch
            )));
        }
        let shard = self.ranks.shard(window);
        let mut batches: Ahead<'_, T::Batch> = self.at(Stage::Data, |_| Ok(train.shard(&draw, shard)?.peekable()))?;
        if batches.peek().is_none() {
            return Err(self.no_batch(from.epoch));
        }
        self.each("on_epoch_start", AddOn::on_epoch_start)?;
        loop {
            self.window(&mut batches)?;
            self.each_of_step("on_step_end", AddOn::on_step_end)?;
            self.hand_out()?;
            if self.pending.open() as u64 >= self.settings.log_every {
                self.flush()?;
            }
            self.snapshot_if_wanted(Moment::Step)?;
            if self.state.progress.step.checked_rem(self.ranks.check_every()) == Some(0) {
                self.check_weights(Stage::Update)?;
            }
            let over = self.state.due.epoch_end;
            if let Some(outcome) = self.settle(until, valid)? {
                return Ok(Some(outcome));
            }
            if over {
                return Ok(None);
            }
        }
    }

    /// Does what is due at the cursor, and says how the run ends, if it ends here.
    fn settle<V: Loader<T::Batch>>(&mut self, until: &Until, valid: &V) -> Result<Option<Outcome>, Error> {
        if self.state.due.evaluation {
            if valid.is_absent() {
                self.state.due.evaluation = false;
            } else {
                self.validate_now(valid)?;
            }
        }
        if self.state.due.epoch_end {
            self.close_epoch()?;
        }
        Ok(self.ending(until))
    }

    fn close_epoch(&mut self) -> Result<(), Error> {
        self.flush()?;
        let (metrics, counts) = self.at(Stage::Read, |t| t.metrics.of("train", &t.state.totals))?;
        let state = &mut self.state;
        let mut summary = EpochSummary {
            epoch: state.progress.cursor.epoch - 1,
            step: state.progress.step,
            metrics,
            counts,
            samples: state.totals.samples(),
            lr: state.lr,
            seconds: state.progress.seconds(),
        };
        if let Some(evaluation) = state.history.evaluations.last().filter(|e| e.epoch == summary.epoch && e.step > 0) {
            // What an add-on has measured in it is the evaluation's alone: it may measure the same of the epoch.
            let own = evaluation.metrics.iter().filter(|(name, _)| !is_measured(name));
            summary.metrics.extend(own.map(|(name, value)| (name.clone(), *value)));
        }
        state.totals.clear();
        state.due.epoch_end = false;
        state.history.epochs.push(summary.clone());
        tracing::info!(epoch = summary.epoch, step = summary.step, samples = summary.samples, "the epoch is done");
        self.each_of_ended("on_epoch_end", &mut summary, AddOn::on_epoch_end, |run, summary| {
            run.history.epochs.last_mut().into_iter().for_each(|last| last.clone_from(summary));
        })?;
        self.snapshot_if_wanted(Moment::Epoch)
    }

    pub(super) fn is_complete(&self, until: &Until) -> bool {
        let progress = &self.state.progress;
        until.epochs.is_some_and(|epochs| progress.cursor.epoch >= epochs)
            || until.steps.is_some_and(|steps| progress.step >= steps)
    }

    /// Whether the run has gone on past this end already: what is due is another call's then.
    pub(super) fn is_beyond(&self, until: &Until) -> bool {
        let progress = &self.state.progress;
        until.epochs.is_some_and(|epochs| progress.cursor.epoch > epochs)
            || until.steps.is_some_and(|steps| progress.step > steps)
    }

    fn is_out_of_time(&self, until: &Until) -> bool {
        if !self.ranks.is_one() {
            return self.ranks.out_of_time;
        }
        until.time.is_some_and(|time| self.state.progress.elapsed() >= time)
    }

    fn ending(&self, until: &Until) -> Option<Outcome> {
        if let Some(reason) = &self.state.stopped {
            Some(Outcome::Stopped(reason.clone()))
        } else if self.is_complete(until) {
            Some(Outcome::Complete)
        } else if let Some(signal) = self.signal() {
            Some(Outcome::Interrupted { signal })
        } else if self.is_out_of_time(until) {
            Some(Outcome::OutOfTime)
        } else {
            None
        }
    }
}
