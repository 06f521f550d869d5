//! Which checkpoints are kept: a function of what is on disk.

use std::collections::{BTreeMap, BTreeSet};

use zae_core::metrics::{Direction, Metrics};

use crate::name::Name;

/// Which checkpoints are kept. The newest one always is.
#[derive(Clone, PartialEq, Debug, Default)]
#[allow(clippy::exhaustive_structs)]
pub struct Retention {
    /// The newest so many.
    pub last: usize,
    /// Those with the best metric.
    pub best: Option<Best>,
    /// Those whose step is a multiple of this.
    pub every: Option<u64>,
}

/// The best checkpoints by a metric.
#[derive(Clone, PartialEq, Debug)]
#[allow(clippy::exhaustive_structs)]
pub struct Best {
    /// The metric's full name: `valid/loss`.
    pub metric: String,
    /// How many.
    pub count: usize,
    /// Whether less or more is better.
    pub direction: Direction,
}

/// What becomes of each checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Kept {
    /// Those to keep, newest first.
    pub keep: Vec<Name>,
    /// Those to remove, oldest first.
    pub remove: Vec<Name>,
    /// The best one, if there is any that has the metric.
    pub best: Option<Name>,
}

/// Decides which checkpoints are kept. One of the same step as a later one is superseded by it. The best are ranked by
/// their metric, the later of equal ones first; those without the metric, or with NaN, are not among them.
#[must_use]
pub fn keep(checkpoints: &BTreeMap<Name, &Metrics>, retention: &Retention) -> Kept {
    let newest_of_step: BTreeMap<u64, Name> = checkpoints.keys().map(|name| (name.step, *name)).collect();
    let current: Vec<Name> = newest_of_step.into_values().rev().collect();
    let ranked = retention.best.as_ref().map_or_else(Vec::new, |best| rank(best, &current, checkpoints));
    let is_multiple = |name: &Name| retention.every.is_some_and(|every| every > 0 && name.step.is_multiple_of(every));
    let last = current.iter().take(retention.last.max(1));
    let kept: BTreeSet<Name> =
        last.chain(&ranked).chain(current.iter().filter(|name| is_multiple(name))).copied().collect();
    Kept {
        keep: kept.iter().rev().copied().collect(),
        remove: checkpoints.keys().filter(|name| !kept.contains(name)).copied().collect(),
        best: ranked.first().copied(),
    }
}

/// The best ones, best first. `names` has the newest first.
fn rank(best: &Best, names: &[Name], metrics: &BTreeMap<Name, &Metrics>) -> Vec<Name> {
    let value = |name: &Name| metrics.get(name)?.get(&best.metric).copied().filter(|value| !value.is_nan());
    let mut ranked: Vec<(Name, f64)> = names.iter().filter_map(|name| Some((*name, value(name)?))).collect();
    // Stable: of equal ones the newer stays first. Zeros of either sign are equal.
    ranked.sort_by(|(_, a), (_, b)| {
        let order = a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal);
        if best.direction == Direction::Minimize { order } else { order.reverse() }
    });
    ranked.into_iter().take(best.count).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests;
