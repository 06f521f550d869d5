//! Writing a file whole.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::error::Error;

/// Writes a file beside where it belongs and then renames it: whoever opens it finds an old one or a new one, and a process that
/// is killed leaves no half.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = Error::io("write", path);
    if path.is_dir() {
        return Err(failed(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder: give the name of a file")));
    }
    let beside = beside(path);
    let written = write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&beside);
        failed(error)
    })
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Two processes may report on the same run at the same time.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    name.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/report.html");
        write_whole(&path, b"first").unwrap();
        write_whole(&path, b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        let error = write_whole(path.parent().unwrap(), b"").unwrap_err().to_string();
        assert!(error.contains("give the name of a file"), "{error}");
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(write_whole(&dir.path().join("file/report.html"), b"").is_err());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
