//! [`TchLearner`]: a model of `tch` with its optimizer on a device.

mod engine;

use std::sync::Arc;

use tch::{
    Device, Tensor,
    nn::{Path, VarStore},
};
use zae_core::{
    error::Fallible,
    learner::{
        Clip, Layout, Learner, MODEL, OPTIMIZER, Readout, SCALER, SHADOW, StateDict, Stepped, Update, in_part,
        no_such_part,
    },
    misfits::Misfits,
    precision::Precision,
    process_group::ProcessGroup,
    scaler::GradScaler,
    task::Mode,
};

use crate::{
    built::{Build, Built},
    device::{self, is_synchronous},
    gradients,
    optimizer::Optimizer,
    panics::plain,
    precision,
    saved::{self, Buffers, short},
    scalars,
    shadow::Shadows,
    together::Together,
    window::Window,
};

const NOT_BUILT: &str = "the model is not built yet: `init` comes first";
const NO_OPTIMIZER: &str = "this learner has no optimizer: make it with `TchLearner::new` to train, not with \
                            `TchLearner::without_optimizer`";
const UNTRACKED: &str = "the loss does not depend on the model's parameters: compute it with the model that `train_step` is \
                         given, without `no_grad` or `detach`, and do not freeze all of them";

/// A model of `tch` with its optimizer on a device: the learner of a [`Task`](zae_core::task::Task) that trains with LibTorch.
///
/// ```
/// use tch::nn;
/// use zae_tch::{AdamW, TchLearner, local_device};
///
/// let build = |path: &nn::Path| nn::linear(path, 64, 10, Default::default());
/// let learner = TchLearner::new(build, AdamW::new(), local_device());
/// ```
///
/// On the CPU training tells glibc to keep memory that is freed ([`keep_memory`](zae_tch_sys::keep_memory)): giving it back and
/// taking it again was a quarter of the time of a step of a convolutional network.
///
/// A parameter that took no part in a window has no gradient, so the optimizer leaves it alone: no weight decay, no change
/// of its moments, as in PyTorch.
pub struct TchLearner<M> {
    /// Until the model is built.
    build: Option<Build<M>>,
    built: Option<Built<M>>,
    optimizer: Option<Optimizer>,
    device: Device,
    precision: Precision,
    scaler: Option<GradScaler>,
    window: Window,
    shadows: Shadows,
    layout: Option<Arc<Layout>>,
    buffers: Buffers,
    together: Together,
}

