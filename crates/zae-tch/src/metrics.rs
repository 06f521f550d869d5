//! Metrics computed on the device.

use tch::{Kind, Tensor};

/// The fraction of rows whose largest logit (of the last dimension) is at the target's index. Lazy: nothing is read from
/// the device, and nothing is recorded.
///
/// # Errors
/// When the shapes do not fit each other.
pub fn accuracy(logits: &Tensor, targets: &Tensor) -> Result<Tensor, tch::TchError> {
    let _no_grad = tch::no_grad_guard();
    logits.f_argmax(-1, false)?.f_eq_tensor(targets)?.f_to_kind(Kind::Float)?.f_mean(Kind::Float)
}
