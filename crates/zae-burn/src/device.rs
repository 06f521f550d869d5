//! Devices: which one this process trains on.

use burn::prelude::*;
use zae_core::local_rank::local_rank;

/// The device of this process: the GPU whose number is in `LOCAL_RANK` (set by `torchrun`; MPI's and Slurm's variables
/// count too; without any, Burn's choice), if a GPU feature is compiled in (`cuda` before `vulkan`, `metal`, `wgpu`),
/// else the CPU.
///
/// Burn's `Device::default()` is not the same: it too is a GPU when one is compiled in, but the same one in every
/// process.
#[must_use]
pub fn local_device() -> Device {
    for_rank(local_rank())
}

#[cfg(feature = "cuda")]
fn for_rank(rank: Option<usize>) -> Device {
    Device::cuda(rank.unwrap_or(0))
}

#[cfg(all(feature = "vulkan", not(feature = "cuda")))]
fn for_rank(rank: Option<usize>) -> Device {
    numbered(rank, burn::tensor::DeviceType::Vulkan).unwrap_or_else(|| Device::vulkan(DeviceKind::DefaultDevice))
}

#[cfg(all(feature = "metal", not(any(feature = "cuda", feature = "vulkan"))))]
fn for_rank(rank: Option<usize>) -> Device {
    numbered(rank, burn::tensor::DeviceType::Metal).unwrap_or_else(|| Device::metal(DeviceKind::DefaultDevice))
}

#[cfg(all(feature = "wgpu", not(any(feature = "cuda", feature = "vulkan", feature = "metal"))))]
fn for_rank(rank: Option<usize>) -> Device {
    numbered(rank, burn::tensor::DeviceType::Wgpu).unwrap_or_else(|| Device::wgpu(DeviceKind::DefaultDevice))
}

#[cfg(not(any(feature = "cuda", feature = "vulkan", feature = "metal", feature = "wgpu")))]
fn for_rank(_rank: Option<usize>) -> Device {
    Device::flex()
}

/// The device of this number among those there are: discrete GPUs come first.
#[cfg(all(any(feature = "vulkan", feature = "metal", feature = "wgpu"), not(feature = "cuda")))]
fn numbered(rank: Option<usize>, kind: burn::tensor::DeviceType) -> Option<Device> {
    Device::enumerate(kind).into_vec().into_iter().nth(rank?)
}

/// Whether operations are done when their call returns. True for Flex; every other backend is taken to run ahead.
pub(crate) fn is_synchronous(device: &Device) -> bool {
    *device == Device::flex()
}
