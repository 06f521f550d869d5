//! The trainer of zae-engine and its seams: no tensor library, no vendor.

pub mod add_on;
pub mod add_ons;
pub mod data;
pub mod engine;
pub mod error;
pub mod learner;
pub mod metrics;
mod mode;
mod outcome;
pub mod place;
pub mod progress;
pub mod rng;
pub mod schedule;
pub mod signal;
pub mod snapshot;
pub mod state;
pub mod step;
pub mod task;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trainer;
