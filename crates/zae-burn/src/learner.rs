//! [`BurnLearner`]: a Burn model with its optimizer on a device.

mod engine;

use std::sync::Arc;

use burn::{
    module::{Module, ParamGroup},
    optim::GradientsParams,
    prelude::*,
    tensor::Transaction,
};
use zae_core::{
    error::Fallible,
    learner::{
        Clip, Layout, Learner, MODEL, OPTIMIZER, Readout, SCALER, SHADOW, StateDict, Stepped, Update, in_part,
        no_such_part,
    },
    misfits::Misfits,
    place::Place,
    pool::Pool,
    scaler::GradScaler,
    task::Mode,
};

use crate::{
    copies::Copies, device::is_synchronous, gradients, groups::Groups, layout, lend, model_state,
    optimizer::AnyOptimizer, optimizer_state, precision, shadow::Shadows, training::train_on, visit,
};

const LOST: &str = "the model was lost when the optimizer panicked";
const NO_GRADIENTS: &str = "there are no gradients: call `backward` first";
const NO_OPTIMIZER: &str = "this learner has no optimizer: make it with `BurnLearner::new` to train, not with `BurnLearner::without_optimizer`";

/// A Burn model with its optimizer on a device: the learner of a [`Task`](zae_core::task::Task) that trains with Burn.
///
/// ```
/// use burn::{nn::{Linear, LinearConfig}, optim::AdamWConfig, prelude::*};
/// use zae_burn::{BurnLearner, local_device};
///
/// let device = local_device();
/// let model: Linear = LinearConfig::new(64, 10).init(&device);
/// let learner = BurnLearner::new(model, AdamWConfig::new(), &device);
/// ```
///
/// A parameter that took no part in a window has no gradient, so the optimizer leaves it alone: no weight decay, no change
/// of its moments, as in PyTorch.
pub struct BurnLearner<M: Module> {
    /// Absent only after a panic inside Burn's optimizer, which takes the model by value.
    model: Option<M>,
    /// The model as it evaluates, and as it computes in half precision.
    pub(crate) copies: Copies<M>,
    /// Whether the weights are drawn and on the device.
    ready: bool,
    optimizer: Option<AnyOptimizer>,
    groups: Groups,
    gradients: Option<GradientsParams>,
    pub(crate) scaler: Option<GradScaler>,
    shadows: Shadows,
    device: Device,
    /// What a state dict is in PyTorch's words. It does not change.
    layout: Option<Arc<Layout>>,
    /// Buffers for snapshots.
    pool: Arc<Pool>,
}

