//! The Burn engine of zae-engine: [`BurnLearner`] drives a [Burn](https://burn.dev) model in pure Rust, on the CPU with
//! nothing to install, or on GPUs with the features `cuda`, `vulkan`, `metal` and `wgpu`.
//!
//! ```
//! use burn::{nn::{Linear, LinearConfig, loss::CrossEntropyLossConfig}, optim::AdamWConfig, prelude::*};
//! use zae_burn::{BurnLearner, accuracy, local_device};
//! use zae_core::{step::Step, task::{At, StepResult, Task}};
//!
//! struct Classify;
//!
//! impl Task for Classify {
//!     type Learner = BurnLearner<Linear>;
//!     type Batch = (Tensor<2>, Tensor<1, Int>);
//!
//!     fn train_step(&self, model: &Linear, (x, y): Self::Batch, _: &At) -> StepResult<Self> {
//!         let logits = model.forward(x);
//!         let loss = CrossEntropyLossConfig::new().init(&logits.device()).forward(logits.clone(), y.clone());
//!         Ok(Step::new(loss, y.dims()[0]).metric("accuracy", accuracy(logits, y)))
//!     }
//!
//!     fn test_step(&self, model: &Linear, batch: Self::Batch, at: &At) -> StepResult<Self> {
//!         self.train_step(model, batch, at)
//!     }
//! }
//!
//! let device = local_device();
//! let learner = BurnLearner::new(LinearConfig::new(64, 10).init(&device), AdamWConfig::new(), &device);
//! ```
//!
//! # Optimizers, and how their defaults differ from PyTorch's
//!
//! Every optimizer of Burn works that is a `ModuleOptimizer`, or a configuration of one ([`AnyOptimizer`] says why that is
//! better), and its state is saved and loaded: a run that goes on from a
//! snapshot has the same bits as one that was never interrupted. `LBFGS` does not fit: it evaluates the loss several times
//! within a step, through a closure, and is not a `ModuleOptimizer`.
//!
//! A recipe written for PyTorch does not give the same training with Burn's defaults. Where they differ (Burn 0.22,
//! PyTorch 2.9):
//!
//! | Optimizer | Setting | Burn | PyTorch |
//! |---|---|---|---|
//! | `AdamW` | `epsilon` | 1e-5 | 1e-8 |
//! |  | `weight_decay` | 1e-4 | 1e-2 |
//! | `Adam` | `epsilon` | 1e-5 | 1e-8 |
//! | `Sgd` with `MomentumConfig` | `momentum` | 0.9 | 0 |
//! |  | `dampening` | 0.1 | 0 |
//! | `RmsProp` | `momentum` | 0.9 | 0 |
//! |  | `epsilon` | 1e-5 | 1e-8 |
//! | `AdaGrad` | `epsilon` | 1e-5 | 1e-10 |
//! | `Adafactor` | learning rate | min(lr, 1/√step) x RMS of the parameter | the same, with lr 1e-2 |
//! |  | `epsilon_1` | 1e-30 | machine epsilon |
//! | `Muon` | `weight_decay` | none | 0.1 |
//!
//! The same in both: the betas of `Adam` and `AdamW` (0.9, 0.999), `Sgd` without momentum and weight decay, `RmsProp`'s
//! `alpha` (0.99), `AdaGrad`'s `lr_decay` (0), `Adafactor`'s decay (-0.8) and clipping threshold (1), `Muon`'s momentum
//! (0.95, Nesterov), coefficients and 5 steps. PyTorch has no `Adan` (betas 0.98, 0.92, 0.99, `epsilon` 1e-8), `Lamb`
//! (betas 0.9, 0.999, `epsilon` 1e-6) or `Lion` (betas 0.9, 0.99; both published with these).
//!
//! So PyTorch's AdamW is `AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(1e-2)`.
//!
//! - A learning rate is not part of an optimizer: the trainer's schedule gives it.
//! - `with_grad_clipping` clips each tensor by itself. The global norm is the trainer's `gradient_clip(Clip::Norm(..))`.
//! - `Muon` is for matrices: it panics on vectors. Give it a group: `AdamWConfig::new().init().with_group(matrices,
//!   MuonConfig::new().build(), None)`.
//!
//! # Models in PyTorch's words
//!
//! A snapshot knows how a `torch.nn.Module` of the same fields, built from the same layers, would name and lay out what is
//! in it: [`StateDict::layout`](zae_core::learner::StateDict::layout), in the order in which Burn visits the model.
//!
//! | Burn | PyTorch |
//! |---|---|
//! | `Linear`: `weight` (inputs x outputs) | `weight`, its dimensions exchanged |
//! | `BatchNorm`, `LayerNorm`, `GroupNorm`, `InstanceNorm`, `RmsNorm`: `gamma`, `beta` | `weight`, `bias` |
//! | `PRelu`: `alpha` | `weight` |
//! | `Conv*`, `ConvTranspose*`, `DeformConv2d`, `Embedding` | the same |
//! | `Linear` in column layout | the same: it is saved as PyTorch has it. Its moments are not, so the optimizer is left out |
//!
//! - Everything else keeps its name and shape. So `MultiHeadAttention`, `Lstm`, `Gru` and the transformer layers are what a
//!   PyTorch module of these fields made of `nn.Linear` would be, not `nn.MultiheadAttention` or `nn.LSTM`, which keep their
//!   weights in one piece.
//! - Names of an `Option` are those of what is in it. A `Vec`, an array and a tuple number theirs as a `ModuleList` does; an
//!   enum adds the name of its variant.
//! - Running statistics, integers and booleans are buffers; all else, frozen or not, is a parameter. Tensors that are in no
//!   `Param` are constants to Burn, and in no state. PyTorch's `num_batches_tracked` is missing: `load_state_dict` puts it in by itself.
//! - `BatchNorm` adds the variance over n values to its running variance, PyTorch's that over n - 1: trained on in PyTorch,
//!   it drifts by 1/n of each batch's share. The weights make the same steps; `tests/pytorch.rs` of zae-engine has both
//!   make them, and says how near they are.
//! - `torch.optim`'s state goes by position: give the optimizer all of `module.parameters()`, frozen ones too; with
//!   `group_lr`, first the group of the rest, then the others in the order in which they were given.
//! - Burn tells what a type is called, not whose it is. A type of your own called `Linear` is taken for Burn's only if it has
//!   nothing in it but a matrix `weight` and, if any, a vector `bias` as long as the second dimension of `weight`. If that is
//!   so and yet it is laid out as in PyTorch, call it something else. `gamma` and `beta` of a norm of your own become `weight`
//!   and `bias`, unless it has these too.
//!
//! # What to know about Burn
//!
//! - Its random generator on the CPU is one per process: draw nothing from it in a loader's workers.
//! - Cloned layers share parameter ids, and Burn's optimizer moves only one of them: [`BurnLearner`] refuses such models.
//! - With a GPU feature compiled in, `Device::default()` is a GPU. Name the device, or take [`local_device`]. Burn itself
//!   opens that default when an optimizer's state is loaded, before it moves the state to where the model is.
//! - Optimizer state is loaded in the device's default float type. A model in another type, for example one cast to f16,
//!   trains but cannot resume with such state unless `Device::configure` made that type the default, which it can only be
//!   before the first tensor of the process is made on that device.
//! - Burn has no autocast and no gradient scaler. Half precision is [`BurnLearner::precision`], which scales losses in f16 and
//!   keeps weights and optimizer in `f32`, and so resumes as ever; not a model cast to it, whose optimizer computes in 16 bits too. AdamW's
//!   `epsilon` of 1e-8 is 0 in f16. A small convolutional network with batch norm on the handwritten digits, on the CPU,
//!   after 4 epochs (NaN came with the second step):
//!
//!   | | train loss | test loss |
//!   |---|---|---|
//!   | `f32` | 0.0935 | 0.301 |
//!   | `Precision::Bf16` | 0.0928 | 0.299 |
//!   | `Precision::F16` | 0.0931 | 0.304 |
//!   | model cast to bf16 | 0.0970 | 0.261 |
//!   | model cast to f16 | NaN | |
//!   | the same, `epsilon` 1e-5 | 102 | 75.6 |
//!
//!   On the CPU it is for trying out: 1.4 times (bf16) and 2.2 times (f16) as slow as f32.

#[cfg(feature = "dataset")]
pub mod burn_data;
mod copies;
pub mod device;
mod gradients;
mod groups;
mod layout;
pub mod learner;
mod lend;
pub mod metrics;
mod model_state;
pub mod optimizer;
mod optimizer_state;
pub mod place;
pub mod precision;
mod saved;
mod shadow;
mod tap;
pub mod tensor_dataset;
mod torch;
mod training;
mod visit;

#[cfg(feature = "dataset")]
pub use burn_data::{BurnDataset, BurnLoader, batched_by, burn_dataset, burn_loader};
pub use device::local_device;
pub use learner::BurnLearner;
pub use metrics::{accuracy, class_counts, confusion_matrix, correct, regression_sums, scored, top_k_correct};
pub use optimizer::AnyOptimizer;
pub use tensor_dataset::TensorDataset;
