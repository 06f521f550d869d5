//! Epochs and evaluations of a run, from its first to its last process.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Metrics, is_measured};
use crate::error::Fallible;

/// The result of a pass over validation or test data.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Evaluation {
    /// The name of the data: `valid`, `test`, or the caller's. It is the same for several sets of data together.
    pub set: String,
    /// The epoch in which it was made. A validation at an epoch's end belongs to that epoch.
    pub epoch: u64,
    /// Optimizer steps done before.
    pub step: u64,
    /// Means over all samples, exact over batches of different size, and what
    /// [`Task::metrics`](crate::task::Task::metrics) makes of them and of the counts, by full name: `valid/loss`, `valid/f1`, or
    /// `valid/clean/loss` of the set `clean`.
    pub metrics: Metrics,
    /// Sums, by full name; those of a single number are among the metrics too.
    pub counts: BTreeMap<String, Vec<f64>>,
    /// Samples (the sum of the weights).
    pub samples: f64,
    /// Wall-clock time it took.
    pub seconds: f64,
}

impl Evaluation {
    /// The mean loss. Each of several sets has its own, `get("clean/loss")`, and together they have none.
    #[must_use]
    pub fn loss(&self) -> Option<f64> {
        self.get("loss")
    }

    /// A metric by its full name (`test/accuracy`) or without the prefix (`accuracy`).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.metrics.get(name).or_else(|| self.metrics.get(&format!("{}/{name}", self.set))).copied()
    }

    /// Adds what was measured on one of several sets, at the same place.
    pub(crate) fn join(&mut self, one: Self) {
        (self.epoch, self.step) = (one.epoch, one.step);
        self.metrics.extend(one.metrics);
        self.counts.extend(one.counts);
        self.samples += one.samples;
        self.seconds += one.seconds;
    }

    /// A metric that `who` watches, by its full name.
    ///
    /// # Errors
    /// When there is none of that name (the message says which there are), or it depends on the clock.
    pub fn watched(&self, name: &str, who: &str) -> Fallible<f64> {
        if is_measured(name) {
            return Err(format!(
                "{who} watches `{name}`, which depends on the clock or the machine: processes that train together would not \
                 decide alike, nor would a resumed run; watch what was logged with `cx.log`, or a metric of the task"
            )
            .into());
        }
        self.metrics.get(name).copied().ok_or_else(|| {
            let there: Vec<_> = self.metrics.keys().map(String::as_str).collect();
            format!("{who} watches `{name}`, but the validation has only: {}", there.join(", ")).into()
        })
    }
}

/// One epoch: the means of its training steps, and its last validation.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EpochSummary {
    /// The epoch, from 0.
    pub epoch: u64,
    /// Optimizer steps done at its end.
    pub step: u64,
    /// Metrics by full name: `train/loss`, `valid/loss`, ...
    pub metrics: Metrics,
    /// Sums over the training steps, by full name.
    pub counts: BTreeMap<String, Vec<f64>>,
    /// Samples trained on in this epoch.
    pub samples: f64,
    /// The learning rate of its last step.
    pub lr: f64,
    /// Wall-clock time of the run at its end.
    pub seconds: f64,
}

/// All epochs and evaluations of a run, also those of the processes before a resume.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct History {
    /// Epochs, in order.
    pub epochs: Vec<EpochSummary>,
    /// Validations, in order.
    pub evaluations: Vec<Evaluation>,
}

impl History {
    /// A metric of every epoch that has it, by full name.
    pub fn epoch_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = f64> + 'a {
        self.epochs.iter().filter_map(move |epoch| epoch.metrics.get(name).copied())
    }

    /// A metric of every validation that has it, by full name.
    pub fn evaluation_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = f64> + 'a {
        self.evaluations.iter().filter_map(move |evaluation| evaluation.metrics.get(name).copied())
    }

    /// The same without wall-clock times and what was [measured](crate::add_on::Context::measure), the only parts of a history
    /// that a resumed run does not repeat bit for bit.
    #[must_use]
    pub fn without_clock(&self) -> Self {
        let mut history = self.clone();
        for epoch in &mut history.epochs {
            epoch.seconds = 0.0;
            epoch.metrics.retain(|name, _| !is_measured(name));
        }
        for evaluation in &mut history.evaluations {
            evaluation.seconds = 0.0;
            evaluation.metrics.retain(|name, _| !is_measured(name));
        }
        history
    }
}
