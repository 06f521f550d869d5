//! Operations over many tensors at once, in place: what clipping and a gradient scaler need.

use tch::Tensor;

use crate::{
    error::Result,
    ffi::{self, Tensors, raw},
};

/// The L2 norm of all gradients together, as `torch.nn.utils.get_total_norm` computes it: a tensor of no dimensions, on their
/// device, which nobody waits for. It is of type `Float`, also for gradients in half precision, unless one is wider. Of no
/// gradients it is 0, on the CPU.
///
/// # Errors
/// When the gradients are not on one device, or not floating-point.
pub fn norm(grads: &[&Tensor]) -> Result<Tensor> {
    let grads = Tensors::new(grads);
    ffi::returned(|out| ffi::zae_norm(grads.list(), out))
}

/// Multiplies all tensors by a number.
///
/// # Errors
/// When LibTorch refuses; tensors before the one that it refuses may have been multiplied.
pub fn scale_(tensors: &[&Tensor], factor: f64) -> Result<()> {
    ffi::zae_scale(Tensors::new(tensors).list(), factor).ok()
}

/// Multiplies all tensors by a number that is on their device, and that nobody waits for: a tensor of no dimensions.
///
/// # Errors
/// As [`scale_`].
pub fn scale_by_(tensors: &[&Tensor], factor: &Tensor) -> Result<()> {
    ffi::zae_scale_by(Tensors::new(tensors).list(), raw(factor)).ok()
}

/// Multiplies gradients by `inv_scale`, and sets `found_inf` to 1 if one of them has a number that is not finite; else
/// `found_inf` stays what it is. Both are one number of type `Float` on the gradients' device.
///
/// # Errors
/// When the gradients are not floating-point, or the two numbers not such.
pub fn unscale_(grads: &[&Tensor], found_inf: &Tensor, inv_scale: &Tensor) -> Result<()> {
    ffi::zae_unscale(Tensors::new(grads).list(), raw(found_inf), raw(inv_scale)).ok()
}
