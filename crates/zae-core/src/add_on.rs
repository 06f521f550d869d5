//! [`AddOn`]: optional features that the core knows nothing of.

mod several;

use std::{any::Any, collections::BTreeMap, path::Path, sync::Arc};

use crate::{
    engine::Engine,
    error::{Error, Fallible},
    metrics::{EpochSummary, Evaluation, History, Logged, Rows},
    outcome::Run,
    process_group::Parallel,
    progress::ProgressChecker,
    snapshot::Snapshot,
    state::State,
    watch::Watch,
};

pub use crate::snapshot::Durable;
pub use several::AddOns;

/// When, among all add-ons, an add-on's hooks are called. Within a phase the order is that of the names, so the order
/// of installation never matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub enum Phase {
    /// Looks: meters, averages of weights.
    #[default]
    Observe,
    /// Decides: early stopping. It cannot end a run before its minimum.
    Decide,
    /// Saves: checkpoints. Of several processes, on rank 0.
    Persist,
    /// Tells people: bars, files, web loggers. Of several processes, on rank 0.
    Report,
}

/// What add-ons ask of the trainer. It takes effect after the hooks of all phases, between two steps.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    pub(crate) stop: Option<String>,
    pub(crate) snapshot: bool,
    pub(crate) notices: Vec<Notice>,
    /// The run has not reached its minimum: those that decide cannot end it.
    pub(crate) too_early: bool,
    /// That is who is asking.
    pub(crate) held: bool,
    pub(crate) logged: Logged,
}

/// Something that the person who runs the program should read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// All is well.
    Info(String),
    /// Something went wrong, and the run goes on.
    Warning(String),
}

impl Requests {
    /// Ends the run after this step, for this reason. The first reason given counts. Before the run's minimum
    /// ([`Until::min_epochs`](crate::trainer::Until::min_epochs)), nothing comes of it if the add-on's phase is
    /// [`Phase::Decide`]: as long as its reason holds, it asks again.
    pub fn stop(&mut self, reason: impl Into<String>) {
        if self.held {
            tracing::info!(reason = reason.into(), "asked to stop before its minimum, the run goes on");
            return;
        }
        self.stop.get_or_insert_with(|| reason.into());
    }

    /// Has a snapshot taken and handed to every add-on.
    pub fn snapshot(&mut self) {
        self.snapshot = true;
    }

    /// Tells people something, through the console add-ons and as a `tracing` event. For what may happen at every step it
    /// is too much.
    pub fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// Why the run is about to end, if it is.
    #[must_use]
    pub fn stop_reason(&self) -> Option<&str> {
        self.stop.as_deref()
    }
}

/// What every hook may look at and act on.
#[non_exhaustive]
pub struct Context<'a> {
    /// Where the run is. During a hook about a step, that step is counted already, but for [`AddOn::on_gradients`]: there it is
    /// yet to be made.
    pub progress: &'a ProgressChecker,
    /// The learning rate of the last step.
    pub lr: f64,
    /// The run's folder, if it has one. It exists, on rank 0 at least: other machines may not have it.
    pub run_dir: Option<&'a Path>,
    /// The run's seed.
    pub seed: u64,
    /// What the run was set up with, as far as its weights depend on it: `engine`, `schedule`, `batch_size`, ... It is empty
    /// in an evaluation before a run.
    pub config: &'a BTreeMap<String, String>,
    /// Epochs and evaluations so far.
    pub history: &'a History,
    /// The number of this process among those that train together. Add-ons that save or report are called on rank 0 alone.
    pub rank: usize,
    /// How many processes train together.
    pub world_size: usize,
    /// Parameters and gradients.
    pub engine: &'a mut dyn Engine,
    /// What the add-on asks for.
    pub requests: &'a mut Requests,
}

