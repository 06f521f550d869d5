//! What a logger hands over: rows and metrics, each once.

use std::{borrow::Cow, sync::Arc};

use zae_core::{metrics::Row, progress::ProgressChecker};

use super::{Layout, Logger};
use crate::{Entries, Kind, Sink, clock::now, entry::Head, mark};

impl<S: Sink> Logger<S> {
    /// The number of a list of columns, and the list if the thread has yet to be told of it.
    pub(super) fn layout(&mut self, kind: Kind, names: &[Arc<str>]) -> (usize, Option<Arc<[Arc<str>]>>) {
        // Nearly always the very names of the step before.
        if let Some(((of, layout), number)) = &self.last
            && *of == kind
            && layout.len() == names.len()
            && layout.iter().zip(names).all(|(a, b)| Arc::ptr_eq(a, b))
        {
            return (*number, None);
        }
        let layout: Layout = (kind, names.into());
        let known = self.layouts.len();
        let number = *self.layouts.entry(layout.clone()).or_insert(known);
        let new = (number == known).then(|| layout.1.clone());
        if kind == Kind::Step {
            self.last = Some((layout, number));
        }
        (number, new)
    }

    /// Hands over entries with the same names: for each its head, without what is worked out here, and its values.
    pub(super) fn push<'a>(
        &mut self,
        kind: Kind,
        names: &[Arc<str>],
        rows: impl ExactSizeIterator<Item = (Head, Cow<'a, [f64]>)>,
        progress: &ProgressChecker,
    ) {
        let mut rows = rows.peekable();
        while let Some((head, _)) = rows.peek()
            && self.is_there(head.step, names)
        {
            rows.next();
        }
        let Some(worker) = self.worker.take() else { return };
        if rows.len() > 0 {
            worker.push(rows.len() as u64, |entries: &mut Entries, is_first| {
                // The clock is read now and then: what is left is to add.
                if is_first {
                    self.started = now() - progress.elapsed().as_secs_f64();
                }
                let (layout, new) = self.layout(kind, names);
                new.into_iter().for_each(|new| entries.add_layout(new));
                for (head, values) in rows {
                    let (index, time) = (self.saved.entries, self.started + head.seconds);
                    entries.push(Head { kind, layout, index, time, ..head }, values.iter().copied());
                    self.saved.entries += 1;
                }
            });
        }
        self.worker = Some(worker);
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

    pub(super) fn push_rows<'a>(
        &mut self,
        names: &[Arc<str>],
        rows: impl ExactSizeIterator<Item = Row<'a>>,
        progress: &ProgressChecker,
    ) {
        let rows = rows.map(|row| {
            let head = Head {
                epoch: row.head.cursor.epoch,
                step: row.head.step,
                seconds: row.head.seconds,
                ..Head::default()
            };
            (head, Cow::Borrowed(row.values))
        });
        self.push(Kind::Step, names, rows, progress);
    }

    pub(super) fn push_metrics(
        &mut self,
        kind: Kind,
        head: Head,
        metrics: Vec<(Arc<str>, f64)>,
        progress: &ProgressChecker,
    ) {
        let (names, values): (Vec<_>, Vec<_>) = metrics.into_iter().unzip();
        self.push(kind, &names, std::iter::once((head, Cow::Owned(values))), progress);
    }
}
