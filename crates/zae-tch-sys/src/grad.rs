//! The gradients that `backward` leaves at the parameters.

use tch::Tensor;

use crate::{
    error::Result,
    ffi::{self, Tensors, raw},
};

/// The gradient of each parameter, in their order; `None` of those that have none. Nothing is copied.
///
/// # Errors
/// When one of them is an undefined tensor.
pub fn grads(params: &[&Tensor]) -> Result<Vec<Option<Tensor>>> {
    ffi::grads(params)
}

/// Gives a parameter this gradient, in place of the one that it has.
///
/// # Errors
/// When it is of another shape, type or device, or the parameter was computed from other tensors.
pub fn set_grad(param: &Tensor, grad: &Tensor) -> Result<()> {
    ffi::zae_set_grad(raw(param), raw(grad)).ok()
}

/// Has each gradient have memory of its own. After a backward pass two of them may be views of the same: those of `a` and `b` after
/// `a.view(..) + b.view(..)`. What is added to one of them in its place, or multiplies it, is then done to both, and twice
/// (PyTorch's issue 34082).
///
/// # Errors
/// When one of the parameters is an undefined tensor, and when there is no memory.
pub fn own_grads(params: &[&Tensor]) -> Result<()> {
    ffi::zae_own_grads(Tensors::new(params).list()).ok()
}

/// Takes the gradients from the parameters, as `zero_grad` of `torch.optim` does (`set_to_none`): a parameter that takes no
/// part in the next backward pass has none then. (`Tensor::zero_grad` leaves zeros behind, and an optimizer moves what has
/// zeros.)
///
/// # Errors
/// When one of them is an undefined tensor.
pub fn clear_grads(params: &[&Tensor]) -> Result<()> {
    ffi::zae_clear_grads(Tensors::new(params).list()).ok()
}
