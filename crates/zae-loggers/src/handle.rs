//! [`LogHandle`]: what a task shows and tells beside its metrics.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{Aside, Histogram, Image, Level, Media, Table, clock::now};

/// So much memory that things may take which no logger has taken yet, for no step was made. What comes then is dropped and
/// counted.
const BOUND: usize = 256 << 20;

/// Names that rows have for themselves.
const TAKEN: [&str; 5] = ["_step", "_runtime", "_timestamp", "epoch", "trainer/global_step"];

/// Through it a task, or whatever else has one, shows images, histograms, tables and texts, keeps files, sends alerts and
/// writes console lines: to all loggers that were given a clone of it.
///
/// What is shown belongs to the step that is being made, or to the evaluation, and is logged once like the metrics of that: a
/// run that was killed and goes on shows nothing twice. Which of these a tracker has a place for is said at its logger.
///
/// A name is taken as it is: an evaluation puts nothing in front. Only one that a tracker needs for itself (`epoch`, `_step`, ...)
/// gets `media/`. Of several things with one name at one step, trackers show the last or all.
///
/// No call waits for anything: an image is made a PNG on the threads of the loggers.
///
/// ```
/// use zae_loggers::{Image, LogHandle, TensorBoardLogger};
///
/// let log = LogHandle::new();
/// let logger = TensorBoardLogger::new().handle(&log);
/// // In the task, which has a clone of it:
/// log.image("samples", Image::gray(2, 2, vec![0, 255, 255, 0])?.caption("a cross"));
/// log.text("generated", "Once upon a time");
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[derive(Clone, Default, Debug)]
pub struct LogHandle(Arc<Mutex<Vec<Weak<Inbox>>>>);

impl LogHandle {
    /// One that no logger has yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows a picture.
    pub fn image(&self, name: impl Into<Arc<str>>, image: Image) {
        self.media(name, Media::Image(image));
    }

    /// Shows how values are distributed.
    pub fn histogram(&self, name: impl Into<Arc<str>>, histogram: Histogram) {
        self.media(name, Media::Histogram(histogram));
    }

    /// Shows rows and columns.
    pub fn table(&self, name: impl Into<Arc<str>>, table: Table) {
        self.media(name, Media::Table(table));
    }

    /// Shows a text.
    pub fn text(&self, name: impl Into<Arc<str>>, text: impl Into<String>) {
        self.media(name, Media::Text(text.into()));
    }

    /// Shows any of these.
    pub fn media(&self, name: impl Into<Arc<str>>, media: Media) {
        let (mut name, media) = (name.into(), Arc::new(media));
        if name.is_empty() {
            name = "unnamed".into();
        } else if TAKEN.contains(&&*name) {
            name = format!("media/{name}").into();
        }
        self.each(media.bytes(), || Noted::Media(name.clone(), media.clone()));
    }

    /// Keeps a file with the run, under its own name. It is read within a second. One of the same name takes its place.
    pub fn file(&self, path: impl Into<PathBuf>) {
        self.aside(&Aside::File { time: now(), path: path.into() });
    }

    /// Sends a message to people, wherever they are: to their mail or chat, where the tracker can.
    pub fn alert(&self, level: Level, title: impl Into<Arc<str>>, text: impl Into<Arc<str>>) {
        self.aside(&Aside::Alert { time: now(), title: title.into(), text: text.into(), level });
    }

    /// What is written to it is logged line by line. For programs whose own output people should find beside the curves, for
    /// example with `tracing_subscriber::fmt().with_writer(move || log.console())`. It writes nothing to the terminal.
    #[must_use]
    pub fn console(&self) -> Console {
        Console { log: self.clone(), line: Vec::new() }
    }

    fn aside(&self, aside: &Aside) {
        self.each(aside.bytes(), || Noted::Aside(aside.clone()));
    }