impl Context<'_> {
    /// Logs a number, under its full name: for example `grad_norm/conv1.weight`. As with `self.log` of a callback in Lightning, it
    /// gets to every logger and into the history; the console shows it if its name begins as the task's metrics do, with `train/`
    /// or `valid/`.
    ///
    /// - in [`AddOn::on_gradients`] and [`AddOn::on_step_end`] it is part of the step's row, and its mean over the steps of the
    ///   epoch that have it and were not skipped is part of the epoch's summary;
    /// - in [`AddOn::on_evaluation_end`] and [`AddOn::on_epoch_end`], from add-ons of the phases Observe and Decide, it is part of
    ///   the evaluation or the summary that those of later phases are given: early stopping can watch it.
    ///
    /// It has to be a function of the run: the same on all processes that train together, and again after a resume. What is not is
    /// for [`Context::measure`].
    ///
    /// ```
    /// # use zae_core::{add_on::{AddOn, Context}, error::Fallible};
    /// struct SkippedSteps;
    ///
    /// impl AddOn for SkippedSteps {
    ///     fn name(&self) -> &str { "skipped-steps" }
    ///     fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
    ///         cx.log("skipped", cx.progress.skipped() as f64)
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// In another hook, or from an add-on that saves or reports, for these are called on rank 0 alone; also for a name that is
    /// one of `measure`. To be returned by the hook. A name that is taken fails the run when the hook has returned.
    pub fn log(&mut self, name: impl Into<Arc<str>>, value: f64) -> Fallible {
        self.requests.logged.log(name.into(), value)
    }

    /// Logs what depends on the clock or the machine, as `meter/` and this name. It is part of what [`Context::log`] tells of,
    /// but it is never summed: the row of a step has it, the summary of its epoch has not. Each process has its own, and
    /// [`History::without_clock`] has none: whoever compares two logs leaves out `seconds` and what begins with `meter/`.
    ///
    /// # Errors
    /// As for [`Context::log`]; but in hooks about steps, add-ons of every phase may measure.
    pub fn measure(&mut self, name: &str, value: f64) -> Fallible {
        self.requests.logged.measure(name, value)
    }
}

/// When the trainer asks whether a snapshot is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Moment {
    /// After an optimizer step.
    Step,
    /// After a validation.
    Evaluation,
    /// After an epoch and its validation.
    Epoch,
    /// The run is over.
    End,
    /// A signal ends the run here.
    Interrupted,
}

/// How far an evaluation or an inference is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Pass<'a> {
    /// The name of the data: `valid`, `sanity`, `test`, `inference`, or the caller's; of several sets, with the set's own:
    /// `valid/clean`.
    pub set: &'a str,
    /// Batches done. A pass begins with a call at 0.
    pub done: u64,
    /// Batches in all, if that is known.
    pub total: Option<u64>,
}

/// An optional feature, installed with [`Trainer::add_on`](crate::trainer::Trainer::add_on).
///
/// Every hook has an empty default, so an add-on writes only what it needs. An error returned by a hook ends the run.
/// Hooks run on the training thread: what takes time belongs on a thread of the add-on's own.
///
/// The order in a run: `parallel` once, `watch`, `claim`, `latest` once, `on_run_start`; for each epoch `on_epoch_start`, per step
/// `on_gradients`, `on_step_end` and, in groups of any size, `on_rows`; per evaluation `on_pass` for each batch, then
/// `on_evaluation_end` (a sanity check before the first epoch has the `on_pass` alone); `on_epoch_end`; last, exactly one of `on_run_end` and `on_error`, and then `finish`. Snapshots are taken
/// between steps, after the hooks of all phases.
///
/// Where several processes train together, each has its own add-ons: those of the phases [`Phase::Observe`] and
/// [`Phase::Decide`] are called on all of them and are told the same, those that save or report on rank 0 alone. What one of them
/// asks for (a stop, a snapshot), or fails with, holds for all processes at the same step.
pub trait AddOn: Any + Send {
    /// A name that no other add-on of the run has. States are saved under it.
    fn name(&self) -> &str;

    /// When its hooks are called.
    fn phase(&self) -> Phase {
        Phase::Observe
    }

    /// Whether it leaves something behind: files, what is sent to a server. By its phase, unless it says so: those that save or
    /// report do. A fast dev run goes without them.
    fn leaves_traces(&self) -> bool {
        matches!(self.phase(), Phase::Persist | Phase::Report)
    }

