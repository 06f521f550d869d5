//! The Burn engine of zae-engine: [`BurnLearner`].
pub mod device;
mod gradients;
pub mod learner;
mod lend;
pub mod metrics;
mod model_state;
mod optimizer_state;
pub mod place;
mod saved;
pub mod tensor_dataset;
mod visit;

pub use device::local_device;
pub use learner::BurnLearner;
pub use metrics::accuracy;
pub use tensor_dataset::TensorDataset;
