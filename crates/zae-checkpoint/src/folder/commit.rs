//! A save: whole or absent.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use zae_core::{metrics::Metrics, snapshot::Snapshot};

use super::{Folder, TEMPORARY};
use crate::{
    disk::Disk,
    error::{Error, Result},
    format::Format,
    manifest::{self, FORMAT, Manifest, ManifestFile},
    name::Name,
};

/// A checkpoint that is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Saved {
    /// What it is called.
    pub name: Name,
    /// The bytes of its files, the manifest apart.
    pub bytes: u64,
}

impl Folder {
    /// Saves a run. It is written into a folder beside, which is renamed when all of it is on disk: so there is either
    /// the whole checkpoint or none, and nothing that was there before is touched. What add-ons have to make durable
    /// before is done before.
    ///
    /// # Errors
    /// When anything fails. Then nothing is left of it, unless only the last sync failed: then it is there, whole, but a
    /// power cut might take it.
    pub fn save(&self, snapshot: &Snapshot, format: Format, metrics: &Metrics) -> Result<Saved> {
        self.disk.create_dir_all(&self.dir)?;
        let name = self.next_name(snapshot.run.progress.step())?;
        let staging = self.hidden(TEMPORARY, &name.to_string());
        let written = stage(&self.disk, &staging, snapshot, format, metrics);
        let moved = written.and_then(|bytes| {
            self.disk.rename(&staging, &self.dir.join(name.to_string()))?;
            Ok(bytes)
        });
        if moved.is_err() {
            // The first error is the one to tell of; what stays is swept when the folder is opened again.
            let _ = self.disk.remove_all(&staging);
        }
        let bytes = moved?;
        self.disk.sync_dir(&self.dir)?;
        Ok(Saved { name, bytes })
    }

    /// The name after all that this step has had.
    fn next_name(&self, step: u64) -> Result<Name> {
        let names = names(&self.dir)?.into_iter();
        let newest = names.map(|(name, _)| name).filter(|name| name.step == step).max();
        Ok(newest.map_or(Name::first(step), |name| Name { again: name.again.saturating_add(1), ..name }))
    }
}

/// Writes a checkpoint into a folder that is not there yet. Returns the bytes of its files.
pub(crate) fn stage(disk: &Disk, path: &Path, snapshot: &Snapshot, format: Format, metrics: &Metrics) -> Result<u64> {
    disk.create_dir(path)?;
    let mut staging = Staging { disk, path, files: Vec::new(), unsynced: Vec::new() };
    format.write(snapshot, &mut staging)?;
    make_durable(snapshot)?;
    let progress = &snapshot.run.progress;
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engine: snapshot.run.config.get("engine").cloned().unwrap_or_default(),
        step: progress.step(),
        epoch: progress.epoch(),
        created: manifest::now(),
        encoding: format,
        files: std::mem::take(&mut staging.files),
        metrics: metrics.clone(),
    };
    staging.sync()?;
    let text = manifest.write()?;
    staging.file(manifest::FILE, |out, path| out.write_all(&text).map_err(Error::io("write", path)))?;
    staging.sync()?;
    disk.sync_dir(path)?;
    Ok(manifest.bytes())
}

/// Has add-ons put on disk what the snapshot counts on.
pub(crate) fn make_durable(snapshot: &Snapshot) -> Result<()> {
    let cannot = |source| Error::Source { what: "what an add-on keeps beside it".to_owned(), source };
    snapshot.durable.iter().try_for_each(|durable| durable().map_err(cannot))
}

/// Everything in a folder that is called like a checkpoint.
pub(super) fn names(dir: &Path) -> Result<Vec<(Name, PathBuf)>> {
    let mut names = Vec::new();
    for item in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let item = item.map_err(Error::io("list", dir))?;
        if let Some(name) = item.file_name().to_str().and_then(|name| name.parse().ok()) {
            names.push((name, item.path()));
        }
    }
    Ok(names)
}

/// The folder of a checkpoint that is being written.
pub(crate) struct Staging<'a> {
    disk: &'a Disk,
    path: &'a Path,
    files: Vec<ManifestFile>,
    unsynced: Vec<(PathBuf, File)>,
}

impl Staging<'_> {
    /// Adds a file.
    pub(crate) fn file(&mut self, name: &str, fill: impl FnOnce(&mut dyn Write, &Path) -> Result<()>) -> Result<()> {
        let path = self.path.join(name);
        let (written, file) = self.disk.begin_file(&path, |out| fill(out, &path))?;
        self.files.push(ManifestFile::new(name, written));
        self.unsynced.push((path, file));
        Ok(())
    }

    /// Puts what was added on disk.
    fn sync(&mut self) -> Result<()> {
        self.unsynced.drain(..).try_for_each(|(path, file)| self.disk.sync_file(&path, &file))
    }
}
