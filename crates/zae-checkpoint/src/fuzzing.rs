//! The parsers that have no name outside, for fuzz targets.
#![allow(missing_docs)]

use std::path::Path;

use zae_core::{
    learner::{Layout, SavedTensor},
    snapshot::RunState,
};

use crate::{bytes::Bytes, json, manifest::Manifest, safetensors};

pub fn safetensors(bytes: Vec<u8>) -> Option<Vec<(String, SavedTensor)>> {
    safetensors::read(&Bytes::from(bytes), Path::new("fuzz")).ok().map(|read| read.tensors)
}

/// What `trainer.json` and `manifest.json` hold, and whether what was read is the same when it was written and read again.
pub fn json(bytes: &[u8]) -> bool {
    let again =
        |text: Vec<u8>| json::read::<RunState>(&text).ok().and_then(|run| json::pretty(&run).ok()) == Some(text);
    let run = json::read::<RunState>(bytes).ok().and_then(|run| json::pretty(&run).ok());
    let _ = (json::read::<Layout>(bytes), json::read::<Manifest>(bytes));
    run.is_none_or(again)
}
