//! [`Showing`]: a task that shows things beside what another task does.

// Not every test uses everything.
#![allow(dead_code, clippy::unwrap_used)]

use zae_core::task::{At, Model, StepResult, Task};
use zae_loggers::{Cell, Histogram, Image, Level, LogHandle, Media, Table};

/// What each of its steps and evaluations shows depends on the step alone.
pub(crate) struct Showing<T> {
    pub(crate) task: T,
    pub(crate) log: LogHandle,
}

impl<T: Task> Task for Showing<T> {
    type Learner = T::Learner;
    type Batch = T::Batch;
    fn train_step(&self, model: &Model<Self>, batch: T::Batch, at: &At) -> StepResult<Self> {
        of_step(at.step).into_iter().for_each(|(name, media)| self.log.media(name, media));
        if at.step == ALERT_AT {
            self.log.alert(Level::Warn, "Loss is high", "It is 7.");
        }
        self.task.train_step(model, batch, at)
    }
    fn test_step(&self, model: &Model<Self>, batch: T::Batch, at: &At) -> StepResult<Self> {
        let (name, media) = of_evaluation(at.step, at.cursor.micro_batch);
        self.log.media(name, media);
        self.task.test_step(model, batch, at)
    }
}

pub(crate) const ALERT_AT: u64 = 7;

/// What a step shows.
pub(crate) fn of_step(step: u64) -> Vec<(&'static str, Media)> {
    let byte = |i: usize| (step as usize * 31 + i * 7) as u8;
    let mut all = Vec::new();
    if step.is_multiple_of(2) {
        let image = Image::rgb(3, 2, (0..18).map(byte).collect::<Vec<u8>>()).unwrap();
        all.push(("samples/größe", Media::Image(image.caption(format!("of step {step}")))));
        all.push(("generated", Media::Text(format!("Once upon a time,\nat step {step}, there was a »✓«."))));
    }
    if step.is_multiple_of(3) {
        all.push(("weights/0.bias", Media::Histogram(Histogram::of((0..50).map(|i| f64::from(byte(i)) / 7.0 - 9.0)))));
        all.push(("mask", Media::Image(Image::gray(4, 1, (0..4).map(byte).collect::<Vec<u8>>()).unwrap())));
        all.push(("glass", Media::Image(Image::rgba(1, 1, (0..4).map(byte).collect::<Vec<u8>>()).unwrap())));
    }
    if step.is_multiple_of(4) {
        // Nothing at both ends, and bins of any width.
        let bins = Histogram::with_bins(vec![-1.5, 0.0, 0.25, 1.0, 8.0], vec![0.0, 3.0, step as f64, 0.0]);
        all.push(("bins", Media::Histogram(bins.unwrap())));
        let mut table = Table::new(["text", "label", "score"]);
        table.row(["so good, \"really\"".into(), 1.into(), (step as f64 / 4.0).into()]).unwrap();
        table.row(["so bad".into(), Cell::Empty, f64::NAN.into()]).unwrap();
        all.push(("predictions", Media::Table(table)));
    }
    all
}

fn of_evaluation(step: u64, batch: u64) -> (&'static str, Media) {
    ("valid/seen", Media::Text(format!("batch {batch} after step {step}")))
}

/// What a run of so many epochs shows, of so many steps each, with an evaluation of so many batches after each.
pub(crate) fn of_run(epochs: u64, steps: u64, batches: u64) -> Vec<(u64, &'static str, Media)> {
    let at = |step: u64| move |(name, media)| (step, name, media);
    let of_epoch = |epoch: u64| {
        let (begin, end) = (epoch * steps, (epoch + 1) * steps);
        let trained = (begin..end).flat_map(move |step| of_step(step).into_iter().map(at(step)));
        trained.chain((0..batches).map(move |batch| of_evaluation(end, batch)).map(at(end)))
    };
    (0..epochs).flat_map(of_epoch).collect()
}
