//! Metrics computed on the device.

use burn::prelude::*;

/// The fraction of rows whose largest logit is at the target's index. Lazy: nothing is read from the device.
#[must_use]
pub fn accuracy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let guesses = logits.inner().argmax(1).flatten::<1>(0, 1);
    guesses.equal(targets.inner()).float().mean()
}
