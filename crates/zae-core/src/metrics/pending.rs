//! [`Pending`]: losses and metrics that have not been read from the device yet.

use std::{ops::Range, sync::Arc};

use super::{RowHead, Rows, Totals};
use crate::{
    error::Fallible,
    learner::{Learner, Readout},
    step::{Kind, Metric, Name, Value},
};

/// A metric as the task names it, with all that is looked up once.
struct Column {
    short: Name,
    full: Arc<str>,
    slot: usize,
}

struct Entry {
    column: usize,
    kind: Kind,
    /// A number that is here already; the others come from the device, in order.
    now: Option<f64>,
}

struct OpenRow {
    head: RowHead,
    entries: usize,
    lr: Option<f64>,
    samples: f64,
    counted: bool,
}

/// Rows with the same columns.
struct Group {
    layout: usize,
    heads: Range<usize>,
    values: Range<usize>,
}

struct Layout {
    columns: Vec<usize>,
    names: Vec<Arc<str>>,
}

/// A loss or gradient norm that was NaN or infinite.
pub(crate) struct NotFinite {
    pub(crate) head: RowHead,
    pub(crate) metric: Arc<str>,
    pub(crate) value: f64,
}

/// A column's value within one row.
#[derive(Clone, Copy, Default)]
struct Cell {
    sum: f64,
    weight: f64,
    first: f64,
    entries: usize,
    count: bool,
}

/// Lazy scalars of steps not read yet, and rows read but not yet handed to the add-ons. All buffers are reused.
pub(crate) struct Pending<S> {
    prefix: String,
    columns: Vec<Column>,
    lazy: Vec<S>,
    entries: Vec<Entry>,
    open: Vec<OpenRow>,
    readout: Readout,
    cells: Vec<Cell>,
    layouts: Vec<Layout>,
    groups: Vec<Group>,
    heads: Vec<RowHead>,
    values: Vec<f64>,
}

const LOSS: usize = 0;
const NORM: usize = 1;

