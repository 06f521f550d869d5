//! [`Columns`]: a task's metrics and what add-ons log, with all that is looked up once.

use std::{collections::HashMap, sync::Arc};

use super::{EpochMetrics, Totals, is_measured};
use crate::{
    error::{BoxError, Fallible},
    step::Name,
};

/// A metric as the task names it, or a number of an add-on, which has its full name only.
pub(super) struct Column {
    pub(super) short: Option<Name>,
    pub(super) full: Arc<str>,
    /// Shown, but never summed.
    pub(super) measured: bool,
    /// The row that an add-on last logged it for.
    pub(super) logged: u64,
    /// Where its sum is.
    pub(super) slot: usize,
    /// The metric that is made of it.
    pub(super) metric: Option<usize>,
    /// Where its cell was in the last row.
    pub(super) cell: usize,
}

impl Column {
    fn new(short: Option<Name>, full: Arc<str>) -> Self {
        let measured = short.is_none() && is_measured(&full);
        Self { short, full, measured, logged: 0, slot: usize::MAX, metric: None, cell: 0 }
    }

    pub(super) fn name(&self) -> &str {
        self.short.as_deref().unwrap_or(&self.full)
    }

    /// Looks up where it goes to, unless that is known.
    #[inline]
    pub(super) fn find(&mut self, totals: &mut Totals, metrics: &EpochMetrics) {
        if self.slot == usize::MAX {
            self.slot = totals.slot(&self.full);
            self.metric = self.short.as_ref().and_then(|short| metrics.place(short));
        }
    }
}

pub(super) struct Columns {
    prefix: String,
    pub(super) all: Vec<Column>,
    /// Their places, by the task's names.
    places: HashMap<Name, usize>,
    /// The places of those that add-ons log.
    logged: HashMap<Arc<str>, usize>,
}

impl Columns {
    /// Full names get this prefix: `train`, `valid`, ...
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), all: Vec::new(), places: HashMap::new(), logged: HashMap::new() }
    }

    /// Whether the column at this place has that name.
    #[inline]
    pub(super) fn is_at(&self, place: usize, name: &Name) -> bool {
        self.all.get(place).is_some_and(|column| column.short.as_ref() == Some(name))
    }

    /// The place of a column: a new one if there is none of that name.
    pub(super) fn place(&mut self, name: &Name) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.all.len();
        let full = format!("{}/{name}", self.prefix).into();
        self.all.push(Column::new(Some(name.clone()), full));
        self.places.insert(name.clone(), place);
        place
    }

    /// The same for a metric that may be new: it cannot be what an add-on logs.
    pub(super) fn own_place(&mut self, name: &Name) -> Fallible<usize> {
        let known = self.all.len();
        let place = self.place(name);
        if place == known && self.logged.contains_key(&self.all[place].full) {
            return Err(taken(&self.all[place].full));
        }
        Ok(place)
    }

    /// The place of a number that an add-on logs.
    pub(super) fn logged_place(&mut self, full: Arc<str>) -> Fallible<usize> {
        if let Some(place) = self.logged.get(&full) {
            return Ok(*place);
        }
        if *full == *"lr" || self.all.iter().any(|column| column.full == full) {
            return Err(taken(&full));
        }
        let place = self.all.len();
        self.all.push(Column::new(None, full.clone()));
        self.logged.insert(full, place);
        Ok(place)
    }
}

/// For an add-on's number and for one of the task: either may come first.
fn taken(name: &str) -> BoxError {
    format!(
        "`{name}` is what an add-on logs and also what the trainer or the task reports: give one of them another name"
    )
    .into()
}
