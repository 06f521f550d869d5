//! The trainer of zae-engine and its seams: no tensor library, no vendor.
//!
//! - What a user writes: a [`task::Task`] with its two steps, and data ([`data`]).
//! - What runs it: [`trainer::Trainer`].
//! - What plugs in a tensor engine: [`learner::Learner`] and [`engine::Engine`]; the module `testing` (feature of the same
//!   name) tells how to write one and checks it.
//! - What plugs in anything else: [`add_on::AddOn`]; those shipped are in [`add_ons`].
//! - What holds a run: [`snapshot::Snapshot`], with [`progress::ProgressChecker`] and [`metrics::History`] in it.
//!
//! Programs use the crate `zae-engine`, which brings all of it together with the default engine.

pub mod add_on;
pub mod add_ons;
mod averaged;
pub mod data;
pub mod engine;
pub mod error;
pub mod git;
pub mod learner;
pub mod local_rank;
mod memory;
pub mod metrics;
pub mod misfits;
mod mode;
mod outcome;
pub mod place;
pub mod pool;
pub mod precision;
pub mod process_group;
pub mod progress;
pub mod rng;
pub mod scaler;
pub mod schedule;
pub mod signal;
pub mod snapshot;
pub mod state;
pub mod step;
pub mod task;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trainer;
mod transposed;
pub mod tune;
pub mod watch;
