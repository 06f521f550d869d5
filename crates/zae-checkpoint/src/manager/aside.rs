//! Checkpoints of another run, or of a future that is trained anew, make room: they are moved, never removed.

use std::path::PathBuf;

use super::resume::Limit;
use crate::{
    disk::{Disk, free},
    error::Result,
    folder::{Folder, Pointer, scan},
};

const OLD: &str = "old";

/// Moves every checkpoint that is not of the run that begins into a numbered folder in this one, and says which, if there
/// was any. Not beside it: that may be another disk, or a place where nothing can be written.
pub(super) fn set_aside(folder: &Folder, disk: &Disk, limit: &Limit) -> Result<Option<PathBuf>> {
    let dir = folder.dir();
    // Newest first: those before the one that the run goes on from.
    let entries = scan(dir)?;
    let first = match limit {
        Limit::Nothing => None,
        Limit::UpTo(name) => entries.iter().position(|entry| entry.name == *name),
        Limit::Step(step) => entries.iter().position(|entry| entry.name.step <= *step),
    };
    let (others, ours) = entries.split_at(first.unwrap_or(entries.len()));
    if others.is_empty() {
        return Ok(None);
    }
    // The pointers first: at no moment do they name what is not there.
    folder.point(Pointer::Last, ours.first().map(|entry| entry.name))?;
    if let Ok(Some(best)) = folder.pointer(Pointer::Best)
        && others.iter().any(|entry| entry.name == best)
    {
        folder.point(Pointer::Best, None)?;
    }
    let to = free(dir, OLD);
    disk.create_dir(&to)?;
    for entry in others {
        disk.rename(&entry.path, &to.join(entry.name.to_string()))?;
    }
    disk.sync_dir(&to)?;
    disk.sync_dir(dir)?;
    Ok(Some(to))
}
