//! [`Alias`]: draws from a discrete distribution in constant time.

use rand_core::Rng as _;

use crate::{error::Fallible, rng::StepRng};

/// The table of Walker's alias method ("An efficient method for generating discrete random variables with general
/// distributions", 1977), filled as by Vose (1991), but in whole numbers: with rounding, what is left over at the end may
/// be a sample of weight 0, which would then be drawn.
///
/// There is a column for each value. A column holds the value's own probability, as far as it is not above that of the
/// column, and is filled up with that of one other value.
#[derive(Debug)]
pub(super) struct Alias(Vec<Column>);

#[derive(Clone, Copy, Debug)]
struct Column {
    /// Out of 2^64 draws of the column, how many are of its own value.
    own: u64,
    /// The value of the others.
    other: usize,
}

impl Alias {
    pub(super) fn new(weights: &[f64]) -> Fallible<Self> {
        let shares = shares(weights)?;
        // A column holds `sum`, a value has `n` times its share: so both together are the same whole number.
        let (n, sum) = (shares.len() as u128, shares.iter().map(|&share| u128::from(share)).sum::<u128>());
        let mut mass: Vec<u128> = shares.iter().map(|&share| u128::from(share) * n).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..mass.len()).partition(|&i| mass[i] < sum);
        let mut columns: Vec<Column> = (0..mass.len()).map(|i| Column { own: u64::MAX, other: i }).collect();
        // What is left is always the number of columns left times `sum`: where one is too small, another is too large.
        while let (Some(i), Some(&filler)) = (small.pop(), large.last()) {
            columns[i] = Column { own: ((mass[i] << u64::BITS) / sum) as u64, other: filler };
            mass[filler] -= sum - mass[i];
            if mass[filler] < sum {
                large.pop();
                small.push(filler);
            }
        }
        Ok(Self(columns))
    }

    pub(super) fn draw(&self, mut rng: StepRng) -> usize {
        let i = ((u128::from(rng.next_u64()) * self.0.len() as u128) >> u64::BITS) as usize;
        let Column { own, other } = self.0[i];
        if rng.next_u64() < own { i } else { other }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The weights as whole numbers that add up to 2^63, but for rounding up. Only a weight of 0 becomes 0, or one below
/// 10^-300 of the largest.
fn shares(weights: &[f64]) -> Fallible<Vec<u64>> {
    let wrong = |weight: &f64| !weight.is_finite() || *weight < 0.0;
    if let Some(i) = weights.iter().position(wrong) {
        return Err(format!("sample {i} has the weight {}: give numbers of 0 or more", weights[i]).into());
    }
    let largest = weights.iter().copied().fold(0.0, f64::max);
    if largest == 0.0 {
        return Err("no weight is above 0, so there is nothing to draw: give one that is".into());
    }
    let sum: f64 = weights.iter().map(|weight| weight / largest).sum();
    Ok(weights.iter().map(|weight| (weight / largest / sum * (1u64 << 63) as f64).ceil() as u64).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// With which probability the table gives each value.
    fn probabilities(table: &Alias) -> Vec<f64> {
        let mut all = vec![0.0; table.len()];
        for (i, Column { own, other }) in table.0.iter().enumerate() {
            let own = if *other == i { 1.0 } else { *own as f64 / 2f64.powi(64) };
            all[i] += own / table.len() as f64;
            all[*other] += (1.0 - own) / table.len() as f64;
        }
        all
    }

    #[test]
    fn weights_of_any_size_keep_their_proportions() {
        for weights in [vec![1e308, 1e308, 0.0], vec![5e-324, 5e-324, 0.0], vec![3.5, 3.5, 0.0]] {
            assert_eq!(probabilities(&Alias::new(&weights).unwrap()), [0.5, 0.5, 0.0], "{weights:?}");
        }
        assert_eq!(probabilities(&Alias::new(&[7.0]).unwrap()), [1.0]);
        let table = Alias::new(&[1.0, 1e-18, 1.0]).unwrap();
        assert!(probabilities(&table)[1] > 0.0);
    }

    #[test]
    fn errors_say_what_to_do() {
        let of = |weights: &[f64]| Alias::new(weights).unwrap_err().to_string();
        for (bad, name) in [(-1.0, "-1"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
            assert_eq!(of(&[1.0, bad]), format!("sample 1 has the weight {name}: give numbers of 0 or more"));
        }
        for nothing in [&[][..], &[0.0, -0.0]] {
            assert_eq!(of(nothing), "no weight is above 0, so there is nothing to draw: give one that is");
        }
    }

    proptest! {
        #[test]
        fn the_table_has_the_probabilities_of_the_weights(
            weights in prop::collection::vec(prop_oneof![Just(0.0), 0.0..1.0f64, (-30i32..30).prop_map(|e| f64::from(e).exp2())], 1..300)
        ) {
            let sum: f64 = weights.iter().sum();
            prop_assume!(sum > 0.0);
            let table = Alias::new(&weights).unwrap();
            for (found, weight) in probabilities(&table).into_iter().zip(&weights) {
                prop_assert!((found - weight / sum).abs() < 1e-12, "{found} for {weight} of {sum}");
            }
            for (i, _) in weights.iter().enumerate().filter(|(_, weight)| **weight == 0.0) {
                let from = |column: &Column| column.own < u64::MAX && column.other == i;
                prop_assert!(table.0[i].own == 0 && !table.0.iter().any(from), "sample {i} has no weight, and is drawn");
            }
        }
    }
}
