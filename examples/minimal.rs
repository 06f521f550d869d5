//! The twenty lines that the README shows: a network learns handwritten digits.
//!
//! `cargo run --example minimal`
#![allow(clippy::print_stdout)]

use burn::{nn, optim::AdamWConfig, prelude::*};
use zae_engine::{datasets, prelude::*};

struct Digits;

impl Task for Digits {
    type Learner = BurnLearner<nn::Linear>;
    type Batch = (Tensor<2>, Tensor<1, Int>);

    fn train_step(&self, model: &nn::Linear, (x, y): Self::Batch, _: &At) -> StepResult<Self> {
        let logits = model.forward(x);
        let loss = nn::loss::CrossEntropyLossConfig::new().init(&logits.device()).forward(logits.clone(), y.clone());
        Ok(Step::new(loss, y.dims()[0]).metric("accuracy", accuracy(logits, y)))
    }
    fn test_step(&self, model: &nn::Linear, batch: Self::Batch, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

fn main() -> Result<(), BoxError> {
    let device = zae_engine::local_device();
    let tensors = |digits: Vec<datasets::Digit>| {
        let (x, y): (Vec<_>, Vec<_>) = digits.into_iter().map(|d| (d.pixels, i64::from(d.label))).unzip();
        let x = Tensor::<1>::from_floats(x.as_flattened(), &Device::flex()).reshape([y.len(), 64]);
        Ok((x, Tensor::<1, Int>::from_ints(y.as_slice(), &Device::flex())))
    };
    let parts = datasets::digits()?.ordered_split([1_257, 180, 360])?;
    let [train, valid, test] = parts.map(|part| DataLoader::new(part.collate(tensors), 32));
    let model = nn::LinearConfig::new(64, 10).init(&device);
    let learner = BurnLearner::new(model, AdamWConfig::new(), &device);

    let mut trainer = zae_engine::trainer(Digits, learner)
        .run_dir("runs/minimal")
        .seed(42)
        .scheduler(Cosine::new(1e-2))
        .add_on(StateManager::new());
    trainer.run(10, &train.shuffle(true), &valid)?;
    println!("accuracy {:.4}", trainer.evaluate(&test)?.get("accuracy").unwrap_or_default());
    Ok(())
}
