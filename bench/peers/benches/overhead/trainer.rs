//! `zae_engine::trainer` with its defaults.

use zae_engine::{data::from_fn, prelude::*};

use crate::{
    job::{Job, batch},
    lap::step_starts,
    models::{Batch, LR, Net, SEED, device, optimizer},
};

struct Classify {
    accuracy: bool,
}

impl Task for Classify {
    type Learner = BurnLearner<Net>;
    type Batch = Batch;

    fn train_step(&self, model: &Net, (x, y): Batch, _: &At) -> StepResult<Self> {
        step_starts();
        let samples = y.dims()[0];
        let (loss, logits) = model.loss(x, y.clone());
        let step = Step::new(loss, samples);
        Ok(if self.accuracy { step.metric("accuracy", accuracy(logits, y)) } else { step })
    }
    fn test_step(&self, model: &Net, batch: Batch, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

pub(crate) fn train(job: Job) -> Vec<f64> {
    let Job { model, batches, steps, accuracy, dir } = job;
    let learner = BurnLearner::new(model, optimizer(), &device());
    let mut trainer = zae_engine::trainer(Classify { accuracy }, learner).run_dir(&dir).seed(SEED).scheduler(LR);
    let data = from_fn(|_| (0..u64::MAX).map(|step| Ok(batch(&batches, step))));
    trainer.run(Until::steps(steps), data, ()).unwrap();
    logged(&std::fs::read_to_string(dir.join("metrics.csv")).unwrap())
}

/// The losses in the CSV file.
fn logged(csv: &str) -> Vec<f64> {
    let mut lines = csv.lines();
    let names: Vec<_> = lines.next().unwrap().split(',').collect();
    let column = names.iter().position(|name| *name == "train/loss").unwrap();
    let steps = lines.filter(|line| line.starts_with("step,"));
    steps.map(|line| line.split(',').nth(column).unwrap().parse().unwrap()).collect()
}
