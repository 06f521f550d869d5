//! Optimizers with the names and defaults of `torch.optim`, over PyTorch's fused kernels.

mod adam;
mod groups;
mod rule;
mod sgd;
mod state;

pub use adam::{Adam, AdamW};
pub use groups::Optimizer;
pub use sgd::Sgd;
