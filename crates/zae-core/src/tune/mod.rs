//! Looking for settings before a run: [`LrFinder`] for the learning rate, [`BatchSizeFinder`] for the batch size. Both train some
//! steps of which nothing stays.

mod batch_size;
mod lr_curve;
mod lr_finder;

pub use batch_size::{BatchSizeFinder, BatchSizes, Trial};
pub use lr_curve::{LrCurve, LrPoint};
pub use lr_finder::LrFinder;
