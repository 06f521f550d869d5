//! Training in half precision: weights and the optimizer in `f32`, forward and backward passes in 16 bits.

use std::{cell::Cell, fmt};

use burn::{
    module::Module,
    prelude::*,
    tensor::{DType, FloatDType},
};
use zae_core::{precision::Precision, scaler::GradScaler};

use crate::{copies::Copies, learner::BurnLearner};

impl<M: Module + 'static> BurnLearner<M> {
    /// In which type the model computes. With `Bf16` and `F16` the weights and all that the optimizer does stay in `f32`, as
    /// PyTorch's mixed precision has it: each step casts a copy of the model, on which forward and backward pass run, and
    /// casts its gradients back. So a run may go on in another precision.
    ///
    /// - `f32` tensors of batches are cast when they reach the learner, and so are the model's parameters and buffers. Other
    ///   types are left alone. Burn's operations want both sides in one type, so a tensor that `forward` makes itself has
    ///   to follow its input: `x.zeros_like()`, or `.cast(x.dtype())`.
    /// - The loss is best computed in `f32`: `CrossEntropyLossConfig::new().init(&device).forward(logits.cast(FloatDType::F32), y)`.
    ///   Otherwise it has the 8 bits (`Bf16`) or 11 bits (`F16`) of its type.
    /// - Running statistics move in steps rounded to the type: in `Bf16` they stop within about 2% of where they should be.
    /// - [`Learner::model`](zae_core::learner::Learner::model) is the model in `f32`; what `predict` returns is in 16 bits,
    ///   unless it casts.
    ///
    /// A gradient below 6e-8 is 0 in `F16`, and one above 65504 infinite. So the loss is scaled by a [`GradScaler`], which is in
    /// the snapshots: a window whose gradients overflow is left out and counted as skipped. A loss that `train_step` returns
    /// in 16 bits overflows with the first scale, so its first window is skipped. `Bf16` has the range of `f32` and needs none.
    ///
    /// A device that cannot compute in the type is an error of `init` and `to_device`: [`Unsupported`].
    ///
    /// ```
    /// # use burn::{nn::{Linear, LinearConfig}, optim::AdamWConfig, prelude::*};
    /// # use zae_burn::BurnLearner;
    /// use zae_core::{precision::Precision, scaler::GradScaler};
    ///
    /// # let device = Device::flex();
    /// # let model: Linear = LinearConfig::new(64, 10).init(&device);
    /// let learner = BurnLearner::new(model, AdamWConfig::new(), &device).precision(Precision::Bf16);
    /// ```
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.copies = Copies::new(precision);
        self.scaler = GradScaler::new(precision);
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
/// When the device cannot compute in this precision.
pub(crate) fn check(precision: Precision, device: &Device) -> Result<(), Unsupported> {
    supported(precision, &format!("{device:?}"), |dtype| device.supports_dtype(dtype))
}

/// # Errors
/// When a device of this name that `supports` some types does not support this one.
fn supported(precision: Precision, device: &str, supports: impl Fn(FloatDType) -> bool) -> Result<(), Unsupported> {
    let can = |precision| dtype(precision).is_none_or(&supports);
    if can(precision) {
        return Ok(());
    }
    let others = [Precision::Bf16, Precision::F16, Precision::F32].into_iter().filter(|&other| can(other)).collect();
    Err(Unsupported { precision, device: device.to_owned(), others })
}

/// What is cast to; nothing in `f32`.
pub(crate) fn dtype(precision: Precision) -> Option<FloatDType> {
    match precision {
        Precision::F32 => None,
        Precision::Bf16 => Some(FloatDType::BF16),
        Precision::F16 => Some(FloatDType::F16),
    }
}

thread_local! {
    /// What batches that are placed on this thread are cast to.
    static PLACED_IN: Cell<Option<FloatDType>> = const { Cell::new(None) };
}

/// Runs `place`, which places a batch for a learner of this precision.
pub(crate) fn placing<R>(precision: Precision, place: impl FnOnce() -> R) -> R {
    /// Also when `place` panics, other learners' batches are left as they are.
    struct Reset(Option<FloatDType>);
    impl Drop for Reset {
        fn drop(&mut self) {
            PLACED_IN.set(self.0);
        }
    }
    let _reset = Reset(PLACED_IN.replace(dtype(precision)));
    place()
}

/// A tensor of a batch in the type in which the learner that it is placed for computes.
pub(crate) fn placed<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    match PLACED_IN.get() {
        Some(dtype) => cast(tensor, dtype),
        None => tensor,
    }
}

/// In half precision, what is `f32`; the rest was meant as it is.
pub(crate) fn cast<const D: usize>(tensor: Tensor<D>, dtype: FloatDType) -> Tensor<D> {
    if tensor.dtype() == DType::F32 { tensor.cast(dtype) } else { tensor }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_device_that_cannot_is_named_with_a_way_out() {
        let only_f16 = |dtype| dtype == FloatDType::F16;
        assert_eq!(supported(Precision::F16, "Gpu(0)", only_f16), Ok(()));
        assert_eq!(supported(Precision::F32, "Gpu(0)", |_| false), Ok(()));
        let error = supported(Precision::Bf16, "Gpu(0)", only_f16).unwrap_err().to_string();
        assert_eq!(error, "Gpu(0) cannot compute in bf16: take `.precision(..)` `Precision::F16` or `Precision::F32`");
    }
}
