//! [`Series`]: at which step of its series a value is.

use std::{collections::HashMap, sync::Arc};

use super::operation::MICRO;
use crate::{Entry, Kind};

/// The steps of series, which have to grow: Neptune refuses a point that is not behind the one before.
///
/// A value is at the optimizer step that it is about, which is what people look for on the axis. Steps have each their own;
/// but two evaluations may come after the same step, or one of training data in the midst of training. Then the later one
/// goes a millionth of a step behind the earlier, the smallest difference that Neptune knows. So also after a resume: that
/// is why the ledger knows them.
#[derive(Default)]
pub(super) struct Series {
    /// The last step, in [`MICRO`]s, of each series that evaluations and epochs have.
    last: HashMap<Arc<str>, u64>,
}

impl Series {
    pub(super) fn new(marks: Vec<(String, u64)>) -> Self {
        Self { last: marks.into_iter().map(|(name, step)| (name.into(), step)).collect() }
    }

    /// The step of an entry's values, in [`MICRO`]s.
    pub(super) fn step(&mut self, entry: &Entry<'_>) -> u64 {
        let own = entry.step.saturating_mul(MICRO);
        if self.last.is_empty() && entry.kind == Kind::Step {
            return own;
        }
        let taken = entry.names.iter().filter_map(|name| self.last.get(&**name)).max();
        let step = taken.map_or(own, |last| own.max(last + 1));
        if entry.kind != Kind::Step {
            self.last.extend(entry.names.iter().map(|name| (name.clone(), step)));
        }
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_at_its_step_or_as_little_behind_it_as_can_be() {
        let mut series = Series::new(vec![("test/loss".to_owned(), 7 * MICRO)]);
        let mut step = |kind, step, names: &[&str]| {
            let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
            let values = vec![0.0; names.len()];
            let (index, epoch, seconds, time, layout) = (0, 0, 0.0, 0.0, 0);
            series.step(&Entry {
                kind,
                index,
                epoch,
                step,
                seconds,
                time,
                layout,
                names: &names,
                values: &values,
                media: None,
            })
        };
        assert_eq!(step(Kind::Step, 0, &["train/loss"]), 0);
        assert_eq!(step(Kind::Evaluation, 1, &["valid/loss"]), MICRO);
        assert_eq!(step(Kind::Evaluation, 1, &["valid/loss", "valid/f1"]), MICRO + 1);
        assert_eq!(step(Kind::Evaluation, 1, &["valid/f1"]), MICRO + 2);
        assert_eq!(step(Kind::Evaluation, 2, &["valid/f1"]), 2 * MICRO);
        // The training data is evaluated before its next step.
        assert_eq!(step(Kind::Evaluation, 1, &["train/loss"]), MICRO);
        assert_eq!(step(Kind::Step, 1, &["train/loss"]), MICRO + 1);
        assert_eq!(step(Kind::Step, 2, &["train/loss"]), 2 * MICRO);
        // As the ledger knows it.
        assert_eq!(step(Kind::Evaluation, 7, &["test/loss"]), 7 * MICRO + 1);
    }
}
