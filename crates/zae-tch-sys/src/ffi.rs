//! The functions of `shim.cpp`, and everything in the crate that is unsafe.
//!
//! Their arguments are valid by type (a tensor that is lent for the call, a list of such, plain numbers), and the shim checks
//! the rest: so they are safe to call.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, c_char, c_int},
    marker::PhantomData,
    ptr,
};

use tch::{Device, Tensor};
use torch_sys::C_tensor;

use crate::{
    adam::AdamStep,
    error::{Error, Result},
    sgd::SgdStep,
};

unsafe extern "C" {
    pub(crate) safe fn zae_adam_step(
        tensors: &AdamLists<'_>,
        step: &AdamStep,
        grad_scale: Option<&C_tensor>,
        found_inf: Option<&C_tensor>,
    ) -> Status;
    pub(crate) safe fn zae_sgd_step(
        tensors: &SgdLists<'_>,
        step: &SgdStep,
        grad_scale: Option<&C_tensor>,
        found_inf: Option<&C_tensor>,
    ) -> Status;
    pub(crate) safe fn zae_norm(grads: List<'_>, norm: &mut Out) -> Status;
    pub(crate) safe fn zae_scale(tensors: List<'_>, factor: f64) -> Status;
    pub(crate) safe fn zae_scale_by(tensors: List<'_>, factor: &C_tensor) -> Status;
    pub(crate) safe fn zae_unscale(grads: List<'_>, found_inf: &C_tensor, inv_scale: &C_tensor) -> Status;
    /// `grads` is as long as `params`.
    fn zae_grads(params: List<'_>, grads: *mut Out) -> Status;
    pub(crate) safe fn zae_set_grad(param: &C_tensor, grad: &C_tensor) -> Status;
    pub(crate) safe fn zae_own_grads(params: List<'_>) -> Status;
    pub(crate) safe fn zae_clear_grads(params: List<'_>) -> Status;
    pub(crate) safe fn zae_host_like(tensor: &C_tensor, pinned: bool, host: &mut Out) -> Status;
    pub(crate) safe fn zae_copy(to: &C_tensor, from: &C_tensor) -> Status;
    pub(crate) safe fn zae_short_errors();
    pub(crate) safe fn zae_manual_seed(device: c_int, seed: u64) -> Status;
    pub(crate) safe fn zae_rng_state(device: c_int, state: &mut Out) -> Status;
    pub(crate) safe fn zae_set_rng_state(device: c_int, state: &C_tensor) -> Status;
    pub(crate) safe fn zae_autocast_enter(state: &mut AutocastState) -> Status;
    pub(crate) safe fn zae_autocast_exit(state: &AutocastState) -> Status;
    pub(crate) safe fn zae_version() -> u64;
    #[cfg(target_os = "linux")]
    safe fn zae_library() -> *const c_char;
}

/// Null, or a message that is there until the next call of this thread: so `ok` comes at once.
#[repr(transparent)]
#[must_use]
pub(crate) struct Status(*const c_char);

impl Status {
    pub(crate) fn ok(self) -> Result<()> {
        if self.0.is_null() {
            return Ok(());
        }
        // SAFETY: not null, so it is the text of this thread's last error, which ends in a zero.
        let message = unsafe { CStr::from_ptr(self.0) };
        Err(Error(message.to_string_lossy().into_owned()))
    }
}

/// Tensors for a call.
pub(crate) struct Tensors<'a>(Vec<&'a C_tensor>);

impl<'a> Tensors<'a> {
    pub(crate) fn new(tensors: &[&'a Tensor]) -> Self {
        Self(tensors.iter().map(|tensor| raw(tensor)).collect())
    }

    pub(crate) fn list(&self) -> List<'_> {
        List { first: self.0.as_ptr().cast(), length: self.0.len(), lent: PhantomData }
    }
}

/// The `List` of the shim.
#[repr(C)]
pub(crate) struct List<'a> {
    first: *const &'a C_tensor,
    length: usize,
    lent: PhantomData<&'a [&'a C_tensor]>,
}

/// The `AdamTensors` of the shim.
#[repr(C)]
pub(crate) struct AdamLists<'a> {
    pub(crate) params: List<'a>,
    pub(crate) grads: List<'a>,
    pub(crate) exp_avgs: List<'a>,
    pub(crate) exp_avg_sqs: List<'a>,
    pub(crate) max_exp_avg_sqs: List<'a>,
    pub(crate) steps: List<'a>,
}

/// The `SgdTensors` of the shim.
#[repr(C)]
pub(crate) struct SgdLists<'a> {
    pub(crate) params: List<'a>,
    pub(crate) grads: List<'a>,
    pub(crate) momentum_buffers: List<'a>,
}

/// The `AutocastState` of the shim.
#[repr(C)]
pub(crate) struct AutocastState {
    pub(crate) device: c_int,
    pub(crate) kind: c_int,
    pub(crate) enabled: bool,
}

/// The C++ tensor behind one of `tch`.
pub(crate) fn raw(tensor: &Tensor) -> &C_tensor {
    // SAFETY: `tch` keeps it as long as `tensor` is there; it is opaque here, so nothing is said about its bytes.
    unsafe { &*tensor.as_ptr() }
}

/// Where a function leaves a new tensor.
#[repr(transparent)]
pub(crate) struct Out(*mut C_tensor);

/// The tensor that a function makes.
pub(crate) fn returned(call: impl FnOnce(&mut Out) -> Status) -> Result<Tensor> {
    let mut out = Out(ptr::null_mut());
    call(&mut out).ok()?;
    // SAFETY: a function that succeeds has left a new tensor, which nobody else owns.
    Ok(unsafe { Tensor::from_ptr(out.0) })
}

/// The three tensors that a function makes.
pub(crate) fn three(call: impl FnOnce(&mut [Out; 3]) -> Status) -> Result<[Tensor; 3]> {
    let mut out = [const { Out(ptr::null_mut()) }; 3];
    call(&mut out).ok()?;
    // SAFETY: as above, of each.
    Ok(out.map(|out| unsafe { Tensor::from_ptr(out.0) }))
}

/// The gradients of parameters, in their order.
pub(crate) fn grads(params: &[&Tensor]) -> Result<Vec<Option<Tensor>>> {
    let mut out: Vec<Out> = params.iter().map(|_| Out(ptr::null_mut())).collect();
    // SAFETY: one place for each parameter.
    let status = unsafe { zae_grads(Tensors::new(params).list(), out.as_mut_ptr()) };
    // SAFETY: what is not null is a new tensor, which nobody else owns, also after a failure.
    let own = |Out(grad)| (!grad.is_null()).then(|| unsafe { Tensor::from_ptr(grad) });
    let grads = out.into_iter().map(own).collect();
    status.ok().map(|()| grads)
}

/// A device's number, as in torch-sys.
pub(crate) fn device(device: Device) -> c_int {
    match device {
        Device::Cpu => -1,
        Device::Cuda(index) => index.try_into().unwrap_or(c_int::MAX),
        Device::Mps => -2,
        Device::Vulkan => -3,
    }
}

/// The file that LibTorch was loaded from.
#[cfg(target_os = "linux")]
pub(crate) fn library() -> Option<std::path::PathBuf> {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let path = zae_library();
    // SAFETY: where it is not null it is the name that the loader keeps with a library, which is never unloaded.
    let path = (!path.is_null()).then(|| unsafe { CStr::from_ptr(path) })?;
    Some(OsStr::from_bytes(path.to_bytes()).into())
}

/// Loads a library for good, its symbols for all.
#[cfg(target_os = "linux")]
pub(crate) fn load(path: &std::path::Path) -> Result<()> {
    use std::{ffi::CString, os::unix::ffi::OsStrExt};

    let path = CString::new(path.as_os_str().as_bytes()).map_err(|e| Error(e.to_string()))?;
    // SAFETY: LibTorch's library is made to be loaded at any time; its initializers register kernels.
    if !unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) }.is_null() {
        return Ok(());
    }
    // SAFETY: after a failure of this thread this is a text, or null if another call has taken it.
    let message = unsafe { libc::dlerror() };
    let message = (!message.is_null()).then(|| unsafe { CStr::from_ptr(message) });
    Err(Error(message.map_or_else(|| "dlopen failed".to_owned(), |text| text.to_string_lossy().into_owned())))
}
