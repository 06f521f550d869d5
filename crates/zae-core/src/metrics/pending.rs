//! [`Pending`]: losses and metrics that have not been read from the device yet.

mod exchange;
mod settle;

use std::sync::Arc;

use super::{
    RowHead, Rows,
    cells::Cells,
    columns::Columns,
    entries::{Entry, Given, Numbers},
    ready::Ready,
};
use crate::{
    error::Fallible,
    learner::Learner,
    step::{Kind, Metric, Name, Value},
};

#[derive(Clone, Copy)]
struct OpenRow {
    head: RowHead,
    entries: usize,
    lr: Option<f64>,
    samples: f64,
    counted: bool,
}

/// A loss or gradient norm that was NaN or infinite.
pub(crate) struct NotFinite {
    pub(crate) head: RowHead,
    pub(crate) metric: Arc<str>,
    pub(crate) value: f64,
}

/// Lazy scalars of steps not read yet, and rows read but not yet handed to the add-ons. All buffers are reused.
pub(crate) struct Pending<S> {
    /// Whether anybody looks at rows.
    pub(crate) wants_rows: bool,
    columns: Columns,
    /// Rows ended so far.
    ended: u64,
    lazy: Vec<S>,
    entries: Vec<Entry>,
    open: Vec<OpenRow>,
    numbers: Numbers,
    cells: Cells,
    ready: Ready,
}

const LOSS: usize = 0;
const NORM: usize = 1;

impl<S> Pending<S> {
    /// Metrics get this prefix: `train`, `valid`, ...
    pub(crate) fn new(prefix: &str) -> Self {
        let mut pending = Self {
            wants_rows: false,
            columns: Columns::new(prefix),
            ended: 0,
            lazy: Vec::new(),
            entries: Vec::new(),
            open: Vec::new(),
            numbers: Numbers::default(),
            cells: Cells::default(),
            ready: Ready::default(),
        };
        // In the order of `LOSS` and `NORM`.
        pending.columns.place(&Name::Borrowed("loss"));
        pending.columns.place(&Name::Borrowed("grad_norm"));
        pending
    }

    /// Sums have been replaced: their slots are looked up again.
    pub(crate) fn forget_slots(&mut self) {
        self.columns.all.iter_mut().for_each(|column| column.slot = usize::MAX);
    }

    fn push_lazy(&mut self, column: usize, scalar: S, kind: Kind) {
        let given = Given::Lazy(self.numbers.device.len() + self.lazy.len());
        self.lazy.push(scalar);
        self.entries.push(Entry { column, kind, given });
    }

    fn push(&mut self, column: usize, value: Value<S>, kind: Kind) {
        let given = match value {
            Value::Lazy(scalar) => return self.push_lazy(column, scalar, kind),
            Value::Now(number) => Given::Now(number),
            Value::Here(numbers) => {
                self.numbers.host.push(&numbers);
                Given::Here(self.numbers.host.len() - 1)
            }
        };
        self.entries.push(Entry { column, kind, given });
    }

    pub(crate) fn push_loss(&mut self, loss: S, weight: f64) {
        self.push_lazy(LOSS, loss, Kind::Mean { weight });
    }

    /// The metrics of a step, without their graphs.
    pub(crate) fn push_metrics<L: Learner<Scalar = S>>(
        &mut self,
        learner: &L,
        metrics: impl IntoIterator<Item = Metric<S>>,
    ) -> Fallible {
        for (index, Metric { name, value, kind }) in metrics.into_iter().enumerate() {
            // It most likely has the place in its step that it had before.
            let likely = NORM + 1 + index;
            let column = if self.columns.is_at(likely, &name) { likely } else { self.columns.own_place(&name)? };
            if column <= NORM {
                return Err(format!("the trainer itself reports `{name}`: give the metric another name").into());
            }
            self.push(column, value.map(|scalar| learner.detach(scalar)), kind);
        }
        Ok(())
    }

    pub(crate) fn push_norm(&mut self, norm: S) {
        self.push_lazy(NORM, norm, Kind::Mean { weight: 1.0 });
    }

