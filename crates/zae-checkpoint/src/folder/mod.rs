//! [`Folder`]: where the checkpoints of a run are. How it is laid out tells `docs/checkpoint-format.md`.

mod commit;
mod lock;
mod pointer;
mod prune;
mod retention;
mod scan;

use std::path::{Path, PathBuf};

use crate::{
    disk::{Disk, Pause, free},
    error::{Error, Result},
};

pub use commit::Saved;
pub(crate) use commit::{Staging, make_durable, stage};
pub use pointer::{Pointer, read_pointer};
pub use prune::Pruned;
pub use retention::{Best, Kept, Retention, keep};
pub use scan::{Entry, scan};
pub(crate) use scan::{load, read_manifest};

/// What a folder or file that is not finished begins with, and one that is on its way out.
const TEMPORARY: &str = ".tmp-";
const TRASH: &str = ".trash-";

/// A folder of checkpoints that belongs to this process until it is dropped.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    disk: Disk,
    lock: lock::Lock,
}

impl Folder {
    /// Opens a folder, and makes it if it is not there. What an earlier process left unfinished is removed.
    ///
    /// # Errors
    /// When another process has it open, or it cannot be written.
    pub fn open(dir: &Path, disk: Disk) -> Result<Self> {
        let dir = std::path::absolute(dir).map_err(Error::io("find", dir))?;
        disk.create_dir_all(&dir)?;
        let lock = lock::Lock::take(&dir, &disk)?;
        let folder = Self { dir, disk, lock };
        folder.sweep();
        Ok(folder)
    }

    /// The same, but that whoever writes large files in it waits in `pause` between their pieces.
    pub(crate) fn with_pause(self, pause: Pause) -> Self {
        Self { disk: self.disk.with_pause(pause), ..self }
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path in the folder that nobody uses, for something that is not finished or on its way out.
    fn hidden(&self, prefix: &str, name: &str) -> PathBuf {
        free(&self.dir, &format!("{prefix}{name}-{}", std::process::id()))
    }
}

#[cfg(test)]
mod tests;
