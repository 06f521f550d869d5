//! [`CsvLogger`]: every number of a run in one table.

mod format;
mod table;

use std::path::PathBuf;

use super::log_file::{Format, LogFile, log_file_add_on};
use table::CsvTable;

/// Writes every step, evaluation and epoch to `metrics.csv` in the run folder.
///
/// One row per event, one column per name: `event` (`step`, `evaluation` or `epoch`), `epoch`, `step`, `micro_batch`,
/// `samples`, `seconds`, `lr`, then metrics in order of first appearance. Counts start at 0: `step` is how many steps
/// were done before a step, an evaluation or the next epoch. `samples` and `seconds` count from the start of the run. A
/// number that is not there is empty; all others return their exact value when they are parsed.
///
/// The training thread only copies numbers: a thread of its own formats and writes them. Rows reach the file within a
/// second, and all of them when the run ends, in whatever way. If the disk cannot keep up, 65,536 rows wait in memory;
/// then training waits too, for no row may be lost. A disk that fails or is full costs a warning and the rest of the log, not
/// the training.
///
/// A resumed run cuts the file back to the snapshot, so every step is in it once. A new run moves an older file aside
/// (`metrics.1.csv`, ...).
///
/// ```
/// use zae_core::add_ons::CsvLogger;
/// let logger = CsvLogger::new();
/// let elsewhere = CsvLogger::to("logs/first.csv");
/// ```
pub struct CsvLogger {
    log: LogFile,
}

static CSV: Format =
    Format { file: "metrics.csv", logger: "CsvLogger", open: |path, start| Ok(Box::new(CsvTable::open(path, start)?)) };

impl CsvLogger {
    /// Writes to `metrics.csv` in the run folder.
    #[must_use]
    pub fn new() -> Self {
        Self { log: LogFile::new(&CSV, None) }
    }

    /// Writes to this file. Its folder is made if it is not there.
    #[must_use]
    pub fn to(path: impl Into<PathBuf>) -> Self {
        Self { log: LogFile::new(&CSV, Some(path.into())) }
    }
}

impl Default for CsvLogger {
    fn default() -> Self {
        Self::new()
    }
}

log_file_add_on!(CsvLogger, "csv");
