//! Runs that show images, texts, histograms and tables at every fourth step.

// Not every test uses everything.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::path::Path;

use zae_checkpoint::StateManager;
use zae_core::{
    step::Step,
    task::{At, StepResult, Task},
    testing::null::Null,
    trainer::Trainer,
};
use zae_loggers::{Histogram, Image, LogHandle, Logger, Sink, Table};

const EVERY: u64 = 4;

pub struct Showing(pub LogHandle);

/// Those steps of so many at which something is shown.
pub fn shown_at(steps: u64) -> impl Iterator<Item = u64> {
    (0..steps).filter(|step| step.is_multiple_of(EVERY))
}

/// What a step shows: 5 x 3 pixels in colour.
pub fn pixels(step: u64) -> Vec<u8> {
    (0..45).map(|i| (i * 5 + step) as u8).collect()
}

/// The pixels of a PNG file, in colour.
pub fn decoded(bytes: &[u8]) -> Vec<u8> {
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    pixels
}

impl Task for Showing {
    type Learner = Null;
    type Batch = f64;
    fn train_step(&self, (): &(), batch: f64, at: &At) -> StepResult<Self> {
        if at.step.is_multiple_of(EVERY) {
            let image = Image::rgb(5, 3, pixels(at.step)).unwrap().caption(format!("of {}", at.step));
            self.0.image("valid/samples", image);
            self.0.text("said", format!("At {}", at.step));
            self.0.histogram("weights", Histogram::of([batch, 1.0]));
            let mut table = Table::new(["text", "score"]);
            table.row(["a, b".into(), batch.into()]).unwrap();
            self.0.table("predictions", table);
        }
        Ok(Step::new(batch, 1))
    }
    fn test_step(&self, (): &(), batch: f64, _: &At) -> StepResult<Self> {
        Ok(Step::new(batch, 1))
    }
}

/// With a checkpoint after every fifth step.
pub fn of(run_dir: &Path, task: Showing) -> Trainer<Showing> {
    let checkpoints = StateManager::new().every_steps(5).keep_last(100).background(false);
    let trainer = Trainer::new(task, Null::default()).run_dir(run_dir).scheduler(1e-3).handle_signals(false);
    trainer.add_on(checkpoints)
}

pub fn trainer<S: Sink>(run_dir: &Path, logger: Logger<S>) -> Trainer<Showing> {
    let log = LogHandle::new();
    let logger = logger.handle(&log);
    of(run_dir, Showing(log)).add_on(logger)
}
