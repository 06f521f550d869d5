//! Weights as they are in a file.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use zae_core::{
    error::Fallible,
    learner::{Layout, SavedTensor},
    snapshot::Snapshot,
};

use super::Which;
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

pub(super) fn read(path: &Path, which: &Which) -> Result<Source> {
    let is_file = fs::metadata(path).map_err(Error::io("open", path))?.is_file();
    if is_file && is_torch(path)? {
        let value = torch::read(&Bytes::map(path)?).map_err(Error::torch(path))?;
        return match ckpt::decode(&value) {
            Ok(snapshot) => model_of(&snapshot, which, path),
            Err(ckpt::Error::WeightsOnly) => {
                no_average(which, path)?;
                let tensors = ckpt::weights(&value).map_err(Error::ckpt(path))?;
                Ok(Source { tensors, ours: false, layout: Arc::default() })
            }
            Err(error) => Err(Error::ckpt(path)(error)),
        };
    }
    if is_file && path.extension().is_some_and(|ending| ending == "safetensors") {
        no_average(which, path)?;
        let safetensors::Read { tensors, layout, ours, .. } = safetensors::read(&Bytes::map(path)?, path)?;
        let layout = Arc::new(Layout { tensors: layout, optimizer: None });
        return Ok(Source { tensors: tensors.into_iter().collect(), ours, layout });
    }
    model_of(&read_checkpoint(path)?, which, path)
}

/// A file of weights alone holds one set of them.
fn no_average(which: &Which, path: &Path) -> Result<()> {
    let Which::Average(name) = which else { return Ok(()) };
    let what =
        format!("it holds weights alone and no average `{name}`: leave out `.average(..)`, or give a checkpoint");
    Err(Error::Path { path: path.to_owned(), what })
}

fn model_of(snapshot: &Snapshot, which: &Which, path: &Path) -> Result<Source> {
    let average = match which {
        Which::Evaluated => snapshot.run.average.as_deref(),
        Which::Trained => None,
        Which::Average(name) => Some(name.as_str()),
    };
    let weights = snapshot.learner.weights(average);
    let weights = weights.map_err(|e| Error::Path { path: path.to_owned(), what: e.to_string() })?;
    let tensors = weights.model().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
    Ok(Source { tensors, ours: true, layout: weights.layout })
}
