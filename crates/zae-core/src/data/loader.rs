//! [`Loader`]: where batches come from.

use std::marker::PhantomData;

use super::{Limit, Overfit, Passes, Portion, Sets, Shard};
use crate::{error::Fallible, progress::Cursor};

/// What a loader is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Draw {
    /// The run's seed.
    pub seed: u64,
    /// The first batch wanted. Batches before it must not be loaded only to be thrown away, where that can be avoided.
    pub from: Cursor,
}

impl Draw {
    /// The batches of an epoch from this one on.
    #[must_use]
    pub fn new(seed: u64, from: Cursor) -> Self {
        Self { seed, from }
    }
}

/// The batches of one epoch, in order.
pub type Batches<'a, B> = Box<dyn Iterator<Item = Fallible<B>> + 'a>;

/// A source of batches of type `B`. Batch i of epoch e must depend on nothing but (seed, e, i): that makes a resumed run
/// exact.
///
/// `()` and `None` are the loader that is not there, a `Vec` of batches is a loader, and [`from_fn`] makes one of any
/// iterator.
pub trait Loader<B: 'static> {
    /// How many batches epoch `epoch` has, if that is known.
    fn micro_batches(&self, epoch: u64) -> Option<u64>;

    /// Starts drawing.
    ///
    /// # Errors
    /// When the source cannot be read.
    fn epoch<'a>(&'a self, draw: &Draw) -> Fallible<Batches<'a, B>>;

    /// The same, but of batches that are another process's only that they are there: `None`. By itself it makes them and drops
    /// them; a loader that can leave them out does so.
    ///
    /// # Errors
    /// As [`Loader::epoch`].
    fn shard<'a>(&'a self, draw: &Draw, shard: Shard) -> Fallible<Batches<'a, Option<B>>> {
        Ok(Box::new(sharded(self.epoch(draw)?, draw, shard)))
    }

    /// Whether steps of so many micro-batches (`window`, over all processes) can be made of what comes in this epoch. The trainer
    /// asks for every epoch of a run before the first, if it knows how many there are; what does not fit in a run that goes on
    /// until its time is over can only be said where that epoch begins.
    ///
    /// # Errors
    /// When they cannot.
    fn fits(&self, epoch: u64, window: u64) -> Fallible {
        let _ = (epoch, window);
        Ok(())
    }

    /// What decides which samples are in which batch, by name: `batch_size`, `dataset_length`. A resumed run whose
    /// loader says something else, or more, or less, is not the run that was interrupted, and is refused.
    fn describe(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The first batches of each epoch, for a quick look: a number of them, or a fraction, `.limit(0.1)`.
    fn limit(self, batches: impl Into<Portion>) -> Limit<Self>
    where
        Self: Sized,
    {
        Limit::new(self, batches.into())
    }

    /// The very same batches in every epoch, the first ones of the first epoch, shuffled and augmented as they are there: a
    /// number of them, or a fraction. A model and a task that are right learn a few batches by heart, to a loss of nearly 0.
    ///
    /// ```
    /// # use zae_core::{data::Loader, error::Error, task::Task, trainer::{Run, Trainer}};
    /// # fn train<T: Task>(trainer: &mut Trainer<T>, train: &impl Loader<T::Batch>) -> Result<Run, Error> {
    /// let few = train.overfit(4);
    /// trainer.run(100, &few, &few)
    /// # }
    /// ```
    fn overfit(self, batches: impl Into<Portion>) -> Overfit<Self>
    where
        Self: Sized,
    {
        Overfit::new(self, batches.into())
    }

    /// The sets in it, by name, if it is several: [`Trainer::run`](crate::trainer::Trainer::run) validates on all of them. A
    /// list of names and loaders, `[("clean", &clean), ("noisy", &noisy)]`, is several; so is a tuple of such pairs, for loaders
    /// of different types.
    fn sets(&self) -> Sets<'_, B> {
        Vec::new()
    }

    /// Each batch so many times in a row, with the number of the pass: `(0, batch)`, then `(1, batch)`, and so on. A step of
    /// each pass can be about something else: with [`Step::only`](crate::step::Step::only), first the discriminator of a GAN is
    /// trained, then its generator. Each pass makes steps of its own, and has its own random numbers. Validation data of the same
    /// task has one pass. Whatever counts batches counts each pass of one: it takes `.fast_dev_run(2)` to try two passes.
    ///
    /// ```
    /// use zae_core::data::{Draw, Loader};
    /// use zae_core::progress::Cursor;
    /// let loader = vec!["a", "b"].passes(2);
    /// let batches = loader.epoch(&Draw::new(0, Cursor::default()))?.collect::<Result<Vec<_>, _>>()?;
    /// assert_eq!(batches, [(0, "a"), (1, "a"), (0, "b"), (1, "b")]);
    /// # Ok::<(), zae_core::error::BoxError>(())
    /// ```
    fn passes(self, passes: u64) -> Passes<Self, B>
    where
        Self: Sized,
    {
        Passes::new(self, passes)
    }

    /// Whether this is no data at all: the caller wants no validation.
    fn is_absent(&self) -> bool {
        false
    }
}

