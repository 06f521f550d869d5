//! The network, and what is done with it, in Burn.

use burn::{
    nn::{
        Dropout, DropoutConfig, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        loss::{CrossEntropyLoss, CrossEntropyLossConfig},
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    optim::AdamWConfig,
    prelude::*,
    tensor::{FloatDType, activation::relu},
};
use zae_engine::prelude::*;

use crate::Numbers;

/// Two convolutions, each followed by pooling, and two linear layers, for 28x28 pixels.
#[derive(Module, Debug)]
pub(crate) struct Cnn {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    dropout: Dropout,
    fc1: Linear,
    fc2: Linear,
}

impl Cnn {
    fn new(device: &Device) -> Self {
        let conv = |channels| Conv2dConfig::new(channels, [5, 5]).with_padding(PaddingConfig2d::Same).init(device);
        Self {
            conv1: conv([1, 16]),
            conv2: conv([16, 32]),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            dropout: DropoutConfig::new(0.4).init(),
            fc1: LinearConfig::new(32 * 7 * 7, 128).init(device),
            fc2: LinearConfig::new(128, 10).init(device),
        }
    }

    /// `[batch, 1, 28, 28]` to `[batch, 10]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.conv1.forward(x)));
        let x = self.pool.forward(relu(self.conv2.forward(x)));
        let x = relu(self.fc1.forward(x.flatten(1, 3)));
        self.fc2.forward(self.dropout.forward(x))
    }
}

pub(crate) struct Mnist {
    criterion: CrossEntropyLoss,
}

impl Mnist {
    pub(crate) fn new(device: &Device) -> Self {
        Self { criterion: CrossEntropyLossConfig::new().init(device) }
    }
}

impl Task for Mnist {
    type Learner = BurnLearner<Cnn>;
    type Batch = (Tensor<4>, Tensor<1, Int>);

    fn train_step(&self, model: &Cnn, (x, y): Self::Batch, _: &At) -> StepResult<Self> {
        // The loss in f32, in whichever precision the model computes.
        let logits = model.forward(x).cast(FloatDType::F32);
        let loss = self.criterion.forward(logits.clone(), y.clone());
        Ok(Step::new(loss, y.dims()[0]).metric("accuracy", accuracy(logits, y)))
    }
    fn test_step(&self, model: &Cnn, batch: Self::Batch, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

pub(crate) fn learner(device: &Device) -> BurnLearner<Cnn> {
    BurnLearner::new(Cnn::new(device), AdamWConfig::new(), device)
}

pub(crate) fn batch((x, y): Numbers) -> Fallible<(Tensor<4>, Tensor<1, Int>)> {
    let (host, n) = (Device::flex(), y.len());
    Ok((
        Tensor::from_data(TensorData::new(x, [n, 1, 28, 28]), &host),
        Tensor::from_data(TensorData::new(y, [n]), &host),
    ))
}
