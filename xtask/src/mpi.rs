//! What the tests of MPI need besides Rust.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::path::{all_there, program};

/// Says what is missing, and how it is installed.
pub(crate) fn complete() -> Result<(), String> {
    all_there(&[
        (program("mpicc"), "mpicc", "libopenmpi-dev"),
        (program("mpirun"), "mpirun", "openmpi-bin"),
        (libclang(), "libclang", "libclang-dev"),
    ])
}

/// Looks where the crates look that read MPI's headers with it.
fn libclang() -> bool {
    if env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let lib = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/opt/llvm/lib"].map(Into::into);
    let of_debian =
        folders("/usr/lib").into_iter().filter(|folder| named(folder, "llvm-")).map(|llvm| llvm.join("lib"));
    let multiarch = folders("/usr/lib").into_iter().filter(|folder| folder.to_string_lossy().contains("-linux-gnu"));
    lib.into_iter().chain(of_debian).chain(multiarch).any(|lib| folders(lib).iter().any(|file| named(file, "libclang")))
}

fn folders(path: impl AsRef<Path>) -> Vec<PathBuf> {
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn named(path: &Path, start: &str) -> bool {
    // Not `libclang-cpp`, which is another library.
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(start) && !name.contains("cpp"))
}
