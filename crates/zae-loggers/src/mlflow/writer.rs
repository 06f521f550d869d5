//! [`SpoolWriter`]: appends entries to a spool.

use std::{path::PathBuf, time::Instant};

use zae_core::{add_on::Notice, error::Fallible};

use super::{
    line::{self, Alert, End, Kept, Sample, Written, milliseconds},
    machine, payload,
    spool::Spool,
    store::Store,
};
use crate::{Aside, Entries, Level, Status, Writer, clock::now, upload::Uploader};

/// Appends entries to a spool.
pub(super) struct SpoolWriter {
    spool: Spool,
    store: Store,
    /// Send what is written, if they could be started: the spool, and then the files.
    uploaders: Vec<Uploader>,
    buffer: Vec<u8>,
}

impl SpoolWriter {
    pub(super) fn new(spool: Spool, store: Store, uploaders: Vec<Uploader>) -> Self {
        Self { spool, store, uploaders, buffer: Vec::new() }
    }

    /// Lines for what belongs to no step; the console has its own file. Returns its lines, and how many samples there are then.
    fn append_asides(&mut self, asides: &[Aside]) -> Fallible<(Vec<u8>, u64)> {
        let (mut console, mut samples) = (Vec::new(), self.spool.samples);
        for aside in asides {
            match aside {
                Aside::System { time, values, .. } => {
                    let metrics = machine::metrics(values).into_iter().map(|(name, value)| (name, value.into()));
                    let line = Sample { sample: samples, time: milliseconds(*time), metrics: metrics.collect() };
                    line::append(&mut self.buffer, &line)?;
                    samples += 1;
                }
                Aside::Console { line, .. } => console.extend([line.as_bytes(), b"\n"].concat()),
                Aside::Alert { time, title, text, level } => {
                    let alert = match level {
                        Level::Info => "info",
                        Level::Warn => "warning",
                        Level::Error => "error",
                    };
                    let [alert, title, text] = [alert, title, text].map(str::to_owned);
                    line::append(&mut self.buffer, &Alert { alert, time: milliseconds(*time), title, text })?;
                }
                Aside::File { time, path } => {
                    let artifacts: Vec<_> = self.store.copy(path).into_iter().collect();
                    if !artifacts.is_empty() {
                        line::append(&mut self.buffer, &Kept { time: milliseconds(*time), artifacts })?;
                    }
                }
            }
        }
        Ok((console, samples))
    }
}

impl Writer for SpoolWriter {
    fn write(&mut self, entries: &Entries) -> Fallible {
        self.buffer.clear();
        for entry in entries.iter() {
            let mut paths = Vec::new();
            if let Some(media) = entry.media {
                for (path, bytes) in payload::payloads(&entry, media)? {
                    self.store.put(&path, &bytes)?;
                    paths.push(path);
                }
            }
            line::append(&mut self.buffer, &Written(entry, &paths))?;
        }
        let (console, samples) = self.append_asides(entries.asides())?;
        self.spool.file.append(&self.buffer)?;
        self.spool.samples = samples;
        self.store.console(&console);
        Ok(())
    }

    fn sync(&mut self) -> Fallible {
        self.store.sync()?;
        Ok(self.spool.file.sync()?)
    }

    fn end(&mut self, status: &Status, deadline: Instant) -> Fallible<Option<Notice>> {
        let end = match status {
            Status::Finished => "FINISHED",
            Status::Failed(_) => "FAILED",
            Status::Interrupted(_) => "KILLED",
        };
        self.buffer.clear();
        line::append(&mut self.buffer, &End { end: end.to_owned(), time: milliseconds(now()) })?;
        let written = self.spool.file.append(&self.buffer).and_then(|()| self.spool.file.sync());
        if let Err(reason) = self.uploaders.iter().try_for_each(|uploader| uploader.finish(deadline)) {
            let folder = self.spool.path.parent().unwrap_or(&self.spool.path).display();
            return Ok(Some(Notice::Warning(format!(
                "mlflow: the server has not got all of this run ({reason}). It is in `{folder}`: the program sends it when it \
                 is started again and goes on with this run, and `zae_loggers::mlflow::sync` does at any time"
            ))));
        }
        Ok(written.map(|()| None)?)
    }

    fn path(&self) -> PathBuf {
        self.spool.path.clone()
    }
}
