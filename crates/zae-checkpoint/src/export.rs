//! One-off saves, under a name of the caller's: whole or absent, like every other.

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
};

use zae_core::{learner::StateDict, metrics::Metrics, snapshot::Snapshot};

use crate::{
    ckpt,
    disk::{Disk, free},
    error::{Error, Result},
    folder::{make_durable, read_manifest, stage},
    format::{Format, write_ckpt},
    safetensors::{self, Part},
    torch,
};

/// Saves a run as a `.ckpt` file or as a checkpoint's folder.
pub(crate) fn run(path: &Path, snapshot: &Snapshot, disk: &Disk) -> Result<()> {
    if is_for_torch(path) {
        make_durable(snapshot)?;
        return file(path, disk, |out, path| write_ckpt(snapshot, out, path));
    }
    if path.extension() == Some(OsStr::new("safetensors")) {
        let what =
            "a run is a folder or a `.ckpt` file: give another name, or save the weights alone by `save_weights`";
        return Err(Error::Path { path: path.to_owned(), what: what.to_owned() });
    }
    let (parent, beside) = place(path, disk)?;
    let there = path.symlink_metadata().is_ok();
    if there && read_manifest(path).is_err() {
        let what = "it is there and is no checkpoint: remove it, or give another name".to_owned();
        return Err(Error::Path { path: path.to_owned(), what });
    }
    let written = stage(disk, &beside, snapshot, Format::Safetensors, &Metrics::new()).and_then(|_| {
        if there {
            let old = free(&parent, &format!("{}-old", file_name(&beside)));
            disk.rename(path, &old)?;
            disk.rename(&beside, path)?;
            disk.sync_dir(&parent)?;
            return disk.remove_all(&old);
        }
        disk.rename(&beside, path)?;
        disk.sync_dir(&parent)
    });
    if written.is_err() {
        let _ = disk.remove_all(&beside);
    }
    written
}

/// Saves weights alone: `.safetensors` with the engine's names and layouts, or a file for PyTorch with PyTorch's.
pub(crate) fn weights(path: &Path, state: &StateDict, disk: &Disk) -> Result<()> {
    if is_for_torch(path) {
        let value = ckpt::state_dict(state).map_err(Error::ckpt(path))?;
        return file(path, disk, |out, path| torch::write(&value, out).map_err(Error::torch(path)));
    }
    check(path)?;
    let part = Part { tensors: state.model().collect(), layout: &state.layout.tensors, ..Part::default() };
    file(path, disk, |out, path| safetensors::write(&part, out, path))
}

/// Whether a name says in which format weights are to be saved.
pub(crate) fn check(path: &Path) -> Result<()> {
    if is_for_torch(path) || path.extension() == Some(OsStr::new("safetensors")) {
        return Ok(());
    }
    let what = "weights are saved as `.safetensors`, or for PyTorch as `.pt`, `.pth`, `.ckpt` or `.bin`".to_owned();
    Err(Error::Path { path: path.to_owned(), what })
}

fn is_for_torch(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str);
    ending.is_some_and(|ending| ["ckpt", "pt", "pth", "bin"].contains(&ending))
}

/// Writes a file beside, and renames it when it is on disk.
fn file(path: &Path, disk: &Disk, fill: impl FnOnce(&mut dyn Write, &Path) -> Result<()>) -> Result<()> {
    let (parent, beside) = place(path, disk)?;
    let moved = disk.write_file(&beside, |out| fill(out, path)).and_then(|_| disk.rename(&beside, path));
    if moved.is_err() {
        let _ = disk.remove_file(&beside);
    }
    moved?;
    disk.sync_dir(&parent)
}

/// The folder in which a path is, made if it is not there, and a free name beside it.
fn place(path: &Path, disk: &Disk) -> Result<(PathBuf, PathBuf)> {
    let path = std::path::absolute(path).map_err(Error::io("find", path))?;
    let Some(parent) = path.parent().filter(|_| path.file_name().is_some()) else {
        return Err(Error::Path { path, what: "it names no file: give one".to_owned() });
    };
    disk.create_dir_all(parent)?;
    Ok((parent.to_owned(), free(parent, &format!(".tmp-{}-{}", file_name(&path), std::process::id()))))
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
