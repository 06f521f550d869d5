//! Checkpoints: a run saved whole, brought back bit for bit, and readable elsewhere.
//!
//! - [`StateManager`], the add-on that saves a run and goes on with it: most programs need nothing else.
//! - [`SaveLoad`]: `trainer.save(path)`, `load`, `save_weights`, `load_weights` by hand; [`Weights`] says how names and types
//!   of a foreign file become the model's.
//! - [`folder`]: the checkpoints of a run on disk, for tools: [`folder::scan`], [`folder::Entry::load`], [`Manifest`].
//! - [`torch`]: files of `torch.save`, written and read without PyTorch; [`ckpt`]: a run in the shape of Lightning's.
//! - [`disk`]: the one place that changes files, with a hook for tests that fail or kill any operation.
//!
//! ```
//! # use zae_core::{testing::{Architecture, Fixture, FixtureTask, Samples, reference::Reference}, trainer::Trainer};
//! use zae_checkpoint::{SaveLoad, StateManager};
//! # let dir = tempfile::tempdir()?;
//! # let fixture = Reference::default();
//! # let data: Vec<_> =
//! #     Samples::random(10, 6, 3, 1).batches(&[5, 5]).iter().map(|samples| fixture.batch(samples)).collect();
//! # let new = || {
//! #     let learner = fixture.learner(Architecture::Plain);
//! #     Trainer::new(FixtureTask::new(&fixture), learner).scheduler(0.01).handle_signals(false)
//! # };
//! # let run_dir = dir.path();
//! let mut trainer = new().run_dir(run_dir).add_on(StateManager::new());
//! trainer.run(3, &data, ())?;
//! drop(trainer);
//!
//! // The same program again: it is complete already. With more epochs it goes on.
//! let mut again = new().run_dir(run_dir).add_on(StateManager::new());
//! again.run(4, &data, ())?;
//! assert_eq!(again.history().epochs.len(), 4);
//!
//! // Its weights, for another program.
//! again.save_weights(run_dir.join("weights.safetensors"))?;
//! let mut other = new();
//! other.load_weights(run_dir.join("checkpoints/last"))?;
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! What is promised about a run that is cut, and how it is proven, is told in `docs/reliability.md`; what is in the files in
//! `docs/checkpoint-format.md`.

mod bytes;
pub mod ckpt;
pub mod disk;
mod error;
mod export;
#[cfg(test)]
mod fixtures;
pub mod folder;
mod format;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
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
