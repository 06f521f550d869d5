//! [`GradientSums`]: gradients are summed over processes while others are still computed.
#![allow(unsafe_code)]

use std::{ffi::c_void, ptr::NonNull};

use tch::Tensor;

#[cfg(feature = "nccl")]
use crate::c10d::{GroupOptions, RawOptions, TcpStore};
use crate::{
    c10d::{Gloo, Handle, opened},
    error::Result,
    ffi::{List, Status, Tensors},
};

unsafe extern "C" {
    fn zae_sums_over_gloo(gloo: Handle, sums: &mut *mut c_void) -> Status;
    #[cfg(feature = "nccl")]
    fn zae_sums_over_nccl(store: Handle, how: &RawOptions<'_>, sums: &mut *mut c_void) -> Status;
    fn zae_sums_close(sums: Handle);
    fn zae_sums_set(sums: Handle, params: List<'_>, pieces: *const usize, count: usize) -> Status;
    fn zae_sums_begin(sums: Handle);
    fn zae_sums_begun(sums: Handle) -> usize;
    fn zae_sums_finish(sums: Handle, count: usize) -> Status;
}

/// Sums of the gradients that `backward` leaves at parameters, over all processes of a group. They travel in pieces; a piece goes
/// when its last gradient is computed, while the backward pass computes those of the next.
///
/// Each process has the same parameters in the same pieces, and finishes as many of them. Then every gradient is the sum, in the
/// place of the process's own. A parameter that took no part here gets one if it took part in another process.
#[derive(Debug)]
pub struct GradientSums(NonNull<c_void>);

// SAFETY: it locks itself against the threads of a backward pass, and belongs to none.
unsafe impl Send for GradientSums {}

impl GradientSums {
    /// Sums that this group carries, and nothing else: sums on their way do not keep other calls from theirs.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new(gloo: Gloo) -> Result<Self> {
        // SAFETY: the group is open, and gives its connections away.
        let sums = opened(|out| unsafe { zae_sums_over_gloo(gloo.handle, out) }).map(Self);
        drop(gloo);
        sums
    }

    /// Sums that NCCL carries, between GPUs: those on which the parameters are. `options` says who the processes are; the address
    /// is of no meaning here. The connections are made with the first sum.
    ///
    /// # Errors
    /// When there is no GPU.
    #[cfg(feature = "nccl")]
    pub fn over_nccl(store: &TcpStore, options: &GroupOptions<'_>) -> Result<Self> {
        let raw = RawOptions::new(options)?;
        // SAFETY: the store is open.
        opened(|out| unsafe { zae_sums_over_nccl(store.handle(), &raw, out) }).map(Self)
    }

    /// Sums the gradients of these parameters from now on, in the order in which a backward pass is expected to have them.
    /// `pieces` says how many parameters each piece has. What was begun has to be finished.
    ///
    /// # Errors
    /// When they are not trainable parameters of type `f32` without gaps, or not as many as the pieces have. Nothing is summed
    /// then.
    pub fn set(&mut self, params: &[&Tensor], pieces: &[usize]) -> Result<()> {
        // SAFETY: here and below, the handle is open as long as `self` is there; the rest is lent for the call.
        unsafe { zae_sums_set(self.0, Tensors::new(params).list(), pieces.as_ptr(), pieces.len()) }.ok()
    }

    /// The next backward pass is the last before [`GradientSums::finish`]: a gradient that it has computed may go.
    pub fn begin(&mut self) {
        unsafe { zae_sums_begin(self.0) }
    }

    /// How many pieces are on their way.
    #[must_use]
    pub fn begun(&self) -> usize {
        unsafe { zae_sums_begun(self.0) }
    }

    /// Sends those of the first `pieces` that are not on their way, and waits for all that are. `usize::MAX` are all.
    ///
    /// # Errors
    /// When a process is gone, or does not come within the group's timeout; the sums are of no more use then.
    pub fn finish(&mut self, pieces: usize) -> Result<()> {
        unsafe { zae_sums_finish(self.0, pieces) }.ok()
    }
}

/// What is on its way is not waited for. The connections are closed when it has come, or another process has closed its own.
impl Drop for GradientSums {
    fn drop(&mut self) {
        // SAFETY: it is open, and nobody uses it again.
        unsafe { zae_sums_close(self.0) }
    }
}
