//! What a logger hands over: rows and metrics, each once.

use std::sync::Arc;

use zae_core::{metrics::Rows, progress::ProgressChecker};

use super::Logger;
use crate::{Entries, Kind, Sink, clock::now, entry::Head, mark};

impl<S: Sink> Logger<S> {
    /// Hands over what steps have to tell.
    pub(super) fn push_rows(&mut self, rows: Rows<'_>, progress: &ProgressChecker) {
        let rows = if self.ahead.is_empty() { rows } else { self.new_of(rows) };
        let Self { worker: Some(worker), columns, saved, started, .. } = self else { return };
        if rows.is_empty() {
            return;
        }
        worker.push(rows.len() as u64, |entries: &mut Entries, is_first| {
            // The clock is read now and then: what is left is to add.
            if is_first {
                *started = now() - progress.elapsed().as_secs_f64();
            }
            let (layout, new) = columns.number(Kind::Step, rows.shared_names());
            new.into_iter().for_each(|new| entries.add_layout(new));
            for row in rows.iter() {
                let head = Head {
                    kind: Kind::Step,
                    layout,
                    index: saved.entries,
                    epoch: row.head.cursor.epoch,
                    step: row.head.step,
                    seconds: row.head.seconds,
                    time: *started + row.head.seconds,
                };
                entries.push(head, row.values);
                saved.entries += 1;
            }
        });
    }

    /// Hands over metrics, given their head without what is worked out here.
    pub(super) fn push_metrics(&mut self, head: Head, metrics: Vec<(Arc<str>, f64)>, progress: &ProgressChecker) {
        let (names, values): (Vec<_>, Vec<_>) = metrics.into_iter().unzip();
        let names: Arc<[Arc<str>]> = names.into();
        if self.is_there(head.step, &names) {
            return;
        }
        let Self { worker: Some(worker), columns, saved, started, .. } = self else { return };
        worker.push(1, |entries: &mut Entries, is_first| {
            if is_first {
                *started = now() - progress.elapsed().as_secs_f64();
            }
            let (layout, new) = columns.number(head.kind, &names);
            new.into_iter().for_each(|new| entries.add_layout(new));
            entries.push(Head { layout, index: saved.entries, time: *started + head.seconds, ..head }, &values);
            saved.entries += 1;
        });
    }

    /// Those of them behind all that are there already.
    #[cold]
    fn new_of<'a>(&mut self, rows: Rows<'a>) -> Rows<'a> {
        let there = rows.iter().take_while(|row| self.is_there(row.head.step, rows.names())).count();
        rows.split_at(there).1
    }

    /// Whether the entry is there already: its step is made again after a resume from an older checkpoint, and the entry
    /// could not be taken back. Then it counts.
    ///
    /// What is there comes again in the order in which it came, but for evaluations that somebody made in between: they stay.
    /// The first entry that is not there is behind them all.
    pub(super) fn is_there(&mut self, step: u64, names: &[Arc<str>]) -> bool {
        if self.ahead.is_empty() {
            return false;
        }
        let own = mark(step, names.iter().map(|name| &**name));
        let found = self.ahead.iter().position(|mark| *mark == own);
        let passed = found.map_or(self.ahead.len(), |at| at + 1);
        self.ahead.drain(..passed);
        self.saved.entries += passed as u64;
        found.is_some()
    }
}
