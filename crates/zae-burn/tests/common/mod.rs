//! Models and helpers of the tests.
#![allow(clippy::unwrap_used, clippy::unit_arg, dead_code, unreachable_pub)]

use burn::{
    module::Module,
    nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig},
    optim::{ModuleOptimizer, SgdConfig},
    prelude::*,
    tensor::activation::relu,
};
use zae_burn::{AnyOptimizer, BurnLearner};
use zae_core::{
    learner::{Learner, StateDict, Update},
    place::Place,
    task::Mode,
};

/// Two layers with a batch norm between them, and a layer that `forward` leaves out.
#[derive(Module, Debug)]
pub struct Net {
    pub first: Linear,
    pub norm: BatchNorm,
    pub second: Linear,
    pub unused: Linear,
}

impl Net {
    pub fn new(device: &Device) -> Self {
        Self {
            first: LinearConfig::new(6, 8).init(device),
            norm: BatchNormConfig::new(8).init(device),
            second: LinearConfig::new(8, 3).init(device),
            unused: LinearConfig::new(2, 2).init(device),
        }
    }

    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.second.forward(relu(self.norm.forward(self.first.forward(x))))
    }
}

pub fn device() -> Device {
    Device::flex()
}

pub fn learner(optimizer: impl Into<AnyOptimizer>) -> BurnLearner<Net> {
    let mut learner = BurnLearner::new(Net::new(&device()), optimizer, &device());
    learner.init(1).unwrap();
    learner
}

pub fn sgd() -> ModuleOptimizer {
    SgdConfig::new().init()
}

/// The same batch for the same number, on the device for training. Not drawn from Burn's generator, which all tests of
/// a process share.
pub fn batch(number: u64) -> Tensor<2> {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let values = (0..10 * 6).map(|_| {
        z ^= z << 13;
        z ^= z >> 7;
        z ^= z << 17;
        (z >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    });
    let data = TensorData::new(values.collect::<Vec<f32>>(), [10, 6]);
    <Tensor<2> as Place<BurnLearner<Net>>>::place(Tensor::from_data(data, &device()), &device().autodiff())
}

pub fn loss(net: &Net, number: u64) -> Tensor<1> {
    (net.forward(batch(number)) - 0.5).square().mean()
}

pub fn backward(learner: &mut BurnLearner<Net>, number: u64, weight: f64) {
    let loss = learner.train(|net| loss(net, number)).unwrap();
    learner.backward(loss, weight, true).unwrap();
}

pub fn step(learner: &mut BurnLearner<Net>, number: u64, lr: f64) {
    backward(learner, number, 1.0);
    learner.step(&Update::new(lr)).unwrap();
}

/// All gradients, by name.
pub fn gradients(learner: &mut BurnLearner<Net>) -> Vec<(String, Vec<f32>)> {
    zae_core::testing::gradients(learner).unwrap()
}

/// All parameters and buffers, by name.
pub fn parameters(learner: &mut BurnLearner<Net>) -> Vec<(String, Vec<f32>)> {
    let all = zae_core::testing::parameters(learner).unwrap();
    all.into_iter().map(|(name, _, values)| (name, values)).collect()
}

/// Everything in a state, with the bits of its numbers.
pub fn bytes(state: &StateDict) -> Vec<(String, Vec<u8>)> {
    let tensors = state.tensors.iter().map(|(name, tensor)| {
        let mut bytes = tensor.data.bytes().unwrap().into_owned();
        bytes.extend(format!("{:?} {:?}", tensor.dtype, tensor.shape).into_bytes());
        (name.clone(), bytes)
    });
    let numbers = state.numbers.iter().map(|(name, number)| (name.clone(), format!("{number:?}").into_bytes()));
    tensors.chain(numbers).collect()
}

pub fn evaluate(learner: &mut BurnLearner<Net>) -> Vec<f32> {
    let device = learner.device(Mode::Evaluate);
    learner.eval(|net| net.forward(batch(99).inner().to_device(&device)).into_data().iter().collect()).unwrap()
}
