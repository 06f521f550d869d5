//! [`DatabaseWriter`]: entries become operations.

use std::{collections::BTreeSet, path::PathBuf, time::Instant};

use serde_json::Value;
use zae_core::{add_on::Notice, error::Fallible};

use super::{
    beside::Beside,
    content::Content,
    database::Operation,
    ledger::{Logged, Written},
    operation::{LONGEST_NAME, Update},
    payload::Files,
    series::Series,
    store::Store,
};
use crate::{Entries, Kind, News, Status, Writer, upload::Uploader};

/// More than so many things that cannot be logged are told of in no run.
const MOST_TOLD: usize = 30;

pub(super) struct DatabaseWriter {
    store: Store,
    /// What sends it, if there is a server.
    uploader: Option<Uploader>,
    series: Series,
    beside: Beside,
    files: Files,
    /// When the run began, and the time of the last operation. Neptune refuses a point that is older than the one before, and
    /// clocks are set back.
    begun: i64,
    nanos: i64,
    buffer: Vec<u8>,
    news: News,
    /// What was told of values that cannot be logged.
    told: BTreeSet<String>,
}

/// Nanoseconds since 1970.
pub(super) fn nanos(seconds: f64) -> i64 {
    (seconds * 1e9) as i64
}

impl DatabaseWriter {
    /// Of a run that began at this time.
    pub(super) fn new(store: Store, begun: i64, news: News) -> Fallible<Self> {
        let (series, beside, nanos) = store.position(begun)?;
        let files = store.files();
        let (buffer, told) = (Vec::new(), BTreeSet::new());
        Ok(Self { store, uploader: None, series, beside, files, begun, nanos, buffer, news, told })
    }

    pub(super) fn set_uploader(&mut self, uploader: Uploader) {
        self.uploader = Some(uploader);
    }

    /// Sets attributes, and adds to those that are sets.
    pub(super) fn assign(&mut self, now: i64, values: &[(String, Value)], sets: &[(&str, &[String])]) -> Fallible {
        let Self { store, buffer, .. } = self;
        let nanos = now.max(self.nanos);
        store.write(nanos, |append| {
            let mut update =
                Update::new(buffer, None, nanos, |bytes| Ok(append.push(Operation::Update, bytes, nanos)?));
            for (name, value) in values.iter().filter(|(name, _)| name.len() <= LONGEST_NAME) {
                update.assign(name, value)?;
            }
            for (name, texts) in sets.iter().filter(|(_, texts)| !texts.is_empty()) {
                update.add(name, texts)?;
            }
            update.finish()?;
            Ok(Written::default())
        })
    }
}

impl Writer for DatabaseWriter {
    fn write(&mut self, entries: &Entries) -> Fallible {
        if entries.is_empty() {
            return Ok(());
        }
        if self.store.is_unsure() {
            (self.series, self.beside, self.nanos) = self.store.position(self.begun)?;
        }
        let Self { store, series, beside, files, nanos: last_nanos, buffer, .. } = self;
        let mut misfits = Vec::new();
        store.write(*last_nanos, |append| {
            let mut written = Written::default();
            let mut at = |time: f64| {
                *last_nanos = nanos(time).max(*last_nanos);
                *last_nanos
            };
            let mut content = Content { append, buffer, files, misfits: &mut misfits };
            for entry in entries.iter() {
                let (nanos, step) = (at(entry.time), series.step(&entry));
                content.entry(&entry, step, nanos)?;
                let marks = (entry.kind != Kind::Step).then(|| (step, entry.names.to_vec()));
                let (at, mark) = (content.append.last(), entry.mark());
                written.entries.push(Logged { index: entry.index, at, nanos, mark, marks });
            }
            for aside in entries.asides() {
                let nanos = at(aside.time());
                content.aside(aside, beside, nanos)?;
            }
            if !entries.asides().is_empty() {
                written.beside = beside.all();
            }
            Ok(written)
        })?;
        for what in misfits {
            if self.told.len() < MOST_TOLD && self.told.insert(what.clone()) {
                self.news.warn(format!("neptune: {what}"));
            }
        }
        Ok(())
    }

    /// Every write is on disk when it returns.
    fn sync(&mut self) -> Fallible {
        Ok(())
    }

    fn end(&mut self, status: &Status, deadline: Instant) -> Fallible<Option<Notice>> {
        let (state, error) = match status {
            Status::Finished => ("finished", ""),
            Status::Failed(error) => ("failed", error.as_str()),
            Status::Interrupted(signal) => ("interrupted", *signal),
        };
        self.assign(self.nanos, &status_of(state, error), &[])?;
        let sent = self.uploader.take().map_or(Ok(()), |uploader| uploader.finish(deadline));
        Ok(sent.err().map(|why| {
            let path = self.path();
            Notice::Warning(format!(
                "neptune: not all of the run is on the server ({why}). This sends what is left: neptune sync {}",
                path.display()
            ))
        }))
    }

    fn path(&self) -> PathBuf {
        self.store.path()
    }
}

