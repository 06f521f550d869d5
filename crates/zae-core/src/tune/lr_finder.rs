//! [`LrFinder`]: the range test.

use std::sync::{Arc, Mutex, PoisonError};

use super::{LrCurve, LrPoint};
use crate::{
    add_on::{AddOn, Context},
    data::Loader,
    error::{Error, Fallible},
    metrics::Rows,
    schedule::ScheduleAt,
    task::Task,
    trainer::Trainer,
};

/// Trains some steps with a learning rate that grows from one to the next by the same factor, and watches the loss: where it
/// falls fastest is a good rate to train with (L. Smith, "Cyclical Learning Rates for Training Neural Networks", 2017,
/// section 3.3). See [`Trainer::lr_find`].
#[derive(Clone, Copy, PartialEq, Debug)]
#[must_use]
pub struct LrFinder {
    min: f64,
    max: f64,
    steps: u64,
    stop_at: f64,
}

impl Default for LrFinder {
    fn default() -> Self {
        Self::new()
    }
}

impl LrFinder {
    /// From 1e-7 to 1 in 100 steps, or until the smoothed loss is 4 times the lowest that it was.
    pub const fn new() -> Self {
        Self { min: 1e-7, max: 1.0, steps: 100, stop_at: 4.0 }
    }

    /// Between these rates.
    pub const fn range(mut self, min: f64, max: f64) -> Self {
        (self.min, self.max) = (min, max);
        self
    }

    /// In so many steps.
    pub const fn steps(mut self, steps: u64) -> Self {
        self.steps = steps;
        self
    }

    /// Ends when the smoothed loss is so many times the lowest that it was; `f64::INFINITY` goes to the end in any case.
    pub const fn stop_at(mut self, times: f64) -> Self {
        self.stop_at = times;
        self
    }

    fn misuse(&self) -> Option<&'static str> {
        if !(self.min > 0.0 && self.max > self.min && self.max.is_finite()) {
            Some("`LrFinder::range(min, max)`: give two rates above 0, the lower one first")
        } else if self.steps < 3 {
            Some("`LrFinder::steps(..)`: give at least 3")
        } else if self.stop_at.is_nan() || self.stop_at <= 1.0 {
            Some("`LrFinder::stop_at(..)`: give more than 1, or `f64::INFINITY`")
        } else {
            None
        }
    }

    fn lr(&self, step: u64) -> f64 {
        let share = step as f64 / (self.steps - 1) as f64;
        self.min * (self.max / self.min).powf(share)
    }
}

impl<T: Task> Trainer<T> {
    /// Trains some steps with ever higher learning rates. Afterwards the model, the optimizer and the run are what they were; no
    /// add-on has heard of it, and the schedule need not be set yet.
    ///
    /// ```
    /// # use zae_core::{data::Loader, error::Error, task::Task, trainer::Trainer};
    /// use zae_core::{schedule::Cosine, tune::LrFinder};
    /// # fn train<T: Task>(mut trainer: Trainer<T>, train: Vec<T::Batch>) -> Result<(), Error> where T::Batch: Clone {
    /// let curve = trainer.lr_find(&LrFinder::new(), &train)?;
    /// let lr = curve.suggestion().unwrap_or(1e-3);
    /// trainer.scheduler(Cosine::new(lr)).run(10, &train, ())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Trainer::run`]; a loss that is not finite only ends the curve. After an interrupt, [`Error::Interrupted`].
    pub fn lr_find<D: Loader<T::Batch>>(&mut self, finder: &LrFinder, train: D) -> Result<LrCurve, Error> {
        if let Some(misuse) = finder.misuse() {
            return Err(Error::Misuse(misuse.to_owned()));
        }
        let points = Arc::default();
        let watch = Watch { points: Arc::clone(&points), stop_at: finder.stop_at, mean: 0.0, lowest: f64::INFINITY };
        let own = *finder;
        self.trial(finder.steps, move |at: &ScheduleAt| own.lr(at.step), watch, train)?;
        let points = std::mem::take(&mut *points.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(LrCurve { points })
    }
}

/// How much of the mean loss stays with each step.
const SMOOTH: f64 = 0.9;

struct Watch {
    points: Arc<Mutex<Vec<LrPoint>>>,
    stop_at: f64,
    /// Of the losses so far, the latest counting most.
    mean: f64,
    lowest: f64,
}

impl AddOn for Watch {
    fn name(&self) -> &'static str {
        "lr-finder"
    }

    fn on_rows(&mut self, rows: &Rows<'_>, cx: &mut Context<'_>) -> Fallible {
        let (Some(rates), Some(losses)) = (rows.column("lr"), rows.column("train/loss")) else { return Ok(()) };
        let mut points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
        for (lr, loss) in rates.zip(losses) {
            // On an asynchronous device rows come some steps after the end was asked for.
            if cx.requests.stop_reason().is_some() {
                break;
            }
            self.mean = SMOOTH * self.mean + (1.0 - SMOOTH) * loss;
            let smoothed = self.mean / (1.0 - SMOOTH.powi(points.len() as i32 + 1));
            if !smoothed.is_finite() || smoothed > self.stop_at * self.lowest {
                cx.requests.stop("the loss has diverged");
                break;
            }
            self.lowest = self.lowest.min(smoothed);
            points.push(LrPoint { lr, loss, smoothed });
        }
        Ok(())
    }
}
