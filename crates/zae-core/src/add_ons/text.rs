//! Numbers as people read them on a console, and which of them they get to see there.

use std::collections::BTreeSet;

use crate::metrics::History;

/// The names of the data that a run was evaluated on.
pub(super) fn sets(history: &History) -> BTreeSet<&str> {
    history.evaluations.iter().map(|evaluation| evaluation.set.as_str()).collect()
}

/// Whether a number is one of the task. What add-ons log under other names may be dozens of numbers, and is in the files.
pub(super) fn is_of_task(name: &str, sets: &BTreeSet<&str>) -> bool {
    name.split_once('/').is_some_and(|(set, _)| set == "train" || sets.contains(set))
}

/// Four significant digits; very large and very small numbers with an exponent.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() {
        format!("{value}")
    } else if (1e-3..1e6).contains(&size) {
        let before = size.log10().floor().max(0.0) as usize + 1;
        let leading_zeros = if size < 1.0 { (-size.log10()).ceil() as usize } else { 0 };
        let after = (4 + leading_zeros).saturating_sub(before).min(6);
        format!("{value:.after$}")
    } else {
        format!("{value:.2e}")
    }
}

/// A learning rate or another setting: as short as it can be written.
pub(super) fn setting(value: f64) -> String {
    let rounded = format!("{value:.3e}").parse().unwrap_or(value);
    format!("{rounded:?}").trim_end_matches(".0").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_four_digits() {
        let cases = [
            (0.0, "0"),
            (1.0, "1.000"),
            (12.345_67, "12.35"),
            (-0.123_456, "-0.1235"),
            (0.012_345_6, "0.01235"),
            (123_456.7, "123457"),
            (1e-7, "1.00e-7"),
            (2.5e9, "2.50e9"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn settings_are_short() {
        let cases = [(1e-3, "0.001"), (0.1 + 0.2, "0.3"), (3.162_277e-5, "3.162e-5"), (0.0, "0"), (5.0, "5")];
        for (value, text) in cases {
            assert_eq!(setting(value), text);
        }
    }
}
