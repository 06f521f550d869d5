//! [`Batch`]: rows on their way to the writer, as plain numbers.

use std::sync::Arc;

/// What a row is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::add_ons) enum Event {
    #[default]
    Step,
    Evaluation,
    Epoch,
}

/// A row but for its metrics.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(in crate::add_ons) struct Record {
    pub(in crate::add_ons) event: Event,
    /// Which list of columns its values belong to.
    pub(in crate::add_ons) layout: usize,
    pub(in crate::add_ons) epoch: u64,
    pub(in crate::add_ons) step: u64,
    /// Of steps only.
    pub(in crate::add_ons) micro_batch: u64,
    pub(in crate::add_ons) samples: f64,
    pub(in crate::add_ons) seconds: f64,
}

/// Rows in order. The buffers are reused.
#[derive(Default)]
pub(in crate::add_ons) struct Batch {
    /// Lists of columns that the writer does not know yet.
    pub(in crate::add_ons) layouts: Vec<Arc<[Arc<str>]>>,
    pub(in crate::add_ons) records: Vec<Record>,
    /// The values of all records, one after the other.
    pub(in crate::add_ons) values: Vec<f64>,
}

impl Batch {
    pub(in crate::add_ons) fn push(&mut self, record: Record, values: impl Iterator<Item = f64>) {
        self.records.push(record);
        self.values.extend(values);
    }

    pub(in crate::add_ons) fn clear(&mut self) {
        self.layouts.clear();
        self.records.clear();
        self.values.clear();
    }
}
