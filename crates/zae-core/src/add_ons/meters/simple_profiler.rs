//! [`SimpleProfiler`]: what a run spends its time on.

use std::{fmt::Write, sync::Arc, time::Duration};

use super::{
    Clock, check_every,
    stopwatch::{Activity, Stopwatch, Times},
};
use crate::{
    add_on::{AddOn, Context, Notice},
    error::Fallible,
    metrics::EpochSummary,
    trainer::Run,
    watch::Watch,
};

/// What takes less than this share of a run is not worth a word.
const WORTH_A_WORD: f64 = 0.1;

/// Measures what the training thread spends its time on: waiting for data, placing batches on the device, the forward and the
/// backward pass, the optimizer's step, reading losses, waiting for other processes, evaluations, each add-on, snapshots.
///
/// When a run ends, a table of it is told as a notice, with a sentence that says what the run waited for and what to do about that.
/// The summary of each epoch has `meter/time/data`, `meter/time/forward` and so on, in seconds; with [`SimpleProfiler::every`] the
/// rows have them too.
///
/// It is the time of the host. On an asynchronous device (a GPU) the host only asks for the passes and the step, and waits for all
/// of them where losses are read: there, `read` is the time of the device, as far as nothing else went on meanwhile.
///
/// ```
/// use zae_core::add_ons::SimpleProfiler;
/// let profiler = SimpleProfiler::new().every(100);
/// ```
pub struct SimpleProfiler {
    every: Option<u64>,
    watch: Stopwatch,
    /// The times at the beginning of the epoch and of the window of steps.
    epoch: Times,
    window: Times,
}

impl SimpleProfiler {
    /// Measures every epoch, and the run.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Clock::default())
    }

    fn with(clock: Clock) -> Self {
        Self { every: None, watch: Stopwatch::new(clock), epoch: Times::default(), window: Times::default() }
    }

    /// Measures also every so many steps, for their rows.
    #[must_use]
    pub fn every(mut self, steps: u64) -> Self {
        self.every = Some(steps);
        self
    }

    /// Reads the time from this clock. For tests; to be called first.
    #[must_use]
    pub fn clock(self, now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { every: self.every, ..Self::with(Clock::new(now)) }
    }
}

impl Default for SimpleProfiler {
    fn default() -> Self {
        Self::new()
    }
}

impl AddOn for SimpleProfiler {
    fn name(&self) -> &'static str {
        "simple-profiler"
    }

    fn watch(&mut self) -> Option<Arc<dyn Watch>> {
        self.watch.reset();
        (self.epoch, self.window) = (Times::default(), Times::default());
        Some(Arc::new(self.watch.clone()))
    }

    fn on_run_start(&mut self, _: &mut Context<'_>) -> Fallible {
        self.every.map_or(Ok(()), check_every)
    }

    fn on_epoch_start(&mut self, _: &mut Context<'_>) -> Fallible {
        self.epoch = self.watch.times();
        Ok(())
    }

    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        let Some(every) = self.every.filter(|every| *every > 0) else { return Ok(()) };
        if !cx.progress.step().is_multiple_of(every) {
            return Ok(());
        }
        let now = self.watch.times();
        log(&self.window, &now, cx)?;
        self.window = now;
        Ok(())
    }

    fn on_epoch_end(&mut self, _: &EpochSummary, cx: &mut Context<'_>) -> Fallible {
        log(&self.epoch, &self.watch.times(), cx)
    }

    fn on_run_end(&mut self, _: &Run, cx: &mut Context<'_>) -> Fallible {
        let times = self.watch.times();
        if cx.rank == 0 && times.steps() > Duration::ZERO {
            cx.requests.notice(Notice::Info(table(&times)));
        }
        Ok(())
    }
}

fn log(from: &Times, to: &Times, cx: &mut Context<'_>) -> Fallible {
    for activity in Activity::ALL {
        let of_one_process = activity == Activity::Exchange && cx.world_size == 1;
        if activity != Activity::Start && !of_one_process {
            let seconds = to.of(activity).saturating_sub(from.of(activity)).as_secs_f64();
            cx.measure(&format!("time/{}", activity.name()), seconds)?;
        }
    }
    Ok(())
}

fn table(times: &Times) -> String {
    let total = times.total().as_secs_f64();
    let mut out = "what the run spent its time on:\n".to_owned();
    let mut row = |name: &str, seconds: f64| {
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "  {name:<24}{seconds:>12.3} s{:>8.1} %", 100.0 * seconds / total);
    };
    for activity in Activity::ALL {
        let time = times.of(activity);
        if time.is_zero() {
            continue;
        }
        row(what(activity), time.as_secs_f64());
        if activity == Activity::AddOns {
            let mut add_ons: Vec<_> = times.add_ons.iter().filter(|(_, time)| !time.is_zero()).collect();
            add_ons.sort_by(|(a, x), (b, y)| (y, a).cmp(&(x, b)));
            add_ons.iter().for_each(|(name, time)| row(&format!("  {name}"), time.as_secs_f64()));
        }
    }
    row("in all", total);
    out + &advice(times)
}

fn what(activity: Activity) -> &'static str {
    match activity {
        Activity::Start => "start",
        Activity::Data => "waiting for data",
        Activity::Place => "placing batches",
        Activity::Forward => "forward",
        Activity::Backward => "backward",
        Activity::Step => "optimizer step",
        Activity::Read => "reading from the device",
        Activity::Exchange => "other processes",
        Activity::Evaluation => "evaluation",
        Activity::AddOns => "add-ons",
        Activity::Snapshot => "snapshots",
    }
}

