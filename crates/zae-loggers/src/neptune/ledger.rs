//! [`Ledger`]: what a run has logged, also when the database has forgotten it because the server has it.

use std::{path::Path, sync::Arc};

use rusqlite::{Connection, params};

use super::database::{Position, connect};

/// `operations.last` is the last operation that was written as a whole, `operations.sent` the last one that the server may
/// have. `entries` says which operation is an entry's last. `marks` are the steps at which series have got points of
/// evaluations, epochs and what is shown. `files.last` is the last file that was written as a whole, `files_of_entries` the
/// last one that was there when an entry was written, and `beside` has the last step of series that belong to no entry.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS operations (only INTEGER PRIMARY KEY CHECK (only = 0), last INTEGER, sent INTEGER);
INSERT OR IGNORE INTO operations VALUES (0, 0, 0);
CREATE TABLE IF NOT EXISTS entries (entry INTEGER PRIMARY KEY, sequence_id INTEGER NOT NULL, nanos INTEGER NOT NULL, mark INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS marks (entry INTEGER NOT NULL, name TEXT NOT NULL, step INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS marks_by_entry ON marks (entry);
CREATE TABLE IF NOT EXISTS files (only INTEGER PRIMARY KEY CHECK (only = 0), last INTEGER NOT NULL);
INSERT OR IGNORE INTO files VALUES (0, 0);
CREATE TABLE IF NOT EXISTS files_of_entries (entry INTEGER PRIMARY KEY, last INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS beside (name TEXT PRIMARY KEY, step INTEGER NOT NULL);";

/// A file beside the database, which `neptune sync` leaves alone. It is written after the database: what it does not know
/// of was not logged.
pub(super) struct Ledger {
    connection: Connection,
}

/// An entry that is in the database.
#[derive(Clone, Debug)]
pub(super) struct Logged {
    pub(super) index: u64,
    /// Its last operation, and the last file so far.
    pub(super) at: Position,
    pub(super) nanos: i64,
    /// What it is of: [`mark`](crate::mark).
    pub(super) mark: u64,
    /// The step of its points in [`MICRO`](super::operation::MICRO)s and the names of their series, if it is not a step.
    pub(super) marks: Option<(u64, Vec<Arc<str>>)>,
}

/// What was written at once.
#[derive(Default)]
pub(super) struct Written {
    pub(super) entries: Vec<Logged>,
    /// The last steps of series that belong to no entry.
    pub(super) beside: Vec<(String, u64)>,
}

impl Ledger {
    /// One that is there.
    pub(super) fn existing(folder: &Path) -> rusqlite::Result<Self> {
        Ok(Self { connection: connect(&folder.join("zae.sqlite3"))? })
    }

    /// # Errors
    /// If it `has_to_be_there` and is not.
    pub(super) fn open(folder: &Path, has_to_be_there: bool) -> rusqlite::Result<Self> {
        let mut ledger = Self::existing(folder)?;
        if has_to_be_there {
            ledger.sent()?;
        }
        let transaction = ledger.connection.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.commit()?;
        Ok(ledger)
    }

    fn number(&self, query: &str) -> rusqlite::Result<i64> {
        self.connection.query_row(query, [], |row| row.get(0))
    }

    /// The last operation and file that belong to the run.
    pub(super) fn last(&self) -> rusqlite::Result<Position> {
        Ok(Position {
            operation: self.number("SELECT last FROM operations")?,
            file: self.number("SELECT last FROM files")?,
        })
    }

    /// The last operation that the server has, or may have.
    pub(super) fn sent(&self) -> rusqlite::Result<i64> {
        self.number("SELECT sent FROM operations")
    }

    /// The time of the last entry.
    pub(super) fn nanos(&self) -> rusqlite::Result<i64> {
        self.number("SELECT coalesce(max(nanos), 0) FROM entries")
    }

    /// The last step of each series that has one.
    pub(super) fn marks(&self) -> rusqlite::Result<Vec<(String, u64)>> {
        let mut select = self.connection.prepare("SELECT name, max(step) FROM marks GROUP BY name")?;
        let marks = select.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
        marks.collect()
    }

    /// The last steps of series that belong to no entry.
    pub(super) fn beside(&self) -> rusqlite::Result<Vec<(String, u64)>> {
        let mut select = self.connection.prepare("SELECT name, step FROM beside")?;
        let beside = select.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
        beside.collect()
    }

    /// How many entries the run had when this operation was its last.
    pub(super) fn entries_within(&self, operation: i64) -> rusqlite::Result<u64> {
        let count = "SELECT coalesce(max(entry) + 1, 0) FROM entries WHERE sequence_id <= ?";
        Ok(self.connection.query_row(count, [operation], |row| row.get::<_, i64>(0))? as u64)
    }

    /// Operations and files up to these are written, and so is this.
    pub(super) fn add(&mut self, last: Position, written: &Written) -> rusqlite::Result<()> {
        let mut file = self.last()?.file;
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO entries VALUES (?, ?, ?, ?)")?;
            let mut mark = transaction.prepare_cached("INSERT INTO marks VALUES (?, ?, ?)")?;
            for Logged { index, at, nanos, mark: own, marks } in &written.entries {
                let index = *index as i64;
                insert.execute(params![index, at.operation, nanos, *own as i64])?;
                if std::mem::replace(&mut file, at.file) != at.file {
                    transaction.execute("INSERT INTO files_of_entries VALUES (?, ?)", [index, at.file])?;
                }
                if let Some((step, names)) = marks {
                    names.iter().try_for_each(|name| mark.execute(params![index, &**name, *step as i64]).map(drop))?;
                }
            }
            for (name, step) in &written.beside {
                transaction.execute("INSERT OR REPLACE INTO beside VALUES (?, ?)", params![name, *step as i64])?;
            }
        }
        transaction.execute("UPDATE operations SET last = ?", [last.operation])?;
        transaction.execute("UPDATE files SET last = ?", [last.file])?;
        transaction.commit()
    }

    /// Remembers what the server has, or may have.
    pub(super) fn set_sent(&self, operation: i64) -> rusqlite::Result<()> {
        self.connection.execute("UPDATE operations SET sent = max(sent, ?)", [operation]).map(drop)
    }

    /// What the entries from this one on are of, in order.
    pub(super) fn ahead(&self, entries: u64) -> rusqlite::Result<Vec<u64>> {
        let mut select = self.connection.prepare("SELECT mark FROM entries WHERE entry >= ? ORDER BY entry")?;
        let ahead = select.query_map([entries as i64], |row| Ok(row.get::<_, i64>(0)? as u64))?;
        ahead.collect()
    }

    /// Takes entries back, all from this one on, and what was told after the last that is left. Returns what is left.
    pub(super) fn cut(&mut self, entries: u64) -> rusqlite::Result<Position> {
        let transaction = self.connection.transaction()?;
        let of = [entries as i64];
        transaction.execute("DELETE FROM marks WHERE entry >= ?", of)?;
        transaction.execute("DELETE FROM files_of_entries WHERE entry >= ?", of)?;
        if transaction.execute("DELETE FROM entries WHERE entry >= ?", of)? > 0 {
            let last = "(SELECT coalesce(max(sequence_id), 0) FROM entries)";
            transaction.execute(&format!("UPDATE operations SET last = {last}"), [])?;
            let last = "(SELECT coalesce(max(last), 0) FROM files_of_entries)";
            transaction.execute(&format!("UPDATE files SET last = {last}"), [])?;
        }
        transaction.commit()?;
        self.last()
    }

    /// The database is gone: the server has all there was, and a new one counts anew.
    pub(super) fn restart(&mut self) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        transaction.execute("UPDATE entries SET sequence_id = 0", [])?;
        transaction.execute("UPDATE operations SET last = 0, sent = 0", [])?;
        transaction.execute("DELETE FROM files_of_entries", [])?;
        transaction.execute("UPDATE files SET last = 0", [])?;
        transaction.commit()
    }
}
