//! [`Database`]: `run_operations.sqlite3`, as neptune-scale writes it and `neptune sync` drains it.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};
use zae_core::error::Fallible;

use super::payload::Payload;

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

/// How far a file has come: the last of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Position {
    pub(super) operation: i64,
    /// A row of `file_upload_requests`.
    pub(super) file: i64,
}

/// A file that is to be uploaded.
pub(super) struct Pending {
    pub(super) id: i64,
    pub(super) source: PathBuf,
    pub(super) destination: String,
    pub(super) mime: String,
    /// Whether it is nobody's once it is uploaded.
    pub(super) is_temporary: bool,
}

/// The operations that the server has not got.
pub(super) struct Database {
    connection: Connection,
    path: PathBuf,
}

/// Operations to be sent with one request.
pub(super) struct Batch {
    pub(super) kind: Operation,
    /// One or more.
    pub(super) operations: Vec<Vec<u8>>,
    pub(super) bytes: usize,
    /// The number of the last of them.
    pub(super) last: i64,
}

/// Opens a file of SQLite so that a commit is on disk when it returns, and a process that is killed leaves it whole.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    prepared(Connection::open(path)?)
}

fn prepared(mut connection: Connection) -> rusqlite::Result<Connection> {
    // One that begins by reading would not wait for another's, but fail.
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
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

    /// The database of a folder, if there is one.
    pub(super) fn existing(folder: &Path) -> rusqlite::Result<Option<Self>> {
        let path = Self::path_in(folder);
        if !path.exists() {
            return Ok(None);
        }
        let connection = prepared(Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?)?;
        Ok(Some(Self { connection, path }))
    }

    /// Whether it has its name still: `neptune sync` takes the file away when all of it is on the server.
    pub(super) fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Adds operations and files behind these, all or none. Returns the last of them.
    pub(super) fn append<R>(
        &mut self,
        last: Position,
        fill: impl FnOnce(&mut Append<'_>) -> Fallible<R>,
    ) -> Fallible<(Position, R)> {
        let mut append = Append { transaction: self.connection.transaction()?, last };
        let result = fill(&mut append)?;
        append.transaction.commit()?;
        Ok((append.last, result))
    }

    /// Takes operations and files back, all behind these.
    pub(super) fn cut(&self, last: Position) -> rusqlite::Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        transaction.execute("DELETE FROM run_operations WHERE sequence_id > ?", [last.operation])?;
        transaction.execute("DELETE FROM run_operation_submission WHERE sequence_id > ?", [last.operation])?;
        transaction.execute("DELETE FROM file_upload_requests WHERE id > ?", [last.file])?;
        transaction.commit()
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

    /// The first operations, none behind `end`: of one kind, and not much more than so many bytes.
    pub(super) fn batch(&self, end: i64, most: usize) -> rusqlite::Result<Option<Batch>> {
        let mut select = self.connection.prepare_cached(
            "SELECT sequence_id, operation_type, operation FROM run_operations WHERE sequence_id <= ? ORDER BY sequence_id",
        )?;
        let mut rows = select.query([end])?;
        let mut batch: Option<Batch> = None;
        while let Some(row) = rows.next()? {
            let (last, kind, operation): (i64, i64, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let kind = if kind == Operation::Create as i64 { Operation::Create } else { Operation::Update };
            let batch = batch.get_or_insert_with(|| Batch { kind, operations: Vec::new(), bytes: 0, last });
            if !batch.operations.is_empty() && (kind == Operation::Create || batch.kind != kind || batch.bytes > most) {
                break;
            }
            batch.bytes += operation.len();
            batch.operations.push(operation);
            batch.last = last;
        }
        Ok(batch)
    }

    /// The request that nobody knows the end of: its last operation, and its id.
    pub(super) fn submission(&self) -> rusqlite::Result<Option<(i64, String)>> {
        let query = "SELECT sequence_id, request_id FROM run_operation_submission ORDER BY sequence_id DESC LIMIT 1";
        self.connection.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()
    }

    /// Operations up to this one are on their way with this request.
    pub(super) fn submit(&self, last: i64, request: &str) -> rusqlite::Result<()> {
        let insert = "INSERT INTO run_operation_submission SELECT sequence_id, timestamp, ? FROM run_operations
                      WHERE sequence_id = ?";
        self.connection.execute(insert, params![request, last]).map(drop)
    }

    /// No request is on its way.
    pub(super) fn withdraw(&self) -> rusqlite::Result<()> {
        self.connection.execute("DELETE FROM run_operation_submission", []).map(drop)
    }

    /// The first so many files that are to be uploaded, none behind `end`.
    pub(super) fn pending(&self, end: i64, most: usize) -> rusqlite::Result<Vec<Pending>> {
        let mut select = self.connection.prepare_cached(
            "SELECT id, source_path, destination, mime_type, is_temporary FROM file_upload_requests
             WHERE id <= ? ORDER BY id LIMIT ?",
        )?;
        let pending = select.query_map([end, most as i64], |row| {
            Ok(Pending {
                id: row.get(0)?,
                source: row.get::<_, String>(1)?.into(),
                destination: row.get(2)?,
                mime: row.get(3)?,
                is_temporary: row.get(4)?,
            })
        })?;
        pending.collect()
    }

    /// The names of the files that are to be uploaded.
    pub(super) fn wanted(&self) -> rusqlite::Result<HashSet<OsString>> {
        let mut select = self.connection.prepare("SELECT source_path FROM file_upload_requests")?;
        let sources = select.query_map([], |row| row.get::<_, String>(0))?;
        sources.map(|source| Ok(Path::new(&source?).file_name().unwrap_or_default().to_owned())).collect()
    }

    /// The storage has this file.
    pub(super) fn uploaded(&self, id: i64) -> rusqlite::Result<()> {
        self.connection.execute("DELETE FROM file_upload_requests WHERE id = ?", [id]).map(drop)
    }

    /// The server has the operations up to this one.
    pub(super) fn forget(&self, last: i64) -> rusqlite::Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        transaction.execute("DELETE FROM run_operations WHERE sequence_id <= ?", [last])?;
        transaction.execute("DELETE FROM run_operation_submission WHERE sequence_id <= ?", [last])?;
        transaction.commit()
    }
}

/// Operations on their way into the database.
pub(super) struct Append<'a> {
    transaction: Transaction<'a>,
    last: Position,
}

impl Append<'_> {
    pub(super) fn push(&mut self, operation: Operation, bytes: &[u8], nanos: i64) -> rusqlite::Result<()> {
        let mut insert = self.transaction.prepare_cached(
            "INSERT INTO run_operations (timestamp, operation_type, operation, operation_size_bytes) VALUES (?, ?, ?, ?)",
        )?;
        self.last.operation = insert.insert(params![nanos / 1_000_000, operation as i64, bytes, bytes.len() as i64])?;
        Ok(())
    }

    pub(super) fn push_file(&mut self, file: &Payload) -> rusqlite::Result<()> {
        let mut insert = self.transaction.prepare_cached(
            "INSERT INTO file_upload_requests (source_path, destination, mime_type, size_bytes, is_temporary)
             VALUES (?, ?, ?, ?, 1)",
        )?;
        let source = file.source.to_string_lossy();
        self.last.file = insert.insert(params![source, file.destination, file.mime, file.bytes as i64])?;
        Ok(())
    }

    /// The last so far.
    pub(super) fn last(&self) -> Position {
        self.last
    }
}
