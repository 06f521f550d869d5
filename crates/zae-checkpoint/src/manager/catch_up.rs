//! What a process that ended in the middle of a save has left to be done.

use super::settings::Settings;
use crate::{
    error::Result,
    export,
    folder::{Folder, scan},
    name::Name,
};

/// Pointers, the removal of what is no longer kept, and the export, after the checkpoint that the run goes on from.
pub(super) fn catch_up(folder: &Folder, newest: Name, settings: &Settings) -> Result<()> {
    let best = folder.catch_up(newest, &settings.retention)?.unwrap_or(newest);
    let Some(path) = &settings.export else { return Ok(()) };
    match scan(folder.dir())?.iter().find(|entry| entry.name == best) {
        Some(entry) => export::weights(path, &entry.load()?.learner, &settings.disk),
        None => Ok(()),
    }
}
