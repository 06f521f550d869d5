//! What is trained: two models whose weights and AdamW state take 94 MB, and their data.

use std::sync::Arc;

use burn::{
    nn::{
        Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        loss::CrossEntropyLossConfig,
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    prelude::*,
    tensor::{Distribution, activation::relu},
};

pub(crate) const SEED: u64 = 42;
/// Small: a network that has learned all of its data has gradients so small that the arithmetic gets slow.
pub(crate) const LR: f64 = 1e-5;
const PIXELS: usize = 28 * 28;
const BATCHES: usize = 16;

/// Images and labels.
pub(crate) type Batch = (Tensor<2>, Tensor<1, Int>);

/// A model at a batch size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    batch: usize,
    convolutions: bool,
}

pub(crate) const WORKLOADS: [Workload; 2] =
    [Workload { name: "mlp", batch: 8, convolutions: false }, Workload { name: "cnn", batch: 64, convolutions: true }];

impl Workload {
    /// Batches of noise, as tensors of the host.
    pub(crate) fn batches(self) -> Arc<[Batch]> {
        let device = Device::flex();
        device.seed(SEED);
        let batch = |_| {
            let x = Tensor::random([self.batch, PIXELS], Distribution::Normal(0.0, 1.0), &device);
            let y = Tensor::<1>::random([self.batch], Distribution::Uniform(0.0, 10.0), &device);
            (x, y.int().clamp(0, 9))
        };
        (0..BATCHES).map(batch).collect()
    }

    pub(crate) fn model(self) -> Net {
        let device = device();
        if self.convolutions { Net::Cnn(Cnn::new(&device)) } else { Net::Mlp(Mlp::new(&device)) }
    }
}

pub(crate) fn device() -> Device {
    Device::flex().autodiff()
}

/// 784-2048-2048-985-10: 7.83 million weights.
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
    fc4: Linear,
}

impl Mlp {
    fn new(device: &Device) -> Self {
        Self {
            fc1: LinearConfig::new(PIXELS, 2048).init(device),
            fc2: LinearConfig::new(2048, 2048).init(device),
            fc3: LinearConfig::new(2048, 985).init(device),
            fc4: LinearConfig::new(985, 10).init(device),
        }
    }
}

/// Two convolutions, 1 to 32 to 64 channels, each with a max pool, and two linear layers: 7.84 million weights.
#[derive(Module, Debug)]
pub(crate) struct Cnn {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    fc1: Linear,
    fc2: Linear,
}

impl Cnn {
    fn new(device: &Device) -> Self {
        let conv = |channels| Conv2dConfig::new(channels, [3, 3]).with_padding(PaddingConfig2d::Same).init(device);
        Self {
            conv1: conv([1, 32]),
            conv2: conv([32, 64]),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            fc1: LinearConfig::new(64 * 7 * 7, 2485).init(device),
            fc2: LinearConfig::new(2485, 10).init(device),
        }
    }
}

/// Both models, one type.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum Net {
    Mlp(Mlp),
    Cnn(Cnn),
}

impl Net {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Mlp(net) => {
                let x = relu(net.fc2.forward(relu(net.fc1.forward(x))));
                net.fc4.forward(relu(net.fc3.forward(x)))
            }
            Self::Cnn(net) => {
                let x = x.reshape([-1, 1, 28, 28]);
                let x = net.pool.forward(relu(net.conv1.forward(x)));
                let x = net.pool.forward(relu(net.conv2.forward(x)));
                net.fc2.forward(relu(net.fc1.forward(x.flatten(1, 3))))
            }
        }
    }

    /// The mean loss of a batch.
    pub(crate) fn loss(&self, x: Tensor<2>, y: Tensor<1, Int>) -> Tensor<1> {
        let logits = self.forward(x);
        CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, y)
    }
}
