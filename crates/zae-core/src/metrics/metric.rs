//! [`Metric`]: what becomes of the numbers that steps count, and [`EpochMetrics`]: those of a task.

use std::collections::BTreeMap;

use super::{Metrics, Totals, totals::Sum};
use crate::{error::Fallible, step::Name};

/// A metric of many batches that is no mean over them: how the numbers of the batches are taken together, and what comes of
/// them.
///
/// A step gives the numbers of its batch with [`Step::count`](crate::step::Step::count), and
/// [`Task::metrics`](crate::task::Task::metrics) says which metric is made of them. The numbers are taken together on the
/// host, in f64 and in the order of the data: so the metric is that of all samples at once, over batches of any size, on any
/// number of processes, and across a resume in the middle of an epoch.
///
/// A metric of one's own is a closure over the sums, or ten lines. The Dice coefficient of two sets of pixels:
///
/// ```
/// use zae_core::{metrics::EpochMetrics, step::Step, task::{At, StepResult, Task}};
/// # use zae_core::{testing::null::Null, trainer::Trainer};
/// struct Segment;
///
/// impl Task for Segment {
///     # type Learner = Null;
///     # type Batch = Vec<(bool, bool)>;
///     fn test_step(&self, _: &(), pixels: Self::Batch, _: &At) -> StepResult<Self> {
///         let count = |is: fn(&(bool, bool)) -> bool| pixels.iter().filter(|pixel| is(pixel)).count() as f64;
///         let sums = [count(|pixel| pixel.0 && pixel.1), count(|pixel| pixel.0), count(|pixel| pixel.1)];
///         Ok(Step::new(0.5, pixels.len()).host_count("dice", sums))
///     }
///
///     fn metrics(&self) -> EpochMetrics {
///         EpochMetrics::new().add("dice", |sums: &[f64]| 2.0 * sums[0] / (sums[1] + sums[2]))
///     }
///     # fn train_step(&self, model: &(), batch: Self::Batch, at: &At) -> StepResult<Self> { self.test_step(model, batch, at) }
/// }
/// # let data = vec![vec![(true, true), (true, false)], vec![(false, true)]];
/// # let test = Trainer::new(Segment, Null::default()).evaluate(data)?;
/// # assert_eq!(test.get("dice"), Some(0.5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Metric: Send {
    /// Takes the numbers of a batch into those of the batches before it: `all` is empty for the first. By default they are
    /// summed, each with those in its place. Part of a snapshot is `all`, so nothing else may be remembered.
    ///
    /// # Errors
    /// When they do not fit.
    fn merge(&self, all: &mut Vec<f64>, batch: &[f64]) -> Fallible {
        sum(all, batch)
    }

    /// The metrics, by name, of what was taken together. An empty name stands for the one under which the step gives the
    /// numbers. For a [mean](crate::step::Step::metric), `all` is that mean. What is not defined is NaN.
    ///
    /// # Errors
    /// When the numbers are not those of this metric.
    fn finish(&self, all: &[f64]) -> Fallible<Vec<(Name, f64)>>;

    /// Whether what is taken together grows with the number of samples. If so it is for evaluations only, for every snapshot
    /// of an epoch would have to hold it, and it is not kept among their [counts](super::Evaluation::counts).
    fn grows(&self) -> bool {
        false
    }
}

/// A number made of sums, under the name of the sums.
impl<F: Fn(&[f64]) -> f64 + Send> Metric for F {
    fn finish(&self, all: &[f64]) -> Fallible<Vec<(Name, f64)>> {
        Ok(vec![(Name::Borrowed(""), self(all))])
    }
}

/// Adds each number to the one in its place.
pub(crate) fn sum(all: &mut Vec<f64>, batch: &[f64]) -> Fallible {
    if all.is_empty() {
        all.extend_from_slice(batch);
        return Ok(());
    }
    if all.len() != batch.len() {
        let (before, now) = (all.len(), batch.len());
        return Err(format!(
            "it has {now} numbers and had {before} before: a count has the same length in every batch"
        )
        .into());
    }
    all.iter_mut().zip(batch).for_each(|(all, own)| *all += own);
    Ok(())
}

