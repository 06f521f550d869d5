//! [`BatchSampler`]: which samples make which batch.

mod bucket;
mod fixed;
mod tokens;

pub use bucket::BucketBatchSampler;
pub(super) use fixed::FixedBatches;
pub use tokens::TokenBatchSampler;

use super::SamplerAt;
use crate::error::Fallible;

/// The indices of the samples of a batch of an epoch, counted from 0. Batches are asked for in any order, each worker
/// thread asks one of its own, and all must give the same answers.
pub type BatchOrder = Box<dyn FnMut(u64) -> Vec<usize> + Send>;

/// Which samples make which batch, as a function of (seed, epoch, batch): for batches that are more than so many
/// neighbours of an order. PyTorch's `batch_sampler`, for
/// [`DataLoader::with_batch_sampler`](super::DataLoader::with_batch_sampler).
pub trait BatchSampler: Send + Sync {
    /// How many batches epoch `epoch` has, for data of so many samples: the same for every seed.
    fn batches(&self, samples: usize, epoch: u64) -> u64;

    /// The batches of one epoch.
    ///
    /// # Errors
    /// When the sampler does not fit the data, or was set up wrongly.
    fn order(&self, at: &SamplerAt) -> Fallible<BatchOrder>;

    /// All that decides its batches. A resumed run whose sampler says something else is not the run that was interrupted,
    /// and is refused.
    fn describe(&self) -> String;
}
