//! Data: loaders, data sets, and the order in which samples come.
//!
//! A [`Dataset`] gives samples one by one, a [`Source`] whole batches; a [`DataLoader`] draws batches from a source, in
//! order or shuffled, on threads of its own. Anything else that has batches is a [`Loader`] too.

mod collate;
mod data_loader;
mod dataset;
mod idx;
mod limit;
mod loader;
mod permutation;
mod portion;
mod rows;
mod sample;
mod sets;
mod shard;
mod share;
mod source;
mod subset;

pub use collate::Collate;
pub use data_loader::DataLoader;
pub use dataset::Dataset;
pub use idx::Idx;
pub use limit::{Limit, Overfit};
pub use loader::{Batches, Draw, FromFn, Loader, from_fn};
pub use permutation::Permutation;
pub use portion::Portion;
pub use rows::{check_indices, samples_of};
pub use sample::Sample;
pub use sets::Sets;
pub use shard::Shard;
pub use share::Share;
pub use source::{Map, Source};
pub use subset::Subset;
