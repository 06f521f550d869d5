//! [`SaveLoad`]: saving and loading by hand.

use std::path::Path;

use zae_core::{error::Fallible, learner::SHADOW, task::Task, trainer::Trainer};

use crate::{
    disk::Disk,
    export,
    read::read_checkpoint,
    weights::{LoadReport, Weights},
};

/// Saving and loading by hand, for one-off use: a trainer with a [`StateManager`](crate::StateManager) does it by itself.
///
/// The format goes by the name: `.ckpt`, `.pt`, `.pth` and `.bin` are PyTorch's, everything else is a folder with
/// safetensors files (weights alone: one `.safetensors` file). Files and folders are whole or absent; what was there under
/// that name is replaced.
pub trait SaveLoad {
    /// Saves the whole run.
    ///
    /// # Errors
    /// When the snapshot cannot be taken or written.
    fn save(&mut self, path: impl AsRef<Path>) -> Fallible;

    /// Becomes the run that was saved, by [`SaveLoad::save`] or by a [`StateManager`](crate::StateManager): the next
    /// `run` goes on from there.
    ///
    /// # Errors
    /// When the file cannot be read or does not fit.
    fn load(&mut self, path: impl AsRef<Path>) -> Fallible;

    /// Saves the weights alone: those that the model is evaluated with, so the average if an add-on keeps one
    /// ([`Trainer::use_average`]). PyTorch's format gets PyTorch's names and layouts, so that a `torch.nn.Module` of the
    /// same architecture loads them. A `.safetensors` file keeps the engine's: Burn's linear weights are the other way
    /// round than PyTorch's. [`SaveLoad::load_weights`] turns them for another engine, other programs do not.
    ///
    /// # Errors
    /// When they cannot be written.
    fn save_weights(&mut self, path: impl AsRef<Path>) -> Fallible;

    /// Loads weights alone: optimizer, progress and everything else stay as they are, but for averages of weights, which begin
    /// anew. Of a checkpoint these are the weights that were evaluated. See [`Weights`] for names that
    /// differ, and for loading only what fits.
    ///
    /// # Errors
    /// When the file cannot be read or does not fit; the message lists all that is missing, unexpected or different.
    fn load_weights(&mut self, weights: impl Into<Weights>) -> Fallible<LoadReport>;
}

impl<T: Task> SaveLoad for Trainer<T> {
    fn save(&mut self, path: impl AsRef<Path>) -> Fallible {
        let snapshot = self.snapshot()?;
        Ok(export::run(path.as_ref(), &snapshot, &Disk::default())?)
    }

    fn load(&mut self, path: impl AsRef<Path>) -> Fallible {
        Ok(self.restore(&read_checkpoint(path.as_ref())?)?)
    }

    fn save_weights(&mut self, path: impl AsRef<Path>) -> Fallible {
        Ok(export::weights(path.as_ref(), &self.weights()?, &Disk::default())?)
    }

    fn load_weights(&mut self, weights: impl Into<Weights>) -> Fallible<LoadReport> {
        let (mut state, report) = weights.into().put_into(&self.state_dict()?)?;
        // Averages are of other weights.
        state.tensors.retain(|name, _| !name.starts_with(SHADOW));
        self.load_state_dict(&state)?;
        Ok(report)
    }
}
