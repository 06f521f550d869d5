//! Checkpoints: a run saved whole, brought back bit for bit, and readable elsewhere.

mod bytes;
pub mod ckpt;
pub mod disk;
mod error;
mod export;
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
mod save_load;
pub mod torch;
mod weights;

pub use bytes::Bytes;
pub use error::{Error, Result};
pub use format::Format;
pub use manager::{OnFailure, Resume, Save, Saver, StateManager};
pub use manifest::{FORMAT, Manifest, ManifestFile};
pub use name::{Name, NotAName};
pub use read::{Skipped, newest, read_checkpoint};
pub use save_load::SaveLoad;
pub use weights::{LoadReport, Weights};
