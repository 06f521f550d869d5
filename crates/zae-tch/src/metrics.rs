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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn targets_of_another_shape_are_refused() {
        let logits = Tensor::zeros([4, 3], tch::kind::FLOAT_CPU);
        assert!(accuracy(&logits, &Tensor::zeros([4], tch::kind::INT64_CPU)).is_ok());
        let error = accuracy(&logits, &Tensor::zeros([4, 1], tch::kind::INT64_CPU)).unwrap_err().to_string();
        assert!(error.contains("[4, 1]") && error.contains("[4, 3]"), "{error}");
    }
}