impl<M: 'static> TchLearner<M> {
    /// A learner that trains the model that `build` makes on `device`. It is built when the run begins, so that the run's seed
    /// decides its first weights.
    ///
    /// The optimizer is an [`AdamW`](crate::AdamW), [`Adam`](crate::Adam) or [`Sgd`](crate::Sgd), or an [`Optimizer`] with
    /// groups made of one.
    #[must_use]
    pub fn new(build: impl FnOnce(&Path<'_>) -> M + 'static, optimizer: impl Into<Optimizer>, device: Device) -> Self {
        Self { build: Some(Box::new(build)), optimizer: Some(optimizer.into()), ..Self::empty(device) }
    }

    /// A learner that only evaluates and predicts. It loads the model's part of any checkpoint.
    #[must_use]
    pub fn without_optimizer(build: impl FnOnce(&Path<'_>) -> M + 'static, device: Device) -> Self {
        Self { build: Some(Box::new(build)), ..Self::empty(device) }
    }

    /// A learner that trains a model that is there, such as a pretrained one, on the device where it is. `store` is what its
    /// layers were built with.
    ///
    /// # Errors
    /// When there are no variables in the store, or they are on several devices, or the optimizer does not fit them.
    pub fn from_var_store(store: VarStore, model: M, optimizer: impl Into<Optimizer>) -> Fallible<Self> {
        let built = Built::of(model, store)?;
        let device = built.store.device();
        let mut learner = Self { built: Some(built), optimizer: Some(optimizer.into()), ..Self::empty(device) };
        learner.bind()?;
        Ok(learner)
    }

    /// Without a model, there or to be built.
    fn empty(device: Device) -> Self {
        zae_tch_sys::short_errors();
        Self {
            build: None,
            built: None,
            optimizer: None,
            device,
            precision: Precision::F32,
            scaler: None,
            window: Window::default(),
            shadows: Shadows::default(),
            layout: None,
            buffers: Buffers::default(),
            together: Together::default(),
        }
    }

    /// The type in which the model computes, by autocast, on the CPU and on CUDA: weights, gradients and the optimizer stay in
    /// `f32`. With `F16` the loss is scaled by a [`GradScaler`]: a window whose gradients overflow is left out and counted as
    /// skipped, and the scale is in the snapshots. A run may go on in another precision.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self.scaler = GradScaler::new(precision);
        self
    }

    fn bind(&mut self) -> Fallible {
        let built = there(&self.built)?;
        self.optimizer.as_mut().map_or(Ok(()), |optimizer| optimizer.bind(&built.variables))
    }

    /// The gradients of the window are no longer wanted.
    fn clear(&mut self) -> Fallible {
        self.scaler.iter_mut().for_each(GradScaler::forget);
        match &self.built {
            Some(built) => self.window.clear(&built.variables),
            None => Ok(()),
        }
    }

    /// The loss without its graph, and what the backward pass begins with.
    fn weighted(&self, loss: Tensor, weight: f64) -> Fallible<(Tensor, Tensor)> {
        let numbers = loss.numel();
        if numbers != 1 {
            return Err(format!("the loss has {numbers} numbers, not one: end it with `.mean(loss.kind())`").into());
        }
        if !loss.requires_grad() {
            return Err(UNTRACKED.into());
        }
        let value = loss.f_detach().map_err(short)?;
        let factor = self.scaler.map_or(weight, |scaler| weight * scaler.scale());
        let weighted = if factor == 1.0 { loss } else { loss.f_mul_scalar(factor).map_err(short)? };
        Ok((value, weighted))
    }
}

/// The model, if `init` has built it.
fn there<M>(built: &Option<Built<M>>) -> Fallible<&Built<M>> {
    Ok(built.as_ref().ok_or(NOT_BUILT)?)
}