/// How a run is doing, as attributes.
pub(super) fn status_of(state: &str, error: &str) -> Vec<(String, Value)> {
    [("run/status", state), ("run/error", error)].map(|(name, text)| (name.to_owned(), text.into())).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use rusqlite::Connection;

    use super::*;
    use crate::{Media, Table, entry::Head, neptune::store::Run};

    fn entries(steps: std::ops::Range<u64>, evaluations: u64) -> Entries {
        let mut entries = Entries::default();
        ["train/loss", "valid/loss"].iter().for_each(|name| entries.add_layout([Arc::from(*name)].into()));
        for index in steps.clone() {
            let head = Head { index, step: index, time: 1.8e9, ..Head::default() };
            entries.push(head, &[index as f64]);
        }
        for i in 0..evaluations {
            let (index, kind) = (steps.end + i, Kind::Evaluation);
            // The clock was set back.
            let head = Head { index, kind, layout: 1, step: steps.end, time: 1.7e9, ..Head::default() };
            entries.push(head, &[f64::NAN]);
        }
        entries
    }

    /// The disk is full, say, for one of the two files.
    #[test]
    fn a_write_that_fails_is_made_again_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let run = Run { project: "team/digits".into(), run_id: "one".into(), experiment: None };
        let open = || DatabaseWriter::new(Store::open(folder.path(), &run).unwrap(), 0, News::default()).unwrap();
        let mut writer = open();
        writer.write(&entries(0..3, 1)).unwrap();
        let ledger = Connection::open(folder.path().join("zae.sqlite3")).unwrap();
        ledger.execute_batch("ALTER TABLE marks RENAME TO away").unwrap();
        writer.write(&entries(4..6, 1)).unwrap_err();
        writer.write(&entries(4..6, 1)).unwrap_err();
        ledger.execute_batch("ALTER TABLE away RENAME TO marks").unwrap();
        writer.write(&entries(4..6, 2)).unwrap();
        drop(writer);

        let database = Connection::open(folder.path().join("run_operations.sqlite3")).unwrap();
        let mut rows =
            database.prepare("SELECT timestamp, operation FROM run_operations ORDER BY sequence_id").unwrap();
        let rows: Vec<(i64, Vec<u8>)> =
            rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 1 + 4 + 4);
        // No time is before the one before it.
        assert!(rows[1..].iter().all(|(millis, _)| *millis == 1_800_000_000_000));
        // An operation begins with its step: whole and millionths.
        let step = |row: usize| &rows[row].1[..6];
        assert_eq!([step(4), step(7), step(8)], [[10, 4, 8, 3, 16, 0], [10, 4, 8, 6, 16, 0], [10, 4, 8, 6, 16, 1]]);

        // What only one of the files knows is taken back when they are opened.
        let later = "INSERT INTO run_operations (timestamp, operation_type, operation, operation_size_bytes)
                     VALUES (1, 0, x'', 0)";
        database.execute(later, []).unwrap();
        drop(open());
        let left: i64 = database.query_row("SELECT count(*) FROM run_operations", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 9);
    }

    /// The same of files: a retry adds none, and an entry that is taken back takes its file with it.
    #[test]
    fn a_file_is_there_as_often_as_its_entry() {
        let folder = tempfile::tempdir().unwrap();
        let run = Run { project: "team/digits".into(), run_id: "one".into(), experiment: None };
        let store = || Store::open(folder.path(), &run).unwrap();
        let mut writer = DatabaseWriter::new(store(), 0, News::default()).unwrap();
        let shown = |index: u64| {
            let mut entries = Entries::default();
            entries.add_layout([Arc::from("rows")].into());
            let head = Head { index, kind: Kind::Media, step: index, time: 1.8e9 + index as f64, ..Head::default() };
            entries.push_media(head, Arc::new(Media::Table(Table::new(["a"]))));
            entries
        };
        let rows = || {
            let database = Connection::open(folder.path().join("run_operations.sqlite3")).unwrap();
            let count = "SELECT count(*) FROM file_upload_requests";
            let rows: i64 = database.query_row(count, [], |row| row.get(0)).unwrap();
            (rows, std::fs::read_dir(folder.path().join("files")).unwrap().count())
        };
        writer.write(&shown(0)).unwrap();
        let ledger = Connection::open(folder.path().join("zae.sqlite3")).unwrap();
        ledger.execute_batch("ALTER TABLE marks RENAME TO away").unwrap();
        writer.write(&shown(1)).unwrap_err();
        writer.write(&shown(1)).unwrap_err();
        ledger.execute_batch("ALTER TABLE away RENAME TO marks").unwrap();
        writer.write(&shown(1)).unwrap();
        writer.write(&shown(2)).unwrap();
        assert_eq!(rows(), (3, 3));
        drop(writer);
        assert_eq!(store().resume(3).unwrap(), Vec::<u64>::new());
        assert_eq!(rows(), (3, 3));
        store().resume(1).unwrap();
        assert_eq!(rows(), (1, 1));
    }
}
