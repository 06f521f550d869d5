//! Training in half precision: weights and the optimizer in `f32`, forward and backward passes in 16 bits.

use std::{cell::Cell, collections::HashSet, fmt};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    optim::GradientsParams,
    prelude::*,
    tensor::{DType, FloatDType, Gradients, container::TensorContainer},
};
use zae_core::{error::Fallible, precision::Precision};

use crate::{learner::BurnLearner, training::train_on};

impl<M: Module + 'static> BurnLearner<M> {
    /// In which type the model computes. With `Bf16` and `F16` the weights and all that the optimizer does stay in `f32`, as
    /// PyTorch's mixed precision has it: each step casts a copy of the model, on which forward and backward pass run, and
    /// casts its gradients back. So what a checkpoint holds does not depend on the precision, and a run may go on in another.
    ///
    /// - `f32` tensors of batches are cast when they reach the learner, and so are the model's parameters and buffers. Other
    ///   types are left alone. Burn's operations want both sides in one type, so a tensor that `forward` makes itself has
    ///   to follow its input: `x.zeros_like()`, or `.cast(x.dtype())`.
    /// - The loss is best computed in `f32`: `CrossEntropyLossConfig::new().init(&device).forward(logits.cast(FloatDType::F32), y)`.
    ///   Otherwise it has the 8 bits (`Bf16`) or 11 bits (`F16`) of its type.
    /// - Running statistics move in steps rounded to the type: in `Bf16` they stop within about 2% of where they should be.
    /// - [`Learner::model`](zae_core::learner::Learner::model) is the model in `f32`.
    ///
    /// **`F16` has no gradient scaler here.** A gradient below 6e-8 is 0 in it, and one above 65504 infinite, which
    /// `gradient_clip(Clip::Norm(..))` sees. `Bf16` has the range of `f32` and neither problem.
    ///
    /// A device that cannot compute in the type is an error of `init` and `to_device`: [`Unsupported`].
    ///
    /// ```
    /// # use burn::{nn::{Linear, LinearConfig}, optim::AdamWConfig, prelude::*};
    /// # use zae_burn::BurnLearner;
    /// use zae_core::precision::Precision;
    ///
    /// # let device = Device::flex();
    /// # let model: Linear = LinearConfig::new(64, 10).init(&device);
    /// let learner = BurnLearner::new(model, AdamWConfig::new(), &device).precision(Precision::Bf16);
    /// ```
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.copies = Copies::new(precision);
        self
    }
}

/// A device cannot compute in the precision that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Unsupported {
    /// What was asked for.
    pub precision: Precision,
    /// The device.
    pub device: String,
    /// What it can compute in.
    pub others: Vec<Precision>,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { precision, device, others } = self;
        let others: Vec<_> = others.iter().map(|other| format!("`Precision::{other:?}`")).collect();
        write!(f, "{device} cannot compute in {precision}: take `.precision(..)` {}", others.join(" or "))
    }
}

impl std::error::Error for Unsupported {}

/// # Errors
/// When a device of this name that `supports` some types does not support this one.
fn check(precision: Precision, device: &str, supports: impl Fn(FloatDType) -> bool) -> Result<(), Unsupported> {
    let can = |precision| dtype(precision).is_none_or(&supports);
    if can(precision) {
        return Ok(());
    }
    let others = [Precision::Bf16, Precision::F16, Precision::F32].into_iter().filter(|&other| can(other)).collect();
    Err(Unsupported { precision, device: device.to_owned(), others })
}

/// What is cast to; nothing in `f32`.
fn dtype(precision: Precision) -> Option<FloatDType> {
    match precision {
        Precision::F32 => None,
        Precision::Bf16 => Some(FloatDType::BF16),
        Precision::F16 => Some(FloatDType::F16),
    }
}

/// Copies of the model for one purpose each, while the model is what they were made of.
pub(crate) struct Copies<M> {
    precision: Precision,
    /// In evaluation mode.
    valid: Option<M>,
    /// In evaluation mode, cast.
    evaluates: Option<M>,
    /// In training mode, cast. It lives as long as a window: its leaves are what gradients are found by.
    trains: Option<M>,
    /// The running statistics of the model.
    running: Option<HashSet<ParamId>>,
}

impl<M> Default for Copies<M> {
    fn default() -> Self {
        Self::new(Precision::F32)
    }
}

impl<M> Copies<M> {
    fn new(precision: Precision) -> Self {
        Self { precision, valid: None, evaluates: None, trains: None, running: None }
    }

    /// The model is about to change, or is needed without second owners of its weights.
    pub(crate) fn forget(&mut self) {
        (self.valid, self.evaluates, self.trains) = (None, None, None);
    }

    pub(crate) fn check(&self, device: &Device) -> Fallible {
        Ok(check(self.precision, &format!("{device:?}"), |dtype| device.supports_dtype(dtype))?)
    }

