//! Passes over data without training: evaluation and inference.

use std::time::Instant;

use super::{
    Trainer,
    ranks::{Place, Word, take_rows},
};
use crate::{
    add_on::{AddOn, Pass},
    data::{Draw, Loader, Shard},
    error::{Error, Stage},
    learner::Learner,
    metrics::{Evaluation, Pending, RowHead, Totals},
    progress::Cursor,
    task::{At, Mode, Predict, Scalar, Task},
};

impl<T: Task> Trainer<T> {
    /// Measures the model on test data. Metrics get the prefix `test/`; they are not part of the run's history.
    ///
    /// # Errors
    /// Whatever goes wrong, with the place. After an interrupt, in this call or in a run before it,
    /// [`Error::Interrupted`] at once, so that `?` ends the program.
    pub fn evaluate<D: Loader<T::Batch>>(&mut self, data: D) -> Result<Evaluation, Error> {
        self.evaluate_as("test", data)
    }

    /// The same for data of another name, which is the prefix of its metrics. Of several sets,
    /// `[("clean", &clean), ("noisy", &noisy)]`, it has the metrics of each: `test/clean/loss`.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`].
    pub fn evaluate_as<D: Loader<T::Batch>>(&mut self, set: &str, data: D) -> Result<Evaluation, Error> {
        self.open()?;
        let stopped = self.state.stopped.clone();
        let result = self.guard(|t| {
            t.meet()?;
            let data = t.few(data);
            check_names(&data)?;
            let mut evaluation = t.measure(set, &data)?;
            t.each_of_ended("on_evaluation_end", &mut evaluation, AddOn::on_evaluation_end, |_, _| ())?;
            Ok(evaluation)
        });
        // There is no run that an add-on could have stopped.
        self.state.stopped = stopped;
        self.close(result)
    }

    /// Predicts for every batch of unlabelled data; the outputs are in the order of the data. Of several processes, each
    /// predicts all.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`].
    pub fn inference<D: Loader<T::Input>>(&mut self, data: D) -> Result<Vec<T::Output>, Error>
    where
        T: Predict,
    {
        let outputs = self.predict(|_| Shard::WHOLE, &data)?;
        Ok(outputs.into_iter().map(|(_, output)| output).collect())
    }

    /// Predicts for this process's part of the batches: of n processes, process r has every n-th batch from the r-th on. Each
    /// output has the number of its batch. All processes have to call it, and together they have each batch once.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`].
    pub fn inference_shard<D: Loader<T::Input>>(&mut self, data: D) -> Result<Vec<(u64, T::Output)>, Error>
    where
        T: Predict,
    {
        self.predict(|t| t.ranks.shard(t.ranks.world_size() as u64), &data)
    }

    fn predict<D: Loader<T::Input>>(
        &mut self,
        shard: impl FnOnce(&Self) -> Shard,
        data: &D,
    ) -> Result<Vec<(u64, T::Output)>, Error>
    where
        T: Predict,
    {
        self.open()?;
        let result = self.guard(|t| {
            t.meet()?;
            let data = t.few(data);
            let shard = shard(t);
            t.on_average(|t| t.predict_here(shard, &data))
        });
        self.close(result)
    }

    fn predict_here<D: Loader<T::Input>>(&mut self, shard: Shard, data: &D) -> Result<Vec<(u64, T::Output)>, Error>
    where
        T: Predict,
    {
        let _inference = tracing::info_span!("inference", rank = self.rank()).entered();
        self.share_buffers()?;
        let mut outputs = Vec::new();
        self.pass("inference", Mode::Predict, data, shard, |t, input: Option<T::Input>, at| {
            let Some(input) = input else { return Ok(()) };
            t.at(Stage::Place, |t| {
                t.learner.seed(at.engine_seed());
                let input = t.learner.place(input, Mode::Predict);
                t.enter(Stage::Predict);
                let output = t.learner.eval(|model| t.task.predict(model, input, at))??;
                outputs.push((at.cursor.micro_batch, output));
                Ok(())
            })
        })?;
        Ok(outputs)
    }

    pub(super) fn close<R>(&mut self, result: Result<R, Error>) -> Result<R, Error> {
        let result = match result {
            Ok(done) => {
                let ended = self.guard(|t| {
                    t.each("finish", AddOn::finish)?;
                    t.part_well()
                });
                ended.map(|()| done).map_err(|error| self.tell_ranks(error))
            }
            Err(error) => {
                let error = self.tell_ranks(error);
                self.report(&error);
                Err(error)
            }
        };
        self.signals = None;
        result
    }

    /// Of several sets it is one evaluation, with the metrics of all.
    pub(super) fn measure<D: Loader<T::Batch>>(&mut self, set: &str, data: &D) -> Result<Evaluation, Error> {
        self.on_average(|t| {
            let sets = data.sets();
            if sets.is_empty() {
                return t.measure_one(set, data);
            }
            let mut all = Evaluation { set: set.to_owned(), ..Evaluation::default() };
            for (name, data) in &sets {
                all.join(t.measure_one(&format!("{set}/{name}"), &**data)?);
            }
            Ok(all)
        })
    }

