//! [`Tape`]: what happened in the window, in memory.

use std::{
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::super::meters::Clock;
use crate::{
    error::Stage,
    watch::{Doing, Turn, Watch},
};

/// What a span is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum What {
    Stage(Stage),
    /// A hook of the add-on at this place in [`Recorded::add_ons`].
    Hook(usize, &'static str),
    Exchange,
    /// All of a step, or of an evaluation.
    Step,
    Evaluation,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) what: What,
    pub(super) step: u64,
    pub(super) micro_batch: u64,
    pub(super) from: Duration,
    pub(super) to: Duration,
}

/// What a window came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Recorded {
    pub(super) spans: Vec<Span>,
    pub(super) add_ons: Vec<String>,
    /// Spans for which there was no place.
    pub(super) left_out: u64,
}

pub(super) struct Tape {
    steps: Range<u64>,
    most: usize,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    recorded: Recorded,
    begun: bool,
    over: bool,
    taken: bool,
    /// What goes on, and what that is a part of.
    now: Option<Span>,
    around: Option<Span>,
}

impl Tape {
    pub(super) fn new(steps: Range<u64>, most: usize, clock: Clock) -> Self {
        Self { steps, most, clock, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has_begun(&self) -> bool {
        self.state().begun
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().over
    }

    /// What was recorded, once, when the window is over.
    pub(super) fn take_if_over(&self) -> Option<Recorded> {
        let mut state = self.state();
        if !state.over || std::mem::replace(&mut state.taken, true) {
            return None;
        }
        Some(std::mem::take(&mut state.recorded))
    }

    /// Ends the window if it has begun.
    pub(super) fn end(&self) -> Option<Recorded> {
        let mut state = self.state();
        if state.begun && !state.over {
            state.close(self.clock.now(), self.most);
        }
        drop(state);
        self.take_if_over()
    }
}

impl State {
    fn push(&mut self, span: Option<Span>, to: Duration, most: usize) {
        let Some(span) = span else { return };
        if self.recorded.spans.len() < most {
            self.recorded.spans.push(Span { to, ..span });
        } else {
            self.recorded.left_out += 1;
        }
    }

    fn close(&mut self, at: Duration, most: usize) {
        let (now, around) = (self.now.take(), self.around.take());
        self.push(now, at, most);
        self.push(around, at, most);
        self.over = true;
    }

    fn add_on(&mut self, name: &str) -> usize {
        let known = self.recorded.add_ons.iter().position(|add_on| add_on == name);
        known.unwrap_or_else(|| {
            self.recorded.add_ons.push(name.to_owned());
            self.recorded.add_ons.len() - 1
        })
    }
}

impl Watch for Tape {
    fn turn(&self, to: &Turn<'_>) {
        let mut state = self.state();
        // A step begins where its first batch is drawn.
        let draws = to.doing == Doing::Stage(Stage::Data);
        let begins = !state.begun && draws && self.steps.contains(&to.step);
        if state.over || !(state.begun || begins) {
            return;
        }
        state.begun = true;
        let at = self.clock.now();
        if draws && !self.steps.contains(&to.step) {
            state.close(at, self.most);
            return;
        }
        let now = state.now.take();
        state.push(now, at, self.most);
        let around = match to.doing {
            Doing::Stage(Stage::Data) => Some(What::Step),
            Doing::Stage(Stage::PassData) => Some(What::Evaluation),
            _ => None,
        };
        let span = |what| Span { what, step: to.step, micro_batch: to.cursor.micro_batch, from: at, to: at };
        if let Some(what) = around
            && state.around.is_none_or(|around| (around.what, around.step) != (what, to.step))
        {
            let before = state.around.replace(span(what));
            state.push(before, at, self.most);
        }
        let what = match to.doing {
            Doing::Stage(stage) => What::Stage(stage),
            Doing::Exchange => What::Exchange,
            Doing::Hook { add_on, hook } => What::Hook(state.add_on(add_on), hook),
        };
        state.now = Some(span(what));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::progress::Cursor;

    #[test]
    fn a_trace_takes_no_more_than_its_memory() {
        let tape = Tape::new(0..1_000_000, 100, Clock::new(|| Duration::ZERO));
        for step in 0..1000 {
            for stage in [Stage::Data, Stage::TrainStep, Stage::Backward, Stage::Update] {
                tape.turn(&Turn::new(Doing::Stage(stage), step, Cursor::default()));
            }
        }
        let recorded = tape.end().unwrap();
        assert_eq!((recorded.spans.len(), recorded.left_out), (100, 5 * 1000 - 100));
        assert!(tape.state().recorded.spans.is_empty() && tape.end().is_none());
    }
}
