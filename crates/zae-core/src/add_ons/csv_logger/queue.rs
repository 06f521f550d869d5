//! [`Batch`]: rows on their way to the writer, as plain numbers.

use std::sync::Arc;

/// What a row is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Event {
    #[default]
    Step,
    Evaluation,
    Epoch,
}

/// A row but for its metrics.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Record {
    pub(super) event: Event,
    /// Which list of columns its values belong to.
    pub(super) layout: usize,
    pub(super) epoch: u64,
    pub(super) step: u64,
    /// Of steps only.
    pub(super) micro_batch: u64,
    pub(super) samples: f64,
    pub(super) seconds: f64,
}

/// Rows in order. The buffers are reused.
#[derive(Default)]
pub(super) struct Batch {
    /// Lists of columns that the writer does not know yet.
    pub(super) layouts: Vec<Arc<[Arc<str>]>>,
    pub(super) records: Vec<Record>,
    /// The values of all records, one after the other.
    pub(super) values: Vec<f64>,
}

impl Batch {
    pub(super) fn push(&mut self, record: Record, values: impl Iterator<Item = f64>) {
        self.records.push(record);
        self.values.extend(values);
    }

    pub(super) fn clear(&mut self) {
        self.layouts.clear();
        self.records.clear();
        self.values.clear();
    }
}