struct Entry {
    source: Name,
    prefix: Name,
    metric: Box<dyn Metric>,
}

/// The metrics of a task: which of its counts and means become what.
#[derive(Default)]
pub struct EpochMetrics(Vec<Entry>);

impl EpochMetrics {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `metric` of what the steps give as `source`: a count, which is then no metric by itself, or a mean (`loss`), which
    /// stays one.
    #[must_use]
    pub fn add(self, source: impl Into<Name>, metric: impl Metric + 'static) -> Self {
        self.add_with_prefix("", source, metric)
    }

    /// The same with something before each of its names, for a second metric of the same sort: with `color_`, a
    /// [`Classification`](super::Classification) gives `valid/color_f1`.
    #[must_use]
    pub fn add_with_prefix(
        mut self,
        prefix: impl Into<Name>,
        source: impl Into<Name>,
        metric: impl Metric + 'static,
    ) -> Self {
        self.0.push(Entry { source: source.into(), prefix: prefix.into(), metric: Box::new(metric) });
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How the numbers of a count are taken together is said once.
    pub(crate) fn check(&self) -> Fallible {
        for (i, Entry { source, .. }) in self.0.iter().enumerate() {
            if self.place(source) != Some(i) {
                return Err(format!(
                    "`Task::metrics` makes two metrics of `{source}`: have the steps give its numbers under another name too"
                )
                .into());
            }
        }
        Ok(())
    }

    /// The place of the metric that is made of this.
    pub(crate) fn place(&self, source: &str) -> Option<usize> {
        self.0.iter().position(|entry| entry.source == source)
    }

    /// Takes a batch into what was taken together before.
    pub(crate) fn merge(&self, place: usize, all: &mut Vec<f64>, batch: &[f64]) -> Fallible {
        let Entry { source, metric, .. } = &self.0[place];
        metric.merge(all, batch).map_err(|e| format!("`{source}`: {e}").into())
    }

    pub(crate) fn grows(&self, place: usize) -> bool {
        self.0[place].metric.grows()
    }

    /// The metrics of these numbers, by name.
    pub(crate) fn finish(&self, place: usize, all: &[f64]) -> Fallible<Vec<(Name, f64)>> {
        let Entry { source, prefix, metric } = &self.0[place];
        let mut named = metric.finish(all).map_err(|e| format!("`{source}`: {e}"))?;
        for (name, _) in &mut named {
            if name.is_empty() {
                *name = source.clone();
            }
            if !prefix.is_empty() {
                *name = format!("{prefix}{name}").into();
            }
        }
        Ok(named)
    }

    /// Metrics and counts of a whole epoch or evaluation, by full name.
    pub(crate) fn of(&self, prefix: &str, totals: &Totals) -> Fallible<(Metrics, BTreeMap<String, Vec<f64>>)> {
        let (mut metrics, mut counts) = (totals.metrics(), totals.counts());
        if self.is_empty() {
            return Ok((metrics, counts));
        }
        let mut made = Vec::new();
        for (full, sum) in totals.iter() {
            let source = full.strip_prefix(prefix).and_then(|name| name.strip_prefix('/'));
            let Some(place) = source.and_then(|source| self.place(source)) else { continue };
            made.extend(match sum {
                Sum::Mean(mean) => self.finish(place, &[mean])?,
                Sum::Count(all) => {
                    metrics.remove(full);
                    if self.grows(place) {
                        counts.remove(full);
                    }
                    self.finish(place, all)?
                }
            });
        }
        for (name, value) in made {
            if metrics.insert(format!("{prefix}/{name}"), value).is_some() {
                return Err(twice(&name));
            }
        }
        Ok((metrics, counts))
    }
}

pub(crate) fn twice(name: &str) -> crate::error::BoxError {
    format!("two metrics are named `{name}`: rename one, in the step or with `EpochMetrics::add_with_prefix`").into()
}