impl<M: 'static> Learner for TchLearner<M> {
    type Model = M;
    type Scalar = Tensor;
    type Device = Device;

    fn init(&mut self, seed: u64) -> Fallible {
        device::check(self.device)?;
        precision::check(self.precision, self.device)?;
        if is_synchronous(self.device) {
            zae_tch_sys::keep_memory();
        }
        self.seed(seed);
        if let Some(build) = self.build.take() {
            self.built = Some(Built::build(build, VarStore::new(self.device))?);
            self.bind()?;
        }
        Ok(())
    }

    fn device(&self, _: Mode) -> Device {
        self.device
    }

    fn to_device(&mut self, device: &Device) -> Fallible {
        device::check(*device)?;
        precision::check(self.precision, *device)?;
        if let Some(built) = &mut self.built {
            built.move_to(*device)?;
        }
        self.window.changed();
        self.optimizer.as_mut().map_or(Ok(()), |optimizer| optimizer.move_to(*device)).map_err(short)?;
        self.shadows.move_to(*device).map_err(short)?;
        self.device = *device;
        Ok(())
    }

    fn is_asynchronous(&self) -> bool {
        !is_synchronous(self.device)
    }

    fn has_optimizer(&self) -> bool {
        self.optimizer.is_some()
    }

    /// The generator of the CPU, and that of the device.
    fn seed(&mut self, seed: u64) {
        // It fails only for a device that is not there, which `init` has found out.
        let _ = zae_tch_sys::manual_seed(Device::Cpu, seed);
        if self.device != Device::Cpu {
            let _ = zae_tch_sys::manual_seed(self.device, seed);
        }
    }

    fn train<R>(&mut self, f: impl FnOnce(&M) -> R) -> Fallible<R> {
        let built = there(&self.built)?;
        let _autocast = precision::enter(self.precision, self.device)?;
        plain(|| self.together.layers(|| f(&built.model)))
    }

    fn eval<R>(&mut self, f: impl FnOnce(&M) -> R) -> Fallible<R> {
        let built = there(&self.built)?;
        let _no_grad = tch::no_grad_guard();
        let _autocast = precision::enter(self.precision, self.device)?;
        plain(|| f(&built.model))
    }

    /// The weight, and the scale of the gradient scaler, multiply the loss before the backward pass.
    fn backward(&mut self, loss: Tensor, weight: f64, last: bool) -> Fallible<Tensor> {
        let (value, weighted) = self.weighted(loss, weight)?;
        if last {
            self.together.begin(&there(&self.built)?.variables)?;
        }
        weighted.f_backward().map_err(short)?;
        let variables = &there(&self.built)?.variables;
        if !self.window.has_gradients(variables) {
            return Err(UNTRACKED.into());
        }
        // What travels has seen to that, and has more owners.
        if self.together.begun() == 0 {
            Window::own(variables)?;
        }
        Ok(value)
    }

    /// LibTorch computes the gradients of the part alone. They go to other processes when all are there.
    fn backward_part(&mut self, part: &str, loss: Tensor, weight: f64, _last: bool) -> Fallible<Tensor> {
        let (value, weighted) = self.weighted(loss, weight)?;
        let variables = &there(&self.built)?.variables;
        let trainable = || variables.iter().filter(|variable| variable.trainable());
        let own: Vec<_> = trainable().filter(|variable| in_part(&variable.name, part)).collect();
        if own.is_empty() {
            return Err(no_such_part(part, trainable().map(|variable| variable.name.as_str())));
        }
        let tensors: Vec<_> = own.iter().map(|variable| &variable.tensor).collect();
        let new = Tensor::f_run_backward(&[weighted], &tensors, false, false).map_err(short)?;
        if !gradients::add(&own, &new)? {
            return Err(UNTRACKED.into());
        }
        self.window.begin();
        Ok(value)
    }

    fn detach(&self, value: Tensor) -> Tensor {
        value.detach()
    }

    fn read(&self, lazy: &[Tensor], out: &mut Readout) -> Fallible {
        scalars::read(lazy, self.device, out)
    }

    /// As `torch.nn.utils.clip_grad_norm_` does it: in f32, and multiplied only if that changes something. With
    /// `Precision::F16` the scaler's scale is taken from the gradients first; if they overflow they are left as they are, there
    /// is no norm, and [`Learner::step`] will skip them.
    fn clip(&mut self, scale: f64, clip: &Clip) -> Fallible<Option<Tensor>> {
        let variables = &there(&self.built)?.variables;
        let grads = self.window.take(variables)?;
        let norm = if gradients::unscale(&grads, &mut self.scaler, self.device)? {
            None
        } else {
            let all: Vec<_> = grads.iter().map(|(_, grad)| grad).collect();
            gradients::clip(&all, scale, *clip, is_synchronous(self.device))
                .map_err(|error| gradients::explained(error, variables, &grads))?
        };
        self.window.keep(grads);
        Ok(norm)
    }

    fn step(&mut self, update: &Update) -> Fallible<Stepped> {
        let optimizer = self.optimizer.as_mut().ok_or(NO_OPTIMIZER)?;
        let variables = &there(&self.built)?.variables;
        let grads = self.window.take(variables)?;
        let overflow = gradients::unscale(&grads, &mut self.scaler, self.device)?;
        if !overflow {
            let stepped = optimizer.step(variables, &grads, update.lr);
            stepped.map_err(|error| gradients::explained(error, variables, &grads))?;
        }
        drop(grads);
        self.clear()?;
        self.scaler.iter_mut().for_each(|scaler| scaler.update(overflow));
        Ok(if overflow { Stepped::Skipped } else { Stepped::Applied })
    }

    fn zero_grad(&mut self) {
        // It fails only for undefined tensors, of which a store has none.
        let _ = self.clear();
    }

    fn expect_gradients(&mut self) -> Fallible {
        self.window.begin();
        Ok(())
    }

    /// Over a [`C10dGroup`](crate::C10dGroup), if all trainable parameters are of type `f32` and on the learner's device. The
    /// pieces are about as large as those of PyTorch's `DistributedDataParallel`.
    fn overlap(&mut self, group: &Arc<dyn ProcessGroup>) -> Fallible<bool> {
        let variables = &there(&self.built)?.variables;
        self.together.overlap(group, variables, self.device)
    }

    /// Those that are a [`SyncBatchNorm`](crate::SyncBatchNorm), over a [`C10dGroup`](crate::C10dGroup).
    fn connect_layers(&mut self, group: &Arc<dyn ProcessGroup>) -> Fallible<bool> {
        self.together.connect_layers(group)
    }

    fn in_step(&mut self, all: bool) {
        self.together.in_step = all;
    }

    fn leave_layers(&mut self) -> bool {
        self.together.leave_layers()
    }

    fn sums_begun(&self) -> u64 {
        self.together.begun()
    }

    fn finish_sums(&mut self, pieces: u64) -> Fallible {
        self.together.finish(pieces)
    }

    fn layout(&mut self) -> Fallible<Arc<Layout>> {
        if let Some(layout) = &self.layout {
            return Ok(layout.clone());
        }
        let variables = &there(&self.built)?.variables;
        let (optimizer, groups) = match &self.optimizer {
            Some(optimizer) => optimizer.layout(variables),
            None => (None, vec![0; variables.len()]),
        };
        let tensors = variables.iter().zip(groups).map(|(variable, group)| variable.layout(group)).collect();
        Ok(self.layout.insert(Arc::new(Layout { tensors, optimizer })).clone())
    }

    /// One copy of each tensor, into buffers kept from earlier snapshots (of two of them, until the learner is dropped). On
    /// CUDA they are pinned, all copies are under way before one is waited for, and the device is waited for once: that is
    /// reasoned, nobody has run it.
    fn snapshot(&mut self) -> Fallible<StateDict> {
        let mut state = StateDict { layout: self.layout()?, ..StateDict::default() };
        let variables = &there(&self.built)?.variables;
        for variable in variables {
            let name = format!("{MODEL}{}", variable.name);
            let copy = saved::save(&variable.tensor, &name, &self.buffers)?;
            state.tensors.insert(name, copy);
        }
        if let Some(optimizer) = &self.optimizer {
            optimizer.save(variables, &self.buffers, &mut state)?;
            self.scaler.iter().for_each(|scaler| scaler.save(&mut state));
        }
        self.shadows.save(variables, &self.buffers, &mut state)?;
        device::wait(self.device);
        Ok(state)
    }

    fn load(&mut self, state: &StateDict) -> Fallible {
        let built = self.built.as_mut().ok_or(NOT_BUILT)?;
        let mut misfits = Misfits::default();
        built.check(state, &mut misfits)?;
        // What the optimizer has of a parameter that does not fit does not fit either: that is not worth saying.
        misfits.check()?;
        let mut misfits = Misfits::default();
        misfits.foreign(state, &[MODEL, OPTIMIZER, SHADOW, SCALER]);
        let shadows = Shadows::load(&built.variables, self.device, state, &mut misfits)?;
        let scaler = GradScaler::load(state, &mut misfits);
        let mut states = None;
        if let Some(optimizer) = &self.optimizer {
            states = Some(optimizer.load(&built.variables, self.device, state, &mut misfits)?);
        }
        misfits.check()?;
        built.load(state)?;
        // Nothing can fail from here on.
        if let (Some(optimizer), Some(states)) = (&mut self.optimizer, states) {
            optimizer.set_states(states);
        }
        self.scaler = self.scaler.map(|_| scaler);
        self.shadows = shadows;
        self.zero_grad();
        Ok(())
    }

    /// It does not know its mode: with a `ModuleT`, `forward_t(&x, false)`. Outside of `no_grad` its outputs keep a graph.
    fn model(&mut self) -> Fallible<&M> {
        Ok(&there(&self.built)?.model)
    }

    fn into_model(self) -> Fallible<M> {
        Ok(self.built.ok_or(NOT_BUILT)?.model)
    }
}
