//! [`Pending`]: losses and metrics that have not been read from the device yet.

mod exchange;

use std::sync::Arc;

use super::{
    EpochMetrics, RowHead, Rows, Totals,
    columns::Columns,
    entries::{Entry, Given, Reader},
    metric::{sum, twice},
    ready::{Cell, Ready},
};
use crate::{
    error::Fallible,
    learner::{Learner, Readout},
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
    readout: Readout,
    /// Numbers that were here already.
    here: Readout,
    cells: Vec<Cell>,
    /// What the metrics of a row are made of.
    taken: Vec<(usize, Vec<f64>)>,
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
            readout: Readout::default(),
            here: Readout::default(),
            cells: Vec::new(),
            taken: Vec::new(),
            ready: Ready::default(),
        };
        pending.columns.place(&Name::Borrowed("loss"), LOSS);
        pending.columns.place(&Name::Borrowed("grad_norm"), NORM);
        pending
    }

    /// Sums have been replaced: their slots are looked up again.
    pub(crate) fn forget_slots(&mut self) {
        self.columns.all.iter_mut().for_each(|column| column.slot = usize::MAX);
    }

    fn push(&mut self, column: usize, value: Value<S>, kind: Kind) {
        let given = match value {
            Value::Now(number) => Given::Now(number),
            Value::Lazy(scalar) => {
                self.lazy.push(scalar);
                Given::Lazy
            }
            Value::Here(numbers) => {
                self.here.push(&numbers);
                Given::Here
            }
        };
        self.entries.push(Entry { column, kind, given });
    }

    pub(crate) fn push_loss(&mut self, loss: S, weight: f64) {
        self.push(LOSS, Value::Lazy(loss), Kind::Mean { weight });
    }

    /// The metrics of a step, without their graphs.
    pub(crate) fn push_metrics<L: Learner<Scalar = S>>(
        &mut self,
        learner: &L,
        metrics: impl IntoIterator<Item = Metric<S>>,
    ) -> Fallible {
        for (i, mut metric) in metrics.into_iter().enumerate() {
            metric.value = metric.value.map(|scalar| learner.detach(scalar));
            self.push_metric(i, metric)?;
        }
        Ok(())
    }

    /// `index` is the metric's place in its step, where it most likely was before.
    fn push_metric(&mut self, index: usize, metric: Metric<S>) -> Fallible {
        let column = self.columns.own_place(&metric.name, NORM + 1 + index)?;
        if column <= NORM {
            let name = &metric.name;
            return Err(format!("the trainer itself reports `{name}`: give the metric another name").into());
        }
        self.push(column, metric.value, metric.kind);
        Ok(())
    }

    pub(crate) fn push_norm(&mut self, norm: S) {
        self.push(NORM, Value::Lazy(norm), Kind::Mean { weight: 1.0 });
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

    /// Reads everything lazy in one transfer. Returns the first training loss or norm that is not finite; nothing has
    /// been summed then, and [`Pending::settle`] has to follow in any case. What belongs to no row yet is of the step `next`.
    pub(crate) fn read<L: Learner<Scalar = S>>(&mut self, learner: &L, next: RowHead) -> Fallible<Option<NotFinite>> {
        let (before, asked) = (self.readout.len(), self.lazy.len());
        if asked > 0 {
            learner.read(&self.lazy, &mut self.readout)?;
            self.lazy.clear();
        }
        let got = self.readout.len() - before;
        if got != asked {
            let name = learner.name();
            return Err(format!("the engine `{name}` was asked for {asked} scalars and read {got}").into());
        }
        Ok(if self.readout.all_finite() { None } else { self.first_not_finite(next) })
    }

    /// The first loss or norm among what was read that is not finite. Other metrics may be what they like.
    fn first_not_finite(&self, next: RowHead) -> Option<NotFinite> {
        let mut reader = Reader::new(&self.readout, &self.here);
        let mut entries = self.entries.iter();
        let mut before = 0;
        let rows = self.open.iter().map(|row| (row.head, row.entries, row.counted));
        for (head, end, counted) in rows.chain([(next, self.entries.len(), true)]) {
            for entry in entries.by_ref().take(end - before) {
                let values = reader.values(entry);
                let &Entry { column, kind, .. } = entry;
                // A step that was left out was left out for that.
                if !counted || column > NORM || matches!(kind, Kind::Mean { weight } if weight == 0.0) {
                    continue;
                }
                if let Some(&value) = values.iter().find(|v| !v.is_finite()) {
                    return Some(NotFinite { head, metric: self.columns.all[column].full.clone(), value });
                }
            }
            before = end;
        }
        None
    }

    /// Adds what was read to the sums, and makes rows of it if somebody wants them. Nothing of it is left, even if something
    /// does not fit: nothing is summed twice.
    pub(crate) fn settle(&mut self, metrics: &EpochMetrics, totals: &mut Totals) -> Fallible {
        let summed = self.add_rows(metrics, totals);
        self.discard();
        summed
    }

    fn add_rows(&mut self, metrics: &EpochMetrics, totals: &mut Totals) -> Fallible {
        let Self { columns, entries, open, readout, here, cells, taken, ready, wants_rows, .. } = self;
        let mut reader = Reader::new(readout, here);
        let mut entry = 0;
        for &OpenRow { head, entries: end, lr, samples, counted } in &*open {
            cells.clear();
            taken.clear();
            for own in &entries[entry..end] {
                let values = reader.values(own);
                let Entry { column: index, kind, .. } = own;
                let column = &mut columns.all[*index];
                column.find(totals, metrics);
                let counted = counted && !column.measured;
                let (value, weight) = match (kind, values) {
                    (Kind::Mean { weight }, &[value]) => {
                        if counted && !totals.add_mean(column.slot, value, *weight) {
                            return Err(mixed(column.name()));
                        }
                        (value, *weight)
                    }
                    (Kind::Ratio { over }, &[sum]) => {
                        if counted && !totals.add_ratio(column.slot, sum, *over) {
                            return Err(mixed(column.name()));
                        }
                        (sum / over, *over)
                    }
                    (Kind::Mean { .. } | Kind::Ratio { .. }, values) => {
                        let (name, n) = (column.name(), values.len());
                        return Err(format!(
                            "`{name}` is a mean but holds {n} numbers: reduce it to one, or give it with `.count(..)`"
                        )
                        .into());
                    }
                    (Kind::Count, values) => {
                        let place = column.metric;
                        if let (Some(place), Some(_)) = (place, lr)
                            && metrics.grows(place)
                        {
                            return Err(only_in_evaluations(column.name()));
                        }
                        if counted {
                            let Some(all) = totals.count_mut(column.slot) else { return Err(mixed(column.name())) };
                            match place {
                                Some(place) => metrics.merge(place, all, values)?,
                                None => sum(all, values).map_err(|e| format!("`{}`: {e}", column.name()))?,
                            }
                        }
                        match (place, values) {
                            (Some(place), values) => {
                                if *wants_rows {
                                    take(metrics, taken, place, values)?;
                                }
                                continue;
                            }
                            (None, &[value]) => (value, 1.0),
                            (None, _) => continue,
                        }
                    }
                };
                if !*wants_rows || weight == 0.0 {
                    continue;
                }
                match cells.get_mut(column.cell) {
                    Some(cell) if cell.column == *index => cell.add(value, weight),
                    _ => {
                        column.cell = cells.len();
                        cells.push(Cell::new(*index, value, weight, *kind == Kind::Count));
                    }
                }
            }
            entry = end;
            if counted {
                totals.add_samples(samples);
            }
            if let (true, Some(lr)) = (*wants_rows, lr) {
                if !metrics.is_empty() {
                    finish(metrics, columns, cells, taken)?;
                }
                ready.push(head, cells, lr, |column| columns.all[column].full.clone());
            }
        }
        Ok(())
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
        self.readout.clear();
        self.here.clear();
    }
}

