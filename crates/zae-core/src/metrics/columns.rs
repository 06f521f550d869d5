//! [`Columns`]: a task's metrics, with all that is looked up once.

use std::{collections::HashMap, sync::Arc};

use super::{EpochMetrics, Totals};
use crate::step::Name;

/// A metric as the task names it.
pub(super) struct Column {
    pub(super) short: Name,
    pub(super) full: Arc<str>,
    /// Where its sum is.
    pub(super) slot: usize,
    /// The metric that is made of it.
    pub(super) metric: Option<usize>,
    /// Where its cell was in the last row.
    pub(super) cell: usize,
}

impl Column {
    /// Looks up where it goes to, unless that is known.
    pub(super) fn find(&mut self, totals: &mut Totals, metrics: &EpochMetrics) {
        if self.slot == usize::MAX {
            self.slot = totals.slot(&self.full);
            self.metric = metrics.place(&self.short);
        }
    }
}

pub(super) struct Columns {
    prefix: String,
    pub(super) all: Vec<Column>,
    /// Their places, by the task's names.
    places: HashMap<Name, usize>,
}

impl Columns {
    /// Full names get this prefix: `train`, `valid`, ...
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), all: Vec::new(), places: HashMap::new() }
    }

    /// The place of a column, which most likely is `hint`; a new one if there is none of that name.
    pub(super) fn place(&mut self, name: &Name, hint: usize) -> usize {
        if self.all.get(hint).is_some_and(|column| column.short == *name) {
            return hint;
        }
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.all.len();
        let full = format!("{}/{name}", self.prefix).into();
        self.all.push(Column { short: name.clone(), full, slot: usize::MAX, metric: None, cell: 0 });
        self.places.insert(name.clone(), place);
        place
    }
}