    /// A run begins, or goes on after a resume.
    ///
    /// # Errors
    /// Ends the run, as in every hook.
    fn on_run_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        let _ = cx;
        Ok(())
    }

    /// An epoch begins, or goes on after a resume.
    ///
    /// # Errors
    /// Ends the run.
    fn on_epoch_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        let _ = cx;
        Ok(())
    }

    /// The gradients of a step are ready: summed, scaled, clipped, not yet used.
    ///
    /// # Errors
    /// Ends the run.
    fn on_gradients(&mut self, cx: &mut Context<'_>) -> Fallible {
        let _ = cx;
        Ok(())
    }

    /// An optimizer step is done. Its losses and metrics follow in [`AddOn::on_rows`], when they have been read.
    ///
    /// # Errors
    /// Ends the run.
    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        let _ = cx;
        Ok(())
    }

    /// Losses and metrics of one or more steps, each step exactly once and in order. How they are grouped depends on the
    /// device and must not matter.
    ///
    /// # Errors
    /// Ends the run.
    fn on_rows(&mut self, rows: &Rows<'_>, cx: &mut Context<'_>) -> Fallible {
        let _ = (rows, cx);
        Ok(())
    }

    /// A pass over data without training begins, or did one more batch.
    ///
    /// # Errors
    /// Ends the run.
    fn on_pass(&mut self, pass: &Pass<'_>, cx: &mut Context<'_>) -> Fallible {
        let _ = (pass, cx);
        Ok(())
    }

    /// An evaluation is done.
    ///
    /// # Errors
    /// Ends the run.
    fn on_evaluation_end(&mut self, evaluation: &Evaluation, cx: &mut Context<'_>) -> Fallible {
        let _ = (evaluation, cx);
        Ok(())
    }

    /// An epoch and its validation are done.
    ///
    /// # Errors
    /// Ends the run.
    fn on_epoch_end(&mut self, epoch: &EpochSummary, cx: &mut Context<'_>) -> Fallible {
        let _ = (epoch, cx);
        Ok(())
    }

    /// The run has ended without an error.
    ///
    /// # Errors
    /// Returned by `run`.
    fn on_run_end(&mut self, run: &Run, cx: &mut Context<'_>) -> Fallible {
        let _ = (run, cx);
        Ok(())
    }

    /// The run, or an evaluation or inference outside of one, has failed. What could still be read was handed to
    /// [`AddOn::on_rows`] before.
    ///
    /// # Errors
    /// Only logged: the first error is the one that `run` returns.
    fn on_error(&mut self, error: &Error, cx: &mut Context<'_>) -> Fallible {
        let _ = (error, cx);
        Ok(())
    }

    /// A run, an evaluation or an inference is about to return, well or not, and every add-on was told of its end: what the
    /// add-on has going on in the background is waited for here. So what all of them have goes on at the same time.
    ///
    /// # Errors
    /// Returned by the call, if it has not failed already.
    fn finish(&mut self, cx: &mut Context<'_>) -> Fallible {
        let _ = cx;
        Ok(())
    }

    /// An add-on has something to tell.
    ///
    /// # Errors
    /// Ends the run.
    fn on_notice(&mut self, notice: &Notice, cx: &mut Context<'_>) -> Fallible {
        let _ = (notice, cx);
        Ok(())
    }

    /// The second set of weights ([`Engine::shadow`]) that stands for the model wherever it is not trained, if this add-on keeps
    /// one: evaluations and inference take it, and so does what is handed out of the trainer
    /// ([`Trainer::use_average`](crate::trainer::Trainer::use_average)). Until the set is there, the weights themselves do.
    fn average(&self) -> Option<&str> {
        None
    }

    /// What of the add-on has to be saved.
    ///
    /// # Errors
    /// Ends the run.
    fn state(&self) -> Fallible<Option<State>> {
        Ok(None)
    }

    /// Takes back what [`AddOn::state`] gave. Called before `on_run_start`.
    ///
    /// # Errors
    /// When it does not fit.
    fn restore(&mut self, state: &State) -> Fallible {
        let _ = state;
        Ok(())
    }

    /// See [`Durable`].
    fn durable(&self) -> Option<Durable> {
        None
    }

    /// Whether a snapshot is to be taken now.
    fn wants_snapshot(&self, moment: Moment, progress: &ProgressChecker) -> bool {
        let _ = (moment, progress);
        false
    }

    /// A snapshot was taken, because some add-on wanted one.
    ///
    /// # Errors
    /// Ends the run.
    fn on_snapshot(&mut self, snapshot: &Arc<Snapshot>, cx: &mut Context<'_>) -> Fallible {
        let _ = (snapshot, cx);
        Ok(())
    }

    /// The processes that train together, if this add-on connects them. Asked once, before anything else; of an add-on that gives
    /// some, no further hook is called.
    ///
    /// # Errors
    /// When they cannot be connected: nothing starts.
    fn parallel(&mut self, engine: &mut dyn Engine) -> Fallible<Option<Parallel>> {
        let _ = engine;
        Ok(None)
    }

    /// Who is to be told what the training thread does, if this add-on has somebody. Asked whenever a run, an evaluation or an
    /// inference begins, before all but [`AddOn::parallel`].
    fn watch(&mut self) -> Option<Arc<dyn Watch>> {
        None
    }

    /// A run is about to begin: nothing was read or changed yet, by any add-on. What another process may be using, such as
    /// a folder, is taken for this one here.
    ///
    /// # Errors
    /// Ends the run before it starts.
    fn claim(&mut self, run_dir: Option<&Path>) -> Fallible {
        let _ = run_dir;
        Ok(())
    }

    /// The snapshot a new run is to go on from, if this add-on keeps any. The newest of all add-ons' is taken.
    ///
    /// # Errors
    /// Ends the run before it starts.
    fn latest(&mut self, run_dir: Option<&Path>) -> Fallible<Option<Arc<Snapshot>>> {
        let _ = run_dir;
        Ok(None)
    }
}
