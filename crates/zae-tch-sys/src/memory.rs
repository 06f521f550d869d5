//! [`keep_memory`]: what one step gives back is there for the next.

/// Has the C library keep memory that is freed, as far as its settings go: tensors of a step are as large as those of the step
/// before. By default glibc gives the top of its heap, and each large block, back to the system, which has to clear every page
/// of it before the next step may have it.
///
/// It holds for the whole process, which stays as large as it was at its largest. Blocks of more than 32 MiB are still given
/// back. Nothing happens where glibc is not the C library, and where the user has settings of his own in the environment
/// (`MALLOC_TRIM_THRESHOLD_`, `MALLOC_MMAP_THRESHOLD_`, `MALLOC_TOP_PAD_`, `MALLOC_MMAP_MAX_` or `GLIBC_TUNABLES`).
pub fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::keep_memory();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use std::{env, ffi::c_int, sync::Once};

    /// What users set by themselves.
    const VARIABLES: [&str; 5] =
        ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES"];

    /// The most that glibc takes: half of what a heap of a thread may have.
    const LARGEST_BLOCK: c_int = 32 << 20;

    pub(super) fn keep_memory() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            if VARIABLES.iter().any(|name| env::var_os(name).is_some()) {
                return;
            }
            // The first alone would have every block that is larger than 128 KiB come from the system and go back there.
            if set(libc::M_MMAP_THRESHOLD, LARGEST_BLOCK) {
                set(libc::M_TRIM_THRESHOLD, c_int::MAX);
            }
        });
    }

    #[allow(unsafe_code)]
    fn set(parameter: c_int, value: c_int) -> bool {
        // SAFETY: it takes two numbers and locks what it changes.
        unsafe { libc::mallopt(parameter, value) == 1 }
    }
}
