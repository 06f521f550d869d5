//! [`SpoolWriter`]: appends entries to a spool.

use std::{
    io::{Seek, SeekFrom, Write},
    path::PathBuf,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use zae_core::{add_on::Notice, error::Fallible};

use super::spool::{self, End, Spool, Written};
use crate::{Entries, Status, Writer, upload::Uploader};

/// Appends entries to a spool.
pub(super) struct SpoolWriter {
    spool: Spool,
    /// Sends what is written, if it could be started.
    uploader: Option<Uploader>,
    buffer: Vec<u8>,
    /// Part of a line may be behind the end.
    torn: bool,
}

impl SpoolWriter {
    pub(super) fn new(spool: Spool, uploader: Option<Uploader>) -> Self {
        Self { spool, uploader, buffer: Vec::new(), torn: false }
    }

    /// Writes the buffer, all or nothing.
    fn append(&mut self) -> Fallible {
        let Spool { file, end, .. } = &mut self.spool;
        if self.torn {
            file.set_len(*end)?;
            file.seek(SeekFrom::Start(*end))?;
        }
        self.torn = true;
        if let Err(error) = file.write_all(&self.buffer) {
            // At once, for there may be no other time: this is how the run may end.
            file.set_len(*end)?;
            return Err(error.into());
        }
        self.torn = false;
        *end += self.buffer.len() as u64;
        Ok(())
    }
}

impl Writer for SpoolWriter {
    fn write(&mut self, entries: &Entries) -> Fallible {
        self.buffer.clear();
        for entry in entries.iter() {
            spool::append(&mut self.buffer, &Written(entry))?;
        }
        self.append()
    }

    fn sync(&mut self) -> Fallible {
        Ok(self.spool.file.sync_data()?)
    }

    fn end(&mut self, status: &Status, deadline: Instant) -> Fallible<Option<Notice>> {
        let end = match status {
            Status::Finished => "FINISHED",
            Status::Failed(_) => "FAILED",
            Status::Interrupted(_) => "KILLED",
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
        self.buffer.clear();
        spool::append(&mut self.buffer, &End { end: end.to_owned(), time: spool::milliseconds(now) })?;
        let written = self.append().and_then(|()| self.sync());
        if let Some(Err(reason)) = self.uploader.as_ref().map(|uploader| uploader.finish(deadline)) {
            let folder = self.spool.path.parent().unwrap_or(&self.spool.path).display();
            return Ok(Some(Notice::Warning(format!(
                "mlflow: the server has not got all of this run ({reason}). It is in `{folder}`: the program sends it when it \
                 is started again and goes on with this run, and `zae_loggers::mlflow::sync` does at any time"
            ))));
        }
        written.map(|()| None)
    }

    fn path(&self) -> PathBuf {
        self.spool.path.clone()
    }
}
