//! Add-ons that need no vendor.

mod csv_logger;
mod early_stopping;
mod epoch_table;
mod json;
mod jsonl_logger;
mod log_file;
mod meters;
mod model_summary;
mod profiler;
#[cfg(feature = "bar")]
mod progress_bar;
mod text;

pub use csv_logger::CsvLogger;
pub use early_stopping::EarlyStopping;
pub use epoch_table::EpochTable;
pub use jsonl_logger::JsonlLogger;
pub use meters::{GradNorms, ProcessStats, SimpleProfiler, Throughput, WeightNorms};
pub use model_summary::{ModelSummary, Module, Summary};
pub use profiler::Profiler;
#[cfg(feature = "bar")]
pub use progress_bar::ProgressBar;
