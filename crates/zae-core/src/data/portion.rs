//! [`Portion`]: how much of an epoch.

use std::fmt;

use crate::error::Fallible;

/// How much of an epoch: all of it, a number of batches (`u64`), or a fraction of its batches (`f64`), rounded down.
///
/// ```
/// use zae_core::data::Portion;
/// assert_eq!([Portion::from(10), Portion::from(0.1)], [Portion::Batches(10), Portion::Fraction(0.1)]);
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
#[allow(clippy::exhaustive_enums)]
pub enum Portion {
    /// All batches.
    All,
    /// As many batches, from 1.
    Batches(u64),
    /// This fraction of the batches, above 0 and at most 1.
    Fraction(f64),
}

impl Portion {
    /// How many of so many batches, as far as that is known. What leaves none is refused where batches are asked for.
    pub(super) fn of(self, batches: Option<u64>) -> Option<u64> {
        let all = batches?;
        Some(match self {
            Self::All => all,
            Self::Batches(n) => all.min(n.max(1)),
            Self::Fraction(fraction) => all.min(((all as f64 * fraction) as u64).max(1)),
        })
    }

    /// After how many batches to end, if not where they end anyway.
    ///
    /// # Errors
    /// When it leaves none, or cannot be known.
    pub(super) fn end(self, batches: Option<u64>) -> Fallible<Option<u64>> {
        match (self, batches) {
            (Self::All, _) => Ok(None),
            (Self::Batches(0), _) => Err("a limit of 0 batches leaves no data: give 1 or more".into()),
            (Self::Batches(n), _) => Ok(Some(n)),
            (Self::Fraction(fraction), _) if !(fraction > 0.0 && fraction <= 1.0) => {
                Err(format!("a limit to the fraction {fraction} of an epoch: give one above 0 and at most 1").into())
            }
            (Self::Fraction(fraction), Some(all)) => match (all as f64 * fraction) as u64 {
                0 => Err(format!("{fraction} of {all} batches is less than one: give a larger fraction").into()),
                n => Ok(Some(n)),
            },
            (Self::Fraction(fraction), None) => Err(format!(
                "the loader does not say how many batches an epoch has, so {fraction} of them is not known: give a number"
            )
            .into()),
        }
    }
}

impl From<u64> for Portion {
    fn from(batches: u64) -> Self {
        Self::Batches(batches)
    }
}

impl From<f64> for Portion {
    fn from(fraction: f64) -> Self {
        Self::Fraction(fraction)
    }
}

impl fmt::Display for Portion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Batches(n) => n.fmt(f),
            Self::Fraction(fraction) => write!(f, "{fraction:?}"),
        }
    }
}
