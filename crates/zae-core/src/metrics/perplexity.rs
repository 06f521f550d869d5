//! [`Perplexity`]: of a mean loss over tokens.

use super::Metric;
use crate::{error::Fallible, step::Name};

/// exp of a mean cross-entropy in nats, as `perplexity`: `EpochMetrics::new().add("loss", Perplexity)`. The mean is that of all
/// tokens of the epoch or evaluation, each with the weight its step says, and not one of the batches' perplexities.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Perplexity;

impl Metric for Perplexity {
    fn finish(&self, all: &[f64]) -> Fallible<Vec<(Name, f64)>> {
        let &[mean] = all else {
            return Err(format!("a perplexity is made of a mean loss, not of {} counted numbers", all.len()).into());
        };
        Ok(vec![("perplexity".into(), mean.exp())])
    }
}
