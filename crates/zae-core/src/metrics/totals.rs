//! [`Totals`]: sums over an epoch or an evaluation.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::Metrics;

/// One metric's sum.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
enum Total {
    Mean { sum: f64, weight: f64 },
    Count(Vec<f64>),
}

/// What has come of a metric so far.
#[derive(Clone, Copy)]
pub(crate) enum Sum<'a> {
    Mean(f64),
    Count(&'a [f64]),
}

/// Weighted sums in f64, by full metric name: what an epoch has gathered so far. Part of a snapshot, so that the means of
/// an epoch cut in the middle come out bit for bit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct Totals {
    // By slot, so that a step finds its sums without comparing names.
    names: Vec<Arc<str>>,
    sums: Vec<Option<Total>>,
    slots: HashMap<Arc<str>, usize>,
    samples: f64,
}

/// The written form: sorted by name, so that equal totals have equal bytes.
#[derive(PartialEq, Serialize, Deserialize)]
struct Saved {
    sums: BTreeMap<String, Total>,
    samples: f64,
}

impl From<Totals> for Saved {
    fn from(totals: Totals) -> Self {
        let named = totals.named().map(|(name, total)| (name.to_owned(), total.clone()));
        Self { sums: named.collect(), samples: totals.samples }
    }
}

impl From<Saved> for Totals {
    fn from(saved: Saved) -> Self {
        let (names, sums): (Vec<Arc<str>>, _) =
            saved.sums.into_iter().map(|(name, total)| (name.into(), Some(total))).unzip();
        let slots = names.iter().cloned().zip(0..).collect();
        Self { names, sums, slots, samples: saved.samples }
    }
}

impl PartialEq for Totals {
    fn eq(&self, other: &Self) -> bool {
        Saved::from(self.clone()) == Saved::from(other.clone())
    }
}

impl Totals {
    /// The slot of a metric, the same until these totals are replaced.
    pub(crate) fn slot(&mut self, name: &Arc<str>) -> usize {
        *self.slots.entry(name.clone()).or_insert_with(|| {
            self.names.push(name.clone());
            self.sums.push(None);
            self.sums.len() - 1
        })
    }

    /// Adds to a mean a sum over so much. Says whether that could be: not to a count.
    #[must_use]
    #[inline]
    pub(crate) fn add(&mut self, slot: usize, value: f64, over: f64) -> bool {
        if over == 0.0 {
            return true;
        }
        match &mut self.sums[slot] {
            Some(Total::Mean { sum, weight }) => {
                *sum += value;
                *weight += over;
            }
            Some(Total::Count(_)) => return false,
            empty => *empty = Some(Total::Mean { sum: value, weight: over }),
        }
        true
    }

    /// What was counted so far, empty at first; `None` if it is a mean.
    pub(crate) fn count_mut(&mut self, slot: usize) -> Option<&mut Vec<f64>> {
        match self.sums[slot].get_or_insert_with(|| Total::Count(Vec::new())) {
            Total::Count(sums) => Some(sums),
            Total::Mean { .. } => None,
        }
    }

    pub(crate) fn add_samples(&mut self, samples: f64) {
        self.samples += samples;
    }

    /// Forgets all sums but keeps the slots.
    pub(crate) fn clear(&mut self) {
        self.sums.fill(None);
        self.samples = 0.0;
    }

    /// Means, and counts of a single number.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let value = |sum: Sum<'_>| match sum {
            Sum::Mean(mean) => Some(mean),
            Sum::Count(&[sum]) => Some(sum),
            Sum::Count(_) => None,
        };
        self.iter().filter_map(|(name, sum)| Some((name.to_owned(), value(sum)?))).collect()
    }

    /// All counts.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, Vec<f64>> {
        let count = |sum: Sum<'_>| match sum {
            Sum::Count(sums) => Some(sums.to_vec()),
            Sum::Mean(_) => None,
        };
        self.iter().filter_map(|(name, sum)| Some((name.to_owned(), count(sum)?))).collect()
    }

    /// Everything by full name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Sum<'_>)> {
        let sum = |total| match total {
            &Total::Mean { sum, weight } => Sum::Mean(sum / weight),
            Total::Count(sums) => Sum::Count(sums),
        };
        self.named().map(move |(name, total)| (name, sum(total)))
    }

    /// Samples added so far.
    #[must_use]
    pub fn samples(&self) -> f64 {
        self.samples
    }

    fn named(&self) -> impl Iterator<Item = (&str, &Total)> {
        self.names.iter().zip(&self.sums).filter_map(|(name, total)| Some((&**name, total.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::metrics::metric::sum;

    #[test]
    fn means_are_weighted_and_counts_are_summed() {
        let mut totals = Totals::default();
        let (loss, hits) = (totals.slot(&"train/loss".into()), totals.slot(&"train/hits".into()));
        assert!(totals.add(loss, 3.0, 3.0));
        assert!(totals.add(loss, 5.0, 1.0));
        assert!(totals.add(loss, f64::NAN, 0.0));
        assert!(totals.add(loss, 6.0, 4.0));
        for batch in [[1.0, 2.0], [10.0, 20.0]] {
            sum(totals.count_mut(hits).unwrap(), &batch).unwrap();
        }
        assert!(sum(totals.count_mut(hits).unwrap(), &[1.0]).is_err(), "of another length");
        assert!(!totals.add(hits, 1.0, 1.0), "of another kind");
        assert!(totals.count_mut(loss).is_none(), "of another kind");
        assert_eq!(totals.metrics(), Metrics::from([("train/loss".to_owned(), 14.0 / 8.0)]));
        assert_eq!(totals.counts()["train/hits"], [11.0, 22.0]);
        assert_eq!(totals.slot(&"train/hits".into()), hits);
    }
}
