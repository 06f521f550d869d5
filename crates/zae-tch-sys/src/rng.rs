//! The generator from which a device's random numbers come when none is named: dropout, initial weights, `randn`.

use tch::{Device, Tensor};

use crate::{
    error::Result,
    ffi::{self, raw},
};

/// Seeds the generator of one device. (`tch::manual_seed` seeds those of all.)
///
/// # Errors
/// When there is no such device.
pub fn manual_seed(device: Device, seed: u64) -> Result<()> {
    ffi::zae_manual_seed(ffi::device(device), seed).ok()
}

/// The state of a device's generator: bytes on the CPU, those of `torch.get_rng_state` or `torch.cuda.get_rng_state`.
///
/// # Errors
/// When there is no such device.
pub fn rng_state(device: Device) -> Result<Tensor> {
    ffi::returned(|out| ffi::zae_rng_state(ffi::device(device), out))
}

/// Puts a device's generator where it was: the numbers that followed follow again.
///
/// # Errors
/// When there is no such device, or `state` is not a state of its generator.
pub fn set_rng_state(device: Device, state: &Tensor) -> Result<()> {
    ffi::zae_set_rng_state(ffi::device(device), raw(state)).ok()
}
