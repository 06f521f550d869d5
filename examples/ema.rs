//! Digits again, with an average of the weights: it is validated, kept in the checkpoints and published.
//!
//! `cargo run --release --example ema`
#![allow(clippy::print_stdout)]

use burn::{nn, optim::SgdConfig, prelude::*};
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
    let [train, valid, test] = parts.map(|part| DataLoader::new(part.collate(tensors), 8));
    let model = nn::LinearConfig::new(64, 10).init(&device);
    let learner = BurnLearner::new(model, SgdConfig::new(), &device);

    // A learning rate that is too high for weights that are used as they are: they jump around the minimum.
    let mut trainer = zae_engine::trainer(Digits, learner)
        .run_dir("runs/ema")
        .seed(42)
        .scheduler(10.0)
        .add_on((Ema::new(0.99), StateManager::new().keep_best("valid/loss", 1)));
    trainer.run(10, &train.shuffle(true), &valid)?;

    let averaged = trainer.evaluate(&test)?;
    trainer.save_weights("runs/ema/averaged.safetensors")?;
    trainer.use_average(false);
    let raw = trainer.evaluate_as("raw", &test)?;
    let accuracy = |evaluation: &Evaluation| evaluation.get("accuracy").unwrap_or_default();
    println!("accuracy {:.4}, of the average {:.4}", accuracy(&raw), accuracy(&averaged));
    Ok(())
}
