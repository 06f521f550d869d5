//! `burn-train`'s `SupervisedTraining`.

use std::sync::Arc;

use ::burn_train::{
    ClassificationOutput, InferenceStep, Learner, SupervisedTraining, TrainOutput, TrainStep,
    metric::{AccuracyMetric, LossMetric},
};
use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderIterator, Progress},
        dataset::DatasetError,
    },
    lr_scheduler::constant::ConstantLr,
    prelude::*,
};

use crate::{
    job::{Job, batch},
    lap::step_starts,
    models::{Batch, LR, Net, optimizer},
};

impl TrainStep for Net {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, (x, y): Batch) -> TrainOutput<ClassificationOutput> {
        step_starts();
        let (loss, logits) = self.loss(x, y.clone());
        TrainOutput::new(self, loss.backward(), ClassificationOutput::new(loss, logits, y))
    }
}

impl InferenceStep for Net {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, (x, y): Batch) -> ClassificationOutput {
        let (loss, logits) = self.loss(x, y.clone());
        ClassificationOutput::new(loss, logits, y)
    }
}

/// The batches over and over, for a number of steps. An item is a batch.
#[derive(Clone)]
struct Cycle {
    batches: Arc<[Batch]>,
    steps: u64,
}

impl DataLoader<Batch> for Cycle {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        Box::new(CycleIter { cycle: self, step: 0 })
    }
    fn num_items(&self) -> usize {
        self.steps as usize
    }
    /// They are where the model is.
    fn to_device(&self, _: &Device) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(self.clone())
    }
    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self { steps: (end - start) as u64, ..self.clone() })
    }
}

struct CycleIter<'a> {
    cycle: &'a Cycle,
    step: u64,
}

impl Iterator for CycleIter<'_> {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step;
        self.step += 1;
        (step < self.cycle.steps).then(|| Ok(batch(&self.cycle.batches, step)))
    }
}

impl DataLoaderIterator<Batch> for CycleIter<'_> {
    fn progress(&self) -> Progress {
        Progress::new(self.step as usize, self.cycle.steps as usize, Some("items".to_owned()))
    }
}

pub(crate) fn train(job: Job) -> Vec<f64> {
    let Job { model, batches, steps, accuracy, dir } = job;
    let data = |steps| Arc::new(Cycle { batches: Arc::clone(&batches), steps });
    let training = SupervisedTraining::new(&dir, data(steps), data(0)).num_epochs(1);
    let training = if accuracy {
        training.metrics((AccuracyMetric::new(), LossMetric::new()))
    } else {
        training.metrics((LossMetric::new(),))
    };
    let result = training.launch(Learner::new(model, optimizer(), ConstantLr::new(LR)));
    assert!(result.error.is_none() && result.interrupted.is_none());
    // Waits for the files.
    drop(result);
    let log = std::fs::read_to_string(dir.join("train/epoch-1/Loss.log")).unwrap();
    log.lines()
        .filter(|line| !line.ends_with("final"))
        .map(|line| line.split(',').next().unwrap().parse().unwrap())
        .collect()
}
