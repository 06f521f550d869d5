//! Metrics computed on the device.

use tch::{Kind, Tensor};

/// The fraction of rows whose largest logit (of the last dimension) is at the target's index. Lazy: nothing is read from
/// the device, and nothing is recorded.
///
/// # Errors
/// When the shapes do not fit each other.
pub fn accuracy(logits: &Tensor, targets: &Tensor) -> Result<Tensor, tch::TchError> {
    let _no_grad = tch::no_grad_guard();
    let predictions = logits.f_argmax(-1, false)?;
    let (of_logits, of_targets) = (predictions.size(), targets.size());
    // They would be broadcast.
    if of_logits != of_targets {
        let shapes =
            format!("targets of shape {of_targets:?} for logits of shape {:?}: {of_logits:?} fits", logits.size());
        return Err(tch::TchError::Shape(shapes));
    }
    predictions.f_eq_tensor(targets)?.f_to_kind(Kind::Float)?.f_mean(Kind::Float)
}
