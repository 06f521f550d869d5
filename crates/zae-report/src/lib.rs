//! Reports of zae-engine: one HTML file that shows a run, or several, and loads nothing from anywhere.
//!
//! [`HtmlReport`] is the add-on that leaves one in the run folder; [`write()`] makes one of any runs, whether they have ended or
//! not. Both read what a run leaves behind: `metrics.csv` of [`CsvLogger`](zae_core::add_ons::CsvLogger) or `metrics.jsonl` of
//! [`JsonlLogger`](zae_core::add_ons::JsonlLogger), and `run.json`, which [`HtmlReport`] writes: settings, machine, how it ended.

mod add_on;
mod disk;
mod error;
mod page;
mod read;
mod run;

pub use add_on::HtmlReport;
pub use error::Error;

use std::path::{Path, PathBuf};

use page::Page;
use read::Runs;

/// Writes a report about these runs to a file. Each is a run folder, or a log itself.
///
/// The file appears whole or not at all. A run that still goes on is shown as far as its log goes, one without a `run.json`
/// without what is in that.
///
/// ```no_run
/// let runs = ["runs/small".into(), "runs/large".into()];
/// zae_report::write(&runs, "report.html".as_ref())?;
/// # Ok::<(), zae_report::Error>(())
/// ```
///
/// # Errors
/// When a run is not there, has no log, or has one that cannot be read; when the file cannot be written.
pub fn write(runs: &[PathBuf], to: &Path) -> Result<(), Error> {
    let runs = Runs::read(runs)?;
    disk::write_whole(to, Page::of(&runs).html().as_bytes())
}
