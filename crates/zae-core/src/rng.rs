//! Randomness without state: every random number is a pure function of the seed and a position, so a resumed run needs
//! no saved generator and any batch can be reached at once.
//!
//! # All of it comes from one seed
//!
//! `Trainer::seed` gives the seed of a run; a run that is gone on with keeps the one it began with. Two programs with the same
//! seed draw the same numbers in each of these places, and with another seed other ones:
//!
//! | what | from | depends on |
//! |---|---|---|
//! | first weights, where the model has none yet | the engine's generator, under [`init_seed`] | seed |
//! | dropout, and whatever else a model draws | the engine's generator, under [`seed_for`] in training | seed, mode, epoch, micro-batch |
//! | what a step of the task draws | [`At::rng`](crate::task::At::rng) | seed, mode, epoch, micro-batch |
//! | the order of shuffled data | [`DataLoader`](crate::data::DataLoader) | seed, epoch |
//! | augmentation | [`Sample::rng`](crate::data::Sample::rng) | seed, epoch, place in the epoch's order |
//! | a loader of one's own | [`Draw::seed`](crate::data::Draw::seed) | as it likes |
//! | an add-on | [`Context::seed`](crate::add_on::Context::seed) | as it likes |
//! | `random_split` of a data set | the seed that it is given | seed |
//! | anything else, before, beside and after a run | [`generator_for`], by a name | seed, name |
//!
//! Splits are made before there is a trainer, so a program says its seed once and gives it to both:
//!
//! ```
//! # use zae_core::{data::Dataset, error::Fallible, rng::{Rng, generator_for}, task::Task, trainer::Trainer};
//! # fn program<T: Task>(task: T, learner: T::Learner) -> Fallible {
//! const SEED: u64 = 42;
//! let [train, valid] = vec![0u8; 100].random_split([0.8, 0.2], SEED)?;
//! let noise = generator_for(SEED, "label noise").next_u64();
//! let trainer = Trainer::new(task, learner).seed(SEED);
//! # Ok(())
//! # }
//! ```

/// What generators do: `next_u32`, `next_u64`, `fill_bytes`.
pub use rand_core::Rng;
pub use rand_pcg::Pcg64Mcg;

use crate::mode::Mode;

/// What a user's step draws from: small, fast, the same on every platform. Implements `rand_core::Rng`.
pub type StepRng = Pcg64Mcg;

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection on 64 bits in which every bit depends on all.
#[must_use]
pub(crate) const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Streams of randomness that must not meet.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    /// An engine's generator during training (dropout).
    Train = 1,
    /// The same during evaluation.
    Evaluate = 2,
    /// The same during inference.
    Predict = 3,
    /// The first weights of a model.
    Init = 4,
    /// The order of an epoch.
    Order = 5,
    /// A step's own generator, `At::rng`.
    Step = 6,
    /// A sample's own generator, `Sample::rng`.
    Data = 7,
    /// Random splits of a data set.
    Split = 8,
    /// What a sampler draws, `SamplerAt::rng`.
    Sampler = 9,
    /// The order of batches that belong together.
    Batches = 10,
    /// A data set in another one, `Sample::nested`.
    Nested = 11,
    /// What a program draws by a name of its own.
    Named = 64,
}

impl From<Mode> for Stream {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Train => Self::Train,
            Mode::Evaluate => Self::Evaluate,
            Mode::Predict => Self::Predict,
        }
    }
}

/// The seed of one stream at one position.
#[must_use]
pub(crate) const fn stream_seed(seed: u64, stream: Stream, epoch: u64, index: u64) -> u64 {
    mix(mix(mix(mix(seed) ^ stream as u64) ^ epoch) ^ index)
}

/// The seed of the engine's generator for one training micro-batch, which is what the trainer gives to
/// [`Learner::seed`](crate::learner::Learner::seed) before each `train_step`. A hand-written loop that seeds its engine
/// with it draws the same dropout masks as the trainer.
///
/// ```
/// use zae_core::rng::seed_for;
/// assert_eq!(seed_for(42, 3, 7), seed_for(42, 3, 7));
/// assert_ne!(seed_for(42, 3, 7), seed_for(42, 7, 3));
/// ```
#[must_use]
pub const fn seed_for(seed: u64, epoch: u64, micro_batch: u64) -> u64 {
    stream_seed(seed, Stream::Train, epoch, micro_batch)
}

/// The seed under which the trainer has an engine draw a model's first weights.
#[must_use]
pub const fn init_seed(seed: u64) -> u64 {
    stream_seed(seed, Stream::Init, 0, 0)
}

/// A generator for what a program draws by itself (a choice of samples, noise on labels): another one for each name, and none
/// that the trainer draws from.
///
/// ```
/// use zae_core::rng::{Rng, generator_for};
/// let draw = |seed, name| generator_for(seed, name).next_u64();
/// assert_eq!(draw(42, "label noise"), draw(42, "label noise"));
/// assert_ne!(draw(42, "label noise"), draw(42, "samples to show"));
/// assert_ne!(draw(42, "label noise"), draw(43, "label noise"));
/// ```
#[must_use]
pub fn generator_for(seed: u64, name: &str) -> StepRng {
    let name = name.bytes().fold(name.len() as u64, |hash, byte| mix(hash ^ u64::from(byte)));
    generator(seed, Stream::Named, name, 0)
}

/// A generator for one stream at one position.
pub(crate) fn generator(seed: u64, stream: Stream, epoch: u64, index: u64) -> StepRng {
    let low = stream_seed(seed, stream, epoch, index);
    StepRng::new(u128::from(mix(low)) << 64 | u128::from(low))
}
