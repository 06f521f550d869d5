//! [`Cells`]: a row that is being made.

use super::{
    EpochMetrics,
    columns::Columns,
    entries::{Entry, Numbers},
    metric::twice,
};
use crate::{error::Fallible, step::Kind};

/// One column's value within a row: of one micro-batch, or of all in the step's window together.
#[derive(Clone, Copy)]
pub(super) struct Cell {
    pub(super) column: usize,
    first: f64,
    sum: f64,
    weight: f64,
    entries: usize,
    is_count: bool,
}

impl Cell {
    fn new(column: usize, value: f64, weight: f64, is_count: bool) -> Self {
        Self { column, first: value, sum: value * weight, weight, entries: 1, is_count }
    }

    fn add(&mut self, value: f64, weight: f64) {
        self.sum += value * weight;
        self.weight += weight;
        self.entries += 1;
    }

    /// The value of a single entry comes out bit for bit.
    pub(super) fn value(&self) -> f64 {
        match self {
            Self { entries: 1, first, .. } => *first,
            Self { is_count: true, sum, .. } => *sum,
            Self { sum, weight, .. } => sum / weight,
        }
    }
}

/// The cells of one row. Buffers are reused.
#[derive(Default)]
pub(super) struct Cells {
    cells: Vec<Cell>,
    /// What the metrics of the row are made of.
    taken: Vec<(usize, Vec<f64>)>,
}

impl Cells {
    /// Those of the row whose micro-batches have brought these entries. What does not fit was refused when it was summed.
    pub(super) fn of_row(
        &mut self,
        entries: &[Entry],
        numbers: &Numbers,
        columns: &mut Columns,
        metrics: &EpochMetrics,
    ) -> Fallible<&[Cell]> {
        self.cells.clear();
        self.taken.clear();
        for entry in entries {
            let column = &mut columns.all[entry.column];
            let (value, weight) = match (entry.kind, numbers.of(entry), column.metric) {
                (Kind::Mean { weight }, &[value], _) => (value, weight),
                (Kind::Ratio { over }, &[sum], _) => (sum / over, over),
                (Kind::Count, values, Some(place)) => {
                    self.take(metrics, place, values)?;
                    continue;
                }
                (Kind::Count, &[value], None) => (value, 1.0),
                // A count of several numbers is no column.
                _ => continue,
            };
            if weight == 0.0 {
                continue;
            }
            match self.cells.get_mut(column.cell) {
                Some(cell) if cell.column == entry.column => cell.add(value, weight),
                _ => {
                    column.cell = self.cells.len();
                    self.cells.push(Cell::new(entry.column, value, weight, entry.kind == Kind::Count));
                }
            }
        }
        if !metrics.is_empty() {
            self.finish(metrics, columns)?;
        }
        Ok(&self.cells)
    }

    /// Takes a micro-batch's numbers into those of its row.
    fn take(&mut self, metrics: &EpochMetrics, place: usize, values: &[f64]) -> Fallible {
        let taken = &mut self.taken;
        let at = taken.iter().position(|own| own.0 == place).unwrap_or_else(|| {
            taken.push((place, Vec::new()));
            taken.len() - 1
        });
        metrics.merge(place, &mut taken[at].1, values)
    }

    /// Adds the cells of the metrics that are made of the row's counts and means.
    fn finish(&mut self, metrics: &EpochMetrics, columns: &mut Columns) -> Fallible {
        let Self { cells, taken } = self;
        taken.extend(cells.iter().filter_map(|cell| Some((columns.all[cell.column].metric?, vec![cell.value()]))));
        for (place, all) in taken.drain(..) {
            for (name, value) in metrics.finish(place, &all)? {
                let column = columns.own_place(&name)?;
                if cells.iter().any(|cell| cell.column == column) {
                    return Err(twice(&name));
                }
                cells.push(Cell::new(column, value, 1.0, false));
            }
        }
        Ok(())
    }
}
