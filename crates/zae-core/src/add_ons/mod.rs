//! Add-ons that need no vendor.

mod averages;
mod closures;
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

pub use averages::{Ema, Swa};
pub use closures::{
    Closure, on_epoch_end, on_epoch_start, on_error, on_evaluation_end, on_gradients, on_rows, on_run_end,
    on_run_start, on_step_end,
};
pub use csv_logger::CsvLogger;
pub use early_stopping::EarlyStopping;
pub use epoch_table::EpochTable;
pub use jsonl_logger::JsonlLogger;
pub use meters::{GradNorms, ProcessStats, SimpleProfiler, Throughput, WeightNorms};
pub use model_summary::{ModelSummary, Module, Summary};
pub use profiler::Profiler;
#[cfg(feature = "bar")]
pub use progress_bar::ProgressBar;
