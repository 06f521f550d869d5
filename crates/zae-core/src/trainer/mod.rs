//! The trainer.
mod outcome;
pub use outcome::{Outcome, Run};
/// x
pub struct Trainer;
