//! [`Name`]: what the folder of a checkpoint is called.

use std::{fmt, str::FromStr};

/// The name of a checkpoint's folder: `step-00001234`, and `step-00001234-1`, `-2`, ... for later ones of the same step.
/// Later ones are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(clippy::exhaustive_structs)]
pub struct Name {
    /// Optimizer steps done.
    pub step: u64,
    /// How many checkpoints of this step there were before.
    pub again: u64,
}

impl Name {
    /// The first one of a step.
    #[must_use]
    pub fn first(step: u64) -> Self {
        Self { step, again: 0 }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step-{:08}", self.step)?;
        if self.again > 0 { write!(f, "-{}", self.again) } else { Ok(()) }
    }
}

/// The text is not the name of a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not the name of a checkpoint: one is `step-00001234`")]
#[non_exhaustive]
pub struct NotAName;

impl FromStr for Name {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let numbers = text.strip_prefix("step-").ok_or(NotAName)?;
        let (step, again) = numbers.split_once('-').unwrap_or((numbers, "0"));
        let name = Self { step: step.parse().map_err(|_| NotAName)?, again: again.parse().map_err(|_| NotAName)? };
        // Only the one way in which it is written.
        if name.to_string() == text { Ok(name) } else { Err(NotAName) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_in_no_other_way() {
        for (name, text) in [
            (Name::first(1234), "step-00001234"),
            (Name { step: 0, again: 12 }, "step-00000000-12"),
            (Name::first(123_456_789_012), "step-123456789012"),
            (Name { step: u64::MAX, again: u64::MAX }, "step-18446744073709551615-18446744073709551615"),
        ] {
            assert_eq!(name.to_string(), text);
            assert_eq!(text.parse(), Ok(name));
        }
        for text in [
            "",
            "step-",
            "step-1",
            "step-000000001",
            "step-+0000001",
            "step-00000001-0",
            "step-00000001-01",
            "step-00000001-",
            "step-00000001-1-1",
            "step-00000001/",
            "../step-00000001",
            "step-00000001\n",
            "step-18446744073709551616",
            "Step-00000001",
            "step-0000000１",
        ] {
            assert_eq!(text.parse::<Name>(), Err(NotAName), "{text}");
        }
        assert!(Name { step: 5, again: 2 } > Name::first(5) && Name::first(6) > Name { step: 5, again: 2 });
    }
}
