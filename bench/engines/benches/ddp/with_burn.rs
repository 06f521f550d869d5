//! The same network on Burn.

use std::sync::Arc;

use burn::{
    nn::{
        Linear, LinearConfig,
        conv::{Conv2d, Conv2dConfig},
        loss::CrossEntropyLossConfig,
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    optim::AdamWConfig,
    prelude::*,
    tensor::{Distribution, activation::relu},
};
use zae_bench_engines::workload::{LR, WEIGHT_DECAY, WEIGHTS_SEED};
use zae_bench_peers::lap::step_starts;
use zae_burn::BurnLearner;
use zae_core::{
    data::from_fn,
    process_group::ProcessGroup,
    step::Step,
    task::{At, StepResult, Task},
    trainer::{Trainer, Until},
};
use zae_parallel::DataParallel;

const SAMPLES: usize = 32;
const BATCHES: usize = 16;

type Batch = (Tensor<4>, Tensor<1, Int>);

/// Two convolutions, 1 to 32 to 64 channels, a max pool, and two linear layers.
#[derive(Module, Debug)]
struct Net {
    convs: [Conv2d; 2],
    pool: MaxPool2d,
    linears: [Linear; 2],
}

impl Net {
    fn new(device: &Device) -> Self {
        let conv = |from, to| Conv2dConfig::new([from, to], [3, 3]).init(device);
        Self {
            convs: [conv(1, 32), conv(32, 64)],
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            linears: [LinearConfig::new(64 * 12 * 12, 128).init(device), LinearConfig::new(128, 10).init(device)],
        }
    }

    fn loss(&self, (x, y): Batch) -> Tensor<1> {
        let x = self.convs.iter().fold(x, |x, conv| relu(conv.forward(x)));
        let x = self.linears[0].forward(self.pool.forward(x).flatten(1, 3));
        let logits = self.linears[1].forward(relu(x));
        CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, y)
    }
}

struct Classify;

impl Task for Classify {
    type Learner = BurnLearner<Net>;
    type Batch = Batch;

    fn train_step(&self, net: &Net, batch: Batch, _: &At) -> StepResult<Self> {
        step_starts();
        Ok(Step::new(net.loss(batch), SAMPLES))
    }
    fn test_step(&self, net: &Net, batch: Batch, at: &At) -> StepResult<Self> {
        self.train_step(net, batch, at)
    }
}

/// Noise, as tensors of the host.
fn batches() -> Vec<Batch> {
    let device = Device::flex();
    device.seed(WEIGHTS_SEED as u64);
    let batch = |_| {
        let x = Tensor::random([SAMPLES, 1, 28, 28], Distribution::Normal(0.0, 1.0), &device);
        let y = Tensor::<1>::random([SAMPLES], Distribution::Uniform(0.0, 10.0), &device);
        (x, y.int().clamp(0, 9))
    };
    (0..BATCHES).map(batch).collect()
}

/// Trains on the batches of these numbers, as `ours::train` does. Returns the mean loss.
pub(crate) fn train(numbers: &(impl Iterator<Item = u64> + Clone), group: Option<Arc<dyn ProcessGroup>>) -> f64 {
    let (batches, device) = (batches(), Device::flex().autodiff());
    let optimizer = AdamWConfig::new().with_weight_decay(WEIGHT_DECAY as f32).init();
    device.seed(WEIGHTS_SEED as u64);
    let learner = BurnLearner::new(Net::new(&device), optimizer, &device);
    let mut trainer = Trainer::new(Classify, learner).seed(WEIGHTS_SEED as u64).scheduler(LR);
    if let Some(group) = group {
        trainer = trainer.add_on(DataParallel::with(group));
    }
    let batch = |number| Ok(batches[number as usize % BATCHES].clone());
    let run = trainer.run(Until::epochs(1), from_fn(|_| numbers.clone().map(batch)), ()).unwrap();
    run.history.epochs[0].metrics["train/loss"]
}
