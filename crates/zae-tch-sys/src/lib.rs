//! What [`tch`] leaves out of LibTorch and a trainer cannot do without: PyTorch's fused optimizers, operations over many
//! tensors at once, the state of random generators, autocast on every device, and CUDA for a program that was linked
//! without it.
//!
//! ```
//! use tch::{Kind, Tensor};
//!
//! let grads = [Tensor::from_slice(&[3.0f32]), Tensor::from_slice(&[4.0f32])];
//! let grads: Vec<&Tensor> = grads.iter().collect();
//! let norm = zae_tch_sys::norm(&grads)?;
//! assert_eq!((norm.double_value(&[]), norm.kind()), (5.0, Kind::Float));
//! # Ok::<(), zae_tch_sys::Error>(())
//! ```
//!
//! - [`adam_step`] and [`sgd_step`]: one pass over all parameters. The state is the caller's, named as in `torch.optim`.
//! - [`norm`], [`scale_`], [`scale_by_`], [`unscale_`]: what clipping and a gradient scaler need, without a copy.
//! - [`grads`], [`set_grad`], [`own_grads`], [`clear_grads`]: what `backward` leaves at the parameters. [`with_f32s`]: a tensor's memory.
//! - [`HostTensor`]: a copy of a tensor as bytes, from a GPU without waiting for each.
//! - [`manual_seed`], [`rng_state`], [`set_rng_state`]: the generator of one device.
//! - [`Autocast`]: mixed precision, until the guard is dropped.
//! - [`TcpStore`], [`Gloo`]: processes that work together. [`GradientSums`]: their gradients, while others are computed.
//!   [`BatchNormLane`]: their statistics.
//! - [`open_cuda`]: one program for machines with and without a GPU. [`version`]: which LibTorch that is.
//! - [`keep_memory`]: no page of the system's is cleared twice. [`short_errors`]: messages without a C++ stack.
//!
//! Nothing here records for autograd. Every function checks what it is given: what would lead LibTorch's kernels astray comes
//! back as an [`Error`].
//!
//! # LibTorch
//!
//! Version 2.13 is needed, to build and to run. In this repository `cargo xtask libtorch` installs it; elsewhere, set the
//! environment variable `LIBTORCH` to the folder that has LibTorch's `lib` and `include` in it. Where they are not, the first
//! to fail is torch-sys, with a C++ compiler's words: `torch/torch.h: No such file or directory`.
//!
//! Programs run by Cargo (`run`, `test`, `bench`) find the libraries. So that a program also does when it is started by
//! itself, its package says where they are, in a build script, with this crate as a direct dependency:
//!
//! ```no_run
//! # #[allow(clippy::unwrap_used)]
//! fn main() {
//!     println!("cargo::rustc-link-arg=-Wl,-rpath,{}", std::env::var("DEP_ZAE_TCH_LIBTORCH_LIB").unwrap());
//! }
//! ```

mod adam;
mod autocast;
mod batch_norm;
mod c10d;
mod cuda;
mod error;
mod ffi;
mod foreach;
mod grad;
mod gradient_sums;
mod host;
mod lend;
mod memory;
mod rng;
mod sgd;
mod version;

pub use adam::{AdamStep, AdamTensors, adam_step};
pub use autocast::Autocast;
pub use batch_norm::{BatchNormLane, BatchNormed};
pub use c10d::{Gloo, GlooAddress, GroupOptions, TcpStore};
pub use cuda::open_cuda;
pub use error::{Error, Result, short_errors};
pub use foreach::{norm, scale_, scale_by_, unscale_};
pub use grad::{clear_grads, grads, own_grads, set_grad};
pub use gradient_sums::GradientSums;
pub use host::HostTensor;
pub use lend::with_f32s;
pub use memory::keep_memory;
pub use rng::{manual_seed, rng_state, set_rng_state};
pub use sgd::{SgdStep, SgdTensors, sgd_step};
pub use version::version;
