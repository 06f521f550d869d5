//! A run as a `.ckpt` of PyTorch Lightning's shape: PyTorch finds weights and optimizer where it looks for them, and all
//! else that a run is lies beside them, under `zae`.
//!
//! | key | what |
//! | --- | --- |
//! | `epoch`, `global_step` | where the run is |
//! | `pytorch-lightning_version` | the version whose shape this is: Lightning reads nothing without it |
//! | `state_dict` | parameters and buffers, by PyTorch's names and in its layout |
//! | `optimizer_states` | one of `Optimizer.state_dict()`, if the engine says what its optimizer is in PyTorch |
//! | `lr_schedulers` | the steps done and the learning rates, for a person to read |
//! | `zae` | see below |
//!
//! `zae` holds `format` (1), `crate` (the version that wrote it), `engine`, `run` (progress, metrics, and the states of
//! schedule, task and add-ons), `layout` (which of our names is which of PyTorch's), `numbers` (the optimizer's, exact and
//! with their types) and `tensors` (those for which PyTorch has no place, by our names: averaged weights, foreign
//! optimizer state). All of them are plain Python values.
//!
//! A weight that PyTorch has with its dimensions exchanged is a view with strides: the bytes are the engine's own.

mod decode;
mod encode;
mod error;
mod plain;
mod weights;

pub use decode::decode;
pub use encode::{encode, state_dict};
pub use error::{Error, Result};
pub use weights::weights;

use zae_core::learner::{Layout, TensorLayout};

/// The version of what is under `zae`.
const FORMAT: u64 = 1;
/// Lightning migrates files of older versions, and of files without a version it reads nothing.
const LIGHTNING: &str = "2.6.6";

/// Parameters in the order in which an optimizer of PyTorch numbers them: group after group.
fn numbered(layout: &Layout) -> Vec<&TensorLayout> {
    let mut parameters: Vec<_> = layout.tensors.iter().filter(|tensor| tensor.parameter).collect();
    parameters.sort_by_key(|tensor| tensor.group);
    parameters
}

#[cfg(test)]
mod tests;
