//! [`Database`]: `run_operations.sqlite3`, as neptune-scale writes it and `neptune sync` drains it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use zae_core::error::Fallible;

/// How long the other connections to a file may take.
const BUSY: Duration = Duration::from_secs(20);

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS run_operations (
    sequence_id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp INTEGER NOT NULL, operation_type INTEGER NOT NULL,
    operation BLOB NOT NULL, operation_size_bytes INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS idx_run_operations_sequence_size ON run_operations (sequence_id, operation_size_bytes);
CREATE TABLE IF NOT EXISTS metadata (
    id INTEGER PRIMARY KEY AUTOINCREMENT, version TEXT NOT NULL, project TEXT NOT NULL, run_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS run_operation_submission (
    sequence_id INTEGER PRIMARY KEY, timestamp INTEGER NOT NULL, request_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS file_upload_requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT, source_path TEXT NOT NULL, destination TEXT NOT NULL,
    mime_type TEXT NOT NULL, size_bytes INTEGER NOT NULL, is_temporary INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS operation_errors (
    error_id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp INTEGER NOT NULL, error_type TEXT NOT NULL,
    error_details TEXT NOT NULL, error_body TEXT NOT NULL, sequence_id INTEGER);";

/// What an operation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    Update = 0,
    Create = 1,
}

/// The operations that the server has not got.
pub(super) struct Database {
    connection: Connection,
    path: PathBuf,
}

/// Opens a file of SQLite so that a commit is on disk when it returns, and a process that is killed leaves it whole.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

impl Database {
    /// Where it is in the folder of a run.
    pub(super) fn path_in(folder: &Path) -> PathBuf {
        folder.join("run_operations.sqlite3")
    }

    /// Opens the database of a folder; makes it if it is not there.
    pub(super) fn open(folder: &Path, project: &str, run_id: &str) -> Fallible<Self> {
        let path = Self::path_in(folder);
        let mut connection = connect(&path)?;
        let transaction = connection.transaction()?;
        transaction.execute_batch(TABLES)?;
        let version: Option<String> =
            transaction.query_row("SELECT version FROM metadata", [], |row| row.get(0)).optional()?;
        match version.as_deref() {
            Some("v5") => {}
            Some(other) => return Err(format!("`{}` is of version {other}, not v5", path.display()).into()),
            None => {
                let metadata = "INSERT INTO metadata (version, project, run_id) VALUES ('v5', ?, ?)";
                transaction.execute(metadata, [project, run_id])?;
            }
        }
        transaction.commit()?;
        // The name of the file too.
        File::open(folder)?.sync_all()?;
        Ok(Self { connection, path })
    }

    /// Whether it has its name still: `neptune sync` takes the file away when all of it is on the server.
    pub(super) fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Adds operations behind this one, all or none. Returns the last of them.
    pub(super) fn append<R>(
        &mut self,
        last: i64,
        fill: impl FnOnce(&mut Append<'_>) -> Fallible<R>,
    ) -> Fallible<(i64, R)> {
        let mut append = Append { transaction: self.connection.transaction()?, last };
        let result = fill(&mut append)?;
        append.transaction.commit()?;
        Ok((append.last, result))
    }

    /// Takes operations back, all behind this one.
    pub(super) fn cut(&self, last: i64) -> rusqlite::Result<()> {
        self.connection.execute("DELETE FROM run_operations WHERE sequence_id > ?", [last])?;
        self.connection.execute("DELETE FROM run_operation_submission WHERE sequence_id > ?", [last])?;
        Ok(())
    }

    /// The last operation that somebody has sent, or may have: it was taken out, or has the number of a request.
    pub(super) fn sent(&self) -> rusqlite::Result<i64> {
        self.connection.query_row(
            "SELECT max(coalesce((SELECT min(sequence_id) - 1 FROM run_operations),
                                 (SELECT seq FROM sqlite_sequence WHERE name = 'run_operations'), 0),
                        coalesce((SELECT max(sequence_id) FROM run_operation_submission), 0))",
            [],
            |row| row.get(0),
        )
    }
}

/// Operations on their way into the database.
pub(super) struct Append<'a> {
    transaction: Transaction<'a>,
    last: i64,
}

impl Append<'_> {
    pub(super) fn push(&mut self, operation: Operation, bytes: &[u8], nanos: i64) -> rusqlite::Result<()> {
        let mut insert = self.transaction.prepare_cached(
            "INSERT INTO run_operations (timestamp, operation_type, operation, operation_size_bytes) VALUES (?, ?, ?, ?)",
        )?;
        self.last = insert.insert(params![nanos / 1_000_000, operation as i64, bytes, bytes.len() as i64])?;
        Ok(())
    }

    /// The last operation so far.
    pub(super) fn last(&self) -> i64 {
        self.last
    }
}
