//! Programs that may be there.

use std::env;

/// Whether there is a program of this name in `PATH`.
pub(crate) fn program(name: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

/// Of things that may be there (whether they are, their names, their packages): says which are missing, and how they are installed.
pub(crate) fn all_there(things: &[(bool, &str, &str)]) -> Result<(), String> {
    let missing: Vec<_> = things.iter().filter(|(there, ..)| !there).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let what: Vec<_> = missing.iter().map(|thing| thing.1).collect();
    let packages: Vec<_> = missing.iter().map(|thing| thing.2).collect();
    let (what, packages) = (what.join(", "), packages.join(" "));
    Err(format!("there is no {what}: install {packages} (so Debian and Ubuntu call them)"))
}
