//! [`Trainer`]: owns everything about training but the two steps.

mod accumulation;
mod average;
mod config;
mod connect;
mod evaluate;
mod fast_dev_run;
mod hooks;
mod plan;
mod ranks;
mod reduce;
mod replicate;
mod resume;
mod run;
mod settings;
mod tree;
mod trial;
mod update_bn;
mod validate;
mod window;

pub use crate::outcome::{Outcome, Run};
pub use accumulation::Accumulation;
pub use settings::{Every, NonFinite, Until};

use std::{any::Any, path::PathBuf};

use crate::{
    add_on::{AddOn, AddOns},
    error::{Error, Fallible, Site, Stage},
    learner::{Clip, Learner, StateDict},
    metrics::{EpochMetrics, History, Pending},
    progress::ProgressChecker,
    rng,
    schedule::Schedule,
    signal::Listener,
    snapshot::RunState,
    task::{Device, Mode, Model, Scalar, Task},
    watch::Doing,
};
use hooks::Installed;
use ranks::Ranks;
use settings::Settings;

/// Trains, evaluates and predicts: the user supplies a [`Task`], a [`Learner`] and data, the trainer owns the rest.
///
/// Setters can be called in any order; what cannot work is reported by [`Trainer::run`] as one clear error.
///
/// The order of a run, and what of it other code may rely on, is told with [`AddOn`].
pub struct Trainer<T: Task> {
    task: T,
    learner: T::Learner,
    schedule: Option<Box<dyn Schedule>>,
    add_ons: Installed,
    settings: Settings,
    /// The run as it stands, and as a snapshot holds it.
    state: RunState,
    pending: Pending<Scalar<T>>,
    /// The task's.
    metrics: EpochMetrics,
    signals: Option<Listener>,
    ranks: Ranks,
    /// Where we are, for errors: also those made of panics.
    site: Site,
    initialised: bool,
    /// Whether the add-ons have been asked for a snapshot to go on from.
    resumed: bool,
    /// Whether a snapshot was loaded that no run has gone on from yet.
    restored: bool,
    /// The second set of weights that is in the model's place now.
    shown: Option<String>,
    /// Whether updates were made along a loss that turned out not to be finite.
    spoiled: bool,
}

impl<T: Task> Trainer<T> {
    /// A trainer without add-ons.
    pub fn new(task: T, learner: T::Learner) -> Self {
        Self {
            task,
            learner,
            schedule: None,
            add_ons: Installed::default(),
            settings: Settings::default(),
            state: RunState { window: 1, ..RunState::default() },
            pending: Pending::new("train"),
            metrics: EpochMetrics::new(),
            signals: None,
            ranks: Ranks::default(),
            site: Site::default(),
            initialised: false,
            resumed: false,
            restored: false,
            shown: None,
            spoiled: false,
        }
    }

