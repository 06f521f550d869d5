//! [`Lock`]: one process at a time writes into a folder.

use std::{
    fs::{self, File, TryLockError},
    path::Path,
};

use crate::{
    disk::Disk,
    error::{Error, Result},
};

const FILE: &str = "lock";

/// A lock of the operating system on `lock` in the folder. It ends with the process, however that ends, so there are no
/// locks of dead processes to recognise.
#[derive(Debug)]
pub(super) struct Lock {
    /// `None` where the file system has no locks.
    file: Option<File>,
}

impl Lock {
    pub(super) fn take(dir: &Path, disk: &Disk) -> Result<Self> {
        let path = dir.join(FILE);
        if fs::symlink_metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(Error::refused(&path, "it is not a regular file: remove it"));
        }
        let file = disk.open_lock(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { dir: dir.to_owned(), pid: owner(&path) }),
            Err(TryLockError::Error(e)) => {
                let (dir, error) = (dir.display(), e.to_string());
                tracing::warn!(%dir, error, "files cannot be locked here: make sure that no other run uses this folder");
                return Ok(Self { file: None });
            }
        }
        disk.overwrite(&path, &file, format!("{}\n", std::process::id()).as_bytes())?;
        Ok(Self { file: Some(file) })
    }

    /// Whether nobody else can be in the folder.
    pub(super) fn is_held(&self) -> bool {
        self.file.is_some()
    }
}

/// The process that wrote its number into the file.
fn owner(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
