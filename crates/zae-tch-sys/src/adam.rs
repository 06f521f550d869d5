//! Adam and AdamW: `at::_fused_adam_` and `at::_fused_adamw_`.

use tch::Tensor;

use crate::{
    error::Result,
    ffi::{self, AdamLists, Tensors, raw},
};

/// What a step of Adam reads and writes: six lists, in which the tensors at one place belong together.
///
/// All are of one type and on one device; those of a place have one shape and layout, and no gaps in memory; `steps` apart.
#[derive(Clone, Copy, Default, Debug)]
pub struct AdamTensors<'a> {
    /// Parameters.
    pub params: &'a [&'a Tensor],
    /// Their gradients.
    pub grads: &'a [&'a Tensor],
    /// Means of the gradients; zeros before the first step.
    pub exp_avgs: &'a [&'a Tensor],
    /// Means of the squared gradients; zeros before the first step.
    pub exp_avg_sqs: &'a [&'a Tensor],
    /// The largest so far of these; zeros before the first step. None unless `amsgrad`.
    pub max_exp_avg_sqs: &'a [&'a Tensor],
    /// How many steps each parameter has taken: one number of type `Float`, on the parameter's device. The step adds 1.
    pub steps: &'a [&'a Tensor],
}

/// The settings of a step of Adam, with the names of `torch.optim.Adam`.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(C)]
pub struct AdamStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the gradients' mean.
    pub beta1: f64,
    /// Decay of the squared gradients' mean.
    pub beta2: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Divides by the largest mean so far ([Reddi et al. 2018](https://openreview.net/forum?id=ryQu7f-RZ)).
    pub amsgrad: bool,
    /// Decays the weights themselves, not through the gradient: AdamW
    /// ([Loshchilov and Hutter 2019](https://openreview.net/forum?id=Bkg6RiCqY7)).
    pub decoupled: bool,
    /// Climbs instead of descending.
    pub maximize: bool,
}

/// A step of Adam or AdamW over all parameters at once, with the results of `torch.optim` with `fused=True`.
///
/// Gradients are divided by `grad_scale`, and stay so. If `found_inf` is 1, nothing changes: the step is skipped, and not
/// counted. Both are one number of type `Float` on the parameters' device.
///
/// # Errors
/// When the tensors do not fit each other, or are not floating-point; then nothing has changed. When LibTorch has no
/// fused kernel for their device.
pub fn adam_step(
    tensors: &AdamTensors<'_>,
    step: &AdamStep,
    grad_scale: Option<&Tensor>,
    found_inf: Option<&Tensor>,
) -> Result<()> {
    let AdamTensors { params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps } = *tensors;
    let lists = [params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps].map(Tensors::new);
    let [params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps] = lists.each_ref().map(Tensors::list);
    let lists = AdamLists { params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps };
    ffi::zae_adam_step(&lists, step, grad_scale.map(raw), found_inf.map(raw)).ok()
}
