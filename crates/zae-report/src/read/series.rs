//! [`Series`]: a curve of any length in a memory of fixed size.

/// Of a longer curve, neighbouring points are put together. Twice a power of two, for they are put together in pairs.
const MOST: usize = 2048;
/// Of so many numbers that are not finite it is known where they are.
const MOST_ODD: usize = 64;

/// One number of a log.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Point {
    pub(crate) step: u64,
    pub(crate) seconds: f64,
    pub(crate) value: f64,
}

/// Points that are neighbours, or a single one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Bucket {
    /// The first step and the last one, and their times.
    steps: [u64; 2],
    seconds: [f64; 2],
    points: u64,
    /// Those that are finite.
    finite: u64,
    sum: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// What is known exactly of all points.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) points: u64,
    pub(crate) sum: f64,
    pub(crate) low: Option<Point>,
    pub(crate) high: Option<Point>,
    pub(crate) last: Option<Point>,
}

/// A curve.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Series {
    pub(crate) stats: Stats,
    pub(crate) buckets: Vec<Bucket>,
    /// Points that are NaN or infinite: the first ones, and how many.
    pub(crate) odd: Vec<Point>,
    pub(crate) odd_count: u64,
    /// Points of a bucket.
    width: u64,
}

impl Default for Series {
    fn default() -> Self {
        Self { stats: Stats::default(), buckets: Vec::new(), odd: Vec::new(), odd_count: 0, width: 1 }
    }
}

impl Bucket {
    fn of(point: Point) -> Self {
        let Point { step, seconds, value } = point;
        let own = Self {
            steps: [step; 2],
            seconds: [seconds; 2],
            points: 1,
            finite: 0,
            sum: 0.0,
            low: f64::INFINITY,
            high: f64::NEG_INFINITY,
        };
        if value.is_finite() { Self { finite: 1, sum: value, low: value, high: value, ..own } } else { own }
    }

    fn add(&mut self, next: &Self) {
        self.steps[1] = next.steps[1];
        self.seconds[1] = next.seconds[1];
        self.points += next.points;
        self.finite += next.finite;
        self.sum += next.sum;
        self.low = self.low.min(next.low);
        self.high = self.high.max(next.high);
    }

    /// The mean of those that are finite.
    pub(crate) fn mean(&self) -> Option<f64> {
        // A sum of large numbers may overflow where their mean would not.
        (self.finite > 0).then(|| (self.sum / self.finite as f64).clamp(self.low, self.high))
    }

    /// The step in the middle.
    pub(crate) fn step(&self) -> u64 {
        self.steps[0].midpoint(self.steps[1])
    }

    /// The time in the middle.
    pub(crate) fn time(&self) -> f64 {
        self.seconds[0].midpoint(self.seconds[1])
    }
}

impl Stats {
    fn add(&mut self, point: Point) {
        self.points += 1;
        self.last = Some(point);
        if point.value.is_finite() {
            self.sum += point.value;
            if self.low.is_none_or(|low| point.value < low.value) {
                self.low = Some(point);
            }
            if self.high.is_none_or(|high| point.value > high.value) {
                self.high = Some(point);
            }
        }
    }
}

impl Series {
    pub(crate) fn push(&mut self, point: Point) {
        self.stats.add(point);
        if !point.value.is_finite() {
            self.odd_count += 1;
            if self.odd.len() < MOST_ODD {
                self.odd.push(point);
            }
        }
        let bucket = Bucket::of(point);
        match self.buckets.last_mut() {
            Some(last) if last.points < self.width => last.add(&bucket),
            _ => {
                self.fit(MOST - 1);
                self.buckets.push(bucket);
            }
        }
    }

    /// Puts neighbours together until there are no more than this. What is lowest and highest is kept.
    pub(crate) fn fit(&mut self, most: usize) {
        while self.buckets.len() > most.max(1) {
            let pairs = self.buckets.chunks(2).map(|pair| {
                let mut both = pair[0];
                pair.iter().skip(1).for_each(|next| both.add(next));
                both
            });
            self.buckets = pairs.collect();
            self.width *= 2;
        }
    }

