//! The twenty lines of `minimal.rs` with LibTorch: learner, model and tensors differ, and nothing else.
//!
//! `cargo xtask libtorch`, once, then `cargo run --features tch --example minimal_tch`
#![allow(clippy::print_stdout)]

use tch::{Tensor, nn, nn::Module};
use zae_engine::{
    datasets,
    prelude::*,
    tch::{AdamW, accuracy, local_device},
};

struct Digits;

impl Task for Digits {
    type Learner = TchLearner<nn::Linear>;
    type Batch = (Tensor, Tensor);

    fn train_step(&self, model: &nn::Linear, (x, y): Self::Batch, _: &At) -> StepResult<Self> {
        let logits = model.forward(&x);
        let loss = logits.cross_entropy_for_logits(&y);
        Ok(Step::new(loss, y.numel()).metric("accuracy", accuracy(&logits, &y)?))
    }
    fn test_step(&self, model: &nn::Linear, batch: Self::Batch, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

fn main() -> Result<(), BoxError> {
    let tensors = |digits: Vec<datasets::Digit>| {
        let (x, y): (Vec<_>, Vec<_>) = digits.into_iter().map(|d| (d.pixels, i64::from(d.label))).unzip();
        Ok((Tensor::from_slice(x.as_flattened()).reshape([-1, 64]), Tensor::from_slice(&y)))
    };
    let parts = datasets::digits()?.ordered_split([1_257, 180, 360])?;
    let [train, valid, test] = parts.map(|part| DataLoader::new(part.collate(tensors), 32));
    let model = |path: &nn::Path<'_>| nn::linear(path, 64, 10, Default::default());
    let learner = TchLearner::new(model, AdamW::new(), local_device());

    let mut trainer = zae_engine::trainer(Digits, learner)
        .run_dir("runs/minimal_tch")
        .seed(42)
        .scheduler(Cosine::new(1e-2))
        .add_on(StateManager::new());
    trainer.run(10, &train.shuffle(true), &valid)?;
    println!("accuracy {:.4}", trainer.evaluate(&test)?.get("accuracy").unwrap_or_default());
    Ok(())
}
