//! [`top_k_correct`]: how often the right class is among the first.

use crate::error::Fallible;

/// How many samples have their target among the `k` highest of their scores: with
/// [`Step::host_ratio`](crate::step::Step::host_ratio), a top-k accuracy. Of equal scores the first class comes first, as in
/// `argmax`; a NaN comes before every number, and never is right.
///
/// ```
/// # use zae_core::metrics::top_k_correct;
/// assert_eq!(top_k_correct(&[0.5f32, 0.3, 0.2, 0.1, 0.3, 0.6], &[1, 0], 2).unwrap(), 1.0);
/// ```
///
/// # Errors
/// When there are not as many scores for each target, or a target has none.
pub fn top_k_correct<T: Copy + Into<f64>>(scores: &[T], targets: &[usize], k: usize) -> Fallible<f64> {
    let is_right = |(row, target): (&[T], usize)| {
        let own = row[target].into();
        let behind = row.iter().enumerate().filter(|&(class, &score)| {
            let score: f64 = score.into();
            score < own || (score == own && class >= target)
        });
        row.len() - behind.count() < k
    };
    Ok(rows(scores, targets, 1)?.filter(|row| is_right(*row)).count() as f64)
}

/// Each sample's scores and target, which is below the number of scores, or at least of so many classes.
pub(super) fn rows<'a, T>(
    scores: &'a [T],
    targets: &'a [usize],
    classes: usize,
) -> Fallible<impl Iterator<Item = (&'a [T], usize)>> {
    let (n, of) = (scores.len(), targets.len());
    if n % of.max(1) != 0 || (n == 0) != (of == 0) {
        return Err(format!("{n} scores are no rows for {of} targets: give as many scores for each").into());
    }
    let width = (n / of.max(1)).max(1);
    match targets.iter().find(|target| **target >= width.max(classes)) {
        Some(target) => Err(format!("class {target} has no score among {width}: leave out what has no class").into()),
        None => Ok(scores.chunks(width).zip(targets.iter().copied())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn of_equal_scores_the_first_comes_first_and_nan_before_all() {
        let right = |scores: &[f32], target, k| top_k_correct(scores, &[target], k).unwrap();
        assert_eq!([right(&[1.0, 1.0, 0.0], 0, 1), right(&[1.0, 1.0, 0.0], 1, 1)], [1.0, 0.0], "as argmax has it");
        assert_eq!(right(&[1.0, 1.0, 0.0], 1, 2), 1.0);
        assert_eq!(
            [right(&[f32::NAN, 1.0], 0, 2), right(&[f32::NAN, 1.0], 1, 1), right(&[f32::NAN, 1.0], 1, 2)],
            [0.0, 0.0, 1.0]
        );
        assert_eq!(top_k_correct::<f32>(&[], &[], 1).unwrap(), 0.0);
    }
}