impl<S> Pending<S> {
    /// Metrics get this prefix: `train`, `valid`, ...
    pub(crate) fn new(prefix: &str) -> Self {
        let mut pending = Self {
            prefix: prefix.to_owned(),
            columns: Vec::new(),
            lazy: Vec::new(),
            entries: Vec::new(),
            open: Vec::new(),
            readout: Readout::default(),
            cells: Vec::new(),
            layouts: Vec::new(),
            groups: Vec::new(),
            heads: Vec::new(),
            values: Vec::new(),
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
        let is_it = |column: &Column| column.short == *name;
        if self.columns.get(hint).is_some_and(is_it) {
            return hint;
        }
        self.columns.iter().position(is_it).unwrap_or_else(|| {
            let full = format!("{}/{name}", self.prefix).into();
            self.columns.push(Column { short: name.clone(), full, slot: usize::MAX });
            self.columns.len() - 1
        })
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

    /// `index` is the metric's place in its step, where it most likely was before.
    pub(crate) fn push_metric(&mut self, index: usize, metric: Metric<S>) -> Fallible {
        let column = self.column(&metric.name, NORM + 1 + index);
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
        self.open.push(OpenRow { head, entries: self.entries.len(), lr, samples, counted: true });
    }

    /// Leaves the last row out of the sums.
    pub(crate) fn discount_last(&mut self) {
        if let Some(row) = self.open.last_mut() {
            row.counted = false;
        }
    }

    /// Rows not read yet.
    pub(crate) fn waiting(&self) -> usize {
        self.open.len()
    }

    /// Reads everything lazy in one transfer. Returns the first training loss or norm that is not finite; nothing has
    /// been summed then, and [`Pending::settle`] has to follow in any case.
    pub(crate) fn read<L: Learner<Scalar = S>>(&mut self, learner: &L) -> Fallible<Option<NotFinite>> {
        self.readout.clear();
        let asked = self.lazy.len();
        if asked > 0 {
            learner.read(&self.lazy, &mut self.readout)?;
            self.lazy.clear();
        }
        if self.readout.len() != asked {
            let (name, got) = (learner.name(), self.readout.len());
            return Err(format!("the engine `{name}` was asked for {asked} scalars and read {got}").into());
        }
        let (mut entry, mut lazy) = (0, 0);
        for row in &self.open {
            while entry < row.entries {
                let Entry { column, kind, now } = &self.entries[entry];
                entry += 1;
                if now.is_some() {
                    continue;
                }
                let value = self.readout.get(lazy);
                lazy += 1;
                if *column > NORM || matches!(kind, Kind::Mean { weight } if *weight == 0.0) {
                    continue;
                }
                if let Some(&value) = value.iter().find(|v| !v.is_finite()) {
                    return Ok(Some(NotFinite { head: row.head, metric: self.columns[*column].full.clone(), value }));
                }
            }
        }
        Ok(None)
    }

    /// Turns what was read into rows and adds it to the sums.
    pub(crate) fn settle(&mut self, totals: &mut Totals) -> Fallible {
        let (mut entry, mut lazy) = (0, 0);
        for r in 0..self.open.len() {
            let OpenRow { head, entries, lr, samples, counted } = self.open[r];
            self.cells.clear();
            self.cells.resize(self.columns.len(), Cell::default());
            while entry < entries {
                let Entry { column, kind, now } = &self.entries[entry];
                entry += 1;
                let values = match now {
                    Some(number) => std::slice::from_ref(number),
                    None => {
                        lazy += 1;
                        self.readout.get(lazy - 1)
                    }
                };
                let about = &mut self.columns[*column];
                if about.slot == usize::MAX {
                    about.slot = totals.slot(&about.full);
                }
                let cell = &mut self.cells[*column];
                match (kind, values) {
                    (Kind::Mean { weight }, &[value]) => {
                        if counted {
                            totals.add_mean(about.slot, value, *weight);
                        }
                        if *weight != 0.0 {
                            cell.add(value, *weight);
                        }
                    }
                    (Kind::Mean { .. }, values) => {
                        let (name, n) = (&about.short, values.len());
                        return Err(format!(
                            "`{name}` is a mean but holds {n} numbers: reduce it to one, or give it with `.count(..)`"
                        )
                        .into());
                    }
                    (Kind::Count, values) => {
                        if counted {
                            totals.add_count(about.slot, values);
                        }
                        if let &[value] = values {
                            cell.add(value, 1.0);
                            cell.count = true;
                        }
                    }
                }
            }
            if counted {
                totals.add_samples(samples);
            }
            self.row(head, lr);
        }
        self.open.clear();
        self.entries.clear();
        self.readout.clear();
        Ok(())
    }

    /// Appends the row in `cells` to the last group, or to a new one if the columns differ.
    fn row(&mut self, head: RowHead, lr: Option<f64>) {
        let Some(lr) = lr else { return };
        let filled = || self.cells.iter().enumerate().filter(|(_, cell)| cell.entries > 0).map(|(i, _)| i);
        let fits = |layout: &Layout| layout.columns.iter().copied().eq(filled());
        let last = self.groups.last().map(|group| group.layout);
        let layout = last.filter(|&l| fits(&self.layouts[l])).or_else(|| self.layouts.iter().position(fits));
        let layout = layout.unwrap_or_else(|| {
            let columns: Vec<_> = filled().collect();
            let names = columns.iter().map(|&c| self.columns[c].full.clone()).chain(["lr".into()]).collect();
            self.layouts.push(Layout { columns, names });
            self.layouts.len() - 1
        });
        if last != Some(layout) {
            let (heads, values) = (self.heads.len(), self.values.len());
            self.groups.push(Group { layout, heads: heads..heads, values: values..values });
        }
        self.heads.push(head);
        self.values.extend(self.cells.iter().filter(|cell| cell.entries > 0).map(Cell::value));
        self.values.push(lr);
        if let Some(group) = self.groups.last_mut() {
            group.heads.end = self.heads.len();
            group.values.end = self.values.len();
        }
    }

    /// Rows that are ready to be handed out, in groups of the same columns.
    pub(crate) fn ready(&self) -> impl Iterator<Item = Rows<'_>> {
        self.groups.iter().map(|group| Rows {
            heads: &self.heads[group.heads.clone()],
            names: &self.layouts[group.layout].names,
            values: &self.values[group.values.clone()],
        })
    }

    /// They have been handed out.
    pub(crate) fn clear_ready(&mut self) {
        self.groups.clear();
        self.heads.clear();
        self.values.clear();
    }

    /// Forgets steps that were not read: their run has failed.
    pub(crate) fn discard(&mut self) {
        self.lazy.clear();
        self.entries.clear();
        self.open.clear();
        self.readout.clear();
    }
}

impl Cell {
    fn add(&mut self, value: f64, weight: f64) {
        if self.entries == 0 {
            self.first = value;
        }
        self.sum += value * weight;
        self.weight += weight;
        self.entries += 1;
    }

    /// The value of a single entry comes out bit for bit.
    fn value(&self) -> f64 {
        match self {
            Self { entries: 1, first, .. } => *first,
            Self { count: true, sum, .. } => *sum,
            Self { sum, weight, .. } => sum / weight,
        }
    }
}
