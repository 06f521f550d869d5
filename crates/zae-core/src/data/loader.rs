//! [`Loader`]: where batches come from.

use std::marker::PhantomData;

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

    /// Whether this is no data at all: the caller wants no validation.
    fn is_absent(&self) -> bool {
        false
    }
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

impl<B: 'static, L: Loader<B> + ?Sized> Loader<B> for &L {
    fn micro_batches(&self, epoch: u64) -> Option<u64> {
        (**self).micro_batches(epoch)
    }
    fn epoch<'a>(&'a self, draw: &Draw) -> Fallible<Batches<'a, B>> {
        (**self).epoch(draw)
    }
    fn is_absent(&self) -> bool {
        (**self).is_absent()
    }
}

impl<B: 'static, L: Loader<B>> Loader<B> for Option<L> {
    fn micro_batches(&self, epoch: u64) -> Option<u64> {
        self.as_ref().map_or(Some(0), |loader| loader.micro_batches(epoch))
    }
    fn epoch<'a>(&'a self, draw: &Draw) -> Fallible<Batches<'a, B>> {
        self.as_ref().map_or_else(|| Ok(Box::new(std::iter::empty()) as Batches<'a, B>), |loader| loader.epoch(draw))
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

impl<B: 'static, I: IntoIterator<Item = Fallible<B>>, F: Fn(u64) -> I> Loader<B> for FromFn<F, I> {
    fn micro_batches(&self, _: u64) -> Option<u64> {
        None
    }
    fn epoch<'a>(&'a self, draw: &Draw) -> Fallible<Batches<'a, B>> {
        let mut batches = (self.0)(draw.from.epoch).into_iter();
        for _ in 0..draw.from.micro_batch {
            if let Some(batch) = batches.next() {
                batch?;
            }
        }
        Ok(Box::new(batches))
    }
}
