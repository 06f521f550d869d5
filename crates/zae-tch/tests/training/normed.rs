//! A model of LibTorch whose ranks exchange the statistics of their batches, and fail between two such layers.

use tch::{
    Device, Kind, Tensor,
    nn::{self, Module, ModuleT},
};
use zae_core::{
    data::{Batches, Draw, Loader},
    error::Fallible,
    step::Step,
    task::{At, StepResult, Task},
};
use zae_tch::{AdamW, SyncBatchNorm, TchLearner, sync_batch_norm};

use super::fault;

#[derive(Debug)]
pub(super) struct Net {
    linears: [nn::Linear; 3],
    norms: [SyncBatchNorm; 2],
}

pub(super) fn learner() -> TchLearner<Net> {
    let build = |path: &nn::Path<'_>| {
        let linear = |name: &str, input, output| nn::linear(path / name, input, output, nn::LinearConfig::default());
        let norm = |name: &str| sync_batch_norm(path / name, 16, nn::BatchNormConfig::default());
        Net { linears: [linear("a", 8, 16), linear("b", 16, 16), linear("c", 16, 1)], norms: [norm("m"), norm("n")] }
    };
    TchLearner::new(build, AdamW::new(), Device::Cpu)
}

/// What goes wrong.
pub(super) struct Normed(pub(super) String);

impl Task for Normed {
    type Learner = TchLearner<Net>;
    type Batch = Tensor;

    fn train_step(&self, net: &Net, x: Tensor, at: &At) -> StepResult<Self> {
        let train = at.mode.is_training();
        let y = net.norms[0].forward_t(&net.linears[0].forward(&x), train).tanh();
        fault(&self.0, at)?;
        let y = net.norms[1].forward_t(&net.linears[1].forward(&y), train).tanh();
        let loss = (net.linears[2].forward(&y) - x.mean_dim(1, true, Kind::Float)).square().mean(Kind::Float);
        Ok(Step::new(loss, x.size()[0] as usize))
    }

    fn test_step(&self, net: &Net, x: Tensor, at: &At) -> StepResult<Self> {
        self.train_step(net, x, at)
    }
}

/// So many batches, of different sizes.
pub(super) struct Data(u64);

pub(super) fn data(batches: u64) -> Data {
    Data(batches)
}

impl Loader<Tensor> for Data {
    fn micro_batches(&self, _: u64) -> Option<u64> {
        Some(self.0)
    }

    fn epoch<'a>(&'a self, draw: &Draw) -> Fallible<Batches<'a, Tensor>> {
        let batch = |i: u64| {
            let rows = 2 + (i % 4) as i64;
            Ok((Tensor::arange(rows * 8, (Kind::Float, Device::Cpu)) * (i as f64 + 1.3)).sin().reshape([rows, 8]))
        };
        Ok(Box::new((draw.from.micro_batch..self.0).map(batch)))
    }
}
