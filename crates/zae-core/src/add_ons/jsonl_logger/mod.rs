//! [`JsonlLogger`]: every number of a run, one JSON object per line.

mod table;

use std::path::PathBuf;

use super::log_file::{Format, LogFile, log_file_add_on};
use table::JsonlTable;

/// Writes every step, evaluation and epoch to `metrics.jsonl` in the run folder, one JSON object per line.
///
/// ```json
/// {"event":"step","epoch":0,"step":3,"micro_batch":3,"samples":128,"seconds":0.25,"lr":0.001,"train/loss":0.693}
/// {"event":"evaluation","epoch":0,"step":4,"samples":128,"seconds":0.5,"lr":0.001,"valid/loss":0.5}
/// ```
///
/// The fields are the columns of [`CsvLogger`](super::CsvLogger), and so is all else: when rows reach the file, what a resume and
/// a new run do with it, and what happens if the disk fails. Unlike a table, the file is never written anew when a metric appears
/// that was not there before.
///
/// A number that is not there has no field; all others return their exact value when they are parsed. JSON has no NaN and no
/// infinity: they are the strings `"NaN"`, `"Infinity"` and `"-Infinity"`, which `float(..)` in Python, `Number(..)` in JavaScript
/// and `parse` in Rust understand, and so does `pandas.read_json(path, lines=True).astype(..)`.
///
/// ```
/// use zae_core::add_ons::JsonlLogger;
/// let logger = JsonlLogger::new();
/// let elsewhere = JsonlLogger::to("logs/first.jsonl");
/// ```
pub struct JsonlLogger {
    log: LogFile,
}

static JSONL: Format = Format {
    file: "metrics.jsonl",
    logger: "JsonlLogger",
    open: |path, start| Ok(Box::new(JsonlTable::open(path, start)?)),
};

impl JsonlLogger {
    /// Writes to `metrics.jsonl` in the run folder.
    #[must_use]
    pub fn new() -> Self {
        Self { log: LogFile::new(&JSONL, None) }
    }

    /// Writes to this file. Its folder is made if it is not there.
    #[must_use]
    pub fn to(path: impl Into<PathBuf>) -> Self {
        Self { log: LogFile::new(&JSONL, Some(path.into())) }
    }
}

impl Default for JsonlLogger {
    fn default() -> Self {
        Self::new()
    }
}

log_file_add_on!(JsonlLogger, "jsonl");
