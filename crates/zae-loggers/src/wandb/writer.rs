//! [`RunFile`]: a run as a `.wandb` file, which `wandb sync` reads, and so does our own uploader.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use zae_core::{add_on::Notice, error::Fallible};

use super::{
    ending::Ending,
    environment, framing,
    record::{self, Maker, Run, field},
    scan::Found,
    summary::{self, Summary},
};
use crate::{Entries, Status, Writer, appended::Appended};

/// How often the summary is written while entries come.
const SUMMARY_EVERY: Duration = Duration::from_secs(10);

/// A run's file, and what sends it.
pub(super) struct RunFile {
    path: PathBuf,
    file: Appended,
    /// Where it ends, for whoever reads it meanwhile.
    end: Arc<AtomicU64>,
    maker: Maker,
    /// On their way to the file: records, and the text of a number.
    out: Vec<u8>,
    text: Vec<u8>,
    summary: Summary,
    summarised: Instant,
    /// Whether the file says where the run is made. That is worked out on the thread that writes: it reads files.
    has_environment: bool,
    pub(super) ending: Ending,
}

impl RunFile {
    /// A new file. There is none of that name.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn create(path: &Path, run: &Run, ending: Ending) -> Fallible<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let mut new = Self::of(path, Appended::at(file, 0), ending);
        new.out.extend(framing::HEADER);
        new.add(field::HEADER, record::header);
        new.add(field::RUN, |message| record::run(message, run));
        new.add(field::METRIC, |message| {
            message.string(1, summary::STEP);
        });
        new.add(field::METRIC, |message| {
            message.string(2, "*").string(4, summary::STEP).message(6, |options| {
                options.varint(1, 1);
            });
        });
        new.append()?;
        Ok(new)
    }

    /// A file of an earlier process, cut back to what was found.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn go_on(path: &Path, found: &Found, run: &Run, ending: Ending) -> Fallible<Self> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(found.end)?;
        let mut old = Self::of(path, Appended::at(file, found.end), ending);
        old.end.store(found.end, Ordering::Release);
        old.maker.number = found.records;
        old.summary = found.summary.clone();
        old.add(field::CONFIG, |message| record::config(message, &run.config));
        old.append()?;
        Ok(old)
    }

    fn of(path: &Path, file: Appended, ending: Ending) -> Self {
        Self {
            path: path.to_owned(),
            file,
            end: Arc::default(),
            maker: Maker::default(),
            out: Vec::new(),
            text: Vec::new(),
            summary: Summary::default(),
            summarised: Instant::now(),
            has_environment: false,
            ending,
        }
    }

    /// One more record, to be appended.
    fn add(&mut self, field: u32, fill: impl FnOnce(&mut crate::protobuf::Message<'_>)) {
        let at = self.file.end() + self.out.len() as u64;
        framing::put(&mut self.out, at, self.maker.make(field, fill));
    }

    /// Brings the records to the file: all of them or none.
    fn append(&mut self) -> Fallible {
        let result = self.file.append(&self.out);
        self.out.clear();
        self.end.store(self.file.end(), Ordering::Release);
        Ok(result?)
    }

    /// Up to where the file may be read: what is behind may yet be taken back.
    pub(super) fn readable(&self) -> Arc<AtomicU64> {
        self.end.clone()
    }

    fn add_summary(&mut self) {
        let mut summary = std::mem::take(&mut self.summary);
        self.add(field::SUMMARY, |message| summary.write(message));
        self.summary = summary;
        self.summarised = Instant::now();
    }
}

impl Writer for RunFile {
    fn write(&mut self, entries: &Entries) -> Fallible {
        let before = self.maker.number;
        if !self.has_environment {
            self.add(field::ENVIRONMENT, environment::write);
        }
        let mut text = std::mem::take(&mut self.text);
        for entry in entries.iter() {
            self.summary.update(&entry);
            self.add(field::HISTORY, |message| {
                for (name, value) in summary::head(&entry) {
                    record::number(message, name, value, &mut text);
                }
                for (name, value) in entry.names.iter().zip(entry.values) {
                    record::number(message, name, *value, &mut text);
                }
                message.message(2, |step| {
                    step.varint(1, entry.index);
                });
            });
        }
        self.text = text;
        if !entries.is_empty() && self.summarised.elapsed() >= SUMMARY_EVERY {
            self.add_summary();
        }
        self.append().inspect_err(|_| self.maker.number = before)?;
        self.has_environment = true;
        Ok(())
    }

    fn sync(&mut self) -> Fallible {
        Ok(self.file.sync()?)
    }

    fn end(&mut self, status: &Status, deadline: Instant) -> Fallible<Option<Notice>> {
        self.add_summary();
        if let Status::Interrupted(_) = status {
            self.add(field::PREEMPTING, |_| {});
        }
        self.add(field::EXIT, |message| {
            message.varint(1, u64::from(*status != Status::Finished));
        });
        let written = self.append().and_then(|()| self.sync());
        // What is in the file gets to the server also if its end cannot be written.
        let words = self.ending.wait(deadline);
        written.map(|()| words)
    }

    fn path(&self) -> PathBuf {
        self.path.clone()
    }
}
