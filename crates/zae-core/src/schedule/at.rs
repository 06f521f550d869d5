//! [`ScheduleAt`]: where on a schedule a run is.

/// A position on a schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ScheduleAt {
    /// The optimizer step about to be made, from 0 (or the epoch, under [`Schedule::per_epoch`](super::Schedule::per_epoch)).
    pub step: u64,
    /// How many steps (or epochs) the run has, if that is known.
    pub total: Option<u64>,
    /// The epoch, from 0.
    pub epoch: u64,
    /// How many epochs the run has, if that is known.
    pub epochs: Option<u64>,
}

impl ScheduleAt {
    /// A position: step of total, epoch of epochs.
    #[must_use]
    pub fn new(step: u64, total: Option<u64>, epoch: u64, epochs: Option<u64>) -> Self {
        Self { step, total, epoch, epochs }
    }

    /// The same moment on a schedule that begins at `start` and ends at `end`.
    pub(super) fn within(self, start: u64, end: Option<u64>) -> Self {
        let total = end.map(|end| end.saturating_sub(start));
        Self { step: self.step.saturating_sub(start), total, ..self }
    }

    /// How much of the whole is done, from 0 to 1: 0 if nobody knows how long it is, 1 after its end.
    pub(super) fn fraction(&self) -> f64 {
        match self.total {
            None => 0.0,
            Some(0) => 1.0,
            Some(total) => self.step.min(total) as f64 / total as f64,
        }
    }
}