    /// Runs `place`, which places a batch for this model.
    pub(crate) fn placing<R>(&self, place: impl FnOnce() -> R) -> R {
        /// Also when `place` panics, other learners' batches are left as they are.
        struct Reset(Option<FloatDType>);
        impl Drop for Reset {
            fn drop(&mut self) {
                PLACED_IN.set(self.0);
            }
        }
        let _reset = Reset(PLACED_IN.replace(dtype(self.precision)));
        place()
    }
}

impl<M: Module> Copies<M> {
    pub(crate) fn valid(&mut self, model: &M) -> &M {
        self.valid.get_or_insert_with(|| model.valid())
    }

    /// What `eval` runs on.
    pub(crate) fn evaluates(&mut self, model: &M) -> &M {
        match dtype(self.precision) {
            None => self.valid(model),
            Some(dtype) => self.evaluates.get_or_insert_with(|| model.valid().map(&mut Cast(dtype))),
        }
    }

    /// Runs `f` on what is trained, and gives the model its running statistics.
    pub(crate) fn train<R>(&mut self, model: &mut Option<M>, device: &Device, f: impl FnOnce(&M) -> R) -> Option<R> {
        (self.valid, self.evaluates) = (None, None);
        let whole = model.as_ref()?;
        let Some(dtype) = dtype(self.precision) else { return Some(f(whole)) };
        // `valid` gives the copy running statistics of its own.
        let cast = || train_on(&whole.valid().map(&mut Cast(dtype)), device);
        // Lost if `f` panics: the next is as the model is.
        let copy = self.trains.take().unwrap_or_else(cast);
        let result = f(&copy);
        let running = self.running.get_or_insert_with(|| running(whole));
        if !running.is_empty() {
            let mut found = Running { ids: running, found: TensorContainer::new() };
            copy.valid().visit(&mut found);
            *model = model.take().map(|model| model.map(&mut found));
        }
        self.trains = Some(copy);
        Some(result)
    }

    /// The gradients of a backward pass from a loss that `train` has computed, in the types of the model's parameters.
    pub(crate) fn gradients(&self, gradients: Gradients, model: &M) -> GradientsParams {
        let Some(copy) = self.trains.as_ref() else { return GradientsParams::from_grads(gradients, model) };
        let mut gradients = GradientsParams::from_grads(gradients, copy);
        model.visit(&mut Back(&mut gradients));
        gradients
    }
}

thread_local! {
    /// What batches that are placed on this thread are cast to.
    static PLACED_IN: Cell<Option<FloatDType>> = const { Cell::new(None) };
}

/// A tensor of a batch in the type in which the learner that it is placed for computes.
pub(crate) fn placed<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    match PLACED_IN.get() {
        Some(dtype) => cast(tensor, dtype),
        None => tensor,
    }
}

fn cast<const D: usize>(tensor: Tensor<D>, dtype: FloatDType) -> Tensor<D> {
    if tensor.dtype() == DType::F32 { tensor.cast(dtype) } else { tensor }
}

struct Cast(FloatDType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| cast(tensor, self.0))
    }
}

struct Back<'a>(&'a mut GradientsParams);

impl ModuleVisitor for Back<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.0.remove::<D>(param.id) else { return };
        self.0.register(param.id, gradient.cast(FloatDType::from(param.dtype())));
    }
}

/// Which of a model's tensors are running statistics: what cannot be asked to be trained.
fn running<M: Module>(model: &M) -> HashSet<ParamId> {
    let mut found = Untrainable(HashSet::new());
    // A copy: running statistics are shared with clones.
    model.valid().train().map(&mut found).visit(&mut found);
    found.0
}

struct Untrainable(HashSet<ParamId>);

impl ModuleMapper for Untrainable {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.set_require_grad(true)
    }
}

impl ModuleVisitor for Untrainable {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.base().is_require_grad() {
            self.0.insert(param.id);
        }
    }
}

/// Takes running statistics out of one model and puts them into another, in that one's types.
struct Running<'a> {
    ids: &'a HashSet<ParamId>,
    found: TensorContainer<ParamId>,
}

impl ModuleVisitor for Running<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.ids.contains(&param.id) {
            self.found.register(param.id, param.base());
        }
    }
}

impl ModuleMapper for Running<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(value) = self.found.remove::<Tensor<D>>(&param.id) else { return param };
        param.map(|old| match old.gradient_checkpointing_strategy() {
            Some(strategy) => {
                value.cast(FloatDType::from(old.dtype())).autodiff().with_gradient_checkpointing_strategy(strategy)
            }
            None => value.cast(FloatDType::from(old.dtype())),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_device_that_cannot_is_named_with_a_way_out() {
        let only_f16 = |dtype| dtype == FloatDType::F16;
        assert_eq!(check(Precision::F16, "Gpu(0)", only_f16), Ok(()));
        assert_eq!(check(Precision::F32, "Gpu(0)", |_| false), Ok(()));
        let error = check(Precision::Bf16, "Gpu(0)", only_f16).unwrap_err().to_string();
        assert_eq!(error, "Gpu(0) cannot compute in bf16: take `.precision(..)` `Precision::F16` or `Precision::F32`");
    }
}
