//! CUDA, for a program that was linked without it.

/// Loads LibTorch's CUDA library, if the installation has one; returns whether it is loaded.
///
/// Programs are linked to LibTorch's CPU library alone, so one program runs on machines with and without CUDA. Without this
/// call, no LibTorch has CUDA in it for them. It has to come **before** the first question about CUDA
/// (`tch::Cuda::is_available`, say): LibTorch asks itself once, and keeps the answer. That the library is there does not mean
/// that there is a GPU.
///
/// It is never an error: a library that is there but cannot be loaded is told in a warning (`tracing`). On systems other than
/// Linux this does nothing, for CUDA is linked where there is one.
pub fn open_cuda() -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::sync::LazyLock;

        static OPEN: LazyLock<bool> = LazyLock::new(|| {
            // The one beside the library that is loaded: no other fits.
            let path = crate::ffi::library().unwrap_or_default().with_file_name("libtorch_cuda.so");
            if !path.exists() {
                return false;
            }
            let loaded = crate::ffi::load(&path);
            if let Err(e) = &loaded {
                tracing::warn!("CUDA is not used: `{}` cannot be loaded: {e}", path.display());
            }
            loaded.is_ok()
        });
        *OPEN
    }
    #[cfg(not(target_os = "linux"))]
    tch::utils::has_cuda()
}
