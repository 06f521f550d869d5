//! What was read becomes sums, and rows if somebody looks at them.

use super::{OpenRow, Pending};
use crate::{
    error::{BoxError, Fallible},
    metrics::{EpochMetrics, Totals, columns::Column, metric::sum},
    step::Kind,
};

impl<S> Pending<S> {
    /// Adds what was read to the sums, and makes rows of it if somebody wants them. Nothing of it is left, even if something
    /// does not fit: nothing is summed twice.
    pub(crate) fn settle(&mut self, metrics: &EpochMetrics, totals: &mut Totals) -> Fallible {
        let settled = self.add_rows(metrics, totals);
        self.discard();
        settled
    }

    fn add_rows(&mut self, metrics: &EpochMetrics, totals: &mut Totals) -> Fallible {
        let Self { columns, entries, open, numbers, cells, ready, wants_rows, .. } = self;
        let mut from = 0;
        for row in &*open {
            let own = &entries[from..row.entries];
            from = row.entries;
            for entry in own {
                let column = &mut columns.all[entry.column];
                column.find(totals, metrics);
                let counted = row.counted && !column.measured;
                let fits = match (entry.kind, numbers.of(entry)) {
                    (Kind::Mean { weight }, &[value]) => !counted || totals.add(column.slot, value * weight, weight),
                    (Kind::Ratio { over }, &[sum]) => !counted || totals.add(column.slot, sum, over),
                    (Kind::Count, values) => add_count(row, column, values, metrics, totals)?,
                    (_, values) => return Err(several(column.name(), values.len())),
                };
                if !fits {
                    return Err(mixed(column.name()));
                }
            }
            if row.counted {
                totals.add_samples(row.samples);
            }
            if let (true, Some(lr)) = (*wants_rows, row.lr) {
                let cells = cells.of_row(own, numbers, columns, metrics)?;
                ready.push(row.head, cells, lr, |column| columns.all[column].full.clone());
            }
        }
        Ok(())
    }
}

/// Says whether what is counted could be added: not to a mean.
fn add_count(
    row: &OpenRow,
    column: &Column,
    values: &[f64],
    metrics: &EpochMetrics,
    totals: &mut Totals,
) -> Fallible<bool> {
    if row.lr.is_some() && column.metric.is_some_and(|place| metrics.grows(place)) {
        return Err(only_in_evaluations(column.name()));
    }
    if row.counted {
        let Some(all) = totals.count_mut(column.slot) else { return Ok(false) };
        match column.metric {
            Some(place) => metrics.merge(place, all, values)?,
            None => sum(all, values).map_err(|e| format!("`{}`: {e}", column.name()))?,
        }
    }
    Ok(true)
}

fn several(name: &str, numbers: usize) -> BoxError {
    format!("`{name}` is a mean but holds {numbers} numbers: reduce it to one, or give it with `.count(..)`").into()
}

fn only_in_evaluations(name: &str) -> BoxError {
    format!(
        "`{name}` is taken together from all samples, which every snapshot of an epoch would have to hold: give it in \
         evaluations only (`at.mode == Mode::Evaluate`)"
    )
    .into()
}

fn mixed(name: &str) -> BoxError {
    format!("`{name}` was another sort of metric before: a name is a mean or a count throughout").into()
}