    /// Ends a row. A row that is not `counted` is shown but not summed.
    pub(crate) fn end_row(&mut self, head: RowHead, lr: Option<f64>, samples: f64) {
        self.ended += 1;
        self.open.push(OpenRow { head, entries: self.entries.len(), lr, samples, counted: true });
    }

    /// Makes a number that an add-on has logged part of the row that was ended last.
    pub(crate) fn log(&mut self, full: Arc<str>, value: f64) -> Fallible {
        let index = self.columns.logged_place(full)?;
        let (column, Some(row)) = (&mut self.columns.all[index], self.open.last_mut()) else { return Ok(()) };
        if std::mem::replace(&mut column.logged, self.ended) == self.ended {
            let name = &column.full;
            return Err(format!("`{name}` was logged twice for one step: log it once, or give it two names").into());
        }
        self.entries.push(Entry { column: index, kind: Kind::Mean { weight: 1.0 }, given: Given::Now(value) });
        row.entries = self.entries.len();
        Ok(())
    }

    /// Leaves the last row out of the sums.
    pub(crate) fn discount_last(&mut self) {
        if let Some(row) = self.open.last_mut() {
            row.counted = false;
        }
    }

    /// Rows that are neither read nor summed yet, or only the latter.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// Whether all rows that are open are of steps before this one.
    pub(crate) fn are_before(&self, step: u64) -> bool {
        self.open.last().is_none_or(|row| row.head.step < step)
    }

    /// Rows not read yet. (Every row has a loss, so one with nothing lazy left has been read.)
    pub(crate) fn waiting(&self) -> usize {
        if self.lazy.is_empty() { 0 } else { self.open.len() }
    }

    /// Reads everything lazy in one transfer. Nothing has been summed then: [`Pending::settle`] has to follow.
    pub(crate) fn read<L: Learner<Scalar = S>>(&mut self, learner: &L) -> Fallible {
        let (before, asked) = (self.numbers.device.len(), self.lazy.len());
        if asked > 0 {
            learner.read(&self.lazy, &mut self.numbers.device)?;
            self.lazy.clear();
        }
        let got = self.numbers.device.len() - before;
        if got != asked {
            let name = learner.name();
            return Err(format!("the engine `{name}` was asked for {asked} scalars and read {got}").into());
        }
        Ok(())
    }

    /// Whether all that was read is finite.
    pub(crate) fn is_finite(&self) -> bool {
        self.numbers.device.all_finite()
    }

    /// The first training loss or norm among what was read that is not finite; other metrics may be what they like. What
    /// belongs to no row yet is of the step `next`.
    pub(crate) fn first_not_finite(&self, next: RowHead) -> Option<NotFinite> {
        let mut from = 0;
        let rows = self.open.iter().map(|row| (row.head, row.entries, row.counted));
        for (head, end, counted) in rows.chain([(next, self.entries.len(), true)]) {
            for entry in &self.entries[from..end] {
                let &Entry { column, kind, .. } = entry;
                // A step that was left out was left out for that.
                if !counted || column > NORM || matches!(kind, Kind::Mean { weight } if weight == 0.0) {
                    continue;
                }
                if let Some(&value) = self.numbers.of(entry).iter().find(|v| !v.is_finite()) {
                    return Some(NotFinite { head, metric: self.columns.all[column].full.clone(), value });
                }
            }
            from = end;
        }
        None
    }

    /// Whether no row is ready to be handed out.
    pub(crate) fn none_ready(&self) -> bool {
        self.ready.is_empty()
    }

    /// Rows that are ready to be handed out, in groups of the same columns.
    pub(crate) fn ready(&self) -> impl Iterator<Item = Rows<'_>> {
        self.ready.groups()
    }

    /// They have been handed out.
    pub(crate) fn clear_ready(&mut self) {
        self.ready.clear();
    }

    /// Forgets steps that were not read: their run has failed.
    pub(crate) fn discard(&mut self) {
        self.lazy.clear();
        self.entries.clear();
        self.open.clear();
        self.numbers.clear();
    }
}
