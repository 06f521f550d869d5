//! [`Files`]: files that are read from any place.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use zae_core::error::Fallible;

/// How many files are held open: far below what systems allow a process (often 1,024), however many shards there are.
const OPEN: usize = 64;

/// Files that many threads read from any place. Each has to stay as it was when it was opened first.
///
/// They are read, not mapped into memory: a mapped file that gets shorter ends the process, a read one is an error.
#[derive(Debug)]
pub(crate) struct Files {
    files: Vec<(PathBuf, u64)>,
    /// Those that were used last, the latest at the end.
    open: Mutex<Vec<(usize, Arc<File>)>>,
}

impl Files {
    pub(crate) fn new(paths: Vec<PathBuf>) -> Fallible<Self> {
        if paths.is_empty() {
            return Err("there is no file to read: give the path of one or more".into());
        }
        let len = |path: PathBuf| {
            let file = open(&path)?;
            let len = file.metadata().map_err(|error| cannot_read(&path, error))?.len();
            Ok((path, len))
        };
        let files = paths.into_iter().map(len).collect::<Fallible<_>>()?;
        Ok(Self { files, open: Mutex::default() })
    }

    pub(crate) fn count(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn path(&self, file: usize) -> &Path {
        &self.files[file].0
    }

    /// How many bytes the file has.
    pub(crate) fn len(&self, file: usize) -> u64 {
        self.files[file].1
    }

    /// These bytes of a file.
    pub(crate) fn read(&self, file: usize, range: &Range<u64>) -> Fallible<Vec<u8>> {
        let (path, len) = &self.files[file];
        let handle = self.handle(file)?;
        let now = handle.metadata().map_err(|error| cannot_read(path, error))?.len();
        if now != *len {
            return Err(format!(
                "`{}` had {len} bytes when it was opened and has {now} now: leave a data set as it is while a program \
                 reads it, and start the program again",
                path.display()
            )
            .into());
        }
        let mut bytes = vec![0; usize::try_from(range.end.saturating_sub(range.start))?];
        read_exact_at(&handle, &mut bytes, range.start).map_err(|error| cannot_read(path, error))?;
        Ok(bytes)
    }

    /// Where in a file of lines this byte is, for messages: it reads all that comes before.
    pub(crate) fn at_line(&self, file: usize, byte: u64) -> String {
        let path = self.path(file);
        let count = || -> std::io::Result<u64> {
            let mut reader = BufReader::new(File::open(path)?);
            let (mut lines, mut seen) = (0, 0);
            loop {
                seen += reader.skip_until(b'\n')? as u64;
                lines += 1;
                if seen > byte || reader.fill_buf()?.is_empty() {
                    return Ok(lines);
                }
            }
        };
        match count() {
            Ok(line) => format!("`{}`, line {line}", path.display()),
            Err(_) => format!("`{}`, byte {byte}", path.display()),
        }
    }

    fn handle(&self, file: usize) -> Fallible<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let found = open.iter().position(|(i, _)| *i == file).map(|at| open.remove(at).1);
        let handle = found.map_or_else(|| self::open(self.path(file)).map(Arc::new), Ok)?;
        if open.len() == OPEN {
            open.remove(0);
        }
        open.push((file, handle.clone()));
        Ok(handle)
    }
}

/// Opens a file for reading. A folder is refused: to open it is no error on some systems.
pub(crate) fn open(path: &Path) -> Fallible<File> {
    let file = File::open(path).map_err(|error| cannot_read(path, error))?;
    let kind = file.metadata().map_err(|error| cannot_read(path, error))?;
    if kind.is_dir() {
        return Err(cannot_read(path, "it is a folder: give the path of a file").into());
    }
    Ok(file)
}

pub(crate) fn cannot_read(path: &Path, why: impl std::fmt::Display) -> String {
    format!("cannot read `{}`: {why}", path.display())
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], start: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, start)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut start: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, bytes, start)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[read..];
        start += read as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn any_part_of_more_files_than_are_held_open() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..OPEN + 9).map(|i| folder.path().join(i.to_string())).collect();
        for (i, path) in paths.iter().enumerate() {
            std::fs::write(path, format!("file {i}")).unwrap();
        }
        let files = Files::new(paths).unwrap();
        for i in (0..files.count()).chain((0..files.count()).rev()) {
            assert_eq!(files.read(i, &(5..files.len(i))).unwrap(), i.to_string().as_bytes());
            assert!(files.open.lock().unwrap().len() <= OPEN);
        }
    }

    #[test]
    fn a_file_that_changes_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let read = |change: &dyn Fn()| {
            std::fs::write(&path, "12345678").unwrap();
            let files = Files::new(vec![path.clone()]).unwrap();
            files.read(0, &(0..8)).unwrap();
            change();
            files.read(0, &(0..8)).unwrap_err().to_string()
        };
        let error = read(&|| std::fs::write(&path, "1234").unwrap());
        assert!(error.contains("had 8 bytes when it was opened and has 4 now: leave a data set as it is"), "{error}");
        let error = read(&|| std::fs::write(&path, "123456789").unwrap());
        assert!(error.contains("has 9 now"), "{error}");
    }

    #[test]
    fn what_is_no_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = |path: &Path| Files::new(vec![path.to_owned()]).unwrap_err().to_string();
        assert!(error(folder.path()).contains("it is a folder: give the path of a file"));
        let missing = folder.path().join("missing");
        assert!(error(&missing).starts_with(&format!("cannot read `{}`: ", missing.display())));
        assert!(Files::new(vec![]).unwrap_err().to_string().contains("give the path of one or more"));
        // One that vanishes before it is read.
        std::fs::write(&missing, "x").unwrap();
        let files = Files::new(vec![missing.clone()]).unwrap();
        std::fs::remove_file(&missing).unwrap();
        let error = files.read(0, &(0..1)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot read `{}`: ", missing.display())), "{error}");
    }
}
