//! Real data to start with, embedded in the crate.

mod digits;

pub use digits::{Digit, digits};
