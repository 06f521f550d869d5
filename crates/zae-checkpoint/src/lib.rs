//! Checkpoints: a run saved whole, brought back bit for bit, and readable elsewhere.

mod bytes;
mod error;
pub mod torch;

pub use bytes::Bytes;
pub use error::{Error, Result};