/// A sentence about what took the most of what is not the training itself.
fn advice(times: &Times) -> String {
    let total = times.total().as_secs_f64();
    let share = |activity| times.of(activity).as_secs_f64() / total;
    let own = [Activity::Place, Activity::Forward, Activity::Backward, Activity::Step, Activity::Read];
    let others = [Activity::Data, Activity::Exchange, Activity::Evaluation, Activity::AddOns, Activity::Snapshot];
    let most =
        others.into_iter().fold(Activity::Data, |most, other| if share(other) > share(most) { other } else { most });
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    if share(most) < WORTH_A_WORD {
        return format!(
            "{} of the time went into the training itself: nothing else is worth mending",
            percent(own.into_iter().map(share).sum())
        );
    }
    let part = percent(share(most));
    match most {
        Activity::Data => format!(
            "{part} of the time was waiting for data: give the loader more `.workers(n)`, or do less per sample in the data set"
        ),
        Activity::Exchange => format!(
            "{part} of the time was waiting for other processes: give all of them equal work, more of it per step \
             (`.accumulate(n)`), or a faster connection"
        ),
        Activity::Evaluation => {
            format!(
                "{part} of the time went into evaluations: evaluate more rarely with `.validate(..)`, or on less data"
            )
        }
        Activity::AddOns => {
            let slowest = times.add_ons.iter().max_by_key(|(_, time)| *time).map_or("", |(name, _)| name);
            format!(
                "{part} of the time went into add-ons, most of it into `{slowest}`: call it more rarely, or leave it out"
            )
        }
        _ => format!("{part} of the time went into snapshots: save more rarely"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::Stage,
        progress::Cursor,
        watch::{Doing, Turn},
    };
    use std::sync::Mutex;

    /// Times of these things, by a clock that stands still but for them.
    fn times(all: &[(Doing<'_>, u64)]) -> Times {
        let now = Arc::new(Mutex::new(0));
        let read = now.clone();
        let seconds = move || read.lock().map_or(0, |now| *now);
        let watch = Stopwatch::new(Clock::new(move || Duration::from_secs(seconds())));
        for (doing, seconds) in all {
            watch.turn(&Turn::new(*doing, 0, Cursor::default()));
            if let Ok(mut now) = now.lock() {
                *now += seconds;
            }
        }
        watch.times()
    }

    fn stage(stage: Stage) -> Doing<'static> {
        Doing::Stage(stage)
    }

    fn hook(add_on: &str) -> Doing<'_> {
        Doing::Hook { add_on, hook: "on_step_end" }
    }

    #[test]
    fn a_table_says_what_a_run_waited_for() {
        let times = times(&[
            (stage(Stage::Start), 1),
            (stage(Stage::Data), 70),
            (stage(Stage::Place), 2),
            (stage(Stage::TrainStep), 8),
            (stage(Stage::Backward), 10),
            (stage(Stage::Update), 4),
            (hook("csv"), 1),
            (hook("bar"), 2),
            (hook("csv"), 2),
        ]);
        let expected = "\
what the run spent its time on:
  start                          1.000 s     1.0 %
  waiting for data              70.000 s    70.0 %
  placing batches                2.000 s     2.0 %
  forward                        8.000 s     8.0 %
  backward                      10.000 s    10.0 %
  optimizer step                 4.000 s     4.0 %
  add-ons                        5.000 s     5.0 %
    csv                          3.000 s     3.0 %
    bar                          2.000 s     2.0 %
  in all                       100.000 s   100.0 %
70 % of the time was waiting for data: give the loader more `.workers(n)`, or do less per sample in the data set";
        assert_eq!(table(&times), expected);
    }

    #[test]
    fn all_of_an_evaluation_but_add_ons_belongs_to_it() {
        let times = times(&[
            (stage(Stage::Data), 1),
            (stage(Stage::Read), 1),
            (stage(Stage::PassData), 1),
            (hook("bar"), 5),
            (stage(Stage::Place), 1),
            (stage(Stage::TestStep), 1),
            (stage(Stage::Read), 1),
            (Doing::Exchange, 1),
            (stage(Stage::Snapshot), 1),
            (stage(Stage::Data), 1),
            (stage(Stage::Place), 1),
        ]);
        let of = |activity| times.of(activity).as_secs();
        assert_eq!((of(Activity::Evaluation), of(Activity::AddOns), of(Activity::Snapshot)), (5, 5, 1));
        assert_eq!((of(Activity::Data), of(Activity::Place), of(Activity::Read)), (2, 1, 1));
        assert_eq!((of(Activity::Exchange), times.steps().as_secs(), times.total().as_secs()), (0, 4, 15));
    }

    #[test]
    fn each_thing_a_run_can_wait_for_has_its_own_advice() {
        let own = (stage(Stage::Backward), 50);
        let cases = [
            (Doing::Exchange, "other processes"),
            (stage(Stage::PassData), "`.validate(..)`"),
            (hook("csv"), "into `csv`"),
            (stage(Stage::Snapshot), "save more rarely"),
            (stage(Stage::Data), "`.workers(n)`"),
        ];
        for (doing, word) in cases {
            let text = advice(&times(&[own, (doing, 50)]));
            assert!(text.starts_with("50 % of the time ") && text.contains(word), "{text}");
        }
        let text = advice(&times(&[own, (stage(Stage::Data), 2)]));
        assert_eq!(text, "96 % of the time went into the training itself: nothing else is worth mending");
    }
}
