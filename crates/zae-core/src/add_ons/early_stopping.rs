//! [`EarlyStopping`]: ends a run that has stopped getting better.

use serde::{Deserialize, Serialize};

use crate::{
    add_on::{AddOn, Context, Phase},
    error::Fallible,
    metrics::{Direction, Evaluation},
    state::State,
    trainer::{Outcome, Run},
};

/// Ends the run when a validation metric has not got better for a while.
///
/// Only validations count, not what [`Trainer::evaluate`](crate::trainer::Trainer::evaluate) measures on other data. A
/// resumed run goes on counting where the earlier one was.
///
/// ```
/// use zae_core::add_ons::EarlyStopping;
/// let stop = EarlyStopping::new("valid/accuracy").patience(5).min_delta(1e-3).stop_at(0.99);
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct EarlyStopping {
    /// Holds the metric, so that two metrics can be watched.
    name: String,
    metric: String,
    direction: Direction,
    patience: u64,
    min_delta: f64,
    stop_at: Option<f64>,
    watch: Watch,
}

/// What has to be saved.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
struct Watch {
    best: Option<f64>,
    bad: u64,
}

impl EarlyStopping {
    /// Watches a metric by its full name, for example `valid/loss`: the third validation in a row without a gain ends
    /// the run. Whether less or more is better is read off the name ([`Direction::of`]).
    #[must_use]
    pub fn new(metric: impl Into<String>) -> Self {
        let metric = metric.into();
        Self {
            name: format!("early-stopping {metric}"),
            direction: Direction::of(&metric),
            metric,
            patience: 3,
            min_delta: 0.0,
            stop_at: None,
            watch: Watch::default(),
        }
    }

    /// Which validation in a row without a gain ends the run. 0 means the same as 1: the first.
    #[must_use]
    pub fn patience(mut self, validations: u64) -> Self {
        self.patience = validations;
        self
    }

    /// By how much, in the metric's own unit, a value must be better than the best to count as a gain.
    #[must_use]
    pub fn min_delta(mut self, delta: f64) -> Self {
        self.min_delta = delta;
        self
    }

    /// Whether less or more is better.
    #[must_use]
    pub fn direction(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }

    /// Also ends the run as soon as the metric is at least this good.
    #[must_use]
    pub fn stop_at(mut self, threshold: f64) -> Self {
        self.stop_at = Some(threshold);
        self
    }

    /// The best value so far, if there is one.
    #[must_use]
    pub fn best(&self) -> Option<f64> {
        self.watch.best
    }

    /// Takes in a value. Returns why the run is to end, if it is.
    fn observe(&mut self, value: f64) -> Option<String> {
        let Self { metric, direction, patience, min_delta, stop_at, watch, .. } = self;
        let is_gain = watch.best.map_or(!value.is_nan(), |best| direction.is_gain(value, best, *min_delta));
        if is_gain {
            *watch = Watch { best: Some(value), bad: 0 };
        } else {
            watch.bad += 1;
        }
        if let Some(goal) = *stop_at
            && (value == goal || direction.is_gain(value, goal, 0.0))
        {
            return Some(format!("`{metric}` is {value}, at least as good as the goal of {goal}"));
        }
        if watch.bad < (*patience).max(1) {
            return None;
        }
        let best = watch.best.map_or_else(|| "no number yet".to_owned(), |best| format!("best {best}"));
        let (bad, s) = (watch.bad, if watch.bad == 1 { "" } else { "s" });
        Some(format!(
            "`{metric}` has not got better for {bad} validation{s} (last {value}, {best}, patience {patience})"
        ))
    }
}

impl AddOn for EarlyStopping {
    fn name(&self) -> &str {
        &self.name
    }

    fn phase(&self) -> Phase {
        Phase::Decide
    }

    fn on_run_start(&mut self, _: &mut Context<'_>) -> Fallible {
        if self.min_delta >= 0.0 {
            return Ok(());
        }
        Err(format!("`.min_delta({})` must be 0 or more", self.min_delta).into())
    }

