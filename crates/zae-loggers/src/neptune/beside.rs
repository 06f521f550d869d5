//! [`Beside`]: at which step a series is that belongs to no step of the run.

use std::collections::HashMap;

/// The steps of what is told beside the entries: seconds since the run began, by the clock. Neptune refuses a point that is not
/// behind the one before, and clocks are set back: then it goes as little behind as can be.
pub(super) struct Beside {
    /// In nanoseconds since 1970.
    begun: i64,
    /// The last step of each series, in [`MICRO`](super::operation::MICRO)s.
    last: HashMap<String, u64>,
}

impl Beside {
    pub(super) fn new(begun: i64, last: Vec<(String, u64)>) -> Self {
        Self { begun, last: last.into_iter().collect() }
    }

    /// The last step of each series.
    pub(super) fn all(&self) -> Vec<(String, u64)> {
        self.last.iter().map(|(name, step)| (name.clone(), *step)).collect()
    }

    /// The next step of a series, at a time.
    pub(super) fn step(&mut self, series: &str, nanos: i64) -> u64 {
        let own = nanos.saturating_sub(self.begun).max(0) as u64 / 1000;
        match self.last.get_mut(series) {
            Some(last) => {
                *last = own.max(*last + 1);
                *last
            }
            None => *self.last.entry(series.to_owned()).or_insert(own),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_seconds_and_grow_whatever_the_clock_does() {
        let mut beside = Beside::new(1_000_000_000, vec![("x".to_owned(), 2_000_000)]);
        assert_eq!(beside.step("x", 1_500_000_000), 2_000_001);
        assert_eq!(beside.step("x", 4_500_000_000), 3_500_000);
        assert_eq!(beside.step("x", 4_500_000_000), 3_500_001);
        assert_eq!(beside.step("y", 0), 0);
    }
}
