//! [`Step`]: what one micro-batch brought.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::error::Fallible;

/// A metric's name.
pub type Name = Cow<'static, str>;

#[derive(Clone, Debug)]
pub(crate) enum Value<S> {
    Lazy(S),
    Now(f64),
    /// Several numbers that are here already. (Boxed, so that a metric that is one number is no larger for it.)
    #[allow(clippy::box_collection)]
    Here(Box<Vec<f64>>),
}

impl<S> Value<S> {
    pub(crate) fn map(self, f: impl FnOnce(S) -> S) -> Self {
        match self {
            Self::Lazy(scalar) => Self::Lazy(f(scalar)),
            Self::Now(number) => Self::Now(number),
            Self::Here(numbers) => Self::Here(numbers),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) enum Kind {
    Mean {
        weight: f64,
    },
    /// A sum over so many, of which the mean is wanted.
    Ratio {
        over: f64,
    },
    Count,
}

#[derive(Clone, Debug)]
pub(crate) struct Metric<S> {
    pub(crate) name: Name,
    pub(crate) value: Value<S>,
    pub(crate) kind: Kind,
}

/// Loss and metrics of one micro-batch.
///
/// The loss is the **mean** over the batch, and the weight says over how many samples (or tokens) that mean was taken:
/// so the trainer can average batches of different size exactly, within a window of accumulated gradients as well as
/// over an epoch.
#[derive(Clone, Debug)]
#[must_use]
pub struct Step<S> {
    pub(crate) loss: S,
    pub(crate) weight: f64,
    pub(crate) metrics: SmallVec<[Metric<S>; 2]>,
    /// Of which part of the model the loss is.
    pub(crate) part: Option<Name>,
}

impl<S> Step<S> {
    /// A mean loss over `weight` samples or tokens. A weight of 0 (everything was masked) leaves the batch out.
    pub fn new(loss: S, weight: usize) -> Self {
        Self::weighted(loss, weight as f64)
    }

    /// A mean loss with a weight that is not a count.
    pub fn weighted(loss: S, weight: f64) -> Self {
        Self { loss, weight, metrics: SmallVec::new(), part: None }
    }

    /// Trains one part of the model along this loss: the parameters whose names begin with this path, such as `generator` for
    /// `generator.conv1.weight`. All others are left as they are, and so is what the optimizer knows of them.
    ///
    /// With [`Loader::passes`](crate::data::Loader::passes) this is how models are trained against each other: each batch makes
    /// a step of the discriminator, and then one of the generator.
    pub fn only(mut self, part: impl Into<Name>) -> Self {
        self.part = Some(part.into());
        self
    }

    /// A metric that is a mean over the same samples as the loss.
    pub fn metric(self, name: impl Into<Name>, value: S) -> Self {
        let weight = self.weight;
        self.with(name, Value::Lazy(value), Kind::Mean { weight })
    }

    /// A metric that is a mean over a number of samples of its own.
    pub fn metric_over(self, name: impl Into<Name>, value: S, weight: usize) -> Self {
        self.with(name, Value::Lazy(value), Kind::Mean { weight: weight as f64 })
    }

    /// A sum over so many samples or tokens, of which the mean is wanted: hits over rows is an accuracy. Where the sums are
    /// whole numbers, the mean over an epoch has no rounding but that of its one division; a mean of each batch has its own.
    pub fn ratio(self, name: impl Into<Name>, sum: S, over: usize) -> Self {
        self.with(name, Value::Lazy(sum), Kind::Ratio { over: over as f64 })
    }

    /// The same for a sum that is on the host already.
    pub fn host_ratio(self, name: impl Into<Name>, sum: f64, over: usize) -> Self {
        self.with(name, Value::Now(sum), Kind::Ratio { over: over as f64 })
    }

    /// One or several numbers that are summed over the epoch, never averaged (hits, a confusion matrix), or taken together as
    /// the [`Metric`](crate::metrics::Metric) says that the task has for this name.
    pub fn count(self, name: impl Into<Name>, value: S) -> Self {
        self.with(name, Value::Lazy(value), Kind::Count)
    }

    /// The same for numbers that are on the host already, as the functions in [`metrics`](crate::metrics) count them.
    pub fn host_count(self, name: impl Into<Name>, values: impl Into<Vec<f64>>) -> Self {
        self.with(name, Value::Here(Box::new(values.into())), Kind::Count)
    }

    /// A metric that is on the host already, a mean over the same samples as the loss.
    pub fn number(self, name: impl Into<Name>, value: f64) -> Self {
        let weight = self.weight;
        self.with(name, Value::Now(value), Kind::Mean { weight })
    }

    /// The weight, if it is one.
    pub(crate) fn checked_weight(&self) -> Fallible<f64> {
        let weight = self.weight;
        if (0.0..=f64::MAX).contains(&weight) {
            return Ok(weight);
        }
        Err(format!("the weight of the step is {weight}: give the number of samples of the loss").into())
    }

    #[inline]
    fn with(mut self, name: impl Into<Name>, value: Value<S>, kind: Kind) -> Self {
        self.metrics.push(Metric { name: name.into(), value, kind });
        self
    }
}
