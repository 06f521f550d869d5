//! Checkpoints: a run saved whole, brought back bit for bit, and readable elsewhere.

mod bytes;
pub mod ckpt;
mod error;
pub mod torch;

pub use bytes::Bytes;
pub use error::{Error, Result};
