//! [`Rows`]: losses and metrics of steps, as add-ons get them.

use std::sync::Arc;

use crate::progress::Cursor;

/// Which step a row belongs to.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct RowHead {
    /// The optimizer step, from 0.
    pub step: u64,
    /// The first micro-batch of the step.
    pub cursor: Cursor,
    /// Samples trained on, this step included.
    pub samples: f64,
    /// Seconds spent in the run when the step was done.
    pub seconds: f64,
}

/// One row or more; all have the same columns.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    pub(crate) heads: &'a [RowHead],
    pub(crate) names: &'a Arc<[Arc<str>]>,
    pub(crate) values: &'a [f64],
}

/// Losses and metrics of one step.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Row<'a> {
    /// Which step.
    pub head: RowHead,
    /// One value for each of [`Rows::names`].
    pub values: &'a [f64],
}

impl<'a> Rows<'a> {
    /// The names of the columns, for example `train/loss`, `train/accuracy`, `train/grad_norm`, `lr`.
    #[must_use]
    pub fn names(&self) -> &'a [Arc<str>] {
        self.names
    }

    /// The same list, shared by all rows of a trainer that have these columns: who keeps it knows them again by
    /// [`Arc::ptr_eq`].
    #[must_use]
    pub fn shared_names(&self) -> &'a Arc<[Arc<str>]> {
        self.names
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// The rows, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Row<'a>> + use<'a> {
        let Self { heads, values, .. } = *self;
        let width = self.names.len();
        heads.iter().enumerate().map(move |(i, head)| Row { head: *head, values: &values[i * width..(i + 1) * width] })
    }

    /// The first so many rows, or all there are, and the others.
    #[must_use]
    pub fn split_at(&self, count: usize) -> (Self, Self) {
        let count = count.min(self.heads.len());
        let (before, behind) = self.heads.split_at(count);
        let (own, others) = self.values.split_at(count * self.names.len());
        (Self { heads: before, values: own, ..*self }, Self { heads: behind, values: others, ..*self })
    }

    /// The values of one column, oldest first, if there is such a column.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<impl ExactSizeIterator<Item = f64> + use<'a>> {
        let column = self.names.iter().position(|n| **n == *name)?;
        Some(self.iter().map(move |row| row.values[column]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_split_with_their_values() {
        let names = Arc::from(["a", "b"].map(Arc::from));
        let heads = [0, 1, 2].map(|step| RowHead { step, ..RowHead::default() });
        let rows = Rows { heads: &heads, names: &names, values: &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0] };
        for count in 0..5 {
            let (before, behind) = rows.split_at(count);
            assert_eq!((before.len(), behind.len()), (count.min(3), 3 - count.min(3)));
            let all: Vec<_> = before.iter().chain(behind.iter()).map(|row| (row.head.step, row.values)).collect();
            assert_eq!(all, [(0, &[0.0, 1.0][..]), (1, &[2.0, 3.0]), (2, &[4.0, 5.0])]);
            assert!(Arc::ptr_eq(before.shared_names(), behind.shared_names()));
        }
    }
}
