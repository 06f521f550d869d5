//! What a run measures: rows per step, sums per epoch, evaluations, and the history of all epochs.

mod auroc;
mod cells;
mod classification;
mod columns;
mod direction;
mod entries;
mod history;
mod logged;
mod metric;
mod pending;
mod perplexity;
mod ready;
mod regression;
mod rows;
mod shared;
mod top_k;
mod totals;

pub use auroc::{Auroc, scored};
pub use classification::{Average, Classification, class_counts, confusion_matrix};
pub use direction::Direction;
pub use history::{EpochSummary, Evaluation, History};
pub use metric::{EpochMetrics, Metric};

pub(crate) use logged::{Logged, is_measured};
pub(crate) use pending::{NotFinite, Pending};
pub use perplexity::Perplexity;
pub use regression::{Regression, regression_sums};
pub use rows::{Row, RowHead, Rows};
pub(crate) use shared::Shared;
pub use top_k::top_k_correct;
pub use totals::Totals;

use std::collections::BTreeMap;

/// Metrics by full name, for example `valid/accuracy`.
pub type Metrics = BTreeMap<String, f64>;