    fn measure_one(&mut self, set: &str, data: &dyn Loader<T::Batch>) -> Result<Evaluation, Error> {
        // A validation at an epoch's end belongs to that epoch, though the cursor is at the next.
        let epoch = self.state.progress.cursor.epoch - u64::from(self.state.due.epoch_end);
        let _evaluation = tracing::info_span!("evaluation", set, epoch, rank = self.rank()).entered();
        let since = Instant::now();
        let mut totals = Totals::default();
        let mut pending = Pending::new(set);
        self.share_buffers()?;
        let late = self.learner.is_asynchronous() || !self.ranks.is_one();
        let read_every =
            (if late { self.settings.log_every } else { 1 }).saturating_mul(self.ranks.world_size() as u64);
        let shard = self.ranks.shard(self.ranks.world_size() as u64);
        let batches = self.pass(set, Mode::Evaluate, data, shard, |t, batch: Option<T::Batch>, at| {
            let micro_batch = at.cursor.micro_batch;
            let done = micro_batch + 1;
            if let Some(batch) = batch {
                t.at(Stage::Place, |t| {
                    t.learner.seed(at.engine_seed());
                    let batch = t.learner.place(batch, Mode::Evaluate);
                    t.enter(Stage::TestStep);
                    let mut step = t.learner.eval(|model| t.task.test_step(model, batch, at))??;
                    let weight = step.checked_weight()?;
                    pending.push_loss(t.learner.detach(step.loss), weight);
                    pending.push_metrics(&t.learner, step.metrics.drain(..))?;
                    pending.end_row(RowHead { step: micro_batch, ..RowHead::default() }, None, weight);
                    Ok(())
                })?;
            }
            if done.is_multiple_of(read_every) { t.add_up(done, &mut pending, &mut totals) } else { Ok(()) }
        })?;
        self.add_up(batches, &mut pending, &mut totals)?;
        let (metrics, counts) = self.at(Stage::Read, |t| t.metrics.of(set, &totals))?;
        let step = self.state.progress.step;
        let samples = totals.samples();
        tracing::info!(step, samples, "the evaluation is done");
        Ok(Evaluation {
            set: set.to_owned(),
            epoch,
            step,
            metrics,
            counts,
            samples,
            seconds: since.elapsed().as_secs_f64(),
        })
    }

    /// Adds what all ranks have measured in so many batches to the sums.
    fn add_up(&mut self, batches: u64, pending: &mut Pending<Scalar<T>>, totals: &mut Totals) -> Result<(), Error> {
        self.at(Stage::Read, |t| pending.read(&t.learner))?;
        if let Some(group) = self.ranks.group().cloned() {
            self.agree(Place::Rows, Word { batches, ..Word::default() })?;
            self.together(|_| take_rows(&*group, pending))?;
        }
        self.at(Stage::Read, |t| pending.settle(&t.metrics, totals))
    }

    /// Runs `step` on every batch, in order, and says how many there are; those of other ranks are not given. Signals are looked
    /// at before each, or, of several ranks, now and then by all of them.
    pub(super) fn pass<B: 'static>(
        &mut self,
        set: &str,
        mode: Mode,
        data: &(impl Loader<B> + ?Sized),
        shard: Shard,
        mut step: impl FnMut(&mut Self, Option<B>, &At) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let mut at = At {
            mode,
            cursor: Cursor::default(),
            step: self.state.progress.step,
            total_steps: self.state.progress.plan.total_steps,
            seed: self.state.seed,
        };
        self.site.step = at.step;
        self.site.cursor = at.cursor;
        let total = self.at(Stage::PassData, |_| Ok(data.micro_batches(0)))?;
        let mut batches = self.at(Stage::PassData, |_| data.shard(&Draw::new(at.seed, at.cursor), shard))?;
        let agree_every = self.settings.log_every.saturating_mul(shard.world_size as u64);
        loop {
            if at.cursor.micro_batch.is_multiple_of(agree_every) {
                self.agree(Place::Pass, Word { batches: at.cursor.micro_batch, ..Word::default() })?;
            }
            if let Some(signal) = self.signal() {
                return Err(Error::Interrupted { signal });
            }
            let done = at.cursor.micro_batch;
            self.each("on_pass", |add_on, cx| add_on.on_pass(&Pass { set, done, total }, cx))?;
            self.site.cursor = at.cursor;
            let Some(batch) = self.at(Stage::PassData, |_| batches.next().transpose())? else { break };
            step(self, batch, &at)?;
            at.cursor.micro_batch += 1;
        }
        if at.cursor.micro_batch == 0 {
            return self
                .at(Stage::PassData, |_| Err(format!("`{set}` has no batch: give a loader that has some").into()));
        }
        Ok(at.cursor.micro_batch)
    }
}

/// Sets of data are told apart by their names.
pub(super) fn check_names<B: 'static>(data: &impl Loader<B>) -> Result<(), Error> {
    let sets = data.sets();
    let mut names: Vec<&str> = sets.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    if names.first() == Some(&"") {
        return Err(Error::Misuse("a set of data has no name: give each one".to_owned()));
    }
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            Err(Error::Misuse(format!("two sets of data are named `{}`: give each a name of its own", pair[0])))
        }
        None => Ok(()),
    }
}
