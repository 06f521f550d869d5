//! [`LogFile`]: every number of a run in one file, in whatever format.

mod file;
mod queue;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

pub(super) use file::{Found, Start, failed, next_row, open, sibling};
pub(super) use queue::{Batch, Event, Record};
use writer::Writer;

use crate::{
    add_on::{Context, Durable, Notice},
    error::Fallible,
    metrics::{EpochSummary, Evaluation, Metrics, Rows},
    state::State,
};

/// A file of some format, on the thread that writes it.
pub(super) trait Table: Send {
    /// Rows that were there when it was opened.
    fn rows(&self) -> u64;

    /// Appends rows.
    fn write(&mut self, batch: &Batch) -> Fallible;

    /// Has everything written put on disk.
    fn sync(&self) -> Fallible;
}

/// A format.
pub(super) struct Format {
    /// The file's name in the run folder.
    pub(super) file: &'static str,
    /// The add-on, for messages.
    pub(super) logger: &'static str,
    pub(super) open: fn(PathBuf, Start) -> Fallible<Box<dyn Table>>,
}

/// The training thread's end of a log.
pub(super) struct LogFile {
    format: &'static Format,

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

impl LogFile {
    /// Writes to the run folder, or to this file.
    pub(super) fn new(format: &'static Format, path: Option<PathBuf>) -> Self {
        Self {
            format,
            path,
            writer: None,
            in_run: false,
            layouts: Vec::new(),
            last: 0,
            rows: 0,
            resume: None,
            off: false,
        }
    }

    fn open(&mut self, run_dir: Option<&Path>, start: Start) -> Fallible {
        let path = match (&self.path, run_dir) {
            (Some(path), _) => path.clone(),
            (None, Some(dir)) => dir.join(self.format.file),
            (None, None) => {
                return Err(format!(
                    "it has no folder to write to: give the trainer a `.run_dir(..)`, or use `{}::to(path)`",
                    self.format.logger
                )
                .into());
            }
        };
        // First the old writer ends: it may be about to write the same file.
        self.writer = None;
        let table = (self.format.open)(path, start)?;
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
    pub(super) fn settle(&mut self, cx: &mut Context<'_>) {
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

    pub(super) fn on_run_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        // A disk that failed in an earlier run gets another chance.
        self.writer.take_if(|writer| !writer.is_well());
        self.off = false;
        self.open_if_needed(cx.run_dir, true)
    }

    pub(super) fn on_rows(&mut self, rows: &Rows<'_>, cx: &mut Context<'_>) -> Fallible {
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

    pub(super) fn on_evaluation_end(&mut self, evaluation: &Evaluation, cx: &mut Context<'_>) -> Fallible {
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

    pub(super) fn on_epoch_end(&mut self, epoch: &EpochSummary, cx: &mut Context<'_>) -> Fallible {
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

    pub(super) fn state(&self) -> Fallible<Option<State>> {
        Ok(Some(State::encode(&self.resume.unwrap_or(self.rows))?))
    }

    pub(super) fn restore(&mut self, state: &State) -> Fallible {
        self.resume = Some(state.decode()?);
        Ok(())
    }

    pub(super) fn durable(&self) -> Option<Durable> {
        self.writer.as_ref().map(Writer::durable)
    }
}

/// The hooks of an add-on whose field `log` is a [`LogFile`].
macro_rules! log_file_add_on {
    ($logger:ty, $name:literal) => {
        impl $crate::add_on::AddOn for $logger {
            fn name(&self) -> &'static str {
                $name
            }
            fn phase(&self) -> $crate::add_on::Phase {
                $crate::add_on::Phase::Report
            }
            fn on_run_start(&mut self, cx: &mut $crate::add_on::Context<'_>) -> $crate::error::Fallible {
                self.log.on_run_start(cx)
            }
            fn on_rows(
                &mut self,
                rows: &$crate::metrics::Rows<'_>,
                cx: &mut $crate::add_on::Context<'_>,
            ) -> $crate::error::Fallible {
                self.log.on_rows(rows, cx)
            }
            fn on_evaluation_end(
                &mut self,
                evaluation: &$crate::metrics::Evaluation,
                cx: &mut $crate::add_on::Context<'_>,
            ) -> $crate::error::Fallible {
                self.log.on_evaluation_end(evaluation, cx)
            }
            fn on_epoch_end(
                &mut self,
                epoch: &$crate::metrics::EpochSummary,
                cx: &mut $crate::add_on::Context<'_>,
            ) -> $crate::error::Fallible {
                self.log.on_epoch_end(epoch, cx)
            }
            fn on_run_end(
                &mut self,
                _: &$crate::trainer::Run,
                cx: &mut $crate::add_on::Context<'_>,
            ) -> $crate::error::Fallible {
                self.log.settle(cx);
                Ok(())
            }
            fn on_error(
                &mut self,
                _: &$crate::error::Error,
                cx: &mut $crate::add_on::Context<'_>,
            ) -> $crate::error::Fallible {
                self.log.settle(cx);
                Ok(())
            }
            fn state(&self) -> $crate::error::Fallible<Option<$crate::state::State>> {
                self.log.state()
            }
            fn restore(&mut self, state: &$crate::state::State) -> $crate::error::Fallible {
                self.log.restore(state)
            }
            fn durable(&self) -> Option<$crate::add_on::Durable> {
                self.log.durable()
            }
        }
    };
}
pub(super) use log_file_add_on;
