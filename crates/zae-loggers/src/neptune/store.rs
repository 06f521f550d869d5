//! [`Store`]: the database of a run and the ledger beside it, as one.

use std::path::{Path, PathBuf};

use zae_core::error::Fallible;

use super::{
    beside::Beside,
    database::{Append, Database, Operation},
    ledger::{Ledger, Written},
    operation,
    payload::Files,
    series::Series,
};

/// Which run it is.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) project: String,
    pub(super) run_id: String,
    pub(super) experiment: Option<String>,
}

/// The files of a run.
pub(super) struct Store {
    run: Run,
    folder: PathBuf,
    ledger: Ledger,
    /// None while it is being replaced.
    database: Option<Database>,
    /// The last write has failed: there may be operations that the ledger does not know.
    unsure: bool,
}

impl Store {
    /// Opens the files of a run, or begins them.
    pub(super) fn open(folder: &Path, run: &Run) -> Fallible<Self> {
        std::fs::create_dir_all(folder)?;
        let ledger = Ledger::open(folder, Database::path_in(folder).exists())?;
        let mut store = Self { run: run.clone(), folder: folder.to_owned(), ledger, database: None, unsure: true };
        store.settle()?;
        Ok(store)
    }

    pub(super) fn path(&self) -> PathBuf {
        Database::path_in(&self.folder)
    }

    /// Goes on behind so many entries, or behind more if the server may have them. Returns what those
    /// are of.
    pub(super) fn resume(&mut self, entries: u64) -> Fallible<Vec<u64>> {
        let sent = self.ledger.sent()?.max(self.settle()?.sent()?);
        let kept = entries.max(self.ledger.entries_within(sent)?);
        // First the ledger: what it does not know is not in the database for long.
        let last = self.ledger.cut(kept)?;
        let files = self.files();
        let database = self.settle()?;
        database.cut(last)?;
        files.sweep(&database.wanted()?);
        Ok(self.ledger.ahead(entries)?)
    }

    /// The steps of series and the time of the last entry, of a run that began at this time.
    pub(super) fn position(&self, begun: i64) -> Fallible<(Series, Beside, i64)> {
        let Self { ledger, .. } = self;
        Ok((Series::new(ledger.marks()?), Beside::new(begun, ledger.beside()?), ledger.nanos()?))
    }

    /// Makes files for the run.
    pub(super) fn files(&self) -> Files {
        Files::new(&self.folder, &self.run.run_id)
    }

    /// Whether the last write has failed, so that the position has to be asked anew.
    pub(super) fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// The database, and the ledger agrees with it. One that is gone is on the server as a whole: `neptune sync` takes it away
    /// then. The run goes on in a new one.
    fn settle(&mut self) -> Fallible<&mut Database> {
        // One that is gone is closed before the new one has its name.
        let database = match self.database.take().filter(Database::is_there) {
            Some(database) => database,
            None => {
                if !self.path().exists() {
                    self.ledger.restart()?;
                }
                Database::open(&self.folder, &self.run.project, &self.run.run_id)?
            }
        };
        if self.unsure {
            database.cut(self.ledger.last()?)?;
            self.unsure = false;
        }
        Ok(self.database.insert(database))
    }

    /// Adds operations and files, all or none. `fill` returns what of them has to be remembered.
    pub(super) fn write(&mut self, nanos: i64, fill: impl FnOnce(&mut Append<'_>) -> Fallible<Written>) -> Fallible {
        self.settle()?;
        let before = self.ledger.last()?;
        self.unsure = true;
        let (run, path) = (self.run.clone(), self.path());
        let database = self.database.as_mut().ok_or("the database is closed")?;
        let (last, written) = database.append(before, |append| {
            if before.operation == 0 {
                let mut bytes = Vec::new();
                operation::create(&mut bytes, &run.run_id, run.experiment.as_deref(), nanos);
                append.push(Operation::Create, &bytes, nanos)?;
            }
            fill(append)
        })?;
        if !database.is_there() {
            return Err(format!("`{}` was taken away while it was written", path.display()).into());
        }
        self.ledger.add(last, &written)?;
        self.unsure = false;
        Ok(())
    }
}
