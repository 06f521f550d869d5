//! One optimizer step: the window of micro-batches whose gradients it sums.

use std::iter::Peekable;

use super::{Every, NonFinite, Trainer};
use crate::{
    add_on::AddOn,
    data::Batches,
    error::{Error, Stage},
    learner::{Clip, Learner, Stepped, Update},
    metrics::RowHead,
    progress::Cursor,
    schedule::ScheduleAt,
    task::{At, Mode, Task},
};

/// Batches with one drawn ahead, which tells the last of an epoch from the others.
pub(super) type Ahead<'a, B> = Peekable<Batches<'a, B>>;

impl<T: Task> Trainer<T> {
    /// Makes one optimizer step of the next micro-batches.
    pub(super) fn window(&mut self, batches: &mut Ahead<'_, T::Batch>) -> Result<(), Error> {
        let first = self.state.progress.cursor;
        self.site.step = self.state.progress.step;
        let (mut done, mut weights, mut alone) = (0, 0.0, false);
        let mut over = false;
        while done < self.state.window && !over {
            let cursor = Cursor { micro_batch: first.micro_batch + done, ..first };
            let batch;
            (batch, over) = self.draw(batches, cursor)?;
            let last = over || done + 1 == self.state.window;
            alone = done == 0 && last;
            weights += self.micro_batch(cursor, batch, alone, last)?;
            done += 1;
        }
        // A window of one micro-batch multiplies nothing: its run is the hand-written loop's, bit for bit.
        let scale = if alone { 1.0 } else { self.state.unit.unwrap_or(1.0) / weights };
        let stepped = self.update(first, weights, scale)?;
        let progress = &mut self.state.progress;
        progress.step += 1;
        progress.samples += weights;
        progress.skipped += u64::from(stepped == Stepped::Skipped);
        progress.cursor.micro_batch += done;
        if over {
            self.end_of_epoch()?;
        }
        if let Every::Steps(n) = self.settings.validate {
            self.state.due.evaluation |= self.state.progress.step.is_multiple_of(n);
        }
        Ok(())
    }

    /// The next batch, and whether it is the epoch's last.
    fn draw(&mut self, batches: &mut Ahead<'_, T::Batch>, cursor: Cursor) -> Result<(T::Batch, bool), Error> {
        self.site.cursor = cursor;
        let next = |_: &mut Self| batches.next().unwrap_or_else(|| Err("there is no further batch".into()));
        let batch = self.at(Stage::Data, next)?;
        // A panic from here on is about the batch that is drawn ahead.
        self.site.cursor.micro_batch += 1;
        let over = batches.peek().is_none();
        self.site.cursor = cursor;
        Ok((batch, over))
    }

    /// Adds the gradient of one micro-batch, and returns its weight.
    fn micro_batch(&mut self, cursor: Cursor, batch: T::Batch, alone: bool, last: bool) -> Result<f64, Error> {
        let at = At {
            mode: Mode::Train,
            cursor,
            step: self.state.progress.step,
            total_steps: self.state.progress.plan.total_steps,
            seed: self.state.seed,
        };
        self.at(Stage::TrainStep, |t| {
            t.learner.seed(at.engine_seed());
            let batch = t.learner.place(batch, Mode::Train);
            let step = t.learner.train(|model| t.task.train_step(model, batch, &at))??;
            let weight = step.checked_weight()?;
            t.site.stage = Stage::Backward;
            let loss = if weight == 0.0 {
                t.learner.detach(step.loss)
            } else if alone {
                t.learner.backward(step.loss, 1.0, last)?
            } else {
                let unit = *t.state.unit.get_or_insert_with(|| power_of_two_near(weight));
                t.learner.backward(step.loss, weight / unit, last)?
            };
            t.site.stage = Stage::TrainStep;
            t.pending.push_loss(loss, weight);
            t.pending.push_metrics(&t.learner, step.metrics)?;
            Ok(weight)
        })
    }

