//! What a run measures: rows per step, sums per epoch, evaluations, and the history of all epochs.

mod direction;
mod history;
mod pending;
mod ready;
mod rows;
mod totals;

pub use direction::Direction;
pub use history::{EpochSummary, Evaluation, History};

pub(crate) use pending::Pending;
pub use rows::{Row, RowHead, Rows};
pub use totals::Totals;

use std::collections::BTreeMap;

/// Metrics by full name, for example `valid/accuracy`.
pub type Metrics = BTreeMap<String, f64>;
