//! Add-ons that need no vendor.

mod closures;
mod csv_logger;
mod early_stopping;
mod epoch_table;
#[cfg(feature = "bar")]
mod progress_bar;
mod text;

pub use closures::{
    Closure, on_epoch_end, on_epoch_start, on_error, on_evaluation_end, on_gradients, on_rows, on_run_end,
    on_run_start, on_step_end,
};
pub use csv_logger::CsvLogger;
pub use early_stopping::EarlyStopping;
pub use epoch_table::EpochTable;
#[cfg(feature = "bar")]
pub use progress_bar::ProgressBar;