    fn on_evaluation_end(&mut self, evaluation: &Evaluation, cx: &mut Context<'_>) -> Fallible {
        if evaluation.set == "valid" {
            let value = evaluation.watched(&self.metric, "EarlyStopping")?;
            if let Some(reason) = self.observe(value) {
                cx.requests.stop(reason);
            }
        }
        Ok(())
    }

    fn on_run_end(&mut self, run: &Run, _: &mut Context<'_>) -> Fallible {
        if run.outcome == Outcome::Complete && run.history.evaluations.is_empty() {
            tracing::warn!(metric = self.metric, "early stopping had nothing to watch: the run had no validation");
        }
        Ok(())
    }

    fn state(&self) -> Fallible<Option<State>> {
        Ok(Some(State::encode(&self.watch)?))
    }

    fn restore(&mut self, state: &State) -> Fallible {
        self.watch = state.decode()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// After which value the run ends, counted from 1.
    fn ends_after(mut stop: EarlyStopping, values: &[f64]) -> Option<usize> {
        values.iter().position(|value| stop.observe(*value).is_some()).map(|i| i + 1)
    }

    #[test]
    fn patience_counts_validations_in_a_row_without_a_gain() {
        let loss = || EarlyStopping::new("valid/loss");
        let values = [3.0, 2.0, 2.0, 2.5, 1.9, 1.9, 1.95, 1.95, 0.0];
        assert_eq!(ends_after(loss(), &values), Some(8));
        assert_eq!(ends_after(loss().patience(2), &values), Some(4));
        assert_eq!(ends_after(loss().patience(1), &values), Some(3));
        assert_eq!(ends_after(loss().patience(0), &values), Some(3));
        assert_eq!(ends_after(loss().patience(4), &values), None);
    }

    #[test]
    fn a_gain_must_exceed_the_delta_in_the_right_direction() {
        let values = [0.50, 0.55, 0.59, 0.58];
        assert_eq!(ends_after(EarlyStopping::new("valid/accuracy").patience(2), &values), None);
        assert_eq!(ends_after(EarlyStopping::new("valid/accuracy").patience(2).min_delta(0.1), &values), Some(3));
        let less = EarlyStopping::new("valid/accuracy").patience(2).direction(Direction::Minimize);
        assert_eq!(ends_after(less, &values), Some(3));
        assert_eq!(ends_after(EarlyStopping::new("valid/accuracy").stop_at(0.55), &values), Some(2));
        assert_eq!(ends_after(EarlyStopping::new("valid/loss").stop_at(0.1), &[0.5, 0.2, 0.1]), Some(3));
    }

    #[test]
    fn nan_is_never_a_gain_and_never_the_best() {
        let mut stop = EarlyStopping::new("valid/loss").patience(2);
        assert_eq!(stop.observe(f64::NAN), None);
        assert_eq!(stop.best(), None);
        assert_eq!(stop.observe(f64::INFINITY), None);
        assert_eq!(stop.observe(1.0), None);
        assert_eq!(stop.observe(f64::NAN), None);
        let reason = stop.observe(f64::NAN).unwrap();
        assert_eq!(reason, "`valid/loss` has not got better for 2 validations (last NaN, best 1, patience 2)");
    }

    #[test]
    fn a_resume_at_any_validation_changes_nothing() {
        let values = [3.0, 2.0, 2.1, f64::NAN, 1.5, 1.6, 1.7, 1.5, 0.1];
        let new = || EarlyStopping::new("valid/loss").patience(3);
        let whole = ends_after(new(), &values);
        assert_eq!(whole, Some(8));
        for cut in 0..8 {
            let mut first = new();
            values[..cut].iter().for_each(|value| assert_eq!(first.observe(*value), None));
            let mut second = new();
            second.restore(&first.state().unwrap().unwrap()).unwrap();
            assert_eq!(ends_after(second, &values[cut..]).map(|n| n + cut), whole, "cut after {cut}");
        }
    }
}
