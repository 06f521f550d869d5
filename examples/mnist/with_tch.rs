//! The network, and what is done with it, in LibTorch.

use tch::{
    Tensor,
    nn::{self, Module, ModuleT},
};
use zae_engine::{
    prelude::*,
    tch::{AdamW, accuracy, local_device},
};

use crate::Numbers;

/// Two convolutions, each followed by pooling, and two linear layers, for 28x28 pixels.
#[derive(Debug)]
pub(crate) struct Cnn {
    conv1: nn::Conv2D,
    conv2: nn::Conv2D,
    fc1: nn::Linear,
    fc2: nn::Linear,
}

impl Cnn {
    fn new(path: &nn::Path<'_>) -> Self {
        let same = nn::ConvConfig { padding: 2, ..Default::default() };
        Self {
            conv1: nn::conv2d(path / "conv1", 1, 16, 5, same),
            conv2: nn::conv2d(path / "conv2", 16, 32, 5, same),
            fc1: nn::linear(path / "fc1", 32 * 7 * 7, 128, Default::default()),
            fc2: nn::linear(path / "fc2", 128, 10, Default::default()),
        }
    }
}

impl ModuleT for Cnn {
    /// `[batch, 1, 28, 28]` to `[batch, 10]`.
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        let x = self.conv1.forward(x).relu().max_pool2d_default(2);
        let x = self.conv2.forward(&x).relu().max_pool2d_default(2);
        let x = self.fc1.forward(&x.flatten(1, 3)).relu();
        self.fc2.forward(&x.dropout(0.4, train))
    }
}

pub(crate) struct Mnist;

impl Task for Mnist {
    type Learner = TchLearner<Cnn>;
    type Batch = (Tensor, Tensor);

    fn train_step(&self, model: &Cnn, (x, y): Self::Batch, at: &At) -> StepResult<Self> {
        let logits = model.forward_t(&x, at.mode.is_training());
        let loss = logits.cross_entropy_for_logits(&y);
        Ok(Step::new(loss, y.numel()).metric("accuracy", accuracy(&logits, &y)?))
    }
    fn test_step(&self, model: &Cnn, batch: Self::Batch, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

pub(crate) fn learner() -> TchLearner<Cnn> {
    // Burn's defaults, so that both engines train alike.
    TchLearner::new(Cnn::new, AdamW::new().eps(1e-5).weight_decay(1e-4), local_device())
}

pub(crate) fn batch((x, y): Numbers) -> Fallible<(Tensor, Tensor)> {
    Ok((Tensor::from_slice(&x).reshape([-1, 1, 28, 28]), Tensor::from_slice(&y)))
}