    /// The folder of the run, made if it is not there (of several processes, by rank 0). Add-ons keep their files in it.
    #[must_use]
    pub fn run_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.run_dir = Some(path.into());
        self
    }

    /// The seed of everything random: first weights, the order of the data, dropout, `At::rng`. 0 by default. The module
    /// [`rng`] tells all of it.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.late_seed |= self.initialised;
        self.settings.seed = Some(seed);
        self.state.seed = seed;
        self
    }

    /// The learning rate: a number, one of the schedules, or a closure `|at: &ScheduleAt| ...`.
    #[must_use]
    pub fn scheduler(mut self, schedule: impl Schedule + 'static) -> Self {
        self.schedule = Some(Box::new(schedule));
        self
    }

    /// Clips gradients before each optimizer step. Off by default.
    #[must_use]
    pub fn gradient_clip(mut self, clip: Clip) -> Self {
        self.settings.clip = clip;
        self
    }

    /// When to validate: at the end of each epoch by default.
    #[must_use]
    pub fn validate(mut self, every: Every) -> Self {
        self.settings.validate = every;
        self
    }

    /// What to do about a loss or gradient norm that is NaN or infinite: end the run by default.
    #[must_use]
    pub fn on_non_finite(mut self, policy: NonFinite) -> Self {
        self.settings.non_finite = policy;
        self
    }

    /// On an asynchronous device, after how many steps losses and metrics are read, in one transfer. 50 by default. On
    /// a synchronous device every step is read. Several processes exchange them after as many steps.
    #[must_use]
    pub fn log_every(mut self, steps: u64) -> Self {
        self.settings.log_every = steps;
        self
    }

    /// Installs add-ons: one, or several as a tuple. The order does not matter.
    #[must_use]
    pub fn add_on(mut self, add_ons: impl AddOns) -> Self {
        self.add_ons.install(add_ons);
        self
    }

    /// Starts over even if an add-on has kept a snapshot of this run.
    #[must_use]
    pub fn fresh(mut self) -> Self {
        self.settings.fresh = true;
        self
    }

    /// Goes on with a run that an add-on has stopped, as early stopping does. Without it, such a run stays as it is.
    #[must_use]
    pub fn continue_stopped(mut self) -> Self {
        self.settings.continue_stopped = true;
        self
    }

    /// Goes on with a saved run although this setting is not what it was: by the name that the error about it gives, for
    /// example `batch_size`. The run is then no longer, bit for bit, the one that was interrupted.
    ///
    /// With `optimizer`, its saved state is used as far as the new optimizer understands it (other settings, AdamW after
    /// Adam); if it does not, the optimizer starts afresh with the saved weights.
    #[must_use]
    pub fn accept_change(mut self, setting: impl Into<String>) -> Self {
        self.settings.accepted.push(setting.into());
        self
    }

    /// Whether SIGINT and SIGTERM end a run between two steps (on by default; a second signal kills). Of several processes, a
    /// signal to one ends the run of all. Off leaves them to the program.
    #[must_use]
    pub fn handle_signals(mut self, on: bool) -> Self {
        self.settings.signals = on;
        self
    }

    /// Where the run is.
    #[must_use]
    pub fn progress(&self) -> &ProgressChecker {
        &self.state.progress
    }

    /// Epochs and validations so far.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.state.history
    }

    /// The user's task.
    #[must_use]
    pub fn task(&self) -> &T {
        &self.task
    }

    /// The number of this process among those that train together, from 0. They are connected by the first `run`, `evaluate` or
    /// their like; until then, this is 0 everywhere.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.ranks.rank()
    }

    /// How many processes train together; 1 until they are connected, as for [`Trainer::rank`].
    #[must_use]
    pub fn world_size(&self) -> usize {
        self.ranks.world_size()
    }

    /// An installed add-on, by its type.
    #[must_use]
    pub fn get<A: AddOn>(&self) -> Option<&A> {
        self.add_ons.all().find_map(|add_on| (add_on as &dyn Any).downcast_ref())
    }

    /// The device the model is on.
    #[must_use]
    pub fn device(&self) -> Device<T> {
        self.learner.device(Mode::Evaluate)
    }

    /// Moves the model and the optimizer's state to a device.
    ///
    /// # Errors
    /// When the device is not there.
    pub fn to_device(&mut self, device: &Device<T>) -> Result<(), Error> {
        self.ready()?;
        self.guard(|t| t.at(Stage::Device, |t| t.learner.to_device(device)))
    }

    /// The model, in evaluation mode, with the weights that it is evaluated with: see [`Trainer::use_average`].
    ///
    /// # Errors
    /// When its first weights cannot be made, or it was lost in an earlier panic.
    pub fn model(&mut self) -> Result<&Model<T>, Error> {
        self.make()?;
        self.guard(|t| t.show_average(true))?;
        let site = self.site;
        self.learner.model().map_err(|source| Error::Step { site, source })
    }

    /// Model and optimizer by name, as they are trained. [`Trainer::weights`] are those to publish.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn state_dict(&mut self) -> Result<StateDict, Error> {
        self.ready()?;
        self.guard(|t| t.at(Stage::Snapshot, |t| t.learner.snapshot()))
    }

    /// Takes model and optimizer from a state dict, and nothing of a run: this is how weights trained elsewhere come in.
    /// What does not fit changes nothing.
    ///
    /// # Errors
    /// When names, shapes or types do not fit; the message lists them.
    pub fn load_state_dict(&mut self, state: &StateDict) -> Result<(), Error> {
        self.ready()?;
        self.ranks.replicated = false;
        self.guard(|t| {
            t.at(Stage::Snapshot, |t| {
                t.check_layout(&state.layout)?;
                t.learner.load(state)
            })
        })
    }

    /// The learner: model and optimizer, as they are trained.
    pub fn into_learner(mut self) -> T::Learner {
        if let Err(error) = self.guard(|t| t.show_average(false)) {
            tracing::error!(%error, "the learner still has the average in the place of its weights");
        }
        self.learner
    }

    /// The model, in evaluation mode, with the weights that it is evaluated with.
    ///
    /// # Errors
    /// As [`Trainer::model`].
    pub fn into_model(mut self) -> Result<Model<T>, Error> {
        self.make()?;
        self.guard(|t| t.show_average(true))?;
        let site = self.site;
        self.learner.into_model().map_err(|source| Error::Step { site, source })
    }

    /// The learner as it is trained.
    fn ready(&mut self) -> Result<(), Error> {
        self.make()?;
        self.guard(|t| t.show_average(false))
    }

    /// Asks for the task's metrics and makes the first weights, once.
    fn make(&mut self) -> Result<(), Error> {
        if !self.initialised {
            let seed = rng::init_seed(self.state.seed);
            self.guard(|t| {
                t.site.stage = Stage::Start;
                t.metrics = t.task.metrics();
                t.metrics.check().map_err(|e| Error::Misuse(e.to_string()))?;
                t.at(Stage::Start, |t| t.learner.init(seed))
            })?;
            self.initialised = true;
        }
        Ok(())
    }

    /// Before any work: what was set up wrongly is said, signals become requests, the run folder and the first weights
    /// are made.
    fn open(&mut self) -> Result<(), Error> {
        self.guard(Self::prepare).map_err(|error| {
            self.signals = None;
            self.tell_ranks(error)
        })
    }

    fn prepare(&mut self) -> Result<(), Error> {
        self.site.stage = Stage::Start;
        // First, so that the other ranks can be told of what follows.
        self.join()?;
        if let Some(misuse) = self.settings.misuse() {
            return Err(Error::Misuse(misuse.to_owned()));
        }
        if let Some(name) = self.add_ons.twice() {
            return Err(Error::Misuse(format!(
                "two add-ons are named `{name}`: install one, or give one of them another name"
            )));
        }
        self.leave_nothing();
        self.add_ons.ask_for_watches(self.ranks.group()).map_err(|e| Error::Misuse(e.to_string()))?;
        if let Some((first, second)) = self.add_ons.two_averages() {
            return Err(Error::Misuse(format!(
                "`{first}` and `{second}` both keep an average to evaluate: keep one of them aside, by `.evaluate(false)`"
            )));
        }
        if let Some(dir) = self.settings.run_dir.as_ref().filter(|_| self.ranks.rank() == 0) {
            std::fs::create_dir_all(dir).map_err(|e| {
                let dir = dir.display();
                Error::Misuse(format!(
                    "the run folder `{dir}` cannot be made ({e}): choose another with `.run_dir(..)`"
                ))
            })?;
        }
        self.state.window = self.window_size()?;
        if self.settings.signals && self.signals.is_none() {
            self.signals = Some(Listener::start().map_err(|e| Error::Misuse(e.to_string()))?);
        }
        self.ready()
    }

    /// The signal that asked this process for an end, if one did.
    fn own_signal(&self) -> Option<&'static str> {
        self.signals.as_ref().and_then(Listener::received)
    }

    /// The error for what went wrong where we are.
    #[cold]
    fn fail(&self, source: impl Into<crate::error::BoxError>) -> Error {
        let (site, source) = (self.site, source.into());
        match site.stage {
            Stage::Data | Stage::PassData => Error::Data { site, source },
            Stage::Snapshot => Error::Snapshot { site, source },
            Stage::AddOn => Error::AddOn { name: self.add_ons.name_of_current(), site, source },
            _ => Error::Step { site, source },
        }
    }

    /// From here on, what goes wrong is about this stage.
    fn enter(&mut self, stage: Stage) {
        self.site.stage = stage;
        self.add_ons.turn(Doing::Stage(stage), &self.site);
    }

    /// Does `work` with `stage` as the place of its errors.
    #[inline]
    fn at<R>(&mut self, stage: Stage, work: impl FnOnce(&mut Self) -> Fallible<R>) -> Result<R, Error> {
        self.enter(stage);
        work(self).map_err(|source| self.fail(source))
    }
}
