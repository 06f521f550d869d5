//! Burn as the suites of `zae_core::testing` see it.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use burn::{
    module::Module,
    nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig, loss::CrossEntropyLossConfig},
    optim::{AdamWConfig, GradientsParams},
    prelude::*,
    tensor::{FloatDType, activation::relu},
};
use zae_burn::BurnLearner;
use zae_core::{
    error::Fallible,
    precision::Precision,
    rng::{init_seed, seed_for},
    step::Step,
    task::Mode,
    testing::{Architecture, Fixture, HandWritten, Samples, Sizes},
};

#[derive(Module, Debug)]
pub struct Net {
    dropout: Option<Dropout>,
    fc1: Linear,
    norm: Option<BatchNorm>,
    fc2: Linear,
    unused: Option<Linear>,
}

impl Net {
    pub fn new(architecture: Architecture, sizes: Sizes) -> Self {
        let device = Device::flex();
        let full = matches!(architecture, Architecture::Full | Architecture::Large);
        let linear = |from, to| LinearConfig::new(from, to).init(&device);
        let fc1: Linear = linear(sizes.features, sizes.hidden);
        Self {
            dropout: full.then(|| DropoutConfig::new(0.2).init()),
            fc1: if architecture == Architecture::Frozen { fc1.freeze() } else { fc1 },
            norm: full.then(|| BatchNormConfig::new(sizes.hidden).init(&device)),
            fc2: linear(sizes.hidden, sizes.classes),
            unused: (architecture == Architecture::Unused)
                .then(|| LinearConfig::new(2, 2).with_bias(false).init(&device)),
        }
    }

    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.dropout.iter().fold(x, |x, dropout| dropout.forward(x));
        let x = self.fc1.forward(x);
        let x = self.norm.iter().fold(x, |x, norm| norm.forward(x));
        self.fc2.forward(relu(x))
    }
}

pub type Batch = (Tensor<2>, Tensor<1, Int>);

/// Burn on the CPU.
#[derive(Clone)]
pub struct Flex {
    pub optimizer: AdamWConfig,
    pub precision: Precision,
}

impl Default for Flex {
    fn default() -> Self {
        Self { optimizer: AdamWConfig::new(), precision: Precision::F32 }
    }
}

impl Flex {
    /// With the settings of PyTorch's AdamW.
    pub fn like_torch() -> Self {
        Self { optimizer: AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(1e-2), ..Self::default() }
    }
}

impl Fixture for Flex {
    type Learner = BurnLearner<Net>;
    type Batch = Batch;

    fn learner(&self, architecture: Architecture) -> BurnLearner<Net> {
        let model = Net::new(architecture, self.sizes(architecture));
        BurnLearner::new(model, self.optimizer.clone(), &Device::flex()).precision(self.precision)
    }

    fn without_optimizer(&self, architecture: Architecture) -> BurnLearner<Net> {
        let model = Net::new(architecture, self.sizes(architecture));
        BurnLearner::without_optimizer(model, &Device::flex()).precision(self.precision)
    }

    fn batch(&self, samples: &Samples) -> Batch {
        let device = Device::flex();
        let labels: Vec<i64> = samples.labels.iter().map(|&label| label as i64).collect();
        let x = Tensor::<1>::from_floats(samples.inputs.as_slice(), &device).reshape([samples.len(), samples.features]);
        (x, Tensor::from_ints(labels.as_slice(), &device))
    }

    fn step(&self, model: &Net, (x, y): Batch, _: Mode) -> Fallible<Step<Tensor<1>>> {
        let logits = model.forward(x).cast(FloatDType::F32);
        let hits = logits.clone().argmax(1).flatten::<1>(0, 1).equal(y.clone()).float().sum();
        let rows = y.dims()[0];
        let loss = CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, y);
        Ok(Step::new(loss, rows).count("hits", hits.clone()).metric_over("hits_per_batch", hits, 1))
    }

    fn constant(&self, model: &Net, value: f64) -> Tensor<1> {
        Tensor::full([1], value, &model.devices()[0])
    }

    fn hand_written(&self, order: &HandWritten<Batch>) -> Fallible<(Vec<f64>, BurnLearner<Net>)> {
        let device = Device::flex();
        device.seed(init_seed(order.seed));
        let mut model = Net::new(order.architecture, self.sizes(order.architecture)).train();
        let mut optimizer = self.optimizer.init();
        let mut losses = Vec::new();
        for epoch in 0..order.epochs {
            for (i, (x, y)) in order.batches.iter().enumerate() {
                device.seed(seed_for(order.seed, epoch, i as u64));
                let logits = model.forward(x.clone().autodiff());
                let y = y.clone().autodiff();
                let loss = CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, y);
                let gradients = GradientsParams::from_grads(loss.backward(), &model);
                losses.push(f64::from(loss.into_scalar::<f32>()));
                model = optimizer.step(order.lr, model, gradients);
            }
        }
        Ok((losses, BurnLearner::new(model, optimizer, &device)))
    }
}
