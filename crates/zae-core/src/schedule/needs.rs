//! [`Needs`]: what a schedule has to know of a run's length.

use crate::error::Fallible;

/// What a schedule has to know of a run's length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// How many steps it has.
    Steps,
    /// How many epochs it has.
    Epochs,
}

impl Needs {
    /// What two parts of a schedule need together.
    pub(super) fn and(self, other: Self) -> Self {
        if self == Self::Nothing { other } else { self }
    }

    /// A schedule has one length. Parts that count it differently need to be told apart.
    pub(super) fn check(self, other: Self, whose: &str) -> Fallible {
        if self == Self::Nothing || other == Self::Nothing || self == other {
            return Ok(());
        }
        Err(format!(
            "{whose} has a part that takes its length from the run's steps and one that takes it from the run's epochs, \
             and can have but one length: give one of the two its own with `.over(n)`"
        )
        .into())
    }
}
