//! [`Stopwatch`]: how long the training thread did what.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::Clock;
use crate::{
    error::Stage,
    watch::{Doing, Turn, Watch},
};

/// What time is spent on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Activity {
    Start,
    Data,
    Place,
    Forward,
    Backward,
    Step,
    Read,
    Exchange,
    Evaluation,
    AddOns,
    Snapshot,
}

impl Activity {
    pub(super) const ALL: [Self; 11] = [
        Self::Start,
        Self::Data,
        Self::Place,
        Self::Forward,
        Self::Backward,
        Self::Step,
        Self::Read,
        Self::Exchange,
        Self::Evaluation,
        Self::AddOns,
        Self::Snapshot,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Data => "data",
            Self::Place => "place",
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Step => "step",
            Self::Read => "read",
            Self::Exchange => "exchange",
            Self::Evaluation => "evaluation",
            Self::AddOns => "add_ons",
            Self::Snapshot => "snapshot",
        }
    }

    /// Whether it is part of a training step.
    pub(super) fn is_step(self) -> bool {
        matches!(
            self,
            Self::Data | Self::Place | Self::Forward | Self::Backward | Self::Step | Self::Read | Self::Exchange
        )
    }
}

/// Times by what they were spent on.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Times {
    sums: [Duration; Activity::ALL.len()],
    /// Those of add-ons, by name.
    pub(super) add_ons: Vec<(String, Duration)>,
}

impl Times {
    pub(super) fn of(&self, activity: Activity) -> Duration {
        self.sums[activity as usize]
    }

    pub(super) fn total(&self) -> Duration {
        self.sums.iter().sum()
    }

    /// Time spent on training steps.
    pub(super) fn steps(&self) -> Duration {
        Activity::ALL.into_iter().filter(|activity| activity.is_step()).map(|activity| self.of(activity)).sum()
    }
}

/// Sums up times, turn by turn. Clones share them.
#[derive(Clone)]
pub(super) struct Stopwatch {
    clock: Clock,
    laps: Arc<Mutex<Laps>>,
}

struct Laps {
    times: Times,
    now: Activity,
    /// The add-on whose hook is running.
    add_on: Option<usize>,
    since: Duration,
    /// Within an evaluation all that is not an add-on's belongs to it.
    in_pass: bool,
}

impl Stopwatch {
    pub(super) fn new(clock: Clock) -> Self {
        let since = clock.now();
        let laps = Laps { times: Times::default(), now: Activity::Start, add_on: None, since, in_pass: false };
        Self { clock, laps: Arc::new(Mutex::new(laps)) }
    }

    fn laps(&self) -> MutexGuard<'_, Laps> {
        self.laps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all times: something new begins.
    pub(super) fn reset(&self) {
        let mut laps = self.laps();
        let since = self.clock.now();
        *laps = Laps { times: Times::default(), now: Activity::Start, add_on: None, since, in_pass: false };
    }

    /// The times so far, that of what is going on included.
    pub(super) fn times(&self) -> Times {
        let mut laps = self.laps();
        laps.count(self.clock.now());
        laps.times.clone()
    }
}

impl Laps {
    fn count(&mut self, now: Duration) {
        let lap = now.saturating_sub(self.since);
        self.since = now;
        self.times.sums[self.now as usize] += lap;
        if let Some(i) = self.add_on {
            self.times.add_ons[i].1 += lap;
        }
    }

    fn turn(&mut self, doing: Doing<'_>) {
        self.add_on = None;
        self.now = match doing {
            Doing::Hook { add_on, .. } => {
                let known = self.times.add_ons.iter().position(|(name, _)| name == add_on);
                self.add_on = Some(known.unwrap_or_else(|| {
                    self.times.add_ons.push((add_on.to_owned(), Duration::ZERO));
                    self.times.add_ons.len() - 1
                }));
                Activity::AddOns
            }
            Doing::Exchange if self.in_pass => Activity::Evaluation,
            Doing::Exchange => Activity::Exchange,
            Doing::Stage(stage) => {
                match stage {
                    Stage::PassData | Stage::TestStep | Stage::Predict => self.in_pass = true,
                    // What only training does.
                    Stage::Data | Stage::TrainStep | Stage::Backward | Stage::Update => self.in_pass = false,
                    _ => {}
                }
                match stage {
                    Stage::Snapshot => Activity::Snapshot,
                    Stage::AddOn => Activity::AddOns,
                    _ if self.in_pass => Activity::Evaluation,
                    Stage::Data => Activity::Data,
                    Stage::Place => Activity::Place,
                    Stage::TrainStep => Activity::Forward,
                    Stage::Backward => Activity::Backward,
                    Stage::Update => Activity::Step,
                    Stage::Read => Activity::Read,
                    _ => Activity::Start,
                }
            }
        };
    }
}

impl Watch for Stopwatch {
    fn turn(&self, to: &Turn<'_>) {
        let mut laps = self.laps();
        laps.count(self.clock.now());
        laps.turn(to.doing);
    }
}
