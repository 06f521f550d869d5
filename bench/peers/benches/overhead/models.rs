//! What is trained: three workloads, their models and their data.

use std::sync::Arc;

use burn::{
    module::{ModuleVisitor, Param},
    nn::{
        Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        loss::CrossEntropyLossConfig,
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    optim::{AdamWConfig, ModuleOptimizer},
    prelude::*,
    tensor::{Distribution, activation::relu},
};
use zae_engine::rng::init_seed;

pub(crate) const SEED: u64 = 42;
/// Small: a network that has learned all of its data has gradients so small that the arithmetic gets slow.
pub(crate) const LR: f64 = 1e-5;
const PIXELS: usize = 28 * 28;
pub(crate) const BATCHES: usize = 16;

/// Images and labels.
pub(crate) type Batch = (Tensor<2>, Tensor<1, Int>);

/// A model at a batch size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    batch: usize,
    convolutions: bool,
    /// Steps of one variant in one block.
    pub(crate) lap: u64,
    /// Blocks.
    pub(crate) blocks: u64,
    /// Steps of a process that measures memory.
    pub(crate) memory_steps: u64,
}

pub(crate) const WORKLOADS: [Workload; 3] = [
    Workload { name: "mlp8", batch: 8, convolutions: false, lap: 30, blocks: 350, memory_steps: 400 },
    Workload { name: "mlp128", batch: 128, convolutions: false, lap: 15, blocks: 250, memory_steps: 200 },
    Workload { name: "cnn64", batch: 64, convolutions: true, lap: 2, blocks: 150, memory_steps: 20 },
];

impl Workload {
    pub(crate) fn named(name: &str) -> Option<Self> {
        WORKLOADS.into_iter().find(|workload| workload.name == name)
    }

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

    /// The same weights at every call, in tensors and with parameter ids of their own.
    pub(crate) fn model(self) -> Net {
        let device = device();
        device.seed(init_seed(SEED));
        let net = if self.convolutions { Net::Cnn(Cnn::new(&device)) } else { Net::Mlp(Mlp::new(&device)) };
        net.visit(&mut Draw);
        net
    }
}

/// Burn draws a parameter when it is first used.
struct Draw;

impl ModuleVisitor for Draw {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        drop(param.val());
    }
}

pub(crate) fn device() -> Device {
    Device::flex().autodiff()
}

pub(crate) fn optimizer() -> ModuleOptimizer {
    AdamWConfig::new().init()
}

/// 784-512-256-10.
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl Mlp {
    fn new(device: &Device) -> Self {
        Self {
            fc1: LinearConfig::new(PIXELS, 512).init(device),
            fc2: LinearConfig::new(512, 256).init(device),
            fc3: LinearConfig::new(256, 10).init(device),
        }
    }
}

/// Two convolutions, 1 to 32 to 64 channels, each with a max pool, and two linear layers.
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
            fc1: LinearConfig::new(64 * 7 * 7, 128).init(device),
            fc2: LinearConfig::new(128, 10).init(device),
        }
    }
}

/// The model of every workload, one type for all.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum Net {
    Mlp(Mlp),
    Cnn(Cnn),
}

impl Net {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Mlp(net) => net.fc3.forward(relu(net.fc2.forward(relu(net.fc1.forward(x))))),
            Self::Cnn(net) => {
                let x = x.reshape([-1, 1, 28, 28]);
                let x = net.pool.forward(relu(net.conv1.forward(x)));
                let x = net.pool.forward(relu(net.conv2.forward(x)));
                net.fc2.forward(relu(net.fc1.forward(x.flatten(1, 3))))
            }
        }
    }

    /// The mean loss of a batch, and the logits.
    pub(crate) fn loss(&self, x: Tensor<2>, y: Tensor<1, Int>) -> (Tensor<1>, Tensor<2>) {
        let logits = self.forward(x);
        (CrossEntropyLossConfig::new().init(&logits.device()).forward(logits.clone(), y), logits)
    }
}
