//! [`BatchNormLane`]: a batch norm over the batches of all processes.
#![allow(unsafe_code)]

use std::{ffi::c_void, ptr::NonNull, sync::Arc};

use tch::Tensor;
use torch_sys::C_tensor;

use crate::{
    c10d::{Gloo, Handle, opened},
    error::Result,
    ffi::{self, Out, Status, raw},
};

unsafe extern "C" {
    fn zae_batch_norm_lane(gloo: Handle, lane: &mut *mut c_void) -> Status;
    fn zae_batch_norm_drop(lane: Handle);
    fn zae_batch_norm_close(lane: Handle);
    fn zae_batch_norm_check(lane: Handle) -> Status;
    fn zae_batch_norm(
        lane: Handle,
        x: &C_tensor,
        weight: &C_tensor,
        bias: &C_tensor,
        eps: f64,
        out: &mut [Out; 3],
    ) -> Status;
}

/// The connections over which layers of a model exchange statistics, while it is computed. A clone is the same lane.
///
/// All processes compute the same layers in the same order, forward and backward. One that cannot go on closes its lane: a call of
/// another that waits for it fails then, and each later one.
#[derive(Clone, Debug)]
pub struct BatchNormLane(Arc<Owned>);

#[derive(Debug)]
struct Owned(NonNull<c_void>);

// SAFETY: the lane locks itself, and belongs to no thread.
unsafe impl Send for Owned {}
// SAFETY: as above.
unsafe impl Sync for Owned {}

/// What [`BatchNormLane::batch_norm`] computes.
#[derive(Debug)]
pub struct BatchNormed {
    /// What came in, normalised.
    pub y: Tensor,
    /// The mean of each channel over the samples of all processes.
    pub mean: Tensor,
    /// The variance, with one sample less in the divisor, as running statistics have it.
    pub unbiased_var: Tensor,
}

impl BatchNormLane {
    /// A lane over these connections, which carry nothing else.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new(gloo: Gloo) -> Result<Self> {
        // SAFETY: the group is open, and gives its connections away.
        let lane = opened(|out| unsafe { zae_batch_norm_lane(gloo.handle, out) });
        drop(gloo);
        Ok(Self(Arc::new(Owned(lane?))))
    }

    /// Normalises each channel (dimension 1) by mean and variance over the samples of all processes, however many each has, then
    /// multiplies by `weight` and adds `bias`; autograd goes through. The gradients of `weight` and `bias` are this process's
    /// part; that of `x` is of the sum of all processes' losses. Statistics are `f32` whatever `x` is, and go through the host.
    ///
    /// # Errors
    /// When `x` has not as many channels as `weight` and `bias` have numbers, and when a process has left.
    pub fn batch_norm(&self, x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<BatchNormed> {
        let [y, mean, unbiased_var] = ffi::three(|out| {
            // SAFETY: here and below, the lane is there as long as `self` is.
            unsafe { zae_batch_norm(self.0.0, raw(x), raw(weight), raw(bias), eps, out) }
        })?;
        Ok(BatchNormed { y, mean, unbiased_var })
    }

    /// This process exchanges nothing more.
    pub fn close(&self) {
        unsafe { zae_batch_norm_close(self.0.0) }
    }

    /// Whether it is open.
    ///
    /// # Errors
    /// After [`BatchNormLane::close`], and after a call that has failed: with its error.
    pub fn check(&self) -> Result<()> {
        unsafe { zae_batch_norm_check(self.0.0) }.ok()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: nobody uses this handle again.
        unsafe { zae_batch_norm_drop(self.0) }
    }
}
