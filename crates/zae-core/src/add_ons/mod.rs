//! Add-ons that need no vendor.

mod averages;
mod csv_logger;
mod early_stopping;
mod epoch_table;
#[cfg(feature = "bar")]
mod progress_bar;
mod text;

pub use averages::{Ema, Swa};
pub use csv_logger::CsvLogger;
pub use early_stopping::EarlyStopping;
pub use epoch_table::EpochTable;
#[cfg(feature = "bar")]
pub use progress_bar::ProgressBar;
