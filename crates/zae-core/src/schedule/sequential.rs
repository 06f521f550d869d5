//! Schedules one after the other.

use super::{Needs, Schedule, ScheduleAt};
use crate::error::Fallible;

/// Schedules one after the other: see [`Schedule::then`].
#[doc(alias = "SequentialLR")]
pub struct Sequential {
    /// Each with the step that it begins at: the first at 0.
    parts: Vec<(u64, Box<dyn Schedule>)>,
}

impl Sequential {
    pub(super) fn new(first: impl Schedule + 'static) -> Self {
        Self { parts: vec![(0, Box::new(first))] }
    }

    /// From `step` on, counted from the beginning of the first, another schedule.
    #[must_use]
    pub fn then(mut self, step: u64, next: impl Schedule + 'static) -> Self {
        self.parts.push((step, Box::new(next)));
        self
    }

    /// Where a part ends: the last one with the whole.
    fn end(&self, part: usize, total: Option<u64>) -> Option<u64> {
        self.parts.get(part + 1).map(|(next, _)| *next).or(total)
    }

    /// What a part needs: its own length is known if another one follows.
    fn needs_of(&self, part: usize) -> Needs {
        match self.parts[part].1.needs() {
            Needs::Steps if part + 1 < self.parts.len() => Needs::Nothing,
            needs => needs,
        }
    }
}

impl Schedule for Sequential {
    fn lr(&self, at: &ScheduleAt) -> f64 {
        let next = self.parts.iter().position(|(begin, _)| *begin > at.step);
        let part = next.unwrap_or(self.parts.len()) - 1;
        let (begin, schedule) = &self.parts[part];
        schedule.lr(&at.within(*begin, self.end(part, at.total)))
    }
    fn needs(&self) -> Needs {
        (0..self.parts.len()).fold(Needs::Nothing, |needs, part| needs.and(self.needs_of(part)))
    }
    fn describe(&self, total: Option<u64>) -> Option<String> {
        let describe = |part: usize| {
            let (begin, schedule) = &self.parts[part];
            let steps = || self.end(part, total).map(|end| end.saturating_sub(*begin));
            let text = schedule.describe(if schedule.needs() == Needs::Epochs { total } else { steps() })?;
            Some(if part == 0 { text } else { format!("from step {begin} on {text}") })
        };
        Some((0..self.parts.len()).map(describe).collect::<Option<Vec<_>>>()?.join(", "))
    }
    fn check(&self) -> Fallible {
        let mut needs = Needs::Nothing;
        for (part, (begin, schedule)) in self.parts.iter().enumerate() {
            if let Some(end) = self.end(part, None).filter(|end| end <= begin) {
                return Err(format!(
                    "`.then({end}, ..)` follows a schedule that begins at step {begin}, which would have no step: give \
                     `.then(..)` steps that increase, from 1 on"
                )
                .into());
            }
            if schedule.state()?.is_some() {
                return Err("a part of `.then(..)` reacts to validations, also to those before its time: put \
                            `ReduceOnPlateau::new(..)` around the whole schedule instead"
                    .into());
            }
            needs.check(self.needs_of(part), "`.then(..)`")?;
            needs = needs.and(self.needs_of(part));
            schedule.check()?;
        }
        Ok(())
    }
}
