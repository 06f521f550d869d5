//! [`HostTensor`]: copies of tensors in the memory of the host, as bytes.
#![allow(unsafe_code)]

use tch::Tensor;

use crate::{
    error::{Error, Result},
    ffi::{self, raw},
};

/// A tensor in the memory of the host, lent as its bytes, row-major, to any thread.
#[derive(Debug)]
pub struct HostTensor(Tensor);

// SAFETY: a shared reference gives the bytes and the shape, which change only through an exclusive one, and the tensor has no
// other handle.
unsafe impl Sync for HostTensor {}

impl HostTensor {
    /// Memory for copies of `tensor`. A GPU copies into `pinned` memory while the host goes on; without CUDA, or where the
    /// system gives no more of it, it is pageable.
    ///
    /// # Errors
    /// When there is no memory at all.
    pub fn like(tensor: &Tensor, pinned: bool) -> Result<Self> {
        ffi::returned(|out| ffi::zae_host_like(raw(tensor), pinned, out)).map(Self)
    }

    /// Whether a copy of `tensor` is as large as this, and of this type.
    #[must_use]
    pub fn fits(&self, tensor: &Tensor) -> bool {
        self.0.size() == tensor.size() && self.0.f_kind().ok() == tensor.f_kind().ok()
    }

    /// Becomes a copy of `tensor`. That of one on a GPU is whole when the device was waited for: read no bytes before.
    ///
    /// # Errors
    /// When it does not fit, and when the device fails.
    pub fn copy_(&mut self, tensor: &Tensor) -> Result<()> {
        if !self.fits(tensor) {
            return Err(Error(format!("a copy of {tensor:?} does not fit into {:?}", self.0)));
        }
        ffi::zae_copy(raw(&self.0), raw(tensor)).ok()
    }
}

impl AsRef<[u8]> for HostTensor {
    fn as_ref(&self) -> &[u8] {
        let length = self.0.numel() * self.0.kind().elt_size_in_bytes();
        if length == 0 {
            return &[];
        }
        // SAFETY: it was made without gaps in the memory of the host, and keeps that memory as long as it is there.
        unsafe { std::slice::from_raw_parts(self.0.data_ptr().cast(), length) }
    }
}
