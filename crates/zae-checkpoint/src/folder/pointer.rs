//! [`Pointer`]: `last` and `best`, small files that name a checkpoint.

use std::{fmt, fs, io::ErrorKind, path::Path};

use super::{Folder, TEMPORARY};
use crate::{
    error::{Error, Result},
    name::Name,
};

/// A file that names a checkpoint. Not a link: it survives copying, and Windows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Pointer {
    /// The checkpoint saved last.
    Last,
    /// The one with the best metric.
    Best,
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Last => "last",
            Self::Best => "best",
        })
    }
}

impl Folder {
    /// Has a pointer name a checkpoint, or removes it. At any moment there is either the old one or the new one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn point(&self, pointer: Pointer, to: Option<Name>) -> Result<()> {
        if self.pointer(pointer).is_ok_and(|now| now == to) {
            return Ok(());
        }
        let path = self.dir.join(pointer.to_string());
        let Some(name) = to else {
            self.disk.remove_file(&path)?;
            return self.disk.sync_dir(&self.dir);
        };
        let beside = self.hidden(TEMPORARY, &pointer.to_string());
        let text = format!("{name}\n");
        let fill =
            self.disk.write_file(&beside, |out| out.write_all(text.as_bytes()).map_err(Error::io("write", &beside)));
        let moved = fill.and_then(|_| self.disk.rename(&beside, &path));
        if moved.is_err() {
            let _ = self.disk.remove_file(&beside);
        }
        moved?;
        self.disk.sync_dir(&self.dir)
    }

    /// What a pointer names.
    ///
    /// # Errors
    /// When it cannot be read, or holds no name.
    pub fn pointer(&self, pointer: Pointer) -> Result<Option<Name>> {
        match read_pointer(&self.dir.join(pointer.to_string())) {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }
}

/// Reads a pointer: the name of a checkpoint in the same folder, and a newline.
///
/// # Errors
/// When it cannot be read, or holds no name.
pub fn read_pointer(path: &Path) -> Result<Name> {
    let metadata = fs::symlink_metadata(path).map_err(Error::io("open", path))?;
    if !metadata.is_file() {
        return Err(Error::refused(path, "it is not a file with a checkpoint's name"));
    }
    if metadata.len() > 64 {
        let what = "it is no checkpoint: neither what `torch.save` writes nor a file that names a checkpoint, as `last` \
                    does (a file of weights alone has to end in `.safetensors`)";
        return Err(Error::Path { path: path.to_owned(), what: what.to_owned() });
    }
    let text = fs::read(path).map_err(Error::io("read", path))?;
    let text = std::str::from_utf8(&text).map_err(|e| Error::damaged(path, e.to_string()))?;
    // Without its end, a name can be another one's.
    let line = text.strip_suffix('\n').ok_or_else(|| Error::damaged(path, "it is cut short"))?;
    line.trim_ascii_end().parse::<Name>().map_err(|e| Error::damaged(path, e.to_string()))
}
