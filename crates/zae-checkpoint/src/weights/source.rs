//! Weights as they are in a file.

use std::{collections::BTreeMap, fs, path::Path};

use zae_core::{
    learner::{MODEL, SavedTensor},
    snapshot::Snapshot,
};

use crate::{
    bytes::Bytes,
    ckpt,
    error::{Error, Result},
    read::{is_torch, read_checkpoint},
    safetensors, torch,
};

/// Tensors by name.
pub(super) struct Source {
    pub(super) tensors: BTreeMap<String, SavedTensor>,
    /// Whether this crate wrote it, so that names and layouts are the engine's.
    pub(super) ours: bool,
}

pub(super) fn read(path: &Path) -> Result<Source> {
    let is_file = fs::metadata(path).map_err(Error::io("open", path))?.is_file();
    if is_file && is_torch(path)? {
        let value = torch::read(&Bytes::map(path)?).map_err(Error::torch(path))?;
        return match ckpt::decode(&value) {
            Ok(snapshot) => Ok(model_of(snapshot)),
            Err(ckpt::Error::WeightsOnly) => {
                Ok(Source { tensors: ckpt::weights(&value).map_err(Error::ckpt(path))?, ours: false })
            }
            Err(error) => Err(Error::ckpt(path)(error)),
        };
    }
    if is_file && path.extension().is_some_and(|ending| ending == "safetensors") {
        let safetensors::Read { tensors, ours, .. } = safetensors::read(&Bytes::map(path)?, path)?;
        return Ok(Source { tensors: tensors.into_iter().collect(), ours });
    }
    read_checkpoint(path).map(model_of)
}

fn model_of(snapshot: Snapshot) -> Source {
    let model = |(name, tensor): (String, SavedTensor)| Some((name.strip_prefix(MODEL)?.to_owned(), tensor));
    Source { tensors: snapshot.learner.tensors.into_iter().filter_map(model).collect(), ours: true }
}
