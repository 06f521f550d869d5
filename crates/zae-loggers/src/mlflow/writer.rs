//! [`SpoolWriter`]: appends entries to a spool.

use std::{path::PathBuf, time::Instant};

use zae_core::{add_on::Notice, error::Fallible};

use super::spool::{self, End, Spool, Written};
use crate::{Entries, Status, Writer, clock::now, upload::Uploader};

/// Appends entries to a spool.
pub(super) struct SpoolWriter {
    spool: Spool,
    /// Sends what is written, if it could be started.
    uploader: Option<Uploader>,
    buffer: Vec<u8>,
}

impl SpoolWriter {
    pub(super) fn new(spool: Spool, uploader: Option<Uploader>) -> Self {
        Self { spool, uploader, buffer: Vec::new() }
    }
}

impl Writer for SpoolWriter {
    fn write(&mut self, entries: &Entries) -> Fallible {
        self.buffer.clear();
        for entry in entries.iter() {
            spool::append(&mut self.buffer, &Written(entry))?;
        }
        Ok(self.spool.file.append(&self.buffer)?)
    }

    fn sync(&mut self) -> Fallible {
        Ok(self.spool.file.sync()?)
    }

    fn end(&mut self, status: &Status, deadline: Instant) -> Fallible<Option<Notice>> {
        let end = match status {
            Status::Finished => "FINISHED",
            Status::Failed(_) => "FAILED",
            Status::Interrupted(_) => "KILLED",
        };
        self.buffer.clear();
        spool::append(&mut self.buffer, &End { end: end.to_owned(), time: spool::milliseconds(now()) })?;
        let written = self.spool.file.append(&self.buffer).and_then(|()| self.spool.file.sync());
        if let Some(Err(reason)) = self.uploader.as_ref().map(|uploader| uploader.finish(deadline)) {
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