impl<M: Module + 'static> BurnLearner<M> {
    /// A learner that trains `model` on `device`. Which of its layers are in training mode, and on which device and in
    /// which autodiff context it was built, does not matter. Weights that are there keep their values; the others are
    /// drawn under the run's seed. On the CPU a weight that is a view of a tensor, such as a transposed one or that of a
    /// `Linear` in column layout, is laid out row-major, as the first optimizer step would do.
    ///
    /// The optimizer is a configuration, such as `AdamWConfig::new()`, or a `ModuleOptimizer` made of one:
    /// [`AnyOptimizer`] says what only the former can.
    ///
    /// `device.autodiff().gradient_checkpointing()` trains with gradient checkpointing.
    #[must_use]
    pub fn new(model: M, optimizer: impl Into<AnyOptimizer>, device: &Device) -> Self {
        Self { optimizer: Some(optimizer.into()), ..Self::without_optimizer(model, device) }
    }

    /// A learner that only evaluates and predicts. It loads the model's part of any checkpoint.
    #[must_use]
    pub fn without_optimizer(model: M, device: &Device) -> Self {
        Self {
            model: Some(model),
            copies: Copies::default(),
            ready: false,
            optimizer: None,
            groups: Groups::default(),
            gradients: None,
            scaler: None,
            shadows: Shadows::default(),
            device: device.clone().autodiff(),
            layout: None,
            pool: Arc::default(),
        }
    }

    /// Parameters of `group` learn with `factor` times the learning rate of the schedule; of several groups that a
    /// parameter is in, the last counts. An optimizer of its own for a group is Burn's `ModuleOptimizer::with_group`.
    ///
    /// ```
    /// # use burn::{module::ParamGroup, nn::{Linear, LinearConfig}, optim::SgdConfig, prelude::*};
    /// # use zae_burn::BurnLearner;
    /// # let device = Device::flex();
    /// # let model: Linear = LinearConfig::new(64, 10).init(&device);
    /// let learner = BurnLearner::new(model, SgdConfig::new(), &device)
    ///     .group_lr(ParamGroup::from_predicate("bias"), 0.1);
    /// ```
    #[must_use]
    pub fn group_lr(mut self, group: ParamGroup, factor: f64) -> Self {
        self.layout = None;
        self.groups.0.push((group, factor));
        self
    }

    /// Draws the weights that are not there yet, and brings the model to the device in training mode.
    fn prepare(&mut self) -> Fallible<&M> {
        if !self.ready {
            let model = self.model.as_ref().ok_or(LOST)?;
            // Burn draws a parameter when it is first used. All are used now, in the order of the model.
            drop(visit::float_params(model));
            let model = train_on(model, &self.device);
            let params = visit::float_params(&model);
            if let Some((first, second)) = visit::shared(&params) {
                return Err(format!(
                    "`{first}` and `{second}` have the same parameter id, because one was cloned from the other: Burn's \
                     optimizer would move only one of them. Build each by itself, or use one field twice in `forward`"
                )
                .into());
            }
            self.groups.check(&params)?;
            // The model before goes first: as a second owner of the weights it would cost a copy.
            self.model = Some(model);
            self.model = self.model.take().map(lend::row_major);
            self.ready = true;
        }
        Ok(self.model.as_ref().ok_or(LOST)?)
    }

    /// Adds the gradients of a loss, of one part of the model or of all.
    fn add_gradients(&mut self, loss: Tensor<1>, weight: f64, part: Option<&str>) -> Fallible<Tensor<1>> {
        let numbers = loss.shape().num_elements();
        if numbers != 1 {
            return Err(format!("the loss has {numbers} numbers, not one: end it with `.mean()`").into());
        }
        let untracked = "the loss does not depend on the model's parameters: compute it with the model that `train_step` \
                         is given, without `.inner()` or `.detach()`, and do not freeze all of them";
        if !loss.is_tracked() {
            return Err(untracked.into());
        }
        let model = self.model.as_ref().ok_or(LOST)?;
        let value = loss.clone().inner();
        let factor = self.scaler.map_or(weight, |scaler| weight * scaler.scale());
        let weighted = if factor == 1.0 { loss } else { loss.mul_scalar(factor) };
        let mut new = self.copies.gradients(weighted.backward(), model);
        if let Some(part) = part {
            gradients::keep_part(model, &mut new, part);
        }
        if new.is_empty() {
            return Err(untracked.into());
        }
        self.gradients = Some(match self.gradients.take() {
            None => new,
            Some(sum) => gradients::add(model, sum, new),
        });
        Ok(value)
    }
}