/// Leaves out what is not in the shard.
fn sharded<'a, B>(
    batches: impl Iterator<Item = Fallible<B>> + 'a,
    draw: &Draw,
    shard: Shard,
) -> impl Iterator<Item = Fallible<Option<B>>> + 'a {
    let mut next = draw.from.micro_batch;
    batches.map(move |batch| {
        let own = shard.has(next);
        next += 1;
        batch.map(|batch| own.then_some(batch))
    })
}

impl<B: 'static> Loader<B> for () {
    fn micro_batches(&self, _: u64) -> Option<u64> {
        Some(0)
    }
    fn epoch<'a>(&'a self, _: &Draw) -> Fallible<Batches<'a, B>> {
        Ok(Box::new(std::iter::empty()))
    }
    fn is_absent(&self) -> bool {
        true
    }
}

macro_rules! pointers {
    ($($pointer:ty),+) => { $(
        impl<B: 'static, L: Loader<B> + ?Sized> Loader<B> for $pointer {
            fn micro_batches(&self, epoch: u64) -> Option<u64> {
                (**self).micro_batches(epoch)
            }
            fn epoch<'a>(&'a self, draw: &Draw) -> Fallible<Batches<'a, B>> {
                (**self).epoch(draw)
            }
            fn shard<'a>(&'a self, draw: &Draw, shard: Shard) -> Fallible<Batches<'a, Option<B>>> {
                (**self).shard(draw, shard)
            }
            fn fits(&self, epoch: u64, window: u64) -> Fallible {
                (**self).fits(epoch, window)
            }
            fn describe(&self) -> Vec<(&'static str, String)> {
                (**self).describe()
            }
            fn sets(&self) -> Sets<'_, B> {
                (**self).sets()
            }
            fn is_absent(&self) -> bool {
                (**self).is_absent()
            }
        }
    )+ };
}
pointers! { &L, Box<L> }

impl<B: 'static, L: Loader<B>> Loader<B> for Option<L> {
    fn micro_batches(&self, epoch: u64) -> Option<u64> {
        self.as_ref().map_or(Some(0), |loader| loader.micro_batches(epoch))
    }
    fn epoch<'a>(&'a self, draw: &Draw) -> Fallible<Batches<'a, B>> {
        self.as_ref().map_or_else(|| Ok(Box::new(std::iter::empty()) as Batches<'a, B>), |loader| loader.epoch(draw))
    }
    fn shard<'a>(&'a self, draw: &Draw, shard: Shard) -> Fallible<Batches<'a, Option<B>>> {
        let Some(loader) = self else { return Ok(Box::new(std::iter::empty())) };
        loader.shard(draw, shard)
    }
    fn fits(&self, epoch: u64, window: u64) -> Fallible {
        self.as_ref().map_or(Ok(()), |loader| loader.fits(epoch, window))
    }
    fn describe(&self) -> Vec<(&'static str, String)> {
        self.as_ref().map(Loader::describe).unwrap_or_default()
    }
    fn sets(&self) -> Sets<'_, B> {
        self.as_ref().map(Loader::sets).unwrap_or_default()
    }
    fn is_absent(&self) -> bool {
        self.as_ref().is_none_or(Loader::is_absent)
    }
}

/// The same batches in the same order every epoch.
impl<B: Clone + 'static> Loader<B> for Vec<B> {
    fn micro_batches(&self, _: u64) -> Option<u64> {
        Some(self.len() as u64)
    }
    fn epoch<'a>(&'a self, draw: &Draw) -> Fallible<Batches<'a, B>> {
        let skip = usize::try_from(draw.from.micro_batch)?;
        Ok(Box::new(self.iter().skip(skip).cloned().map(Ok)))
    }
    fn shard<'a>(&'a self, draw: &Draw, shard: Shard) -> Fallible<Batches<'a, Option<B>>> {
        let skip = usize::try_from(draw.from.micro_batch)?;
        Ok(Box::new((0..).zip(self).skip(skip).map(move |(i, batch)| Ok(shard.has(i).then(|| batch.clone())))))
    }
    fn describe(&self) -> Vec<(&'static str, String)> {
        vec![("batches", self.len().to_string())]
    }
}

/// A loader made by [`from_fn`].
pub struct FromFn<F, I>(F, PhantomData<fn() -> I>);

/// Makes a loader of any iterator of batches: `make(epoch)` starts one for each epoch, and must yield the same batches
/// whenever it is called for the same epoch. A resume in the middle of an epoch draws the batches before the cut and
/// throws them away.
///
/// ```
/// use zae_core::data::{Draw, Loader, from_fn};
/// use zae_core::progress::Cursor;
/// let loader = from_fn(|epoch| (0..3).map(move |i| Ok(epoch * 10 + i)));
/// let batches = loader.epoch(&Draw::new(0, Cursor { epoch: 4, micro_batch: 1 }))?;
/// assert_eq!(batches.collect::<Result<Vec<u64>, _>>()?, [41, 42]);
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
pub fn from_fn<F, I, B>(make: F) -> FromFn<F, I>
where
    F: Fn(u64) -> I,
    I: IntoIterator<Item = Fallible<B>>,
{
    FromFn(make, PhantomData)
}

