//! Which checkpoints there are, and loading one.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use zae_core::snapshot::Snapshot;

use super::commit::names;
use crate::{
    error::{Error, Result},
    manifest::{Check, Manifest},
    name::Name,
};

/// A folder that is called like a checkpoint.
#[derive(Debug)]
#[non_exhaustive]
pub struct Entry {
    /// Where it is.
    pub path: PathBuf,
    /// What it is called.
    pub name: Name,
    /// What it holds, or why it is no checkpoint.
    pub manifest: Result<Manifest>,
}

/// All checkpoints of a folder, newest first, and what only looks like one. A folder that is not there has none.
///
/// # Errors
/// When the folder cannot be listed.
pub fn scan(dir: &Path) -> Result<Vec<Entry>> {
    let found = match names(dir) {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        found => found?,
    };
    let mut entries: Vec<Entry> = found.into_iter().map(|(name, path)| Entry::new(name, path)).collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.name));
    Ok(entries)
}

impl Entry {
    fn new(name: Name, path: PathBuf) -> Self {
        Self { manifest: read_named(&path, name), path, name }
    }

    /// Compares the lengths and checksums of all files with the manifest, in one pass.
    ///
    /// # Errors
    /// When anything differs. A manifest that could not be read is read again.
    pub fn verify(&self) -> Result<()> {
        self.with_manifest(|manifest| manifest.open_files(&self.path, Check::Full).map(drop))
    }

    /// Verifies and loads it. Its tensors are parts of the mapped files.
    ///
    /// # Errors
    /// When it is not whole.
    pub fn load(&self) -> Result<Snapshot> {
        self.with_manifest(|manifest| load(&self.path, manifest, Check::Full))
    }

    fn with_manifest<T>(&self, f: impl FnOnce(&Manifest) -> Result<T>) -> Result<T> {
        match &self.manifest {
            Ok(manifest) => f(manifest),
            Err(_) => f(&read_named(&self.path, self.name)?),
        }
    }
}

fn read_named(path: &Path, name: Name) -> Result<Manifest> {
    let manifest = read_manifest(path)?;
    if manifest.step == name.step {
        return Ok(manifest);
    }
    let what = format!("it holds step {}: it was renamed, or its manifest is another's", manifest.step);
    Err(Error::damaged(path, what))
}

/// The manifest of a folder, which has to be one, and no link to one.
pub(crate) fn read_manifest(path: &Path) -> Result<Manifest> {
    let metadata = fs::symlink_metadata(path).map_err(Error::io("open", path))?;
    if metadata.is_symlink() {
        return Err(Error::refused(path, "it is a link, and checkpoints are folders"));
    }
    if !metadata.is_dir() {
        return Err(Error::damaged(path, "it is not a folder"));
    }
    Manifest::read(path)
}

pub(crate) fn load(path: &Path, manifest: &Manifest, check: Check) -> Result<Snapshot> {
    let files = manifest.open_files(path, check)?;
    let snapshot = manifest.encoding.read(path, &files)?;
    let step = snapshot.run.progress.step();
    if step != manifest.step {
        return Err(Error::damaged(path, format!("its manifest says step {}, its content {step}", manifest.step)));
    }
    Ok(snapshot.read_from(path.display().to_string()))
}
