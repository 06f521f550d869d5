//! Reading a checkpoint, however it is named.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use zae_core::snapshot::Snapshot;

use crate::{
    bytes::Bytes,
    error::{Error, Result},
    folder::{Entry, read_pointer, scan},
    format::read_ckpt,
    manifest::{Check, FILE},
    torch,
};

/// What the folder of checkpoints is called in a run's folder.
pub(crate) const CHECKPOINTS: &str = "checkpoints";

/// Reads a checkpoint. `path` is its folder (`.../step-00001234`), a file that names it (`.../last`, `.../best`), the
/// folder of a run or of its checkpoints, of which the newest one that is whole is taken, or a `.ckpt` file.
///
/// # Errors
/// When there is none, or it is damaged.
pub fn read_checkpoint(path: &Path) -> Result<Snapshot> {
    find_checkpoint(path).map(|(_, snapshot)| snapshot)
}

/// The same, and the real path of the folder or file that it is.
pub(crate) fn find_checkpoint(path: &Path) -> Result<(PathBuf, Snapshot)> {
    let real = fs::canonicalize(path).map_err(Error::io("open", path))?;
    if real.is_dir() {
        if fs::symlink_metadata(real.join(FILE)).is_ok() {
            return read_folder(real);
        }
        // The folder of a run, or that of its checkpoints.
        let within = real.join(CHECKPOINTS);
        let dir = if scan(&real)?.is_empty() && within.is_dir() { &within } else { &real };
        let (newest, skipped) = newest(dir)?;
        let skipped: Vec<String> = skipped.iter().map(|(_, error)| error.to_string()).collect();
        for reason in &skipped {
            tracing::warn!(reason, "a checkpoint was skipped");
        }
        let (entry, snapshot) = newest.ok_or_else(|| Error::None { dir: path.to_owned(), skipped })?;
        return Ok((entry.path, snapshot));
    }
    if is_torch(&real)? {
        let bytes = Bytes::map(&real)?;
        // There is no manifest with a checksum of the whole: those of the archive have to do.
        torch::verify(&bytes).map_err(Error::torch(&real))?;
        let snapshot = read_ckpt(&bytes, &real)?.read_from(path.display().to_string());
        return Ok((real, snapshot));
    }
    let name = read_pointer(&real)?;
    read_folder(real.with_file_name(name.to_string()))
}

/// Whether a file begins as those of PyTorch do.
pub(crate) fn is_torch(path: &Path) -> Result<bool> {
    let mut start = [0; 4];
    let read = |mut file: fs::File| Ok(file.read(&mut start)? == 4 && start == *b"PK\x03\x04");
    fs::File::open(path).and_then(read).map_err(Error::io("read", path))
}

fn read_folder(dir: PathBuf) -> Result<(PathBuf, Snapshot)> {
    let manifest = crate::folder::read_manifest(&dir)?;
    let snapshot = crate::folder::load(&dir, &manifest, Check::Full)?;
    Ok((dir, snapshot))
}

/// What was passed over on the way to the newest checkpoint, and why.
pub type Skipped = Vec<(Entry, Error)>;

/// The newest checkpoint of a folder that is whole, and the newer ones that are not, with the reason.
///
/// # Errors
/// When the folder cannot be listed.
pub fn newest(dir: &Path) -> Result<(Option<(Entry, Snapshot)>, Skipped)> {
    let mut skipped = Vec::new();
    for entry in scan(dir)? {
        match entry.load() {
            Ok(snapshot) => return Ok((Some((entry, snapshot)), skipped)),
            Err(error) => skipped.push((entry, error)),
        }
    }
    Ok((None, skipped))
}
