//! [`Store`]: the files of a run beside its spool, where they wait to be sent.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use zae_core::error::Fallible;

use super::payload;
use crate::News;

/// The folder's name beside the spool.
const FOLDER: &str = "artifacts";
/// What a program has shown on its console.
pub(super) const CONSOLE: &str = "console.log";
/// Names at the top that are in use: what a user's file of the name would disturb.
const TAKEN: [&str; 6] = [CONSOLE, "images", "captions", "texts", "tables", "histograms"];
/// So many bytes of the console wait for a disk that does not take them. What comes then is left out.
const MOST_WAITING: usize = 1 << 20;
/// So many names of files are remembered until they are made sure of.
const MOST_UNSYNCED: usize = 1024;

/// Where a file is that has this path among the artifacts, given the spool's folder.
pub(super) fn place(folder: &Path, path: &str) -> PathBuf {
    path.split('/').fold(folder.join(FOLDER), |place, part| place.join(part))
}

/// The files of a run beside its spool.
pub(super) struct Store {
    folder: PathBuf,
    news: News,
    console: Vec<u8>,
    /// Files that the disk may not have yet: it would take long for each by itself.
    unsynced: Vec<PathBuf>,
    /// Files that could not be kept, and were told of.
    told: BTreeSet<PathBuf>,
}

impl Store {
    pub(super) fn new(folder: PathBuf, news: News) -> Self {
        Self { folder, news, console: Vec::new(), unsynced: Vec::new(), told: BTreeSet::new() }
    }

    /// Writes a file.
    pub(super) fn put(&mut self, path: &str, bytes: &[u8]) -> Fallible {
        let place = place(&self.folder, path);
        fs::write(self.parent_of(&place)?, bytes)?;
        Ok(self.is_written(place)?)
    }

    fn is_written(&mut self, place: PathBuf) -> io::Result<()> {
        self.unsynced.push(place);
        if self.unsynced.len() < MOST_UNSYNCED { Ok(()) } else { self.sync() }
    }

    /// What was written is on disk when this returns.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        while let Some(place) = self.unsynced.last() {
            match OpenOptions::new().write(true).open(place) {
                Ok(file) => file.sync_data()?,
                // Somebody has removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            self.unsynced.pop();
        }
        Ok(())
    }

    /// Copies a file of the user's, in place of one of the same name. Returns its path among the artifacts; nothing if it
    /// cannot be copied, which is told once and stops nothing else.
    pub(super) fn copy(&mut self, from: &Path) -> Option<String> {
        let name = from.file_name().map(|name| payload::part(&name.to_string_lossy())).unwrap_or_default();
        let path = if TAKEN.contains(&name.as_str()) { format!("files/{name}") } else { name };
        let copied = self.copy_to(from, &path);
        if let Err(error) = &copied
            && self.told.insert(from.to_owned())
        {
            self.news.warn(format!("mlflow: `{}` is not kept with the run: {error}", from.display()));
        }
        copied.ok().map(|()| path)
    }

    /// Whole or not at all: an older one may just be read to be sent.
    fn copy_to(&mut self, from: &Path, path: &str) -> Fallible {
        if !fs::metadata(from)?.is_file() {
            return Err("it is no file".into());
        }
        let (to, unfinished) = (place(&self.folder, path), self.folder.join("artifacts.new"));
        let copied =
            self.parent_of(&unfinished).and_then(|place| io::copy(&mut File::open(from)?, &mut File::create(place)?));
        let moved = copied.and_then(|_| fs::rename(&unfinished, self.parent_of(&to)?));
        if moved.is_err() {
            let _ = fs::remove_file(unfinished);
        }
        Ok(moved.and_then(|()| self.is_written(to))?)
    }

    fn parent_of<'a>(&self, place: &'a Path) -> io::Result<&'a Path> {
        fs::create_dir_all(place.parent().unwrap_or(&self.folder))?;
        Ok(place)
    }

    /// Appends lines to the console, now or when the disk takes them. It is worth less than what a run has to tell, which it
    /// therefore never holds up.
    pub(super) fn console(&mut self, lines: &[u8]) {
        let room = MOST_WAITING.saturating_sub(self.console.len());
        self.console.extend_from_slice(&lines[..lines.len().min(room)]);
        if self.console.is_empty() {
            return;
        }
        let place = place(&self.folder, CONSOLE);
        let open = |place| OpenOptions::new().create(true).append(true).open(place);
        let written = self.parent_of(&place).and_then(open).and_then(|mut file| file.write(&self.console));
        self.console.drain(..written.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_is_kept_as_it_was_and_what_cannot_be_kept_is_told_once() {
        let (dir, news) = (tempfile::tempdir().unwrap(), News::default());
        let own = dir.path().join("own");
        fs::create_dir_all(&own).unwrap();
        let mut store = Store::new(dir.path().join("mlflow"), news.clone());
        let model = own.join("model:1.onnx");
        fs::write(&model, "one").unwrap();
        let path = store.copy(&model).unwrap();
        assert_eq!(path, "model_1.onnx");
        // Somebody reads the older one, which stays whole.
        let mut older = File::open(place(&dir.path().join("mlflow"), &path)).unwrap();
        fs::write(&model, "another").unwrap();
        assert_eq!(store.copy(&model).unwrap(), path);
        assert_eq!(io::read_to_string(&mut older).unwrap(), "one");
        assert_eq!(fs::read(place(&dir.path().join("mlflow"), &path)).unwrap(), b"another");
        for _ in 0..3 {
            assert_eq!((store.copy(&own), store.copy(&own.join("nowhere"))), (None, None));
        }
        assert_eq!(news.take().unwrap().notices.len(), 2);
        store.put("texts/a/1.txt", b"x").unwrap();
        fs::remove_file(dir.path().join("mlflow/artifacts/texts/a/1.txt")).unwrap();
        store.sync().unwrap();
        assert!(store.unsynced.is_empty() && !dir.path().join("mlflow/artifacts.new").exists());
    }

    #[test]
    fn the_console_waits_for_the_disk_and_no_longer_than_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, file) = (dir.path().join("mlflow"), dir.path().join("mlflow/artifacts/console.log"));
        let mut store = Store::new(folder, News::default());
        // A folder is no file that could be written.
        fs::create_dir_all(&file).unwrap();
        store.console(b"one\n");
        store.console(&vec![b'x'; 2 * MOST_WAITING]);
        assert_eq!(store.console.len(), MOST_WAITING);
        fs::remove_dir(&file).unwrap();
        store.console(b"");
        assert_eq!(fs::metadata(&file).unwrap().len(), MOST_WAITING as u64);
        store.console(b"\ntwo\n");
        assert!(fs::read(&file).unwrap().ends_with(b"x\ntwo\n"));
    }
}
