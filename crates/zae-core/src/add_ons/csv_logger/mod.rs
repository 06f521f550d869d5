//! [`CsvLogger`]: every number of a run in one file.

mod format;
mod queue;
mod table;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use queue::{Batch, Event, Record};
use table::{Start, Table};
use writer::Writer;

use crate::{
    add_on::{AddOn, Context, Durable, Notice, Phase},
    error::{Error, Fallible},
    metrics::{EpochSummary, Evaluation, Metrics, Rows},
    state::State,
    trainer::Run,
};

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
#[derive(Default)]
pub struct CsvLogger {
    path: Option<PathBuf>,
    writer: Option<Writer>,
    /// Whether the file was opened for a run, not just for an evaluation before one.
    in_run: bool,
    /// The columns of rows seen so far, as the writer knows them.
    layouts: Vec<Arc<[Arc<str>]>>,
    /// The one of the last row.
    last: usize,
    /// Data rows of the file, those on their way to it included.
    rows: u64,
    /// How many rows a snapshot counts, until the file is opened.
    resume: Option<u64>,
    /// The disk has failed: nothing more is written in this run.
    off: bool,
}

impl CsvLogger {
    /// Writes to `metrics.csv` in the run folder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes to this file. Its folder is made if it is not there.
    #[must_use]
    pub fn to(path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), ..Self::default() }
    }

    fn open(&mut self, run_dir: Option<&Path>, start: Start) -> Fallible {
        let path = match (&self.path, run_dir) {
            (Some(path), _) => path.clone(),
            (None, Some(dir)) => dir.join("metrics.csv"),
            (None, None) => {
                return Err("it has no folder to write to: give the trainer a `.run_dir(..)`, or use \
                            `CsvLogger::to(path)`"
                    .into());
            }
        };
        // First the old writer ends: it may be about to write the same file.
        self.writer = None;
        let table = Table::open(path, start)?;
        self.rows = table.rows();
        self.layouts.clear();
        self.writer = Some(Writer::start(table)?);
        self.resume = None;
        Ok(())
    }

    /// Opens the file unless that is done. An evaluation alone begins no new file: it may be about the run that the
    /// present one tells of.
    fn open_if_needed(&mut self, run_dir: Option<&Path>, for_run: bool) -> Fallible {
        if self.off {
            return Ok(());
        }
        let begins = for_run && !self.in_run;
        let start = match self.resume {
            Some(rows) => Start::Resume(rows),
            None if begins => Start::Fresh,
            None if self.writer.is_some() => return Ok(()),
            None => Start::Append,
        };
        self.in_run |= for_run || self.resume.is_some();
        self.open(run_dir, start)
    }

    /// The index of a list of columns, and whether the writer has yet to be told of it.
    fn layout(&mut self, names: &[Arc<str>]) -> (usize, bool) {
        // Nearly always the very names of the row before.
        let same = |layout: &Arc<[Arc<str>]>| {
            layout.len() == names.len() && layout.iter().zip(names).all(|(a, b)| Arc::ptr_eq(a, b))
        };
        if self.layouts.get(self.last).is_some_and(same) {
            return (self.last, false);
        }
        let known = self.layouts.iter().position(|layout| **layout == *names);
        self.last = known.unwrap_or(self.layouts.len());
        if known.is_none() {
            self.layouts.push(names.into());
        }
        (self.last, known.is_none())
    }

    /// A row for an evaluation or an epoch.
    fn push_metrics(&mut self, record: Record, lr: f64, metrics: &Metrics) -> Fallible {
        let names: Vec<Arc<str>> =
            std::iter::once("lr").chain(metrics.keys().map(String::as_str)).map(Arc::from).collect();
        let (layout, is_new) = self.layout(&names);
        let Some(writer) = &self.writer else { return Ok(()) };
        self.rows += 1;
        writer.push(|batch| {
            batch.layouts.extend(is_new.then(|| self.layouts[layout].clone()));
            batch.push(Record { layout, ..record }, std::iter::once(lr).chain(metrics.values().copied()));
        })
    }

    /// Waits until every row is on disk.
    fn settle(&mut self, cx: &mut Context<'_>) {
        let settled = self.writer.as_ref().map_or(Ok(()), Writer::settle);
        self.give_up_if(settled, cx);
    }

    /// No log is worth a training: if it cannot be written, people are told, and the run goes on without.
    fn give_up_if(&mut self, written: Fallible, cx: &mut Context<'_>) {
        if let Err(error) = written {
            self.writer = None;
            self.off = true;
            cx.requests.notice(Notice::Warning(format!("{error}: this run is logged there no further")));
        }
    }
}

impl AddOn for CsvLogger {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn phase(&self) -> Phase {
        Phase::Report
    }

    fn on_run_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        // A disk that failed in an earlier run gets another chance.
        self.writer.take_if(|writer| !writer.is_well());
        self.off = false;
        self.open_if_needed(cx.run_dir, true)
    }

    fn on_rows(&mut self, rows: &Rows<'_>, cx: &mut Context<'_>) -> Fallible {
        self.open_if_needed(cx.run_dir, true)?;
        let (layout, is_new) = self.layout(rows.names());
        let Some(writer) = &self.writer else { return Ok(()) };
        self.rows += rows.len() as u64;
        let written = writer.push(|batch: &mut Batch| {
            batch.layouts.extend(is_new.then(|| self.layouts[layout].clone()));
            for row in rows.iter() {
                let head = row.head;
                let record = Record {
                    event: Event::Step,
                    layout,
                    epoch: head.cursor.epoch,
                    step: head.step,
                    micro_batch: head.cursor.micro_batch,
                    samples: head.samples,
                    seconds: head.seconds,
                };
                batch.push(record, row.values.iter().copied());
            }
        });
        self.give_up_if(written, cx);
        Ok(())
    }

    fn on_evaluation_end(&mut self, evaluation: &Evaluation, cx: &mut Context<'_>) -> Fallible {
        self.open_if_needed(cx.run_dir, false)?;
        let record = Record {
            event: Event::Evaluation,
            epoch: evaluation.epoch,
            step: evaluation.step,
            samples: cx.progress.samples(),
            seconds: cx.progress.elapsed().as_secs_f64(),
            ..Record::default()
        };
        let written = self.push_metrics(record, cx.lr, &evaluation.metrics);
        self.give_up_if(written, cx);
        Ok(())
    }

    fn on_epoch_end(&mut self, epoch: &EpochSummary, cx: &mut Context<'_>) -> Fallible {
        let record = Record {
            event: Event::Epoch,
            epoch: epoch.epoch,
            step: epoch.step,
            samples: cx.progress.samples(),
            seconds: epoch.seconds,
            ..Record::default()
        };
        let written = self.push_metrics(record, epoch.lr, &epoch.metrics);
        self.give_up_if(written, cx);
        Ok(())
    }

    fn on_run_end(&mut self, _: &Run, cx: &mut Context<'_>) -> Fallible {
        self.settle(cx);
        Ok(())
    }

    fn on_error(&mut self, _: &Error, cx: &mut Context<'_>) -> Fallible {
        self.settle(cx);
        Ok(())
    }

    fn state(&self) -> Fallible<Option<State>> {
        Ok(Some(State::encode(&self.resume.unwrap_or(self.rows))?))
    }

    fn restore(&mut self, state: &State) -> Fallible {
        self.resume = Some(state.decode()?);
        Ok(())
    }

    fn durable(&self) -> Option<Durable> {
        self.writer.as_ref().map(Writer::durable)
    }
}
