//! SGD: `at::_fused_sgd_`.

use tch::Tensor;

use crate::{
    error::Result,
    ffi::{self, SgdLists, Tensors, raw},
};

/// What a step of SGD reads and writes: three lists, in which the tensors at one place belong together.
///
/// All are of one type and on one device; those of a place have one shape and layout, and no gaps in memory.
#[derive(Clone, Copy, Default, Debug)]
pub struct SgdTensors<'a> {
    /// Parameters.
    pub params: &'a [&'a Tensor],
    /// Their gradients.
    pub grads: &'a [&'a Tensor],
    /// Running sums of the gradients. None if there is no momentum.
    pub momentum_buffers: &'a [&'a Tensor],
}

/// The settings of a step of SGD, with the names of `torch.optim.SGD`.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(C)]
pub struct SgdStep {
    /// Learning rate.
    pub lr: f64,
    /// Momentum.
    pub momentum: f64,
    /// What of the gradient does not enter the momentum.
    pub dampening: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Looks ahead along the momentum.
    pub nesterov: bool,
    /// Climbs instead of descending.
    pub maximize: bool,
    /// The momentum becomes the gradient, without dampening, whatever was there.
    pub is_first_step: bool,
}

/// A step of SGD over all parameters at once, with the results of `torch.optim.SGD` with `fused=True`.
///
/// Gradients are divided by `grad_scale`, and stay so. If `found_inf` is 1, nothing changes: a first step that was skipped is
/// still to be done. Both are one number of type `Float` on the parameters' device.
///
/// # Errors
/// When the tensors do not fit each other, or are not floating-point; then nothing has changed. When LibTorch has no
/// fused kernel for their device.
pub fn sgd_step(
    tensors: &SgdTensors<'_>,
    step: &SgdStep,
    grad_scale: Option<&Tensor>,
    found_inf: Option<&Tensor>,
) -> Result<()> {
    let lists = [tensors.params, tensors.grads, tensors.momentum_buffers].map(Tensors::new);
    let [params, grads, momentum_buffers] = lists.each_ref().map(Tensors::list);
    let lists = SgdLists { params, grads, momentum_buffers };
    ffi::zae_sgd_step(&lists, step, grad_scale.map(raw), found_inf.map(raw)).ok()
}
