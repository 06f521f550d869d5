//! How to write an engine, and the suite that tells whether it is one.
//!
//! An engine is a type that implements [`Engine`](crate::engine::Engine) (what add-ons may do) and
//! [`Learner`](crate::learner::Learner) (what the trainer drives), and [`Place`](crate::place::Place) for its tensors.
//! [`mod@reference`] is a complete one in plain Rust.
//!
//! # The order of calls
//!
//! `init` comes first, once. Then, for each micro-batch of a window: `seed`, `place` for training,
//! `train`, `backward` (`last` is true for the window's last; a micro-batch of weight 0 has none, so `last` may not
//! come), `detach` for each metric. After the window `clip`, `read` (at once on a synchronous device, every `log_every`
//! steps on an asynchronous one), and `step` or `zero_grad`. Between windows any of `eval`, `snapshot`, `load`,
//! `to_device`, `model`. Add-ons may call the visitors of `Engine` after `clip` and between windows.
//!
//! With several processes, `overlap` and `connect_layers` come before each run. `in_step` is around what every process computes at
//! the same time: a micro-batch of weight 0 then has a `backward` too. After the last one comes `finish_sums`, if the learner
//! sums by itself; after a failure, on every process, `leave_layers` and then `finish_sums`, of what any has begun.
//!
//! # What has to hold
//!
//! - **Parity**: a window of one micro-batch computes exactly what a hand-written loop computes. So `backward` with a
//!   weight of 1 and `clip` with a scale of 1 and no limit multiply nothing.
//! - **Nothing random but from `seed`**: dropout masks are a function of the seed given before the micro-batch, first
//!   weights of the seed given to `init`. Weights that are there already are left alone by `init`.
//! - **Modes**: `train` runs the model with dropout on and records; `eval` runs it with dropout off, batch norm on its
//!   running statistics, and records nothing.
//! - **Nothing lazy holds a graph**: what `backward` and `detach` return has none, so activations die with the step.
//! - **A parameter that took no part** in a window is left alone by the optimizer, as in PyTorch, and is seen by the
//!   visitor of gradients as `-0.0`; looking at it changes nothing.
//! - **Several processes**: after `expect_gradients`, what the visitor of gradients writes is as good as what `backward`
//!   gives.
//! - **A snapshot is a copy**: all that decides the next step is in it (weights, running statistics, the optimizer's
//!   moments and counters, by parameter name), later steps do not change it, and a learner built anew that loads it goes
//!   on bit for bit. A state that does not fit changes nothing.
//! - **Second sets of weights** ([`Engine::shadow`](crate::engine::Engine::shadow)) hold every floating-point parameter and
//!   buffer, and are in the snapshot. An average takes one pass over memory; exchanged twice, all is as it was.
//! - **A precision** ([`Precision`](crate::precision::Precision)) is of the computation alone: a state made in one loads in
//!   another. In `F16` the loss is scaled, by a [`GradScaler`](crate::scaler::GradScaler) that is in the snapshot.
//! - **A layout**, if there is one, names all that is saved of the model, in PyTorch's words: it is what makes checkpoints
//!   readable there.
//! - **Errors, not panics**: a loss that does not depend on the model, gradients that are not there, an optimizer that
//!   is not there.
//!
//! # How to run the suite
//!
//! Fill in a [`Fixture`] and call [`conformance`] from a test, and [`f16_conformance`] if there is `Precision::F16`. An engine whose random generator is one per process needs
//! a test binary of its own for it. [`ranks_conformance`] trains with two learners as the ranks of one run.
//!
//! ```
//! use zae_core::testing::{conformance, reference::Reference};
//! conformance(&Reference { asynchronous: true });
//! ```
//!
//! The suite compares an engine with itself. [`cross_check`] compares two: the same weights, data and optimizer have to
//! give the same losses and weights, but for rounding.

mod checks;
mod cross_check;
mod fixture;
mod notices;
pub mod null;
mod ranks;
mod recorder;
pub mod reference;
mod run;
mod torch_words;

pub use checks::{conformance, f16_conformance, ranks_conformance};
pub use cross_check::{CrossCheck, CrossStep, cross_check};
pub use fixture::{Architecture, Fixture, HandWritten, Samples, Sizes};
pub use notices::Notices;
pub use ranks::{Connect, ThreadRank, Unknown, check_group, overlapping_thread_ranks, thread_ranks};
pub use recorder::{Recorded, Recorder};
pub use run::{FixtureTask, gradients, outcome, parameters};