    /// Clips the summed gradients and moves the weights, unless there is nothing to move along.
    fn update(&mut self, first: Cursor, weights: f64, scale: f64) -> Result<Stepped, Error> {
        self.site.cursor = first;
        let lr = self.at(Stage::Update, Self::next_lr)?;
        self.state.lr = lr;
        let any = weights > 0.0;
        if any {
            self.at(Stage::Update, |t| {
                // A finite loss can have gradients that are not: to skip such a step too, their norm has to be seen.
                let measure = t.settings.non_finite == NonFinite::SkipStep && !matches!(t.settings.clip, Clip::Norm(_));
                let (first, second) =
                    if measure { (Clip::Norm(f64::INFINITY), Some(t.settings.clip)) } else { (t.settings.clip, None) };
                if let Some(norm) = t.learner.clip(scale, &first)? {
                    t.pending.push_norm(norm);
                }
                if let Some(second) = second {
                    t.learner.clip(1.0, &second)?;
                }
                Ok(())
            })?;
        }
        let progress = &self.state.progress;
        let head = RowHead {
            step: progress.step,
            cursor: first,
            samples: progress.samples + weights,
            // Looking at the clock would be a tenth of what the trainer costs.
            seconds: if self.pending.wants_rows { progress.seconds() } else { 0.0 },
        };
        self.pending.end_row(head, Some(lr), weights);
        if !any {
            return Ok(Stepped::Skipped);
        }
        // Where a read does not wait for a device, a bad loss is found before it reaches the weights.
        let skip = self.settings.non_finite == NonFinite::SkipStep;
        let now = skip || !self.learner.is_asynchronous();
        if now && let Some(bad) = self.fetch()? {
            self.settle_rows()?;
            self.learner.zero_grad();
            return if skip { Ok(Stepped::Skipped) } else { Err(bad) };
        }
        self.each(AddOn::on_gradients)?;
        let stepped = self.at(Stage::Update, |t| t.learner.step(&Update::new(lr)))?;
        if now {
            self.settle_rows()?;
        }
        Ok(stepped)
    }

    fn next_lr(&mut self) -> crate::error::Fallible<f64> {
        let progress = &self.state.progress;
        let Some(schedule) = &self.schedule else { return Err("there is no learning rate".into()) };
        let (plan, epoch) = (&progress.plan, progress.cursor.epoch);
        let lr = schedule.lr(&ScheduleAt::new(progress.step, plan.total_steps, epoch, plan.epochs));
        if lr.is_finite() && lr >= 0.0 {
            return Ok(lr);
        }
        Err(format!(
            "the schedule gave the learning rate {lr} for step {}: it must be finite and 0 or more",
            progress.step
        )
        .into())
    }

    /// Reads all pending scalars and makes sums and rows of them. Says which loss or norm is not finite, if that matters.
    pub(super) fn read(&mut self) -> Result<Option<Error>, Error> {
        let bad = self.fetch()?;
        self.settle_rows()?;
        Ok(bad)
    }

    fn settle_rows(&mut self) -> Result<(), Error> {
        self.at(Stage::Read, |t| t.pending.settle(&mut t.state.totals))
    }

    /// Reads all pending scalars in one transfer.
    fn fetch(&mut self) -> Result<Option<Error>, Error> {
        let policy = self.settings.non_finite;
        let late = policy == NonFinite::Stop && self.learner.is_asynchronous();
        let bad = self.at(Stage::Read, |t| {
            let bad = t.pending.read(&t.learner)?;
            if bad.is_some() && policy != NonFinite::Ignore && !late {
                t.pending.discount_last();
            }
            t.spoiled |= bad.is_some() && late;
            Ok(bad)
        })?;
        Ok(bad.filter(|_| policy != NonFinite::Ignore).map(|bad| Error::NotFinite {
            site: crate::error::Site { stage: Stage::TrainStep, cursor: bad.head.cursor, step: bad.head.step },
            metric: bad.metric.to_string(),
            value: bad.value,
        }))
    }

    /// The cursor goes to the start of the next epoch; what the epoch's end owes is noted.
    fn end_of_epoch(&mut self) -> Result<(), Error> {
        let progress = &mut self.state.progress;
        let Cursor { epoch, micro_batch: drawn } = progress.cursor;
        if let Some(announced) = progress.plan.epoch_micro_batches
            && announced != drawn
        {
            return self.at(Stage::Data, |_| {
                Err(format!(
                    "the loader announced {announced} batches for epoch {epoch} and gave {drawn}: \
                     `Loader::micro_batches` must say what `Loader::epoch` gives, or `None`"
                )
                .into())
            });
        }
        progress.cursor = Cursor { epoch: epoch + 1, micro_batch: 0 };
        self.state.due.epoch_end = true;
        self.state.due.evaluation |= match self.settings.validate {
            Every::Epoch => true,
            Every::Epochs(n) => (epoch + 1).is_multiple_of(n),
            Every::Steps(_) | Every::Never => false,
        };
        Ok(())
    }
}

/// A power of two no further than a factor of two from `weight`: dividing by it changes no digit, and keeps weighted
/// gradients in the range of half precision.
fn power_of_two_near(weight: f64) -> f64 {
    weight.log2().round().exp2()
}
