//! [`Pending`]: losses and metrics that have not been read from the device yet.

mod exchange;

use std::{collections::HashMap, sync::Arc};

use super::{
    RowHead, Rows, Totals, is_measured,
    ready::{Cell, Ready},
};
use crate::{
    error::Fallible,
    learner::{Learner, Readout},
    step::{Kind, Metric, Name, Value},
};

/// A metric as the task names it, with all that is looked up once.
struct Column {
    /// What add-ons log has its full name only.
    short: Option<Name>,
    full: Arc<str>,
    /// Shown, but never summed.
    measured: bool,
    /// The row that an add-on last logged it for.
    logged: u64,
    /// Where its sum is.
    slot: usize,
    /// Where its cell was in the last row.
    cell: usize,
}

impl Column {
    fn name(&self) -> &str {
        self.short.as_deref().unwrap_or(&self.full)
    }
}

#[derive(Clone, Copy)]
struct Entry {
    column: usize,
    kind: Kind,
    /// A number that is here already; the others come from the device, in order.
    now: Option<f64>,
}

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
    prefix: String,
    /// Whether anybody looks at rows.
    pub(crate) wants_rows: bool,
    columns: Vec<Column>,
    /// Their places, by the task's names.
    places: HashMap<Name, usize>,
    /// The places of those that add-ons log.
    logged: HashMap<Arc<str>, usize>,
    /// Rows ended so far.
    ended: u64,
    lazy: Vec<S>,
    entries: Vec<Entry>,
    open: Vec<OpenRow>,
    readout: Readout,
    cells: Vec<Cell>,
    ready: Ready,
}

const LOSS: usize = 0;
const NORM: usize = 1;

impl<S> Pending<S> {
    /// Metrics get this prefix: `train`, `valid`, ...
    pub(crate) fn new(prefix: &str) -> Self {
        let mut pending = Self {
            prefix: prefix.to_owned(),
            wants_rows: false,
            columns: Vec::new(),
            places: HashMap::new(),
            logged: HashMap::new(),
            ended: 0,
            lazy: Vec::new(),
            entries: Vec::new(),
            open: Vec::new(),
            readout: Readout::default(),
            cells: Vec::new(),
            ready: Ready::default(),
        };
        pending.column(&Name::Borrowed("loss"), LOSS);
        pending.column(&Name::Borrowed("grad_norm"), NORM);
        pending
    }

    /// Sums have been replaced: their slots are looked up again.
    pub(crate) fn forget_slots(&mut self) {
        self.columns.iter_mut().for_each(|column| column.slot = usize::MAX);
    }

    fn column(&mut self, name: &Name, hint: usize) -> usize {
        if self.columns.get(hint).is_some_and(|column| column.short.as_ref() == Some(name)) {
            return hint;
        }
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.columns.len();
        let full = format!("{}/{name}", self.prefix).into();
        self.columns.push(Column {
            short: Some(name.clone()),
            full,
            measured: false,
            logged: 0,
            slot: usize::MAX,
            cell: 0,
        });
        self.places.insert(name.clone(), place);
        place
    }

    /// The place of a number that an add-on logs.
    fn logged_column(&mut self, full: Arc<str>) -> Fallible<usize> {
        if let Some(place) = self.logged.get(&full) {
            return Ok(*place);
        }
        if *full == *"lr" || self.columns.iter().any(|column| column.full == full) {
            return Err(taken(&full));
        }
        let place = self.columns.len();
        let measured = is_measured(&full);
        self.columns.push(Column { short: None, full: full.clone(), measured, logged: 0, slot: usize::MAX, cell: 0 });
        self.logged.insert(full, place);
        Ok(place)
    }

