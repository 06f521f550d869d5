//! Checkpoints: a run saved whole, brought back bit for bit, and readable elsewhere.

mod bytes;
pub mod disk;
mod error;
#[cfg(test)]
mod fixtures;
pub mod folder;
mod format;
mod json;
mod manager;
mod manifest;
mod name;
mod read;
mod safetensors;
pub mod torch;

pub use bytes::Bytes;
pub use error::{Error, Result};
pub use format::Format;
pub use manager::{OnFailure, Resume, Save, Saver, StateManager};
pub use manifest::{FORMAT, Manifest, ManifestFile};
pub use name::{Name, NotAName};
pub use read::{Skipped, newest, read_checkpoint};
