//! [`Artifacts`]: sends the files of a run. It is a thread of its own, so that no metric waits for a file.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    api::Api,
    sent::SentArtifacts,
    spool::{self, Lines},
    store::{CONSOLE, place},
};
use crate::{
    News,
    http::Failure,
    upload::{Remote, Sent},
};

/// The console is sent no more often before the end, and only when there is that much more of it, in parts of a hundred: it
/// is sent as a whole.
const CONSOLE_EVERY: Duration = Duration::from_secs(60);
const MORE: u64 = 25;
/// A file at which a server breaks so often is given up.
const MOST_BREAKS: u32 = 8;

/// What of the spool is on the server, as the thread that sends it tells the one that sends files.
#[derive(Clone, Default)]
pub(super) struct There(Arc<Mutex<(Option<String>, u64)>>);

impl There {
    fn lock(&self) -> MutexGuard<'_, (Option<String>, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run is there by this name, and so many bytes of the spool.
    pub(super) fn set(&self, run: &str, until: u64) {
        *self.lock() = (Some(run.to_owned()), until);
    }

    fn get(&self) -> Option<(String, u64)> {
        let there = self.lock();
        there.0.clone().map(|run| (run, there.1))
    }
}

/// Sends the files that lines of a spool name, when the server has these lines. A file that is sent twice is there once.
pub(super) struct Artifacts {
    api: Api,
    folder: PathBuf,
    news: News,
    there: There,
    reading: Option<Reading>,
    /// Files of a line that are not there yet, last one first.
    files: Vec<String>,
    /// How often the server has broken at the last of them.
    breaks: u32,
    /// Where the server takes files, once it is known; nowhere, if it takes none.
    root: Option<Option<String>>,
    console_sent: Option<Instant>,
    is_told: bool,
}

/// How far a run has them, and the rest of the spool.
struct Reading {
    sent: SentArtifacts,
    lines: Lines,
}

impl Artifacts {
    pub(super) fn new(api: Api, folder: PathBuf, there: There, news: News) -> Self {
        Self {
            api,
            folder,
            news,
            there,
            reading: None,
            files: Vec::new(),
            breaks: 0,
            root: None,
            console_sent: None,
            is_told: false,
        }
    }

    /// Where the server takes files of this run.
    fn root(&mut self, run: &str) -> Result<Option<String>, Failure> {
        if let Some(root) = &self.root {
            return Ok(root.clone());
        }
        let root = self.api.artifacts_of(run)?;
        if let Err(uri) = &root {
            let folder = self.folder.display();
            self.news.warn(format!(
                "mlflow: the server keeps artifacts at `{uri}`, and takes none itself: images and other files stay in \
                 `{folder}`, and metrics are sent. A server with `--serve-artifacts` takes them"
            ));
        }
        Ok(self.root.insert(root.ok()).clone())
    }

    /// Sends a file, unless it is refused: that is told, and the file stays where it is.
    fn put(&mut self, root: &str, path: &str) -> Result<(), Failure> {
        let put = match File::open(place(&self.folder, path)) {
            Ok(file) => self.api.put(&format!("{root}/{path}"), &file),
            Err(error) => Err(Failure::lasting(format!("cannot read it: {error}"))),
        };
        let Err(failure) = put else {
            self.breaks = 0;
            return Ok(());
        };
        let is_broken = failure.status() == Some(500) && self.breaks + 1 >= MOST_BREAKS;
        // Who may not send one may send none.
        let is_all = matches!(failure.status(), Some(401 | 403));
        if is_all || !failure.is_final() && !is_broken {
            self.breaks += u32::from(failure.status() == Some(500));
            return Err(failure);
        }
        self.breaks = 0;
        if !std::mem::replace(&mut self.is_told, true) {
            let folder = self.folder.display();
            self.news.warn(format!(
                "mlflow: an artifact is not sent, `{path}`: {failure}; it stays in `{folder}`, and so do others that are \
                 refused"
            ));
        }
        Ok(())
    }

    /// The size of the console, if it should be sent.
    fn console(&self, sent: u64, ending: bool) -> Option<u64> {
        let size = fs::metadata(place(&self.folder, CONSOLE)).ok()?.len();
        let is_due = self.console_sent.is_none_or(|time| time.elapsed() >= CONSOLE_EVERY);
        let is_more = size >= sent + sent / 100 * MORE;
        (size != sent && (ending || is_due && is_more)).then_some(size)
    }
}

/// Of the spool.
pub(super) fn unreadable(error: &io::Error) -> Failure {
    Failure::passing(format!("cannot read the spool: {error}"))
}

impl Remote for Artifacts {
    fn send(&mut self, ending: bool, go_on: &dyn Fn() -> bool) -> Result<Sent, Failure> {
        let Some((run, until)) = self.there.get().filter(|_| self.root != Some(None)) else { return Ok(Sent::All) };
        let mut reading = match self.reading.take() {
            Some(reading) => reading,
            None => {
                let sent = SentArtifacts::of(&self.folder, &run);
                let lines = spool::read_from(&self.folder.join(spool::FILE), sent.spool).map_err(|e| unreadable(&e))?;
                Reading { sent, lines }
            }
        };
        let result = self.send_next(&mut reading, &run, until, ending, go_on);
        self.reading = Some(reading);
        result
    }
}

impl Artifacts {
    fn send_next(
        &mut self,
        reading: &mut Reading,
        run: &str,
        until: u64,
        ending: bool,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Sent, Failure> {
        let Reading { sent, lines } = reading;
        if self.files.is_empty() {
            self.files = lines.next_artifacts(until).map_err(|e| unreadable(&e))?.unwrap_or_default();
            self.files.reverse();
        }
        let console = if self.files.is_empty() { self.console(sent.console, ending) } else { None };
        if self.files.is_empty() && console.is_none() {
            return Ok(Sent::All);
        }
        let Some(root) = self.root(run)? else { return Ok(Sent::All) };
        if let Some(size) = console {
            self.put(&root, CONSOLE)?;
            (self.console_sent, sent.console) = (Some(Instant::now()), size);
        }
        while let Some(path) = self.files.last().cloned() {
            self.put(&root, &path)?;
            self.files.pop();
        }
        if go_on() {
            sent.spool = lines.end;
            sent.save(&self.folder)?;
        }
        Ok(Sent::More)
    }
}
