//! [`Logged`]: numbers that add-ons log, until they are part of a row, an evaluation or an epoch.

use std::{collections::btree_map::Entry, sync::Arc};

use super::Metrics;
use crate::{add_on::Phase, error::Fallible};

/// What the names of numbers begin with that depend on the clock or the machine.
const MEASURED: &str = "meter/";

/// Whether a number of this name depends on the clock or the machine: a resumed run does not repeat it, and processes that train
/// together do not have the same.
pub(crate) fn is_measured(name: &str) -> bool {
    name.starts_with(MEASURED)
}

/// What the hooks that are being called have logged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logged {
    /// Whether the hook is about something that numbers can be part of.
    pub(crate) open: bool,
    numbers: Vec<(Arc<str>, f64)>,
}

impl Logged {
    pub(crate) fn log(&mut self, name: Arc<str>, value: f64) -> Fallible {
        if let Some(short) = name.strip_prefix(MEASURED) {
            return Err(format!(
                "`{name}` cannot be logged, for such names are those of what depends on the clock or the machine: call \
                 `cx.measure(\"{short}\", value)`, or choose another name"
            )
            .into());
        }
        self.push(name, value)
    }

    pub(crate) fn measure(&mut self, name: &str, value: f64) -> Fallible {
        self.push(format!("{MEASURED}{name}").into(), value)
    }

    fn push(&mut self, name: Arc<str>, value: f64) -> Fallible {
        if !self.open {
            return Err(format!(
                "`{name}` belongs to no step, evaluation or epoch here: log it in `on_gradients` or `on_step_end`, or, from an \
                 add-on of the phases Observe or Decide, in `on_evaluation_end` or `on_epoch_end`"
            )
            .into());
        }
        self.numbers.push((name, value));
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether an add-on of this phase may log what it has logged, those before it having logged `before` numbers.
    pub(crate) fn check(&self, before: usize, phase: Phase) -> Fallible {
        let own = self.numbers.iter().skip(before).find(|(name, _)| !is_measured(name));
        match own {
            Some((name, _)) if phase > Phase::Decide => Err(format!(
                "`{name}` is logged by an add-on of the phase {phase:?}, which is called on rank 0 alone: let it be of the phase \
                 Observe, or call `cx.measure`"
            )
            .into()),
            _ => Ok(()),
        }
    }

    /// All that was logged.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (Arc<str>, f64)> + use<'_> {
        self.numbers.drain(..)
    }

    /// Makes all that was logged part of an evaluation or an epoch.
    pub(crate) fn put_in(&mut self, metrics: &mut Metrics) -> Fallible {
        for (name, value) in self.numbers.drain(..) {
            match metrics.entry(name.to_string()) {
                Entry::Vacant(place) => place.insert(value),
                Entry::Occupied(_) => {
                    return Err(format!(
                        "`{name}` was logged twice for one evaluation or epoch, or is also a number of the task, or of the \
                         evaluation at the epoch's end: log it once, under a name of its own"
                    )
                    .into());
                }
            };
        }
        Ok(())
    }
}
