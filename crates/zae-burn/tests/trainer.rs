//! The trainer with Burn equals a loop written by hand, bit for bit. One test only: Burn's generator is one per process.
#![allow(clippy::unwrap_used)]

use burn::{
    module::Module,
    nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig},
    optim::{AdamWConfig, GradientsParams},
    prelude::*,
    tensor::activation::relu,
};
use zae_burn::{BurnLearner, TensorDataset, accuracy};
use zae_core::{
    learner::{Clip, Learner},
    rng::{init_seed, seed_for},
    step::Step,
    task::{At, StepResult, Task},
    trainer::Trainer,
};

#[derive(Module, Debug)]
struct Net {
    noise: Dropout,
    first: Linear,
    norm: BatchNorm,
    second: Linear,
}

impl Net {
    fn new() -> Self {
        let device = Device::flex();
        Self {
            noise: DropoutConfig::new(0.2).init(),
            first: LinearConfig::new(8, 16).init(&device),
            norm: BatchNormConfig::new(16).init(&device),
            second: LinearConfig::new(16, 3).init(&device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.second.forward(relu(self.norm.forward(self.first.forward(self.noise.forward(x)))))
    }
}

type Batch = (Tensor<2>, Tensor<1, Int>);

fn loss(logits: Tensor<2>, y: Tensor<1, Int>) -> Tensor<1> {
    burn::nn::loss::CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, y)
}

struct Classify;

impl Task for Classify {
    type Learner = BurnLearner<Net>;
    type Batch = Batch;

    fn train_step(&self, model: &Net, (x, y): Batch, _: &At) -> StepResult<Self> {
        let logits = model.forward(x);
        let weight = y.dims()[0];
        Ok(Step::new(loss(logits.clone(), y.clone()), weight).metric("accuracy", accuracy(logits, y)))
    }

    fn test_step(&self, model: &Net, batch: Batch, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

fn weights(model: &Net) -> Vec<Vec<f32>> {
    let tensors = [model.first.weight.val(), model.second.weight.val()].map(|t| t.into_data());
    let running = model.norm.running_var.value_sync().into_data();
    tensors.iter().chain([&running]).map(|data| data.iter().collect()).collect()
}

#[test]
fn the_trainer_equals_a_loop_written_by_hand() {
    let device = Device::flex();
    let x = Tensor::<1, Int>::arange(0..40 * 8, &device).float().sin().reshape([40, 8]);
    let y = Tensor::<1, Int>::arange(0..40, &device).remainder_scalar(3);
    let data = TensorDataset::new((x, y)).unwrap();
    let batches: Vec<Batch> =
        (0..4).map(|i| data.gather(&(10 * i..10 * i + 10).collect::<Vec<_>>()).unwrap()).collect();

    let learner = BurnLearner::new(Net::new(), AdamWConfig::new(), &device);
    let mut trainer = Trainer::new(Classify, learner).seed(5).scheduler(0.01).gradient_clip(Clip::Norm(f64::INFINITY));
    let run = trainer.run(3, &batches, &batches).unwrap();
    assert_eq!(run.history.epochs.len(), 3);
    let trained = weights(&trainer.into_learner().into_model().unwrap());

    device.seed(init_seed(5));
    let mut model = Net::new().train();
    let mut optimizer = AdamWConfig::new().init();
    for epoch in 0..3 {
        for (i, (x, y)) in batches.iter().cloned().enumerate() {
            device.seed(seed_for(5, epoch, i as u64));
            let loss = loss(model.forward(x.autodiff()), y.autodiff());
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = optimizer.step(0.01, model, gradients);
        }
    }
    assert_eq!(trained, weights(&model));
}
