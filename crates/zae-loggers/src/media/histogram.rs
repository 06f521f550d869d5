//! [`Histogram`]: how values are distributed.

use zae_core::error::Fallible;

/// How values are distributed: bins of equal width or of any, and how many values are in each.
#[derive(Clone, PartialEq, Debug)]
pub struct Histogram {
    edges: Vec<f64>,
    counts: Vec<f64>,
    /// Of the values themselves, if they are known.
    sums: Option<(f64, f64)>,
}

impl Histogram {
    /// Bins of values, as many as other trackers have by default.
    pub const BINS: usize = 64;
    /// No tracker takes more bins.
    pub const MOST_BINS: usize = 512;

    /// Counts values into [`Histogram::BINS`] bins of equal width, from the least to the greatest of them; the last bin has
    /// the greatest. NaN and infinities are left out. Without any value there is one empty bin from 0 to 1.
    ///
    /// ```
    /// use zae_loggers::Histogram;
    /// let histogram = Histogram::of([1.0f32, 2.0, 2.0, f32::NAN].map(f64::from));
    /// assert_eq!(histogram.counts().iter().sum::<f64>(), 3.0);
    /// ```
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if values.is_empty() {
            return Self { edges: vec![0.0, 1.0], counts: vec![0.0], sums: Some((0.0, 0.0)) };
        }
        // Equal values are in the middle of a bin, and so are those that are as good as equal.
        let span = greatest / 2.0 - least / 2.0;
        let (low, high) = if span > least.abs().max(greatest.abs()) * 1e-13 {
            (least, greatest)
        } else {
            let half = (least.abs() * 1e-6).max(0.5);
            ((least - half).max(f64::MIN), (greatest + half).min(f64::MAX))
        };
        // Without the difference of the two, which may be infinite.
        let at = |part: f64| low * (1.0 - part) + high * part;
        let edges: Vec<f64> = (0..=Self::BINS).map(|i| at(i as f64 / Self::BINS as f64)).collect();
        let mut counts = vec![0.0; Self::BINS];
        for value in &values {
            let bin = edges[1..Self::BINS].partition_point(|edge| edge <= value);
            counts[bin] += 1.0;
        }
        let sums = values.iter().fold((0.0, 0.0), |(sum, squares), value| (sum + value, squares + value * value));
        Self { edges, counts, sums: Some(sums) }
    }

    /// Bins that were counted elsewhere: `edges` grow, and are one more than `counts`.
    ///
    /// # Errors
    /// When they do not fit together, are not finite, or are more than [`Histogram::MOST_BINS`].
    pub fn with_bins(edges: Vec<f64>, counts: Vec<f64>) -> Fallible<Self> {
        if counts.is_empty() || counts.len() > Self::MOST_BINS || edges.len() != counts.len() + 1 {
            return Err(format!(
                "a histogram has 1 to {} bins, and one edge more than bins; these are {} edges and {} counts",
                Self::MOST_BINS,
                edges.len(),
                counts.len()
            )
            .into());
        }
        if !edges.iter().all(|edge| edge.is_finite()) || !edges.is_sorted_by(|a, b| a < b) {
            return Err(
                "the edges of a histogram's bins have to be finite, and each greater than the one before".into()
            );
        }
        if !counts.iter().all(|count| count.is_finite() && *count >= 0.0) {
            return Err("the counts of a histogram's bins have to be finite, and not negative".into());
        }
        Ok(Self { edges, counts, sums: None })
    }

    /// Where bins begin and end: one more than there are bins. A bin has its lower edge, the last one also its upper.
    #[must_use]
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// How many values are in each bin.
    #[must_use]
    pub fn counts(&self) -> &[f64] {
        &self.counts
    }

    /// The sum of the values, and that of their squares; as if they were in the middle of their bins, where they are not known.
    #[must_use]
    pub fn sums(&self) -> (f64, f64) {
        self.sums.unwrap_or_else(|| {
            let middles = self.edges.windows(2).map(|edge| edge[0] / 2.0 + edge[1] / 2.0);
            let bins = middles.zip(&self.counts);
            bins.fold((0.0, 0.0), |(sum, squares), (x, n)| (sum + x * n, squares + x * x * n))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against counting each value by itself.
        #[test]
        fn each_finite_value_is_in_the_bin_that_holds_it(values in prop::collection::vec(any::<f64>(), 0..100)) {
            let histogram = Histogram::of(values.iter().copied());
            let (edges, counts) = (histogram.edges(), histogram.counts());
            prop_assert!(edges.is_sorted_by(|a, b| a < b) && edges.iter().all(|edge| edge.is_finite()), "{edges:?}");
            for (i, edge) in edges.windows(2).enumerate() {
                let is_last = i + 1 == counts.len();
                let own = values.iter().filter(|v| **v >= edge[0] && (**v < edge[1] || is_last && **v == edge[1]));
                prop_assert_eq!(own.count() as f64, counts[i]);
            }
            prop_assert_eq!(counts.iter().sum::<f64>(), values.iter().filter(|v| v.is_finite()).count() as f64);
        }
    }

    #[test]
    fn equal_values_are_in_one_bin() {
        for value in [0.0, 3.0, -1e300, f64::MAX, f64::MIN, 1e-300] {
            let histogram = Histogram::of([value; 7]);
            assert_eq!(histogram.counts().iter().filter(|count| **count > 0.0).count(), 1, "{value}");
            assert!(histogram.edges().is_sorted_by(|a, b| a < b), "{value}: {:?}", histogram.edges());
        }
    }

    #[test]
    fn values_may_be_further_apart_than_any_number() {
        let histogram = Histogram::of([f64::MIN, f64::MAX, -8.4e307, 1.4e308]);
        assert!(histogram.edges().iter().all(|edge| edge.is_finite()) && histogram.edges().is_sorted_by(|a, b| a < b));
        assert_eq!(histogram.counts().iter().sum::<f64>(), 4.0);
    }

    #[test]
    fn bins_that_do_not_fit_are_told() {
        let text = |edges: &[f64], counts: &[f64]| {
            Histogram::with_bins(edges.to_vec(), counts.to_vec()).unwrap_err().to_string()
        };
        assert!(text(&[0.0], &[]).contains("1 edges and 0 counts"));
        assert!(text(&[0.0, 1.0, 1.0], &[1.0, 2.0]).contains("greater"));
        assert!(text(&[0.0, f64::INFINITY], &[1.0]).contains("finite"));
        assert!(text(&[0.0, 1.0], &[-1.0]).contains("negative"));
        let histogram = Histogram::with_bins(vec![0.0, 2.0, 4.0], vec![1.0, 2.0]).unwrap();
        assert_eq!(histogram.sums(), (7.0, 19.0));
    }
}
