//! [`Auroc`]: the area under the receiver operating characteristic, exactly.

use super::Metric;
use crate::{error::Fallible, step::Name};

/// `auroc` over all samples of an evaluation, from [`scored`], or what an engine makes of its tensors: the probability that a
/// random positive sample has a higher score than a random negative one, ties counting half (Hanley, McNeil 1982). The pairs
/// are counted in whole numbers, so the order of the samples makes no difference to any bit.
///
/// Every sample's scores are kept until the end of the evaluation, on the host: 8 bytes for each, and 8 for the target. So it
/// is for evaluations only: a training step that gives these numbers is an error.
///
/// Samples whose target is no class (-100, say) are left out. Where a class does not occur, or nothing else does, there is no
/// such area: it is NaN, as it is if a score is NaN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Auroc {
    /// 1 if there is one score per sample, that of class 1 of two.
    scores: usize,
}

impl Auroc {
    /// Of two classes: one score per sample, higher for class 1.
    #[must_use]
    pub fn binary() -> Self {
        Self { scores: 1 }
    }

    /// The mean of the areas of each of so many classes against the rest: a score per class and sample.
    #[must_use]
    pub fn multiclass(classes: usize) -> Self {
        Self { scores: classes }
    }
}

impl Metric for Auroc {
    fn merge(&self, all: &mut Vec<f64>, batch: &[f64]) -> Fallible {
        self.check(batch)?;
        all.extend_from_slice(batch);
        Ok(())
    }

    fn finish(&self, all: &[f64]) -> Fallible<Vec<(Name, f64)>> {
        self.check(all)?;
        let scores = self.scores;
        let classes = scores.max(2) as f64;
        let rows = || all.chunks_exact(scores + 1).filter(|row| (0.0..classes).contains(&row[scores]));
        let area = |class: usize, column: usize| area(rows().map(|row| (row[column], row[scores] == class as f64)));
        let auroc = match scores {
            1 => area(1, 0),
            _ => (0..scores).map(|class| area(class, class)).sum::<f64>() / scores as f64,
        };
        Ok(vec![("auroc".into(), auroc)])
    }

    fn grows(&self) -> bool {
        true
    }
}

impl Auroc {
    fn check(&self, numbers: &[f64]) -> Fallible {
        let Self { scores } = *self;
        if scores > 0 && numbers.len().is_multiple_of(scores + 1) {
            return Ok(());
        }
        Err(format!(
            "an area of {scores} scores per sample is made of the numbers of `scored`, {} for each sample, not of {}",
            scores + 1,
            numbers.len()
        )
        .into())
    }
}

fn area(samples: impl Iterator<Item = (f64, bool)>) -> f64 {
    let mut samples: Vec<_> = samples.collect();
    if samples.iter().any(|(score, _)| score.is_nan()) {
        return f64::NAN;
    }
    samples.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    // Twice the pairs that are in order.
    let (mut pairs, mut positive, mut negative) = (0u128, 0u128, 0u128);
    for same in samples.chunk_by(|a, b| a.0 == b.0) {
        let ones = same.iter().filter(|(_, is_one)| *is_one).count() as u128;
        let others = same.len() as u128 - ones;
        pairs += ones * (2 * negative + others);
        positive += ones;
        negative += others;
    }
    pairs as f64 / (2 * positive * negative) as f64
}

/// What [`Auroc`] is made of: each sample's scores with its target behind them.
///
/// ```
/// # use zae_core::metrics::scored;
/// assert_eq!(scored(&[0.2f32, 0.9], &[0, 1]).unwrap(), [f64::from(0.2f32), 0.0, f64::from(0.9f32), 1.0]);
/// ```
///
/// # Errors
/// When there are not as many scores for each target, or a target has none.
pub fn scored<T: Copy + Into<f64>>(scores: &[T], targets: &[usize]) -> Fallible<Vec<f64>> {
    // A single score is that of class 1 of two.
    let rows = super::top_k::rows(scores, targets, 2)?;
    Ok(rows.flat_map(|(row, target)| row.iter().map(|&score| score.into()).chain([target as f64])).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn auroc(metric: Auroc, rows: &[f64]) -> f64 {
        let mut all = Vec::new();
        metric.merge(&mut all, rows).unwrap();
        metric.finish(&all).unwrap()[0].1
    }

    #[test]
    fn what_has_no_class_is_left_out() {
        let rows = [0.1, 0.0, 0.9, 1.0, 0.5, -100.0, 0.05, 1.0, f64::NAN, 2.0];
        assert_eq!(auroc(Auroc::binary(), &rows), 0.5);
        assert!(auroc(Auroc::binary(), &[]).is_nan());
    }

    #[test]
    fn no_number_is_no_score() {
        assert!(auroc(Auroc::binary(), &[0.1, 0.0, f64::NAN, 1.0]).is_nan());
        let infinite = [f64::NEG_INFINITY, 0.0, f64::INFINITY, 1.0, -0.0, 0.0, 0.0, 1.0];
        assert_eq!(auroc(Auroc::binary(), &infinite), 3.5 / 4.0, "zeros of both signs are equal");
    }
}
