//! LibTorch as the conformance suite sees it.
#![allow(dead_code, clippy::unwrap_used)]

use std::sync::Arc;

use tch::{
    Device, Kind, Tensor,
    nn::{self, Module, ModuleT},
};
use zae_core::{
    engine::Engine,
    error::Fallible,
    learner::{Clip, Dtype, Learner, MODEL, Number, OPTIMIZER, SavedTensor, StateDict, Update},
    place::Place,
    precision::Precision,
    rng::{init_seed, seed_for},
    step::Step,
    task::Mode,
    testing::{Architecture, Fixture, HandWritten, Samples, Sizes},
};
use zae_tch::{AdamW, Optimizer, TchLearner};
use zae_tch_sys::{AdamStep, AdamTensors, adam_step};

#[derive(Debug)]
pub(crate) struct Net {
    dropout: f64,
    fc1: nn::Linear,
    norm: Option<nn::BatchNorm>,
    fc2: nn::Linear,
}

impl Net {
    pub(crate) fn new(path: &nn::Path<'_>, architecture: Architecture, sizes: Sizes) -> Self {
        let full = matches!(architecture, Architecture::Full | Architecture::Large);
        let [features, hidden, classes] = [sizes.features, sizes.hidden, sizes.classes].map(|size| size as i64);
        let fc1 = nn::linear(path / "fc1", features, hidden, nn::LinearConfig::default());
        if architecture == Architecture::Frozen {
            for tensor in [Some(&fc1.ws), fc1.bs.as_ref()].into_iter().flatten() {
                let _ = tensor.set_requires_grad(false);
            }
        }
        let norm = full.then(|| nn::batch_norm1d(path / "norm", hidden, nn::BatchNormConfig::default()));
        let fc2 = nn::linear(path / "fc2", hidden, classes, nn::LinearConfig::default());
        if architecture == Architecture::Unused {
            let _ = nn::linear(path / "unused", 2, 2, nn::LinearConfig { bias: false, ..Default::default() });
        }
        Self { dropout: if full { 0.2 } else { 0.0 }, fc1, norm, fc2 }
    }
}

impl ModuleT for Net {
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        let x = if self.dropout > 0.0 { x.dropout(self.dropout, train) } else { x.shallow_clone() };
        let x = self.fc1.forward(&x);
        let x = self.norm.iter().fold(x, |x, norm| norm.forward_t(&x, train));
        self.fc2.forward(&x.relu())
    }
}

#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) x: Tensor,
    pub(crate) y: Tensor,
}

impl Clone for Batch {
    fn clone(&self) -> Self {
        Self { x: self.x.shallow_clone(), y: self.y.shallow_clone() }
    }
}

impl Place<TchLearner<Net>> for Batch {
    fn place(self, device: &Device) -> Self {
        let (x, y) = Place::<TchLearner<Net>>::place((self.x, self.y), device);
        Self { x, y }
    }
}

#[derive(Clone)]
pub(crate) struct LibTorch {
    pub(crate) device: Device,
    pub(crate) precision: Precision,
}

impl Default for LibTorch {
    fn default() -> Self {
        Self { device: Device::Cpu, precision: Precision::F32 }
    }
}

impl LibTorch {
    /// The network with any optimizer.
    pub(crate) fn with(&self, architecture: Architecture, optimizer: impl Into<Optimizer>) -> TchLearner<Net> {
        let sizes = self.sizes(architecture);
        let build = move |path: &nn::Path<'_>| Net::new(path, architecture, sizes);
        TchLearner::new(build, optimizer, self.device).precision(self.precision)
    }
}

impl Fixture for LibTorch {
    type Learner = TchLearner<Net>;
    type Batch = Batch;

    fn learner(&self, architecture: Architecture) -> TchLearner<Net> {
        self.with(architecture, AdamW::new())
    }

    fn without_optimizer(&self, architecture: Architecture) -> TchLearner<Net> {
        let sizes = self.sizes(architecture);
        let build = move |path: &nn::Path<'_>| Net::new(path, architecture, sizes);
        TchLearner::without_optimizer(build, self.device).precision(self.precision)
    }

    fn batch(&self, samples: &Samples) -> Batch {
        let labels: Vec<i64> = samples.labels.iter().map(|&label| label as i64).collect();
        let x = Tensor::from_slice(&samples.inputs).reshape([samples.len() as i64, samples.features as i64]);
        Batch { x, y: Tensor::from_slice(&labels) }
    }

    fn step(&self, model: &Net, Batch { x, y }: Batch, mode: Mode) -> Fallible<Step<Tensor>> {
        let logits = model.forward_t(&x, mode.is_training());
        let hits = logits.argmax(-1, false).eq_tensor(&y).sum(Kind::Float);
        let loss = logits.cross_entropy_for_logits(&y);
        Ok(Step::new(loss, y.size()[0] as usize).count("hits", hits.shallow_clone()).metric_over(
            "hits_per_batch",
            hits,
            1,
        ))
    }

    fn constant(&self, model: &Net, value: f64) -> Tensor {
        Tensor::full([0i64; 0], value, (Kind::Float, model.fc2.ws.device()))
    }

