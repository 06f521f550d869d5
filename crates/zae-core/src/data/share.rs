//! [`Share`]: how large a part of a data set is.

use crate::error::Fallible;

/// How large a part of a data set is to be: a fraction of it (`f64`), or a number of samples (`usize`).
pub trait Share: sealed::Sealed + Copy {
    /// Where each part ends, for parts that follow each other.
    #[doc(hidden)]
    fn ends<const N: usize>(shares: [Self; N], len: usize) -> Fallible<[usize; N]>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f64 {}
    impl Sealed for usize {}
}

/// How far above 1 a sum of fractions may come out by rounding.
const TOLERANCE: f64 = 1e-9;

impl Share for f64 {
    fn ends<const N: usize>(shares: [Self; N], len: usize) -> Fallible<[usize; N]> {
        if let Some(bad) = shares.iter().find(|share| !(share.is_finite() && **share > 0.0)) {
            return Err(format!("a part has the fraction {bad}: give fractions above 0, such as [0.8, 0.2]").into());
        }
        let total: f64 = shares.iter().sum();
        if total > 1.0 + TOLERANCE {
            return Err(format!("the fractions of the parts add up to {total}: let them be 1 at most").into());
        }
        // Rounding the ends, not the lengths, leaves no sample out when the fractions add up to 1.
        let mut sum = 0.0;
        let ends = shares.map(|share| {
            sum += share;
            ((sum * len as f64).round() as usize).min(len)
        });
        filled(ends, len, "larger fractions")
    }
}

impl Share for usize {
    fn ends<const N: usize>(shares: [Self; N], len: usize) -> Fallible<[usize; N]> {
        let mut sum = 0usize;
        let ends = shares.map(|share| {
            sum = sum.saturating_add(share);
            sum
        });
        if sum > len {
            return Err(format!("the parts have {sum} samples together, but there are {len}: give smaller ones").into());
        }
        filled(ends, len, "larger numbers")
    }
}

/// Checks that no part is empty.
fn filled<const N: usize>(ends: [usize; N], len: usize, fix: &str) -> Fallible<[usize; N]> {
    let mut start = 0;
    for (part, &end) in ends.iter().enumerate() {
        if end == start {
            return Err(format!("part {part} of a split of {len} samples is empty: give {fix}, or more data").into());
        }
        start = end;
    }
    Ok(ends)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fractions_and_numbers() {
        assert_eq!(f64::ends([0.8, 0.2], 10).unwrap(), [8, 10]);
        assert_eq!(f64::ends([0.25, 0.25], 10).unwrap(), [3, 5]);
        assert_eq!(f64::ends([0.1; 10], 1_000).unwrap()[9], 1_000);
        assert_eq!(usize::ends([55_000, 5_000], 60_000).unwrap(), [55_000, 60_000]);
        assert_eq!(usize::ends([1, 2], 60).unwrap(), [1, 3]);
    }

    #[test]
    fn errors_say_what_to_do() {
        let of = |shares: [f64; 2]| f64::ends(shares, 10).unwrap_err().to_string();
        for bad in [0.0, -0.5, f64::NAN, f64::INFINITY] {
            let expected = format!("a part has the fraction {bad}: give fractions above 0, such as [0.8, 0.2]");
            assert_eq!(of([0.5, bad]), expected);
        }
        assert_eq!(of([0.75, 0.5]), "the fractions of the parts add up to 1.25: let them be 1 at most");
        let empty = "part 1 of a split of 10 samples is empty: give larger fractions, or more data";
        assert_eq!(of([0.99, 0.01]), empty);
        let of = |shares: [usize; 2]| usize::ends(shares, 10).unwrap_err().to_string();
        assert_eq!(of([8, 3]), "the parts have 11 samples together, but there are 10: give smaller ones");
        assert!(of([usize::MAX, 1]).contains("give smaller ones"));
        assert_eq!(of([0, 3]), "part 0 of a split of 10 samples is empty: give larger numbers, or more data");
        assert!(f64::ends([1.0], 0).is_err());
    }

    proptest! {
        #[test]
        fn fractions_that_add_up_to_one_leave_nothing_out(cut in 0.1..0.9f64, len in 20usize..1_000_000) {
            prop_assert_eq!(f64::ends([cut, 1.0 - cut], len).unwrap()[1], len);
        }
    }
}