impl<M: Module + 'static> Learner for BurnLearner<M> {
    type Model = M;
    type Scalar = Tensor<1>;
    type Device = Device;

    fn init(&mut self, seed: u64) -> Fallible {
        precision::check(self.copies.precision, &self.device)?;
        // The weights are drawn on the device the model was built on.
        for device in self.model.as_ref().ok_or(LOST)?.devices() {
            device.seed(seed);
        }
        self.device.seed(seed);
        self.prepare().map(|_| ())
    }

    fn device(&self, mode: Mode) -> Device {
        match mode {
            Mode::Train => self.device.clone(),
            Mode::Evaluate | Mode::Predict => self.device.clone().without_autodiff(),
        }
    }

    fn place<B: Place<Self>>(&self, batch: B, mode: Mode) -> B {
        precision::placing(self.copies.precision, || batch.place(&self.device(mode)))
    }

    /// The optimizer's state follows at the next step: Burn moves it to where the gradients are.
    fn to_device(&mut self, device: &Device) -> Fallible {
        precision::check(self.copies.precision, device)?;
        let device = device.clone().autodiff();
        let moved = train_on(self.prepare()?, &device);
        self.copies.forget();
        let plain = device.clone().without_autodiff();
        let model = self.model.insert(moved);
        self.shadows.move_to(model, &plain);
        self.gradients = self.gradients.take().map(|gradients| gradients.to_device(&plain, model));
        self.device = device;
        Ok(())
    }

    fn is_asynchronous(&self) -> bool {
        !is_synchronous(&self.device)
    }

    fn has_optimizer(&self) -> bool {
        self.optimizer.is_some()
    }

    fn seed(&mut self, seed: u64) {
        self.device.seed(seed);
    }

    fn train<R>(&mut self, f: impl FnOnce(&M) -> R) -> Fallible<R> {
        self.prepare()?;
        Ok(self.copies.train(&mut self.model, &self.device, f).ok_or(LOST)?)
    }

    fn eval<R>(&mut self, f: impl FnOnce(&M) -> R) -> Fallible<R> {
        self.prepare()?;
        Ok(f(self.copies.evaluates(self.model.as_ref().ok_or(LOST)?)))
    }

    /// The weight, and the scale of the gradient scaler, multiply the loss before the backward pass.
    fn backward(&mut self, loss: Tensor<1>, weight: f64, _last: bool) -> Fallible<Tensor<1>> {
        self.add_gradients(loss, weight, None)
    }

    /// Burn computes the gradients of all parameters; those outside of the part are dropped.
    fn backward_part(&mut self, part: &str, loss: Tensor<1>, weight: f64, _last: bool) -> Fallible<Tensor<1>> {
        let params = visit::float_params(self.prepare()?);
        let trainable = || params.iter().filter(|param| param.trainable).map(|param| param.name.as_str());
        if !trainable().any(|name| in_part(name, part)) {
            return Err(no_such_part(part, trainable()));
        }
        self.add_gradients(loss, weight, Some(part))
    }

    fn detach(&self, value: Tensor<1>) -> Tensor<1> {
        value.inner()
    }

    fn read(&self, lazy: &[Tensor<1>], out: &mut Readout) -> Fallible {
        let transfer = lazy.iter().fold(Transaction::default(), |all, one| all.register(one.clone().inner()));
        let mut numbers = Vec::new();
        for data in transfer.try_execute()? {
            numbers.clear();
            numbers.extend(data.iter::<f64>());
            out.push(&numbers);
        }
        Ok(())
    }

    /// With n = |scale| x sqrt(Σ g²), a gradient g becomes g x (scale x min(1, max / (n + 1e-6))): one multiplication, and
    /// none if that factor is 1. On the CPU squares are summed in f32 within blocks and in f64 over them, in the memory of
    /// the gradients, and the norm is there at once; elsewhere all is lazy and in f32.
    ///
    /// With `Precision::F16` the scaler's scale is taken from the gradients first; if they overflow they are left as they are,
    /// there is no norm, and [`Learner::step`] will skip them.
    fn clip(&mut self, scale: f64, clip: &Clip) -> Fallible<Option<Tensor<1>>> {
        let model = self.model.as_ref().ok_or(LOST)?;
        let gradients = self.gradients.as_mut().ok_or(NO_GRADIENTS)?;
        if gradients::unscale(model, gradients, &mut self.scaler, is_synchronous(&self.device))? {
            return Ok(None);
        }
        gradients::clip(model, gradients, scale, *clip, is_synchronous(&self.device))
    }

    fn step(&mut self, update: &Update) -> Fallible<Stepped> {
        let rates = self.groups.rates(update.lr);
        let optimizer = self.optimizer.as_mut().ok_or(NO_OPTIMIZER)?;
        let mut gradients = self.gradients.take().ok_or(NO_GRADIENTS)?;
        let model = self.model.as_ref().ok_or(LOST)?;
        let overflow = gradients::unscale(model, &mut gradients, &mut self.scaler, is_synchronous(&self.device))?;
        self.scaler.iter_mut().for_each(|scaler| scaler.update(overflow));
        // A second owner of the weights would keep the optimizer from updating them in place.
        self.copies.forget();
        if overflow {
            return Ok(Stepped::Skipped);
        }
        let model = self.model.take().ok_or(LOST)?;
        self.model = Some(optimizer.module.step(rates, model, gradients));
        Ok(Stepped::Applied)
    }

    fn zero_grad(&mut self) {
        self.gradients = None;
        self.scaler.iter_mut().for_each(GradScaler::forget);
    }

    fn expect_gradients(&mut self) -> Fallible {
        self.gradients.get_or_insert_with(GradientsParams::new);
        Ok(())
    }

    fn layout(&mut self) -> Fallible<Arc<Layout>> {
        if let Some(layout) = &self.layout {
            return Ok(layout.clone());
        }
        self.prepare()?;
        let model = self.model.as_ref().ok_or(LOST)?;
        let optimizer = self.optimizer.as_ref().and_then(|optimizer| optimizer.torch.as_ref());
        Ok(self.layout.insert(Arc::new(layout::of(model, optimizer, &self.groups.0))).clone())
    }

    /// On the CPU the memory of floating-point tensors is lent, and copied once, into buffers kept from earlier snapshots
    /// (of two of them, until the learner is dropped; the first two have to get theirs from the system).
    /// It needs the model for itself, so a loss made before it cannot be used after it.
    fn snapshot(&mut self) -> Fallible<StateDict> {
        let mut state = StateDict { layout: self.layout()?, ..StateDict::default() };
        let model = if is_synchronous(&self.device) {
            // A second owner of the weights would cost a copy.
            self.copies.forget();
            let model = self.model.take().ok_or(LOST)?;
            let (model, result) = model_state::save_in_place(model, &self.pool, &mut state);
            let model = self.model.insert(model);
            result?;
            model
        } else {
            let model = self.model.as_ref().ok_or(LOST)?;
            model_state::save(model, &mut state)?;
            model
        };
        if let Some(optimizer) = &self.optimizer {
            optimizer_state::save(&optimizer.module, &visit::float_params(model), Some(&self.pool), &mut state)?;
            self.scaler.iter().for_each(|scaler| scaler.save(&mut state));
        }
        self.shadows.save(model, &self.pool, &mut state)?;
        Ok(state)
    }

    fn load(&mut self, state: &StateDict) -> Fallible {
        self.prepare()?;
        let model = self.model.as_ref().ok_or(LOST)?;
        let mut misfits = Misfits::default();
        model_state::check(model, state, &mut misfits);
        // What the optimizer has of a parameter that does not fit does not fit either: that is not worth saying.
        misfits.check()?;
        let mut misfits = Misfits::default();
        misfits.foreign(state, &[MODEL, OPTIMIZER, SHADOW, SCALER]);
        let shadows = Shadows::load(model, state, &mut misfits)?;
        let scaler = GradScaler::load(state, &mut misfits);
        let optimizer = match &self.optimizer {
            None => None,
            Some(optimizer) => {
                let params = visit::float_params(model);
                Some(optimizer_state::load(&optimizer.module, &params, state, &mut misfits)?)
            }
        };
        misfits.check()?;
        let model = train_on(&model_state::load(model.valid(), state)?, &self.device);
        // Nothing can fail from here on.
        self.model = Some(lend::row_major(model));
        if let (Some(optimizer), Some(loaded)) = (&mut self.optimizer, optimizer) {
            optimizer.module = loaded;
        }
        self.scaler = self.scaler.map(|_| scaler);
        self.shadows = shadows;
        self.copies.forget();
        self.gradients = None;
        Ok(())
    }

    fn model(&mut self) -> Fallible<&M> {
        self.prepare()?;
        Ok(self.copies.valid(self.model.as_ref().ok_or(LOST)?))
    }

    fn into_model(mut self) -> Fallible<M> {
        Ok(self.prepare()?.valid())
    }
}
