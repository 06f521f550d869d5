//! [`Files`]: the folder `files` beside a run's file, whose files are kept with the run.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use zae_core::error::Fallible;

/// The folder `files` beside a run's file.
pub(super) struct Files {
    folder: PathBuf,
    /// What may not be on disk yet.
    unsynced: Vec<PathBuf>,
}

impl Files {
    /// That of a run's file.
    pub(super) fn of(file: &Path) -> Self {
        Self { folder: folder(file), unsynced: Vec::new() }
    }

    /// Writes a file, anew if it is there.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(super) fn put(&mut self, name: &str, bytes: &[u8]) -> Fallible {
        self.replace(name, |new| Ok(fs::write(new, bytes)?))
    }

    /// Takes a copy of somebody's file, and returns its name.
    ///
    /// # Errors
    /// When it is no file that can be read, or the disk does not take it.
    pub(super) fn keep(&mut self, path: &Path) -> Fallible<String> {
        // Reading something else may never end.
        if !fs::metadata(path)?.is_file() {
            return Err("it is no file".into());
        }
        let name = path.file_name().ok_or("it has no name")?.to_string_lossy().into_owned();
        if name == "media" {
            return Err("W&B has a folder of that name".into());
        }
        self.replace(&name, |new| Ok(fs::copy(path, new).map(|_| ())?))?;
        Ok(name)
    }

    /// Whoever reads the file meanwhile reads the old one to its end.
    fn replace(&mut self, name: &str, write: impl FnOnce(&Path) -> Fallible) -> Fallible {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
        let new = self.folder.join(".new");
        write(&new)?;
        fs::rename(&new, &path)?;
        self.unsynced.push(path);
        Ok(())
    }

    /// What was written is on disk when this returns.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn sync(&mut self) -> Fallible {
        while let Some(path) = self.unsynced.last() {
            // Only those that may be written can be synced everywhere.
            match File::options().append(true).open(path) {
                Ok(file) => file.sync_all()?,
                // Somebody else's affair: it was there.
                Err(error) => tracing::debug!(%error, "a file of a run is gone or read-only"),
            }
            self.unsynced.pop();
        }
        Ok(())
    }
}

/// The folder of a run's file.
pub(super) fn folder(file: &Path) -> PathBuf {
    file.with_file_name("files")
}
