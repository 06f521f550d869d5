//! Devices: which one this process trains on, and whether it is there.

use tch::{Cuda, Device};
use zae_core::{error::Fallible, local_rank::local_rank};

/// The device of this process: the GPU whose number is in `LOCAL_RANK` (set by `torchrun`; MPI's and Slurm's variables count
/// too; without any, the first), if LibTorch has CUDA and there is a GPU, else the CPU.
///
/// `Device::cuda_if_available` is not the same: it does not open the CUDA library, without which no program sees a GPU that was
/// linked as Rust links.
#[must_use]
pub fn local_device() -> Device {
    if zae_tch_sys::open_cuda() && Cuda::is_available() { Device::Cuda(local_rank().unwrap_or(0)) } else { Device::Cpu }
}

/// # Errors
/// When the device is not there. The message says what would help.
pub(crate) fn check(device: Device) -> Fallible {
    match device {
        Device::Cpu => Ok(()),
        Device::Cuda(index) => {
            let opened = zae_tch_sys::open_cuda();
            let devices = Cuda::device_count();
            let instead = "take `local_device()`, which is the CPU where there is no GPU";
            if !opened && !tch::utils::has_cuda() {
                return Err(format!(
                    "there is no {device:?}, because this LibTorch has no CUDA: set LIBTORCH to one that has, or {instead}"
                )
                .into());
            }
            if !Cuda::is_available() || devices <= 0 {
                return Err(format!(
                    "there is no {device:?}: LibTorch sees no GPU. See whether `nvidia-smi` does, and whether \
                     CUDA_VISIBLE_DEVICES hides it; or {instead}. (Ask nothing about CUDA before `local_device` or the \
                     learner: LibTorch asks itself once.)"
                )
                .into());
            }
            if usize::try_from(devices).is_ok_and(|devices| index >= devices) {
                return Err(format!("there is no {device:?}: there are {devices} GPUs, counted from 0").into());
            }
            Ok(())
        }
        Device::Mps if tch::utils::has_mps() => Ok(()),
        other => Err(format!("there is no {other:?} in this LibTorch: take `tch::Device::Cpu`").into()),
    }
}

/// Whether operations are done when their call returns.
pub(crate) fn is_synchronous(device: Device) -> bool {
    device == Device::Cpu
}

/// Until all that the device was given to do is done.
pub(crate) fn wait(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(i64::try_from(index).unwrap_or(0));
    }
}
