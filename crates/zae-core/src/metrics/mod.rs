//! What a run measures: rows per step, sums per epoch, evaluations, and the history of all epochs.

mod direction;
mod history;
mod logged;
mod pending;
mod ready;
mod rows;
mod shared;
mod totals;

pub use direction::Direction;
pub use history::{EpochSummary, Evaluation, History};

pub(crate) use logged::{Logged, is_measured};
pub(crate) use pending::{NotFinite, Pending};
pub use rows::{Row, RowHead, Rows};
pub(crate) use shared::Shared;
pub use totals::Totals;

use std::collections::BTreeMap;

/// Metrics by full name, for example `valid/accuracy`.
pub type Metrics = BTreeMap<String, f64>;
