//! [`StateManager`]: saves the run, and brings it back.

mod aside;
mod catch_up;
mod finite;
mod metrics;
mod resume;
mod saver;
mod set_up;
mod settings;
mod writer;

use std::{
    cell::Cell,
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

pub use resume::Resume;
pub use saver::Saver;
pub use settings::OnFailure;
pub use writer::Save;

use catch_up::catch_up;
use metrics::{metrics_of, ranked};
use resume::{Limit, Resumed};
use settings::Settings;
use writer::{Job, Writer};
use zae_core::{
    add_on::{AddOn, Context, Moment, Notice, Phase},
    error::{BoxError, Error as RunError, Fallible},
    metrics::{EpochSummary, Evaluation},
    progress::ProgressChecker,
    snapshot::Snapshot,
    trainer::Run,
};

use crate::{
    export,
    folder::{Folder, Pointer, read_pointer},
};

/// Saves the whole run as checkpoints and goes on from the newest one when the program is started again: the resumed run
/// is, bit for bit, the run that was never interrupted.
///
/// Untouched it saves after each epoch, at the end and when a signal ends the run, into `checkpoints` in the run folder,
/// keeps the last two checkpoints and the one with the best `valid/loss`, and writes in the background. A checkpoint is
/// whole or absent, whenever the process or the machine dies; nothing is removed before what follows it is on disk.
///
/// ```
/// use std::time::Duration;
/// use zae_checkpoint::{Format, StateManager};
/// let manager = StateManager::new();
/// let other = StateManager::in_dir("models/digits")
///     .every_steps(1_000)
///     .every(Duration::from_secs(600))
///     .keep_last(3)
///     .keep_best("valid/accuracy", 2)
///     .keep_every(50_000)
///     .format(Format::Ckpt);
/// ```
///
/// The training thread takes the snapshot and hands it on; serialising, checksums, writing and syncing happen on a thread
/// of the manager's own. One save is in flight and one waits at most: a newer one takes the place of the one that waits,
/// unless that has to be kept (a best one, the last one, one of [`StateManager::keep_every`], one asked for); then the
/// training thread waits. The end of a run waits for the last save.
///
/// Steps by `Trainer::run_batch` are no run, and are not saved: [`SaveLoad`](crate::SaveLoad) is for them.
///
/// A save that fails (a full disk) leaves the checkpoints before it as they are, is told as a warning, and training goes
/// on, unless [`StateManager::on_failure`] says otherwise.
#[derive(Default)]
pub struct StateManager {
    settings: Settings,
    /// Between `claim` and the start of the run: the folder, locked.
    folder: Option<Folder>,
    resumed: Resumed,
    writer: Option<Writer>,
    saves: Vec<Save>,
    /// The values that [`StateManager::keep_best`] ranks, of checkpoints that are there or on their way, by their steps.
    ranked: BTreeMap<u64, f64>,
    asked: Saver,
    /// Whether something has happened since the last snapshot.
    dirty: bool,
    /// Whether the last validation is among the best.
    gain: bool,
    last_save: Option<Instant>,
    /// Whether it was told that a validation lacks the metric of the best.
    missed: bool,
    wanted: Cell<Option<Wanted>>,
}

const UNCLAIMED: &str = "its folder was let go before the run began";

/// What the last `wants_snapshot` has asked for.
struct Wanted {
    /// When the snapshot began.
    begun: Instant,
    must_be_kept: bool,
}

impl StateManager {
    /// The saves of this process that are done, in order, with what each cost.
    #[must_use]
    pub fn saves(&self) -> &[Save] {
        &self.saves
    }

    /// Takes over what the writer has done, and tells of what has failed.
    fn collect(&mut self, cx: &mut Context<'_>) -> Fallible {
        let Some(writer) = &self.writer else { return Ok(()) };
        let mut failed = None;
        for save in writer.take_done() {
            if let Some(error) = &save.error {
                let step = save.step;
                let text = match &save.path {
                    None => {
                        self.ranked.remove(&step);
                        format!(
                            "the checkpoint of step {step} was not saved ({error}); the ones before it are as they were"
                        )
                    }
                    Some(path) => format!("the checkpoint `{}` is saved, but then: {error}", path.display()),
                };
                match self.settings.on_failure {
                    OnFailure::Warn => cx.requests.notice(Notice::Warning(text)),
                    OnFailure::Stop => failed = failed.or(Some(text)),
                }
            }
            self.saves.push(save);
        }
        failed.map_or(Ok(()), |text| Err(text.into()))
    }

    /// Waits for the writer and lets the folder go.
    fn finish(&mut self, cx: &mut Context<'_>) -> Fallible {
        if let Some(writer) = &self.writer {
            writer.settle();
        }
        let collected = self.collect(cx);
        self.writer = None;
        self.folder = None;
        collected
    }

    /// Says where the checkpoints of this process are.
    fn tell_where(&self, cx: &mut Context<'_>) {
        let Some(last) = self.saves.iter().rev().find_map(|save| save.path.as_deref()) else { return };
        let best = last.parent().and_then(|dir| read_pointer(&dir.join(Pointer::Best.to_string())).ok());
        let best = best.map_or_else(String::new, |best| format!(", the best one is {best}"));
        cx.requests.notice(Notice::Info(format!("the last checkpoint is {}{best}", last.display())));
    }

    /// There is no value of the metric that makes a checkpoint the best. Nothing would be kept for it in the whole run, so where it
    /// was asked for, this is an error; the default is told, once.
    fn miss(&mut self, error: BoxError, cx: &mut Context<'_>) -> Fallible {
        if self.settings.metric_was_named {
            return Err(error);
        }
        if !std::mem::replace(&mut self.missed, true) {
            let text = format!("no checkpoint is kept as the best: {error}; name one of them with `.keep_best(..)`");
            cx.requests.notice(Notice::Warning(text));
        }
        Ok(())
    }

    fn epoch_is_saved(&self, epoch: u64) -> bool {
        self.settings.epochs > 0 && epoch.is_multiple_of(self.settings.epochs)
    }
}

impl AddOn for StateManager {
    fn name(&self) -> &'static str {
        "state-manager"
    }

    fn phase(&self) -> Phase {
        Phase::Persist
    }

    fn claim(&mut self, run_dir: Option<&Path>) -> Fallible {
        if self.writer.is_none() && self.folder.is_none() {
            self.folder = Some(Folder::open(&self.settings.dir(run_dir)?, self.settings.disk.clone())?);
        }
        Ok(())
    }

    fn latest(&mut self, _: Option<&Path>) -> Fallible<Option<Arc<Snapshot>>> {
        let folder = self.folder.as_ref().ok_or(UNCLAIMED)?;
        self.resumed.find(&self.settings.resume, folder.dir())
    }

    fn on_run_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        if self.writer.is_some() {
            return Ok(());
        }
        self.settings.export.as_deref().map_or(Ok(()), export::check)?;
        let folder = self.folder.take().ok_or(UNCLAIMED)?;
        for notice in self.resumed.take_notices() {
            cx.requests.notice(notice);
        }
        let limit = self.resumed.take_limit(cx.progress);
        if let Some(to) = aside::set_aside(&folder, &self.settings.disk, &limit)? {
            let (from, to) = (folder.dir().display(), to.display());
            cx.requests
                .notice(Notice::Info(format!("checkpoints in `{from}` that are not of this run were moved to `{to}`")));
        }
        if let Limit::UpTo(newest) = limit
            && let Err(error) = catch_up(&folder, newest, &self.settings)
        {
            let text = format!("the checkpoint {newest} was saved by a process that has ended, but then: {error}");
            cx.requests.notice(Notice::Warning(text));
        }
        self.ranked =
            self.settings.retention.best.as_ref().map_or(Ok(BTreeMap::new()), |best| ranked(&folder, best))?;
        self.writer = Some(Writer::start(folder, self.settings.clone())?);
        self.last_save = Some(Instant::now());
        Ok(())
    }

    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        if self.writer.is_none() && !self.dirty {
            let text = "nothing is saved, for steps by `run_batch` are no run: save with `SaveLoad::save`";
            cx.requests.notice(Notice::Warning(text.to_owned()));
        }
        self.dirty = true;
        if self.writer.as_ref().is_some_and(Writer::has_news) { self.collect(cx) } else { Ok(()) }
    }

    fn on_evaluation_end(&mut self, evaluation: &Evaluation, cx: &mut Context<'_>) -> Fallible {
        // An evaluation outside of a run changes nothing that is saved.
        if self.writer.is_none() {
            return Ok(());
        }
        self.dirty = true;
        let Some(best) = &self.settings.retention.best else { return Ok(()) };
        let Some(&value) = evaluation.metrics.get(&best.metric) else {
            let missing = evaluation.watched(&best.metric, "`keep_best`").map(|_| ());
            return missing.or_else(|error| self.miss(error, cx));
        };
        // The later of two equal ones is the better: only those that are better stand before it.
        let before = self.ranked.values().filter(|other| best.direction.is_gain(**other, value, 0.0)).count();
        self.gain = !value.is_nan() && before < best.count;
        if self.gain {
            self.ranked.insert(evaluation.step, value);
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, _: &EpochSummary, _: &mut Context<'_>) -> Fallible {
        self.dirty = true;
        Ok(())
    }

    fn wants_snapshot(&self, moment: Moment, progress: &ProgressChecker) -> bool {
        if self.writer.is_none() {
            return false;
        }
        let settings = &self.settings;
        let every = |steps: u64| steps > 0 && progress.step().is_multiple_of(steps);
        let wanted = match moment {
            Moment::Step => {
                every(settings.steps)
                    || settings.retention.every.is_some_and(every)
                    || settings.time.is_some_and(|time| self.last_save.is_some_and(|last| last.elapsed() >= time))
            }
            // The end of an epoch follows at once, but not on a validation before the first step.
            Moment::Evaluation => self.gain && (progress.micro_batch() > 0 || progress.step() == 0),
            Moment::Epoch => self.gain || self.epoch_is_saved(progress.epoch()),
            Moment::Interrupted => settings.on_signal && self.dirty,
            _ => settings.at_end && self.dirty,
        };
        let asked = self.asked.take();
        let must_be_kept = asked || !matches!(moment, Moment::Step | Moment::Epoch);
        self.wanted.set((wanted || asked).then(|| Wanted { begun: Instant::now(), must_be_kept }));
        wanted || asked
    }

    fn on_snapshot(&mut self, snapshot: &Arc<Snapshot>, cx: &mut Context<'_>) -> Fallible {
        let Some(writer) = &self.writer else { return Ok(()) };
        let wanted = self.wanted.take();
        let progress = &snapshot.run.progress;
        // Without a wish of our own, somebody else has asked.
        let must_be_kept = std::mem::take(&mut self.gain)
            || wanted.as_ref().is_none_or(|wanted| wanted.must_be_kept)
            || self.settings.retention.every.is_some_and(|steps| progress.step().is_multiple_of(steps));
        self.dirty = false;
        writer.submit(Job {
            snapshot: snapshot.clone(),
            metrics: metrics_of(snapshot),
            must_be_kept,
            begun: wanted.map_or_else(Instant::now, |wanted| wanted.begun),
            stall: Duration::ZERO,
        });
        if !self.settings.background {
            writer.settle();
        }
        self.last_save = Some(Instant::now());
        self.collect(cx)
    }

    fn on_run_end(&mut self, _: &Run, cx: &mut Context<'_>) -> Fallible {
        let finished = self.finish(cx);
        self.tell_where(cx);
        finished
    }

    fn on_error(&mut self, _: &RunError, cx: &mut Context<'_>) -> Fallible {
        self.finish(cx)
    }
}
