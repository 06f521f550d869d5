//! [`Sampler`]: which sample comes at which place of an epoch.

mod alias;
mod weighted;

pub use weighted::WeightedSampler;

use super::Permutation;
use crate::{
    error::Fallible,
    rng::{StepRng, Stream, generator, mix, stream_seed},
};

/// What the order of an epoch may depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SamplerAt {
    /// The run's seed.
    pub seed: u64,
    /// The epoch, from 0.
    pub epoch: u64,
    /// How many samples the data have.
    pub samples: usize,
}

impl SamplerAt {
    /// An epoch of a run. In a run, the loader makes these.
    #[must_use]
    pub fn new(seed: u64, epoch: u64, samples: usize) -> Self {
        Self { seed, epoch, samples }
    }

    /// A generator for one place of the epoch, the same at each call.
    #[must_use]
    pub fn rng(&self, position: u64) -> StepRng {
        generator(self.seed, Stream::Sampler, self.epoch, position)
    }
}

/// The index of the sample at a place of an epoch, counted from 0. Places are asked for in any order, each worker thread
/// asks one of its own, and all must give the same answers.
pub type Order = Box<dyn FnMut(u64) -> usize + Send>;

/// Which samples an epoch has and in which order, as a function of (seed, epoch, place): so a resumed run finds its place
/// without going through those before it. PyTorch's `Sampler`, for
/// [`DataLoader::sampler`](super::DataLoader::sampler).
///
/// ```
/// use zae_core::{data::{Order, Permutation, Sampler, SamplerAt}, error::Fallible, rng::Rng};
///
/// /// The data are sorted by difficulty, and each epoch has a tenth more of them.
/// struct Curriculum;
///
/// impl Sampler for Curriculum {
///     fn len(&self, samples: usize, epoch: u64) -> usize {
///         samples * (epoch as usize + 1).min(10) / 10
///     }
///     fn order(&self, at: &SamplerAt) -> Fallible<Order> {
///         let order = Permutation::new(at.rng(0).next_u64(), self.len(at.samples, at.epoch) as u64);
///         Ok(Box::new(move |position| order.get(position) as usize))
///     }
///     fn describe(&self) -> String {
///         "curriculum, a tenth more each epoch".to_owned()
///     }
/// }
/// assert!(Curriculum.order(&SamplerAt::new(42, 2, 1_000))?(299) < 300);
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
pub trait Sampler: Send + Sync {
    /// How many places epoch `epoch` has, for data of so many samples.
    fn len(&self, samples: usize, _epoch: u64) -> usize {
        samples
    }

    /// The order of one epoch.
    ///
    /// # Errors
    /// When the sampler does not fit the data.
    fn order(&self, at: &SamplerAt) -> Fallible<Order>;

    /// All that decides its order. A resumed run whose sampler says something else is not the run that was interrupted, and
    /// is refused.
    fn describe(&self) -> String;
}

/// Samples in the order of the data: what a loader does by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct SequentialSampler;

impl Sampler for SequentialSampler {
    fn order(&self, _: &SamplerAt) -> Fallible<Order> {
        Ok(Box::new(|position| position as usize))
    }
    fn describe(&self) -> String {
        "sequential".to_owned()
    }
}

/// Each sample once, in another random order each epoch: what `.shuffle(true)` asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomSampler;

impl Sampler for RandomSampler {
    fn order(&self, at: &SamplerAt) -> Fallible<Order> {
        let order = Permutation::new(stream_seed(at.seed, Stream::Order, at.epoch, 0), at.samples as u64);
        let mut order = order.into_neighbours();
        Ok(Box::new(move |position| order(position) as usize))
    }
    fn describe(&self) -> String {
        "random".to_owned()
    }
}

/// A number that stands for all of them, to tell a resumed run whose weights or lengths are others.
pub(super) fn digest(values: impl IntoIterator<Item = u64>) -> u64 {
    values.into_iter().fold(0, |digest, value| mix(digest ^ value))
}

/// # Errors
/// When there is not one for each sample.
pub(super) fn one_each(what: &str, count: usize, samples: usize) -> Fallible {
    if count != samples {
        return Err(format!("there are {count} {what}, but {samples} samples: give one for each sample").into());
    }
    Ok(())
}
