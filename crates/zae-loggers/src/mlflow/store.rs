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

/// Where a file is that has this path among the artifacts, given the spool's folder.
pub(super) fn place(folder: &Path, path: &str) -> PathBuf {
    path.split('/').fold(folder.join(FOLDER), |place, part| place.join(part))
}

/// The files of a run beside its spool.
pub(super) struct Store {
    folder: PathBuf,
    news: News,
    console: Vec<u8>,
    /// Files that could not be kept, and were told of.
    told: BTreeSet<PathBuf>,
}

impl Store {
    pub(super) fn new(folder: PathBuf, news: News) -> Self {
        Self { folder, news, console: Vec::new(), told: BTreeSet::new() }
    }

    /// Writes a file. It is on disk when this returns, so that no line of the spool ever names one that is not.
    pub(super) fn put(&self, path: &str, bytes: &[u8]) -> Fallible {
        let mut file = File::create(self.parent_of(&place(&self.folder, path))?)?;
        file.write_all(bytes)?;
        Ok(file.sync_data()?)
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
    fn copy_to(&self, from: &Path, path: &str) -> Fallible {
        if !fs::metadata(from)?.is_file() {
            return Err("it is no file".into());
        }
        let (to, unfinished) = (place(&self.folder, path), self.folder.join("artifacts.new"));
        let copied = self.parent_of(&unfinished).and_then(|place| {
            let mut file = File::create(place)?;
            io::copy(&mut File::open(from)?, &mut file)?;
            file.sync_data()
        });
        let moved = copied.and_then(|()| fs::rename(&unfinished, self.parent_of(&to)?));
        if moved.is_err() {
            let _ = fs::remove_file(unfinished);
        }
        Ok(moved?)
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
