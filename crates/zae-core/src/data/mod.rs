//! Data: loaders, data sets, and the order in which samples come.
//!
//! A [`Dataset`] gives samples one by one, a [`Source`] whole batches; a [`DataLoader`] draws batches from a source, in
//! order or shuffled, on threads of its own. Anything else that has batches is a [`Loader`] too.
//!
//! Other orders are those of a [`Sampler`] ([`WeightedSampler`], or your own) or of a [`BatchSampler`]
//! ([`BucketBatchSampler`], [`TokenBatchSampler`]). What is random in samples comes from [`Sample::rng`], or goes into
//! [`Dataset::transform`]. [`Pad`] makes one array of sequences, [`Normalize`]
//! numbers of bytes.

mod batch_sampler;
mod collate;
mod data_loader;
mod dataset;
mod idx;
mod limit;
mod loader;
mod map;
mod normalize;
mod pad;
mod passes;
mod permutation;
mod portion;
mod rows;
mod sample;
mod sampler;
mod sets;
mod shard;
mod share;
mod source;
mod stratify;
mod subset;
mod transform;

pub use batch_sampler::{BatchOrder, BatchSampler, BucketBatchSampler, TokenBatchSampler};
pub use collate::Collate;
pub use data_loader::DataLoader;
pub use dataset::Dataset;
pub use idx::Idx;
pub use limit::{Limit, Overfit};
pub use loader::{Batches, Draw, FromFn, Loader, from_fn};
pub use map::Map;
pub use normalize::Normalize;
pub use pad::{Pad, Padded};
pub use passes::Passes;
pub use permutation::Permutation;
pub use portion::Portion;
pub use rows::{check_indices, samples_of};
pub use sample::Sample;
pub use sampler::{Order, RandomSampler, Sampler, SamplerAt, SequentialSampler, WeightedSampler};
pub use sets::Sets;
pub use shard::Shard;
pub use share::Share;
pub use source::Source;
pub use subset::Subset;
pub use transform::Transform;