    /// With tensors of `tch` and PyTorch's kernel for the step; nothing of `zae-tch` but the learner that it ends in.
    fn hand_written(&self, order: &HandWritten<Batch>) -> Fallible<(Vec<f64>, TchLearner<Net>)> {
        let store = nn::VarStore::new(self.device);
        zae_tch_sys::manual_seed(self.device, init_seed(order.seed))?;
        let net = Net::new(&store.root(), order.architecture, self.sizes(order.architecture));
        let named = store.variables();
        let params: Vec<(&String, &Tensor)> = named.iter().filter(|(_, tensor)| tensor.requires_grad()).collect();
        let refs: Vec<&Tensor> = params.iter().map(|(_, tensor)| *tensor).collect();
        let zeros = || refs.iter().map(|param| param.detach().zeros_like()).collect::<Vec<_>>();
        let (exp_avgs, exp_avg_sqs) = (zeros(), zeros());
        let steps: Vec<Tensor> = refs.iter().map(|_| Tensor::zeros([1], (Kind::Float, self.device))).collect();
        let mut losses = Vec::new();
        for epoch in 0..order.epochs {
            for (i, batch) in order.batches.iter().enumerate() {
                zae_tch_sys::manual_seed(self.device, seed_for(order.seed, epoch, i as u64))?;
                let Batch { x, y } = batch.clone();
                let loss =
                    net.forward_t(&x.to_device(self.device), true).cross_entropy_for_logits(&y.to_device(self.device));
                loss.backward();
                losses.push(loss.double_value(&[]));
                let grads: Vec<Tensor> = refs.iter().map(|param| param.grad()).collect();
                let lists = [&grads, &exp_avgs, &exp_avg_sqs, &steps].map(|list| list.iter().collect::<Vec<_>>());
                let [grads, exp_avgs, exp_avg_sqs, steps] = &lists;
                let tensors = AdamTensors { params: &refs, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs: &[], steps };
                let (beta1, beta2, weight_decay, eps) = (0.9, 0.999, 1e-2, 1e-8);
                let (amsgrad, decoupled, maximize) = (false, true, false);
                let step = AdamStep { lr: order.lr, beta1, beta2, weight_decay, eps, amsgrad, decoupled, maximize };
                adam_step(&tensors, &step, None, None)?;
                refs.iter().for_each(|param| drop(param.grad().zero_()));
            }
        }
        let mut state = StateDict::default();
        for (name, tensor) in &named {
            state.tensors.insert(format!("{MODEL}{name}"), saved(tensor));
        }
        for (i, (name, _)) in params.iter().enumerate() {
            state.tensors.insert(format!("{OPTIMIZER}{name}/exp_avg"), saved(&exp_avgs[i]));
            state.tensors.insert(format!("{OPTIMIZER}{name}/exp_avg_sq"), saved(&exp_avg_sqs[i]));
            let steps = Number::UInt(steps[i].double_value(&[0]) as u64);
            state.numbers.insert(format!("{OPTIMIZER}{name}/step"), steps);
        }
        let mut learner = self.learner(order.architecture);
        learner.init(0)?;
        learner.load(&state)?;
        Ok((losses, learner))
    }
}

/// A tensor of floats as a state dict has it.
pub(crate) fn saved(tensor: &Tensor) -> SavedTensor {
    let values = Vec::<f32>::try_from(tensor.detach().reshape([-1])).unwrap();
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let shape = tensor.size().into_iter().map(|size| size as usize).collect();
    SavedTensor { dtype: Dtype::F32, shape, data: Arc::new(bytes) }
}

/// One optimizer step of the plain network on data that depends on `number`.
pub(crate) fn step(learner: &mut TchLearner<Net>, number: u64, lr: f64) {
    backward(learner, number, 1.0);
    learner.clip(1.0, &Clip::None).unwrap();
    learner.step(&Update::new(lr)).unwrap();
}

/// One backward pass of the plain network; returns the loss.
pub(crate) fn backward(learner: &mut TchLearner<Net>, number: u64, weight: f64) -> f64 {
    let fixture = LibTorch::default();
    let Batch { x, y } = fixture.batch(&Samples::random(5, 6, 3, number));
    let loss = learner.train(|net| net.forward_t(&x, true).cross_entropy_for_logits(&y)).unwrap();
    learner.backward(loss, weight, true).unwrap().double_value(&[])
}

/// The plain network with drawn weights, which are those of every other one.
pub(crate) fn plain(optimizer: impl Into<Optimizer>) -> TchLearner<Net> {
    let mut learner = LibTorch::default().with(Architecture::Plain, optimizer);
    learner.init(1).unwrap();
    // Tests of a process share a generator.
    learner
        .parameters(&mut |info, values| {
            let number = |i: usize| ((1 + i + info.name.len()) as f32 * 12.9898).sin() / 3.0;
            values.iter_mut().enumerate().for_each(|(i, value)| *value = number(i));
            Ok(())
        })
        .unwrap();
    learner
}

/// All parameters and buffers, by name.
pub(crate) fn parameters(learner: &mut TchLearner<Net>) -> Vec<(String, Vec<f32>)> {
    let all = zae_core::testing::parameters(learner).unwrap();
    all.into_iter().map(|(name, _, values)| (name, values)).collect()
}

/// All gradients, by name.
pub(crate) fn gradients(learner: &mut TchLearner<Net>) -> Vec<(String, Vec<f32>)> {
    zae_core::testing::gradients(learner).unwrap()
}

/// Everything in a state dict, to compare.
pub(crate) fn bytes(state: &StateDict) -> Vec<(String, Vec<u8>)> {
    let tensors = state.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.data.bytes().unwrap().into_owned()));
    let numbers = state.numbers.iter().map(|(name, number)| (name.clone(), format!("{number:?}").into_bytes()));
    tensors.chain(numbers).collect()
}
