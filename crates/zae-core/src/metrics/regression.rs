//! [`Regression`]: squared and absolute errors, and R2.

use super::Metric;
use crate::{error::Fallible, step::Name};

/// Numbers of each output: samples, a number near the targets' mean, the sums of the targets' differences from it and of their
/// squares, those of squared and of absolute errors.
const SUMS: usize = 6;

/// `mse`, `rmse`, `mae` and `r2` over all samples, from [`regression_sums`], or those that an engine makes of its tensors. Of
/// several outputs they are means, as in `scikit-learn`.
///
/// R2 is 1 - (squared errors) / (squared deviations of the targets from their mean over all samples). If the targets are all
/// the same, it is 1 where every prediction is right and 0 otherwise; of fewer than two samples it is NaN.
///
/// Squared deviations come from those within batches and between the batches' means (Chan, Golub, LeVeque 1983), never from
/// a sum of squares: a large mean takes no digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Regression;

impl Metric for Regression {
    fn merge(&self, all: &mut Vec<f64>, batch: &[f64]) -> Fallible {
        let (own, rest) = batch.as_chunks::<SUMS>();
        if own.is_empty() || !rest.is_empty() {
            return Err(not_sums(batch.len()));
        }
        if all.is_empty() {
            all.extend(own.iter().flat_map(centred));
            return Ok(());
        }
        if all.len() != batch.len() {
            let (before, now) = (all.len() / SUMS, own.len());
            return Err(format!("there are {now} outputs and were {before} before: give as many in every batch").into());
        }
        for (all, own) in all.as_chunks_mut::<SUMS>().0.iter_mut().zip(own) {
            let [n, near, differences, squares, squared, absolute] = centred(own);
            if n == 0.0 {
                continue;
            }
            if all[0] == 0.0 {
                *all = centred(own);
                continue;
            }
            let samples = all[0] + n;
            // Never the means themselves: where they are large, their difference has few digits.
            let apart = near - all[1];
            let between = apart + (differences / n - all[2] / all[0]);
            all[2] += differences + apart * n;
            all[3] += squares + between * between * (all[0] * n / samples);
            all[0] = samples;
            all[4] += squared;
            all[5] += absolute;
        }
        Ok(())
    }

    fn finish(&self, all: &[f64]) -> Fallible<Vec<(Name, f64)>> {
        let (outputs, rest) = all.as_chunks::<SUMS>();
        if outputs.is_empty() || !rest.is_empty() {
            return Err(not_sums(all.len()));
        }
        let mean = |of: fn(&[f64; SUMS]) -> f64| outputs.iter().map(of).sum::<f64>() / outputs.len() as f64;
        Ok(vec![
            ("mse".into(), mean(|own| own[4] / own[0])),
            ("rmse".into(), mean(|own| (own[4] / own[0]).sqrt())),
            ("mae".into(), mean(|own| own[5] / own[0])),
            ("r2".into(), mean(r2)),
        ])
    }
}

/// The same with squares of differences from the mean itself.
fn centred(own: &[f64; SUMS]) -> [f64; SUMS] {
    let [n, near, differences, squares, squared, absolute] = *own;
    if n == 0.0 {
        return [0.0; SUMS];
    }
    [n, near, differences, squares - differences * differences / n, squared, absolute]
}

fn r2(&[n, _, _, squares, squared, _]: &[f64; SUMS]) -> f64 {
    if n < 2.0 {
        f64::NAN
    } else if squares == 0.0 && !squared.is_nan() {
        f64::from(u8::from(squared == 0.0))
    } else {
        1.0 - squared / squares
    }
}

fn not_sums(n: usize) -> crate::error::BoxError {
    format!("a regression is made of the numbers of `regression_sums`, {SUMS} for each output, not of {n}").into()
}

/// What [`Regression`] is made of, for rows of `outputs` numbers each.
///
/// # Errors
/// When there are not as many predictions as targets, or no whole rows.
pub fn regression_sums<T: Copy + Into<f64>>(predictions: &[T], targets: &[T], outputs: usize) -> Fallible<Vec<f64>> {
    let (n, of) = (predictions.len(), targets.len());
    if n != of || outputs == 0 || !n.is_multiple_of(outputs) {
        return Err(format!(
            "{n} predictions and {of} targets are no rows of {outputs} outputs: give as many of both, and 1 for one output"
        )
        .into());
    }
    let column = |output: usize| {
        let all = || (output..n).step_by(outputs).map(|i| (predictions[i].into(), targets[i].into()));
        let count = (n / outputs) as f64;
        let first: f64 = all().next().map_or(0.0, |(_, target)| target);
        // Of targets that are all the same, this is the very same.
        let near = first + all().map(|(_, target)| target - first).sum::<f64>() / count.max(1.0);
        let sum = |of: &dyn Fn(f64, f64) -> f64| all().map(|(prediction, target)| of(prediction, target)).sum();
        [
            count,
            near,
            sum(&|_, target| target - near),
            sum(&|_, target| (target - near) * (target - near)),
            sum(&|prediction, target| (prediction - target) * (prediction - target)),
            sum(&|prediction, target| (prediction - target).abs()),
        ]
    };
    Ok((0..outputs).flat_map(column).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn r2(batches: &[(&[f64], &[f64])]) -> f64 {
        let mut all = Vec::new();
        for (predictions, targets) in batches {
            Regression.merge(&mut all, &regression_sums(predictions, targets, 1).unwrap()).unwrap();
        }
        Regression.finish(&all).unwrap()[3].1
    }

    #[test]
    fn batches_without_rows_change_nothing() {
        let whole = r2(&[(&[1.0, 2.5], &[1.0, 2.0]), (&[0.0], &[0.5])]);
        assert_eq!(r2(&[(&[], &[]), (&[1.0, 2.5], &[1.0, 2.0]), (&[], &[]), (&[0.0], &[0.5])]), whole);
        assert!(r2(&[(&[], &[])]).is_nan());
    }

    #[test]
    fn what_is_no_number_stays_none() {
        assert!(r2(&[(&[f64::NAN, 2.0], &[2.0, 2.0]), (&[2.0], &[2.0])]).is_nan(), "a prediction");
        assert!(r2(&[(&[2.0, 2.0], &[2.0, f64::NAN]), (&[2.0], &[2.0])]).is_nan(), "a target");
    }
}