    /// Whether points were put together.
    pub(crate) fn is_thinned(&self) -> bool {
        self.width > 1
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn series(values: impl IntoIterator<Item = f64>) -> Series {
        let mut series = Series::default();
        for (i, value) in values.into_iter().enumerate() {
            series.push(Point { step: i as u64, seconds: i as f64 / 10.0, value });
        }
        series
    }

    #[test]
    fn a_short_curve_is_kept_as_it_is() {
        let curve = series((0..MOST).map(|i| i as f64));
        assert!(!curve.is_thinned());
        let back = curve.buckets.iter().map(|bucket| (bucket.step(), bucket.mean().unwrap()));
        assert!(back.eq((0..MOST as u64).map(|i| (i, i as f64))));
    }

    #[test]
    fn a_million_points_keep_a_spike_and_the_mean() {
        let value = |i: u64| if i == 765_432 { 1e6 } else { (i % 7) as f64 };
        let curve = series((0..1_000_000).map(value));
        assert!(curve.buckets.len() <= MOST && curve.buckets.len() > MOST / 4, "{}", curve.buckets.len());
        let spike = curve.buckets.iter().find(|bucket| bucket.high == 1e6).unwrap();
        assert!(spike.steps[0] <= 765_432 && 765_432 <= spike.steps[1]);
        assert_eq!(curve.buckets.iter().filter(|bucket| bucket.high > 6.0).count(), 1);
        let calm = &curve.buckets[10];
        assert!((calm.mean().unwrap() - 3.0).abs() < 0.05 && calm.low == 0.0 && calm.high == 6.0);
        assert_eq!(curve.stats.high.unwrap().step, 765_432);
        assert_eq!(curve.stats.last.unwrap(), Point { step: 999_999, seconds: 99_999.9, value: 999_999.0 % 7.0 });
    }

    #[test]
    fn what_is_not_finite_is_remembered_and_is_no_number() {
        let curve = series([1.0, f64::NAN, 3.0, f64::INFINITY]);
        assert_eq!(curve.odd.iter().map(|point| point.step).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(curve.buckets.iter().map(Bucket::mean).collect::<Vec<_>>(), [Some(1.0), None, Some(3.0), None]);
        assert_eq!(curve.stats.high.unwrap().value, 3.0);
        let many = series(std::iter::repeat_n(f64::NAN, 5000));
        assert_eq!((many.odd.len(), many.odd_count), (MOST_ODD, 5000));
        assert!(many.stats.low.is_none() && many.buckets.iter().all(|bucket| bucket.mean().is_none()));
        assert_eq!(series([f64::MAX; 4000]).buckets[0].mean(), Some(f64::MAX));
    }

    proptest! {
        /// No matter how long it is, and what it is thinned to: the same points, the same extremes, in order.
        #[test]
        fn thinning_loses_no_point_and_no_extreme(
            values in prop::collection::vec(prop_oneof![9 => -1e3..1e3f64, 1 => Just(f64::NAN)], 1..6000),
            most in 1..300usize,
        ) {
            let mut curve = series(values.iter().copied());
            curve.fit(most);
            prop_assert!(curve.buckets.len() <= most);
            prop_assert_eq!(curve.buckets.iter().map(|bucket| bucket.points).sum::<u64>(), values.len() as u64);
            let finite = || values.iter().copied().filter(|value| value.is_finite());
            let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
            prop_assert_eq!(curve.buckets.iter().map(|bucket| bucket.low).fold(f64::INFINITY, f64::min), low);
            prop_assert_eq!(curve.buckets.iter().map(|bucket| bucket.high).fold(f64::NEG_INFINITY, f64::max), high);
            prop_assert!(curve.buckets.windows(2).all(|pair| pair[0].steps[1] < pair[1].steps[0]));
            let sum: f64 = curve.buckets.iter().map(|bucket| bucket.sum).sum();
            prop_assert!((sum - finite().sum::<f64>()).abs() < 1e-6);
        }
    }
}
