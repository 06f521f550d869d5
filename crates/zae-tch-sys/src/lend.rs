//! The memory of a tensor, without a copy.
#![allow(unsafe_code)]

use tch::{Device, Kind, Tensor};

/// Shows `use_` the numbers of a tensor in their place, if they are `Float`, row-major in the memory of the host: otherwise
/// returns `use_` unused.
///
/// # Safety
/// While `use_` runs nothing else reads or writes this memory: neither through another handle of the tensor, nor through a
/// view of it, on any thread.
pub unsafe fn with_f32s<R, F: FnOnce(&mut [f32]) -> R>(tensor: &mut Tensor, use_: F) -> Result<R, F> {
    if !tensor.defined() || tensor.kind() != Kind::Float || tensor.device() != Device::Cpu || !tensor.is_contiguous() {
        return Err(use_);
    }
    let length = tensor.numel();
    if length == 0 {
        return Ok(use_(&mut []));
    }
    // SAFETY: a contiguous `Float` tensor on the CPU is `length` numbers from here on, aligned as LibTorch's own kernels
    // need it; it keeps them as long as it is there, and the caller keeps everybody else away.
    Ok(use_(unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), length) }))
}
