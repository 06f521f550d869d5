//! The LibTorch engine of zae-engine: [`TchLearner`] drives a model of [`tch`] with PyTorch's kernels, on the CPU or on GPUs.
//!
//! ```
//! use tch::{Tensor, nn::{self, Module}};
//! use zae_core::{step::Step, task::{At, StepResult, Task}};
//! use zae_tch::{AdamW, TchLearner, accuracy, local_device};
//!
//! struct Classify;
//!
//! impl Task for Classify {
//!     type Learner = TchLearner<nn::Linear>;
//!     type Batch = (Tensor, Tensor);
//!
//!     fn train_step(&self, model: &nn::Linear, (x, y): Self::Batch, _: &At) -> StepResult<Self> {
//!         let logits = model.forward(&x);
//!         let loss = logits.cross_entropy_for_logits(&y);
//!         Ok(Step::new(loss, y.size()[0] as usize).metric("accuracy", accuracy(&logits, &y)?))
//!     }
//!
//!     fn test_step(&self, model: &nn::Linear, batch: Self::Batch, at: &At) -> StepResult<Self> {
//!         self.train_step(model, batch, at)
//!     }
//! }
//!
//! let build = |path: &nn::Path| nn::linear(path, 64, 10, Default::default());
//! let learner = TchLearner::new(build, AdamW::new(), local_device());
//! ```
//!
//! # LibTorch
//!
//! Version 2.13 is needed, to build and to run: `zae-tch-sys` says how it is found. A program with this engine alone
//! (`default-features = false` of zae-engine) needs nothing else. One that has Burn in it too needs two lines in its
//! `Cargo.toml`, for Burn names an older binding to LibTorch, and Cargo takes one only, used or not:
//!
//! ```toml
//! [patch.crates-io]
//! burn-tch = { git = "..." } # of zae-engine; or { path = ".../vendor/burn-tch" } of a clone
//! ```
//!
//! # What to know about LibTorch and `tch`
//!
//! - Models do not know whether they train. Give a `ModuleT` what the step is for:
//!   `model.forward_t(&x, at.mode.is_training())`.
//! - Operations of `tch` panic where LibTorch fails; the trainer makes an error of that, with the step's place in the run.
//!   Those that begin with `f_` return errors.
//! - Layers are built by a closure, when the run begins, so that the run's seed decides the first weights. What is there
//!   already (a pretrained network) comes in a `VarStore`, with [`TchLearner::from_var_store`].
//! - A parameter is what the store has as trainable, frozen or not; everything else in it is a buffer. Tensors that are not in
//!   the store are constants, and in no state.
//! - Its random generator on the CPU is one per process: draw nothing from it in a loader's workers.
//! - `Precision::Bf16` and `F16` are autocast, as PyTorch has it: weights, gradients and the optimizer stay in `f32`.
//! - Where a launcher says where rank 0 is, processes are connected by PyTorch's c10d: [`C10dGroup`]. A batch norm over the
//!   batches of all of them is [`SyncBatchNorm`].
//! - The bits of a run depend on the number of threads and on the processor, as those of PyTorch do.
//! - What was only reasoned about, for want of a GPU: everything that is on CUDA.
//!
//! # Models in PyTorch's words
//!
//! Names and shapes are PyTorch's already. A snapshot has them in the order of `Module.parameters()` of a module that makes
//! its layers in the same order: its own first, a weight before a bias. PyTorch's `num_batches_tracked` is missing:
//! `load_state_dict` puts it in by itself.

mod built;
pub mod device;
mod gradients;
pub mod learner;
mod lend;
pub mod metrics;
pub mod optimizer;
mod overlap;
mod panics;
pub mod place;
mod precision;
pub mod process_group;
mod saved;
mod scalars;
mod shadow;
mod sync_batch_norm;
pub mod tensor_dataset;
mod together;
mod variables;
mod window;

pub use device::local_device;
pub use learner::TchLearner;
pub use metrics::{accuracy, class_counts, confusion_matrix, correct, regression_sums, scored, top_k_correct};
pub use optimizer::{Adam, AdamW, Optimizer, Sgd};
pub use process_group::C10dGroup;
pub use sync_batch_norm::{SyncBatchNorm, sync_batch_norm};
pub use tensor_dataset::TensorDataset;
