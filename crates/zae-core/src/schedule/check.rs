//! Settings that no schedule can work with.

use std::fmt;

use crate::error::Fallible;

/// Says whose setting has to be another, unless it `holds`.
pub(super) fn demand(holds: bool, whose: &str, setting: &str, value: impl fmt::Display, give: &str) -> Fallible {
    if holds { Ok(()) } else { Err(format!("{whose} has the {setting} {value}: give {give}").into()) }
}

/// For learning rates, and what multiplies them.
pub(super) fn rate(whose: &str, setting: &str, value: f64) -> Fallible {
    demand(value.is_finite() && value >= 0.0, whose, setting, value, "one that is finite and 0 or more")
}

/// For what divides.
pub(super) fn divisor(whose: &str, setting: &str, value: f64) -> Fallible {
    demand(value.is_finite() && value > 0.0, whose, setting, value, "one that is finite and above 0")
}

/// For numbers of steps.
pub(super) fn at_least_one(whose: &str, setting: &str, value: u64) -> Fallible {
    demand(value > 0, whose, setting, value, "at least 1")
}
