//! One optimizer step: the window of micro-batches whose gradients it sums.

use std::iter::Peekable;

use super::{Every, NonFinite, Trainer};
use crate::{
    add_on::AddOn,
    data::Batches,
    error::{Error, Fallible, Site, Stage},
    learner::{Clip, Learner, Stepped, Update},
    metrics::{NotFinite, RowHead},
    progress::Cursor,
    schedule::ScheduleAt,
    task::{At, Mode, Task},
};

/// Batches with one drawn ahead, which tells the last of an epoch from the others.
pub(super) type Ahead<'a, B> = Peekable<Batches<'a, Option<B>>>;

impl<T: Task> Trainer<T> {
    /// Makes one optimizer step of the next micro-batches.
    pub(super) fn window(&mut self, batches: &mut Ahead<'_, T::Batch>) -> Result<(), Error> {
        let first = self.state.progress.cursor;
        self.site.step = self.state.progress.step;
        let window = self.state.progress.plan.window;
        let (mut done, mut weights, mut over) = (0, 0.0, false);
        let mut in_step = self.in_step(first);
        let mut unit = self.state.unit;
        let by_tree = self.by_tree();
        while done < window && !over {
            let cursor = Cursor { micro_batch: first.micro_batch + done, ..first };
            let batch;
            (batch, over) = self.draw(batches, cursor)?;
            let last = over || done + 1 == window;
            let alone = done == 0 && last;
            if let Some(batch) = batch {
                let unit = if alone { None } else { Some(&mut unit) };
                let completes = self.completes(cursor.micro_batch, last, alone);
                let all = in_step > 0;
                in_step = in_step.saturating_sub(1);
                let weight = self.micro_batch(cursor, batch, unit, completes, all)?;
                if by_tree && !alone && weight > 0.0 {
                    self.put_in_tree(cursor.micro_batch)?;
                }
                weights += weight;
            }
            done += 1;
        }
        let mut skips = false;
        if by_tree || !self.ranks.is_one() {
            let bad = self.own_bad_loss(first)?;
            let summed = self.sum_gradients(weights, bad, done, unit)?;
            (weights, skips) = (summed.weight, summed.skips);
        } else {
            self.state.unit = unit;
        }
        // A window of one micro-batch multiplies nothing: its run is the hand-written loop's, bit for bit.
        let scale = if done == 1 { 1.0 } else { self.state.unit.unwrap_or(1.0) / weights };
        let stepped = self.update(first, weights, scale, skips)?;
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

    /// The next batch, if it is this rank's, and whether it is the epoch's last.
    fn draw(&mut self, batches: &mut Ahead<'_, T::Batch>, cursor: Cursor) -> Result<(Option<T::Batch>, bool), Error> {
        (self.site.stage, self.site.cursor) = (Stage::Data, cursor);
        let batch = match batches.next() {
            Some(Ok(batch)) => batch,
            Some(Err(source)) => return Err(self.fail(source)),
            None => return Err(self.fail("there is no further batch")),
        };
        // That one was drawn ahead before: what takes time, hangs or panics is the one that is drawn ahead now.
        self.site.cursor.micro_batch += 1;
        self.enter(Stage::Data);
        let over = batches.peek().is_none();
        self.site.cursor = cursor;
        self.check_announced(cursor, over)?;
        Ok((batch, over))
    }

    /// Before anything is computed: ranks whose layers exchange something count on what was announced.
    fn check_announced(&mut self, Cursor { epoch, micro_batch }: Cursor, over: bool) -> Result<(), Error> {
        let drawn = micro_batch + 1;
        let Some(announced) = self.state.progress.plan.epoch_micro_batches else { return Ok(()) };
        if over == (drawn >= announced) {
            return Ok(());
        }
        let more = if over { "" } else { ", and more" };
        Err(self.fail(format!(
            "the loader announced {announced} batches for epoch {epoch} and gave {drawn}{more}: \
             `Loader::micro_batches` must say what `Loader::epoch` gives, or `None`"
        )))
    }

    /// Adds the gradient of one micro-batch, and returns its weight. That is divided by the `unit`, which the first weight
    /// decides; a micro-batch that is alone in its window has neither. `last` is what the learner is told, and so is whether `all`
    /// ranks compute one.
    fn micro_batch(
        &mut self,
        cursor: Cursor,
        batch: T::Batch,
        unit: Option<&mut Option<f64>>,
        last: bool,
        all: bool,
    ) -> Result<f64, Error> {
        let at = At {
            mode: Mode::Train,
            cursor,
            step: self.state.progress.step,
            total_steps: self.state.progress.plan.total_steps,
            seed: self.state.seed,
        };
        self.at(Stage::Place, |t| {
            t.learner.seed(at.engine_seed());
            if all {
                t.learner.in_step(true);
            }
            let batch = t.learner.place(batch, Mode::Train);
            t.enter(Stage::TrainStep);
            // In one match: two `?` would each move the step.
            let mut step = match t.learner.train(|model| t.task.train_step(model, batch, &at)) {
                Ok(Ok(step)) => step,
                Ok(Err(error)) | Err(error) => return Err(error),
            };
            let weight = step.checked_weight()?;
            t.enter(Stage::Backward);
            let loss = if weight == 0.0 && !all {
                t.learner.detach(step.loss)
            } else {
                let factor = unit.map_or(1.0, |unit| weight / *unit.get_or_insert_with(|| power_of_two_near(weight)));
                match &step.part {
                    None => t.learner.backward(step.loss, factor, last)?,
                    Some(part) => t.learner.backward_part(part, step.loss, factor, last)?,
                }
            };
            if all {
                t.learner.in_step(false);
            }
            t.site.stage = Stage::TrainStep;
            t.pending.push_loss(loss, weight);
            t.pending.push_metrics(&t.learner, step.metrics.drain(..))?;
            Ok(weight)
        })
    }

    /// Whether a loss of this rank's micro-batches is not finite, where that costs no waiting: the other ranks have to know
    /// before gradients are summed.
    fn own_bad_loss(&mut self, first: Cursor) -> Result<bool, Error> {
        let policy = self.settings.non_finite;
        if policy == NonFinite::Ignore || (policy == NonFinite::Stop && self.learner.is_asynchronous()) {
            return Ok(false);
        }
        let next = RowHead { step: self.state.progress.step, cursor: first, ..RowHead::default() };
        self.at(Stage::Read, |t| t.pending.read(&t.learner))?;
        match self.pending.first_not_finite(next) {
            Some(bad) if policy == NonFinite::Stop => Err(not_finite(&bad)),
            bad => Ok(bad.is_some()),
        }
    }

    /// Clips the summed gradients and moves the weights, unless there is nothing to move along, or the step is left out.
    fn update(&mut self, first: Cursor, weights: f64, scale: f64, skips: bool) -> Result<Stepped, Error> {
        self.site.cursor = first;
        let lr = self.at(Stage::Update, Self::next_lr)?;
        self.state.lr = lr;
        let any = weights > 0.0 && !skips;
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
        if skips {
            self.pending.discount_last();
            self.learner.zero_grad();
        }
        if !any {
            return Ok(Stepped::Skipped);
        }
        // Where a read does not wait for a device, a bad loss is found before it reaches the weights.
        let skip = self.settings.non_finite == NonFinite::SkipStep;
        let now = skip || !self.learner.is_asynchronous();
        if now {
            self.fetch()?;
            if let Some(bad) = self.judge() {
                self.learner.zero_grad();
                if skip {
                    // Its row is summed when add-ons have logged what they like, as any other.
                    return Ok(Stepped::Skipped);
                }
                self.sum_own_rows()?;
                return Err(bad);
            }
        }
        self.each_of_step("on_gradients", AddOn::on_gradients)?;
        self.at(Stage::Update, |t| t.learner.step(&Update::new(lr)))
    }

    fn next_lr(&mut self) -> Fallible<f64> {
        let progress = &self.state.progress;
        let Some(schedule) = &self.schedule else { return Err("there is no learning rate".into()) };
        let (plan, epoch) = (&progress.plan, progress.cursor.epoch);
        let lr = schedule.lr(&ScheduleAt::new(progress.step, plan.total_steps, epoch, plan.epochs));
        if (0.0..=f64::MAX).contains(&lr) {
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
        self.fetch()?;
        let mut bad = self.judge();
        if !self.ranks.is_one() {
            self.exchange_rows()?;
            // A loss of another rank spoils the weights of this one too.
            bad = self.judge();
        }
        self.sum_rows()?;
        Ok(bad)
    }

    /// What one process has read is summed when its step is made and add-ons have logged what they like; several exchange it now
    /// and then.
    pub(super) fn settle_own_rows(&mut self) -> Result<(), Error> {
        let is_due = self.pending.waiting() == 0 && self.pending.are_before(self.state.progress.step);
        if is_due { self.sum_own_rows() } else { Ok(()) }
    }

    fn sum_own_rows(&mut self) -> Result<(), Error> {
        if self.ranks.is_one() { self.sum_rows() } else { Ok(()) }
    }

    pub(super) fn sum_rows(&mut self) -> Result<(), Error> {
        self.at(Stage::Read, |t| t.pending.settle(&t.metrics, &mut t.state.totals))
    }

    /// Reads all pending scalars in one transfer.
    pub(super) fn fetch(&mut self) -> Result<(), Error> {
        self.at(Stage::Read, |t| t.pending.read(&t.learner))
    }

    /// Which loss or norm of what was read is not finite, if that matters. Its step is left out of the sums where it is not made,
    /// and else has spoilt the weights.
    pub(super) fn judge(&mut self) -> Option<Error> {
        if self.pending.is_finite() || self.settings.non_finite == NonFinite::Ignore {
            return None;
        }
        let bad = self.pending.first_not_finite(RowHead::default())?;
        if self.settings.non_finite == NonFinite::Stop && self.learner.is_asynchronous() {
            self.spoiled = true;
        } else {
            self.pending.discount_last();
        }
        Some(not_finite(&bad))
    }

    /// The cursor goes to the start of the next epoch; what the epoch's end owes is noted.
    fn end_of_epoch(&mut self) -> Result<(), Error> {
        let progress = &mut self.state.progress;
        let epoch = progress.cursor.epoch;
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

fn not_finite(bad: &NotFinite) -> Error {
    let site = Site { stage: Stage::TrainStep, cursor: bad.head.cursor, step: bad.head.step };
    Error::NotFinite { site, metric: bad.metric.to_string(), value: bad.value }
}

/// A power of two no further than a factor of two from `weight`: dividing by it changes no digit, and keeps weighted
/// gradients in the range of half precision.
fn power_of_two_near(weight: f64) -> f64 {
    weight.log2().round().exp2()
}
