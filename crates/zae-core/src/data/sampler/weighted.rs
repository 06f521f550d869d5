//! [`WeightedSampler`]: some samples more often than others.

use std::{collections::BTreeMap, sync::Arc};

use super::{Order, Sampler, SamplerAt, alias::Alias, digest, one_each};
use crate::error::Fallible;

/// Draws sample i with probability `weights[i] / sum of weights` at every place of an epoch, with replacement: a sample
/// may come several times in an epoch, or not at all. PyTorch's `WeightedRandomSampler`.
///
/// Each place is drawn by itself in constant time, so a resume anywhere costs nothing and no order is stored; the weights
/// take 16 bytes per sample. Drawing without replacement, which PyTorch offers too, would need the order of the whole
/// epoch, and gives no sample more often than once: for rare classes it is the wrong tool.
///
/// ```
/// use zae_core::data::{DataLoader, Dataset, WeightedSampler};
///
/// let data: Vec<(f32, &str)> = vec![(0.1, "common"), (0.2, "common"), (0.3, "common"), (0.4, "rare")];
/// let labels = data.per_sample(|sample| sample.1)?;
/// let train = DataLoader::new(data.collate(Ok), 2).sampler(WeightedSampler::balanced(&labels)?);
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct WeightedSampler {
    table: Arc<Alias>,
    digest: u64,
    num_samples: Option<usize>,
}

impl WeightedSampler {
    /// One weight per sample, of any sum. A sample of weight 0 never comes.
    ///
    /// # Errors
    /// When a weight is negative, infinite or NaN, or none is above 0.
    pub fn new(weights: impl IntoIterator<Item = f64>) -> Fallible<Self> {
        let weights: Vec<f64> = weights.into_iter().collect();
        let table = Arc::new(Alias::new(&weights)?);
        Ok(Self { table, digest: digest(weights.into_iter().map(f64::to_bits)), num_samples: None })
    }

    /// Weights under which every class is drawn equally often, given the class of each sample: see
    /// [`Dataset::per_sample`](crate::data::Dataset::per_sample).
    ///
    /// # Errors
    /// When there is no sample.
    pub fn balanced<C: Ord>(labels: &[C]) -> Fallible<Self> {
        let mut counts = BTreeMap::new();
        for class in labels {
            *counts.entry(class).or_insert(0.0) += 1.0;
        }
        Self::new(labels.iter().map(|class| counts.get(class).map_or(0.0, |count: &f64| count.recip())))
    }

    /// How many samples an epoch has. As many as the data, if this is not called.
    #[must_use]
    pub fn num_samples(mut self, per_epoch: usize) -> Self {
        self.num_samples = Some(per_epoch);
        self
    }
}

impl Sampler for WeightedSampler {
    fn len(&self, samples: usize, _: u64) -> usize {
        self.num_samples.unwrap_or(samples)
    }
    fn order(&self, at: &SamplerAt) -> Fallible<Order> {
        one_each("weights", self.table.len(), at.samples)?;
        let (table, at) = (self.table.clone(), *at);
        Ok(Box::new(move |position| table.draw(at.rng(position))))
    }
    fn describe(&self) -> String {
        let per_epoch = self.num_samples.map_or(String::new(), |n| format!(", {n} samples per epoch"));
        format!("weighted by {:016x}{per_epoch}", self.digest)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn drawn(sampler: &WeightedSampler, samples: usize, seed: u64, epoch: u64, n: u64) -> Vec<usize> {
        (0..n).map(sampler.order(&SamplerAt::new(seed, epoch, samples)).unwrap()).collect()
    }

    /// Pearson's statistic, in standard deviations from its mean.
    fn excess(counts: &[u64], expected: &[f64]) -> f64 {
        let chi2: f64 = counts.iter().zip(expected).map(|(&n, e)| (n as f64 - e).powi(2) / e).sum();
        let freedom = (counts.len() - 1) as f64;
        (chi2 - freedom) / (2.0 * freedom).sqrt()
    }

    #[test]
    fn samples_come_as_often_as_their_weights_say() {
        let weights = [0.5, 3.0, 0.25, 1.25, 8.0, 1e-3, 2.0];
        let sampler = WeightedSampler::new(weights).unwrap();
        let sum: f64 = weights.iter().sum();
        for epoch in 0..5 {
            let mut counts = [0; 7];
            drawn(&sampler, 7, 3, epoch, 300_000).into_iter().for_each(|i| counts[i] += 1);
            let excess = excess(&counts, &weights.map(|weight| weight / sum * 300_000.0));
            assert!(excess.abs() < 4.0, "epoch {epoch}: {excess}");
        }
    }

    #[test]
    fn one_draw_tells_nothing_of_the_next() {
        let sampler = WeightedSampler::new([1.0, 2.0, 3.0]).unwrap();
        let drawn = drawn(&sampler, 3, 1, 0, 360_000);
        let mut counts = [0; 9];
        drawn.windows(2).for_each(|pair| counts[pair[0] * 3 + pair[1]] += 1);
        let expected: Vec<f64> = (0..9).map(|i| ((i / 3 + 1) * (i % 3 + 1)) as f64 * 10_000.0).collect();
        let excess = excess(&counts, &expected);
        assert!(excess.abs() < 4.0, "{excess}");
    }

    #[test]
    fn classes_come_equally_often() {
        let labels: Vec<&str> = ["a"; 90].into_iter().chain(["b"; 9]).chain(["c"]).collect();
        let sampler = WeightedSampler::balanced(&labels).unwrap();
        let mut counts = BTreeMap::new();
        drawn(&sampler, 100, 1, 0, 30_000).into_iter().for_each(|i| *counts.entry(labels[i]).or_default() += 1);
        let counts: Vec<u64> = counts.into_values().collect();
        assert!(excess(&counts, &[10_000.0; 3]).abs() < 4.0, "{counts:?}");
        assert!(WeightedSampler::balanced::<u8>(&[]).is_err());
    }

    /// A run that was started by another version must go on with the same samples.
    #[test]
    fn what_a_seed_draws_never_changes() {
        let sampler = WeightedSampler::new([1.0, 2.0, 3.0, 4.0]).unwrap();
        let first = drawn(&sampler, 4, 42, 0, 12);
        // The same, made of fractions by hand and by another implementation of the generator.
        assert_eq!(first, [3, 2, 1, 3, 3, 2, 3, 1, 0, 3, 2, 0]);
        assert_ne!(first, drawn(&sampler, 4, 42, 1, 12));
        assert_ne!(first, drawn(&sampler, 4, 43, 0, 12));
    }

    #[test]
    fn the_length_of_an_epoch_is_chosen_and_other_weights_are_noticed() {
        let sampler = WeightedSampler::new([1.0, 2.0]).unwrap();
        assert_eq!((sampler.len(2, 0), sampler.clone().num_samples(9).len(2, 5)), (2, 9));
        let other = WeightedSampler::new([1.0, 3.0]).unwrap();
        assert_eq!(sampler.describe(), WeightedSampler::new([1.0, 2.0]).unwrap().describe());
        assert!(
            sampler.describe() != other.describe() && sampler.describe() != sampler.clone().num_samples(2).describe()
        );
        let error = sampler.order(&SamplerAt::new(0, 0, 3)).err().unwrap().to_string();
        assert_eq!(error, "there are 2 weights, but 3 samples: give one for each sample");
    }
}