    fn push(&mut self, column: usize, value: Value<S>, kind: Kind) {
        let now = match value {
            Value::Now(number) => Some(number),
            Value::Lazy(scalar) => {
                self.lazy.push(scalar);
                None
            }
        };
        self.entries.push(Entry { column, kind, now });
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
        let known = self.columns.len();
        let column = self.column(&metric.name, NORM + 1 + index);
        if column == known && self.logged.contains_key(&self.columns[column].full) {
            return Err(taken(&self.columns[column].full));
        }
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
        let index = self.logged_column(full)?;
        let (column, Some(row)) = (&mut self.columns[index], self.open.last_mut()) else { return Ok(()) };
        if std::mem::replace(&mut column.logged, self.ended) == self.ended {
            return Err(twice(&column.full));
        }
        self.entries.push(Entry { column: index, kind: Kind::Mean { weight: 1.0 }, now: Some(value) });
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

    /// Whether nothing is left to be read. (Every row has a loss, so one with nothing lazy left has been read.)
    pub(crate) fn is_read(&self) -> bool {
        self.lazy.is_empty()
    }

    /// Rows not read yet.
    pub(crate) fn waiting(&self) -> usize {
        if self.is_read() { 0 } else { self.open.len() }
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
        let mut lazy = 0..;
        let mut entries = self.entries.iter();
        let mut before = 0;
        let rows = self.open.iter().map(|row| (row.head, row.entries, row.counted));
        for (head, end, counted) in rows.chain([(next, self.entries.len(), true)]) {
            for Entry { column, kind, now } in entries.by_ref().take(end - before) {
                if now.is_some() {
                    continue;
                }
                let value = self.readout.get(lazy.next()?);
                // A step that was left out was left out for that.
                if !counted || *column > NORM || matches!(kind, Kind::Mean { weight } if *weight == 0.0) {
                    continue;
                }
                if let Some(&value) = value.iter().find(|v| !v.is_finite()) {
                    return Some(NotFinite { head, metric: self.columns[*column].full.clone(), value });
                }
            }
            before = end;
        }
        None
    }

    /// Adds what was read to the sums, and makes rows of it if somebody wants them. Nothing of it is left, even if something
    /// does not fit: nothing is summed twice.
    pub(crate) fn settle(&mut self, totals: &mut Totals) -> Fallible {
        let summed = self.add_rows(totals);
        self.discard();
        summed
    }

    fn add_rows(&mut self, totals: &mut Totals) -> Fallible {
        let Self { columns, entries, open, readout, cells, ready, wants_rows, .. } = self;
        let (mut entry, mut lazy) = (0, 0);
        for &OpenRow { head, entries: end, lr, samples, counted } in &*open {
            cells.clear();
            for Entry { column: index, kind, now } in &entries[entry..end] {
                let values = match now {
                    Some(number) => std::slice::from_ref(number),
                    None => {
                        lazy += 1;
                        readout.get(lazy - 1)
                    }
                };
                let column = &mut columns[*index];
                if column.slot == usize::MAX {
                    column.slot = totals.slot(&column.full);
                }
                let counted = counted && !column.measured;
                let (value, weight) = match (kind, values) {
                    (Kind::Mean { weight }, &[value]) => {
                        if counted && !totals.add_mean(column.slot, value, *weight) {
                            return Err(mixed(column.name()));
                        }
                        (value, *weight)
                    }
                    (Kind::Mean { .. }, values) => {
                        let (name, n) = (column.name(), values.len());
                        return Err(format!(
                            "`{name}` is a mean but holds {n} numbers: reduce it to one, or give it with `.count(..)`"
                        )
                        .into());
                    }
                    (Kind::Count, values) => {
                        if counted && !totals.add_count(column.slot, values) {
                            return Err(mixed(column.name()));
                        }
                        if let &[value] = values { (value, 1.0) } else { continue }
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
                ready.push(head, cells, lr, |column| columns[column].full.clone());
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
    }
}

/// For an add-on's number and for one of the task: either may come first.
fn taken(name: &str) -> crate::error::BoxError {
    format!(
        "`{name}` is what an add-on logs and also what the trainer or the task reports: give one of them another name"
    )
    .into()
}

pub(super) fn twice(name: &str) -> crate::error::BoxError {
    format!("`{name}` was logged twice for one step, evaluation or epoch: log it once, or give it two names").into()
}

fn mixed(name: &str) -> crate::error::BoxError {
    format!(
        "`{name}` was another sort of metric before, or a count of another length: a name is a mean or a count throughout, \
         and a count has the same length in every batch"
    )
    .into()
}