/// Takes a micro-batch's numbers into those of its row.
fn take(metrics: &EpochMetrics, taken: &mut Vec<(usize, Vec<f64>)>, place: usize, values: &[f64]) -> Fallible {
    let at = taken.iter().position(|own| own.0 == place).unwrap_or_else(|| {
        taken.push((place, Vec::new()));
        taken.len() - 1
    });
    metrics.merge(place, &mut taken[at].1, values)
}

/// Adds the cells of the metrics that are made of a row's counts and means.
fn finish(
    metrics: &EpochMetrics,
    columns: &mut Columns,
    cells: &mut Vec<Cell>,
    taken: &mut Vec<(usize, Vec<f64>)>,
) -> Fallible {
    taken.extend(cells.iter().filter_map(|cell| Some((columns.all[cell.column].metric?, vec![cell.value()]))));
    for (place, all) in taken.drain(..) {
        for (name, value) in metrics.finish(place, &all)? {
            let column = columns.own_place(&name, usize::MAX)?;
            if cells.iter().any(|cell| cell.column == column) {
                return Err(twice(&name));
            }
            cells.push(Cell::new(column, value, 1.0, false));
        }
    }
    Ok(())
}

fn only_in_evaluations(name: &str) -> crate::error::BoxError {
    format!(
        "`{name}` is taken together from all samples, which every snapshot of an epoch would have to hold: give it in \
         evaluations only (`at.mode == Mode::Evaluate`)"
    )
    .into()
}

fn mixed(name: &str) -> crate::error::BoxError {
    format!("`{name}` was another sort of metric before: a name is a mean or a count throughout").into()
}
