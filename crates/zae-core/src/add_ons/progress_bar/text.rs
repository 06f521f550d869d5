//! What the bar and the lines say.

use super::live::{Now, Pass};
use crate::{
    add_ons::text::{is_of_task, sets, setting, short},
    metrics::{EpochSummary, History},
    progress::ProgressChecker,
    trainer::Outcome,
};

/// The run's line, empty outside of a run, and that of a pass, if there is one.
pub(super) fn bar(now: &Now, rate: f64) -> (String, Option<String>) {
    const WIDTH: u64 = 20;
    let pass = now.pass.as_ref().map(|pass| format!("  {}", self::pass(pass)));
    if now.at.is_none() {
        return (String::new(), pass.map(|pass| pass.trim_start().to_owned()));
    }
    let mut parts = vec![epoch_of(now.epoch + 1, now.epochs)];
    match now.batches {
        Some(all) => {
            let full = (now.batch * WIDTH).checked_div(all).unwrap_or(WIDTH).min(WIDTH) as usize;
            let empty = WIDTH as usize - full;
            parts.push(format!("[{}{}] {}/{all}", "#".repeat(full), "-".repeat(empty), now.batch));
        }
        None => parts.push(format!("batch {}", now.batch)),
    }
    parts.extend(rest(now, rate));
    (parts.join("  "), pass)
}

/// The same as a line of a log. Empty if there is nothing to say.
pub(super) fn log(now: &Now, rate: f64) -> String {
    let mut parts = Vec::new();
    if now.at.is_some() {
        parts.push(epoch_of(now.epoch + 1, now.epochs));
        parts.push(format!("batch {}", of(now.batch, now.batches)));
        parts.push(format!("step {}", of(now.step, now.steps)));
        parts.extend(rest(now, rate));
    }
    parts.extend(now.pass.as_ref().map(pass));
    parts.join("  ")
}

/// The first line of a log.
pub(super) fn start(progress: &ProgressChecker) -> String {
    let until = match (progress.epochs(), progress.total_steps()) {
        (Some(epochs), Some(steps)) => format!(" to {}, {}", count(epochs, "epoch"), count(steps, "step")),
        (Some(epochs), None) => format!(" to {}", count(epochs, "epoch")),
        (None, Some(steps)) => format!(" to {}", count(steps, "step")),
        (None, None) => String::new(),
    };
    let from = match progress.step() {
        0 => String::new(),
        step => format!(" goes on from {}", count(step, "step")),
    };
    format!("training{from}{until}")
}

/// What came out of an epoch.
pub(super) fn epoch(epoch: &EpochSummary, progress: &ProgressChecker, history: &History) -> String {
    let before = history.epochs.iter().rev().find(|other| other.epoch < epoch.epoch).map_or(0.0, |other| other.seconds);
    let mut parts = vec![epoch_of(epoch.epoch + 1, progress.epochs())];
    let sets = sets(history);
    let shown = epoch.metrics.iter().filter(|(name, _)| is_of_task(name, &sets));
    parts.extend(shown.map(|(name, value)| format!("{name} {}", short(*value))));
    parts.push(format!("lr {}", setting(epoch.lr)));
    parts.push(time(epoch.seconds - before));
    parts.join("  ")
}

/// The last line of a run.
pub(super) fn end(outcome: &Outcome, progress: &ProgressChecker) -> String {
    let (epochs, steps) = (count(progress.epoch(), "epoch"), count(progress.step(), "step"));
    let done = format!("{epochs}, {steps} in {}", time(progress.elapsed().as_secs_f64()));
    match outcome {
        Outcome::Complete => format!("complete: {done}"),
        Outcome::AlreadyComplete => format!(
            "NOTHING WAS TRAINED: the run was complete already ({epochs}, {steps}); `.fresh()` starts over, a higher \
             number of epochs or steps goes on"
        ),
        Outcome::AlreadyStopped(reason) => format!(
            "NOTHING WAS TRAINED: the run was stopped before ({epochs}, {steps}): {reason}; `.fresh()` starts over, \
             `.continue_stopped()` goes on"
        ),
        Outcome::OutOfTime => format!("the time is used up: {done}"),
        Outcome::Stopped(reason) => format!("stopped: {reason}; {done}"),
        Outcome::Interrupted { signal } => {
            format!("interrupted by {signal}: {done}; started again, it goes on from the last snapshot if one is kept")
        }
    }
}

/// Speed, metrics of the last row, time left.
fn rest(now: &Now, rate: f64) -> Vec<String> {
    let mut parts = Vec::new();
    if rate > 0.0 {
        parts.push(speed(rate));
    }
    for (name, value) in now.names.iter().zip(&now.values) {
        // What add-ons log under other names may be dozens of numbers.
        match name.strip_prefix("train/") {
            Some(name) => parts.push(format!("{name} {}", short(*value))),
            None if **name == *"lr" => parts.push(format!("lr {}", setting(*value))),
            None => {}
        }
    }
    parts.extend(now.eta.map(|eta| format!("eta {}", time(eta.as_secs_f64().round()))));
    parts
}

fn speed(rate: f64) -> String {
    match rate {
        r if r >= 100.0 => format!("{r:.0} it/s"),
        r if r >= 1.0 => format!("{r:.1} it/s"),
        r => format!("{:.1} s/it", 1.0 / r),
    }
}

fn pass(pass: &Pass) -> String {
    format!("{} {}", pass.set, of(pass.done, pass.total))
}

fn epoch_of(epoch: u64, epochs: Option<u64>) -> String {
    format!("epoch {}", of(epoch, epochs))
}

fn of(n: u64, all: Option<u64>) -> String {
    all.map_or_else(|| n.to_string(), |all| format!("{n}/{all}"))
}

/// `4.2 s`, `3:07`, `2:03:07`, `3 d 02:03:07`.
fn time(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds as u64;
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}:{seconds:02}"),
        (0, _) => format!("{hours}:{minutes:02}:{seconds:02}"),
        _ => format!("{days} d {hours:02}:{minutes:02}:{seconds:02}"),
    }
}

/// `1 epoch`, `2 epochs`.
fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let cases = [(4.21, "4.2 s"), (187.9, "3:07"), (7387.0, "2:03:07"), (266_587.0, "3 d 02:03:07")];
        for (seconds, text) in cases {
            assert_eq!(time(seconds), text);
        }
        assert_eq!(count(1, "epoch"), "1 epoch");
        assert_eq!(count(0, "step"), "0 steps");
    }
}
