//! TensorBoard: event files, with nothing of TensorFlow.

mod event;
mod folder;
mod record;
mod settings;
mod shown;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;

use writer::EventWriter;
use zae_core::{error::Fallible, state::State};

use crate::{Logger, Opened, Sink, Start, clock::now};

/// Writes event files for TensorBoard: `tensorboard --logdir runs` shows all runs below that folder.
///
/// Every metric is a scalar by its own name; the x-axis is the count of optimizer steps. TensorBoard holds numbers as `f32`:
/// those beyond its range become infinite. NaN and infinities are kept. The settings of a run are under HPARAMS, where runs
/// can be compared, and under TEXT.
///
/// Images and histograms that a [`LogHandle`](crate::LogHandle) shows have dashboards of their own; texts, tables (up to 200
/// rows), the captions of images (`NAME/caption`) and alerts (`alerts/TITLE`) are under TEXT. A name is for one kind of thing,
/// and of several things of one name at one step TensorBoard's pages show the last. How the machine is doing is under SCALARS
/// as `system/...`. There is no place for files and console lines.
///
/// A resumed run goes on in the same folder, and every step is shown once: in files that are read anew, and by a TensorBoard
/// that has read the steps which are made again. A new run in the folder of an older one moves that to the folder `earlier.1`
/// within (`earlier.2`, ...), where TensorBoard shows it as a run of its own. Files of other programs are left alone.
///
/// ```
/// use zae_loggers::TensorBoardLogger;
///
/// let logger = TensorBoardLogger::new();
/// let elsewhere = TensorBoardLogger::new().to("runs/wide");
/// ```
pub type TensorBoardLogger = Logger<TensorBoard>;

/// The sink of a [`TensorBoardLogger`].
#[derive(Clone, Debug, Default)]
pub struct TensorBoard {
    folder: Option<PathBuf>,
}

impl Logger<TensorBoard> {
    /// Writes to the folder `tensorboard` in the run's folder.
    #[must_use]
    pub fn new() -> Self {
        Self::with(TensorBoard::default())
    }

    /// Writes to this folder. It is made if it is not there.
    #[must_use]
    pub fn to(mut self, folder: impl Into<PathBuf>) -> Self {
        self.sink.folder = Some(folder.into());
        self
    }
}

impl Default for Logger<TensorBoard> {
    fn default() -> Self {
        Self::new()
    }
}

impl Sink for TensorBoard {
    fn name(&self) -> &'static str {
        "tensorboard"
    }

    fn open(&mut self, start: &Start<'_>) -> Fallible<Opened> {
        let folder = match (&self.folder, start.run_dir) {
            (Some(folder), _) => folder.clone(),
            (None, Some(dir)) => dir.join("tensorboard"),
            (None, None) => {
                return Err(
                    "it has no folder to write to: give the trainer a `.run_dir(..)`, or the logger a `.to(..)`".into(),
                );
            }
        };
        let now = now();
        let entries = start.resume.map(|_| start.entries);
        let begin = |out: &mut Vec<u8>| settings::append(out, now, start.config);
        let file = folder::open(&folder, entries, now, begin)
            .map_err(|e| format!("cannot write to `{}`: {e}", folder.display()))?;
        let writer = Box::new(EventWriter::new(file));
        // All that there is to know of a run is in its folder.
        Ok(Opened { writer, identity: State::encode(&())?, ahead: Vec::new() })
    }
}
