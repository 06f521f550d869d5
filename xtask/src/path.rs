//! Programs that may be there.

use std::env;

/// Whether there is a program of this name in `PATH`.
pub(crate) fn program(name: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}
