//! Weights as they are in a file.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use zae_core::{
    error::Fallible,
    learner::{Layout, MODEL, SavedTensor},
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
    /// What it says of them in PyTorch's words.
    layout: Arc<Layout>,
}

impl Source {
    /// In PyTorch's words, if this crate wrote it for another engine than that of a model with this layout. One of the two
    /// engines has PyTorch's names and layouts itself then.
    pub(super) fn for_model(self, model: &Layout) -> Fallible<Self> {
        let known = !self.layout.tensors.is_empty() && !model.tensors.is_empty();
        if !known || is_torchs(&self.layout) == is_torchs(model) {
            return Ok(self);
        }
        let tensors = self.layout.to_torch(self.tensors)?;
        Ok(Self { tensors, ours: false, layout: Arc::default() })
    }
}

fn is_torchs(layout: &Layout) -> bool {
    layout.tensors.iter().all(|tensor| tensor.name == tensor.torch && !tensor.transposed)
}

pub(super) fn read(path: &Path) -> Result<Source> {
    let is_file = fs::metadata(path).map_err(Error::io("open", path))?.is_file();
    if is_file && is_torch(path)? {
        let value = torch::read(&Bytes::map(path)?).map_err(Error::torch(path))?;
        return match ckpt::decode(&value) {
            Ok(snapshot) => Ok(model_of(snapshot)),
            Err(ckpt::Error::WeightsOnly) => Ok(Source {
                tensors: ckpt::weights(&value).map_err(Error::ckpt(path))?,
                ours: false,
                layout: Arc::default(),
            }),
            Err(error) => Err(Error::ckpt(path)(error)),
        };
    }
    if is_file && path.extension().is_some_and(|ending| ending == "safetensors") {
        let safetensors::Read { tensors, layout, ours, .. } = safetensors::read(&Bytes::map(path)?, path)?;
        let layout = Arc::new(Layout { tensors: layout, optimizer: None });
        return Ok(Source { tensors: tensors.into_iter().collect(), ours, layout });
    }
    read_checkpoint(path).map(model_of)
}

fn model_of(snapshot: Snapshot) -> Source {
    let model = |(name, tensor): (String, SavedTensor)| Some((name.strip_prefix(MODEL)?.to_owned(), tensor));
    let layout = snapshot.learner.layout.clone();
    Source { tensors: snapshot.learner.tensors.into_iter().filter_map(model).collect(), ours: true, layout }
}