impl<B, I: IntoIterator<Item = Fallible<B>>, F: Fn(u64) -> I> FromFn<F, I> {
    /// The batches from there on: none, once there is no further one.
    fn from(&self, draw: &Draw) -> Fallible<std::iter::Fuse<I::IntoIter>> {
        let mut batches = (self.0)(draw.from.epoch).into_iter().fuse();
        for _ in 0..draw.from.micro_batch {
            match batches.next() {
                Some(batch) => drop(batch?),
                None => break,
            }
        }
        Ok(batches)
    }
}

impl<B: 'static, I: IntoIterator<Item = Fallible<B>>, F: Fn(u64) -> I> Loader<B> for FromFn<F, I> {
    fn micro_batches(&self, _: u64) -> Option<u64> {
        None
    }
    fn epoch<'a>(&'a self, draw: &Draw) -> Fallible<Batches<'a, B>> {
        Ok(Box::new(self.from(draw)?))
    }
    fn shard<'a>(&'a self, draw: &Draw, shard: Shard) -> Fallible<Batches<'a, Option<B>>> {
        Ok(Box::new(sharded(self.from(draw)?, draw, shard)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn drawn<L: Loader<u64>>(loader: L, epoch: u64, micro_batch: u64) -> Vec<u64> {
        let batches = loader.epoch(&Draw::new(0, Cursor { epoch, micro_batch })).unwrap();
        batches.collect::<Fallible<_>>().unwrap()
    }

    #[test]
    fn absent_data_have_no_batches() {
        let none: Option<Vec<u64>> = None;
        assert!(
            Loader::<u64>::is_absent(&())
                && none.is_absent()
                && Loader::<u64>::is_absent(&&none)
                && Loader::<u64>::is_absent(&Some(()))
        );
        assert_eq!((Loader::<u64>::micro_batches(&(), 3), none.micro_batches(3)), (Some(0), Some(0)));
        assert_eq!((drawn((), 0, 0), drawn(&none, 0, 2)), (vec![], vec![]));
    }

    #[test]
    fn a_vec_starts_anywhere() {
        let batches = vec![10, 11, 12];
        assert_eq!(batches.micro_batches(9), Some(3));
        assert!(!batches.is_absent() && !Some(&batches).is_absent());
        assert_eq!(drawn(&batches, 9, 0), [10, 11, 12]);
        assert_eq!(drawn(Some(&batches), 0, 2), [12]);
        assert_eq!((drawn(&batches, 0, 3), drawn(&batches, 0, 1 << 40)), (vec![], vec![]));
        // An empty list is a mistake, not the wish for no data.
        assert!(!Vec::<u64>::new().is_absent());
    }

    #[test]
    fn an_iterator_starts_anywhere() {
        let loader = from_fn(|epoch| (0..3).map(move |i| Ok(epoch * 10 + i)));
        assert_eq!(Loader::<u64>::micro_batches(&loader, 0), None);
        assert_eq!(drawn(&loader, 2, 0), [20, 21, 22]);
        assert_eq!(drawn(&loader, 2, 2), [22]);
        assert_eq!((drawn(&loader, 2, 3), drawn(&loader, 2, u64::MAX)), (vec![], vec![]));
    }

    #[test]
    fn a_shard_has_its_batches_at_their_places() {
        fn parts<L: Loader<u64>>(loader: L, rank: usize) -> Vec<Option<u64>> {
            let draw = Draw::new(0, Cursor { epoch: 0, micro_batch: 2 });
            loader.shard(&draw, Shard::new(rank, 2, 4)).unwrap().collect::<Fallible<_>>().unwrap()
        }
        let batches = vec![10, 11, 12, 13, 14, 15, 16];
        let own = [vec![None, None, Some(14), Some(15), None], vec![Some(12), Some(13), None, None, Some(16)]];
        for (rank, own) in own.iter().enumerate() {
            assert_eq!(parts(&batches, rank), *own);
            assert_eq!(parts(Some(&batches), rank), *own);
            assert_eq!(parts(from_fn(|_| (10..17).map(Ok)), rank), *own);
            assert_eq!(parts((&batches).limit(4), rank), own[..2]);
        }
        assert_eq!(parts((), 1), []);
    }

    #[test]
    fn errors_are_passed_on() {
        let loader = from_fn(|_| (0..4).map(|i| if i == 1 { Err("unreadable".into()) } else { Ok(i) }));
        let from = |micro_batch| loader.epoch(&Draw::new(0, Cursor { epoch: 0, micro_batch }));
        let batches: Vec<Fallible<u64>> = from(0).unwrap().collect();
        assert_eq!(batches[1].as_ref().unwrap_err().to_string(), "unreadable");
        // A batch that cannot be read cannot be passed over either.
        assert!(from(1).unwrap().next().unwrap().is_err());
        assert_eq!(from(2).err().unwrap().to_string(), "unreadable");
    }
}