    fn each(&self, bytes: usize, noted: impl Fn() -> Noted) {
        let mut inboxes = self.lock();
        inboxes.retain(|inbox| match inbox.upgrade() {
            Some(inbox) => {
                inbox.put(bytes, noted());
                true
            }
            None => false,
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Inbox>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes from now on.
    pub(crate) fn subscribe(&self) -> Arc<Inbox> {
        let inbox = Arc::<Inbox>::default();
        self.lock().push(Arc::downgrade(&inbox));
        inbox
    }
}

/// What is written to it is logged line by line: see [`LogHandle::console`]. Dropped, it ends the last line.
#[derive(Debug)]
pub struct Console {
    log: LogHandle,
    line: Vec<u8>,
}

/// Nobody writes longer lines. What is longer is cut into several.
const LONGEST_LINE: usize = 64 << 10;

impl Console {
    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        // Of a line that was written over, people see what was written last.
        let line = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default().to_owned();
        self.line.clear();
        self.log.aside(&Aside::Console { time: now(), line });
    }
}

impl io::Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            self.line.extend_from_slice(text);
            if text.len() < part.len() || self.line.len() >= LONGEST_LINE {
                self.end_line();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
    }
}

/// What came through a handle.
#[derive(Debug)]
pub(crate) enum Noted {
    Media(Arc<str>, Arc<Media>),
    Aside(Aside),
}

/// What a logger has not taken yet.
#[derive(Default, Debug)]
pub(crate) struct Inbox {
    /// So that looking costs no lock where there is nothing.
    there: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Default, Debug)]
pub(crate) struct Held {
    pub(crate) noted: Vec<Noted>,
    bytes: usize,
    /// What there was no room for.
    pub(crate) dropped: u64,
}

impl Inbox {
    fn put(&self, bytes: usize, noted: Noted) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.bytes >= BOUND {
            held.dropped += 1;
        } else {
            held.bytes += bytes + size_of::<Noted>();
            held.noted.push(noted);
        }
        self.there.store(true, Ordering::Release);
    }

    /// Takes what there is.
    #[inline]
    pub(crate) fn take(&self) -> Option<Held> {
        self.there.load(Ordering::Relaxed).then(|| self.take_held())
    }

    #[cold]
    fn take_held(&self) -> Held {
        self.there.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;

    use super::*;

    #[test]
    fn every_logger_gets_everything_and_nobody_nothing() {
        let log = LogHandle::new();
        log.text("before", "anyone");
        let (a, b) = (log.subscribe(), log.clone().subscribe());
        log.text("x", "one");
        drop(b);
        log.alert(Level::Warn, "two", "");
        let held = a.take().unwrap();
        assert!(matches!(&held.noted[..], [Noted::Media(..), Noted::Aside(Aside::Alert { .. })]), "{held:?}");
        assert!(a.take().is_none());
        assert_eq!(log.lock().len(), 1, "one that is gone is forgotten");
    }

    #[test]
    fn no_name_is_empty_or_taken() {
        let log = LogHandle::new();
        let inbox = log.subscribe();
        ["", "epoch", "valid/epoch"].into_iter().for_each(|name| log.text(name, "x"));
        let names: Vec<_> = inbox
            .take()
            .unwrap()
            .noted
            .into_iter()
            .map(|noted| match noted {
                Noted::Media(name, _) => name.to_string(),
                Noted::Aside(aside) => format!("{aside:?}"),
            })
            .collect();
        assert_eq!(names, ["unnamed", "media/epoch", "valid/epoch"]);
    }

    #[test]
    fn what_nobody_takes_is_bounded() {
        let log = LogHandle::new();
        let inbox = log.subscribe();
        let image = Image::gray(1024, 1024, vec![0; 1 << 20]).unwrap();
        (0..300).for_each(|_| log.image("x", image.clone()));
        let held = inbox.take().unwrap();
        assert_eq!((held.noted.len(), held.dropped), (256, 44));
    }

    #[test]
    fn a_console_has_lines() {
        let log = LogHandle::new();
        let inbox = log.subscribe();
        let mut console = log.console();
        write!(console, "one\ntw").unwrap();
        write!(console, "o\n10 %\r20 %\r\nend").unwrap();
        drop(console);
        let lines: Vec<String> = inbox
            .take()
            .unwrap()
            .noted
            .into_iter()
            .filter_map(|noted| if let Noted::Aside(Aside::Console { line, .. }) = noted { Some(line) } else { None })
            .collect();
        assert_eq!(lines, ["one", "two", "20 %", "end"]);
    }
}
