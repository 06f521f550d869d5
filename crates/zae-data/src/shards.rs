//! [`Shards`]: a data set of several files.

use zae_core::data::Dataset;

/// A data set whose samples lie one after the other in files, its shards: what a
/// [`ShardSampler`](crate::ShardSampler) orders.
pub trait Shards: Dataset {
    /// How many samples there are up to the end of each file.
    fn ends(&self) -> &[usize];

    /// A number that is another one for other data. A run that goes on compares it with that of the run that stopped.
    fn fingerprint(&self) -> u64;
}
