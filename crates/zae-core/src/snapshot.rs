//! [`Snapshot`]: one value that holds a whole run.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    error::Fallible,
    learner::StateDict,
    metrics::{History, Totals},
    progress::ProgressChecker,
    state::State,
};

/// Makes durable what an add-on has handed out before a snapshot that counts it: run by whoever writes the snapshot to
/// disk, on the writer's thread, before the commit.
pub type Durable = Arc<dyn Fn() -> Fallible + Send + Sync>;

/// What is still to be done at a cursor before training goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Due {
    /// A validation.
    pub evaluation: bool,
    /// The end of the epoch before the cursor: its summary and the hooks about it.
    pub epoch_end: bool,
}

/// All of a run but the learner. `serde` keeps every f64 bit for bit in any binary format
/// ([`State::encode`] writes one); JSON does not.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunState {
    /// Where the run is.
    pub progress: ProgressChecker,
    /// What is owed before the next step.
    pub due: Due,
    /// The run's seed.
    pub seed: u64,
    /// Micro-batches per optimizer step, fixed at the run's first step.
    pub window: u64,
    /// How many processes the run began with.
    #[serde(default = "one")]
    pub world_size: u64,
    /// The power of two by which weights are divided, fixed at the first accumulated step.
    pub unit: Option<f64>,
    /// Why the run was ended before its length, if it was.
    pub stopped: Option<String>,
    /// The learning rate of the last step.
    pub lr: f64,
    /// The epoch last begun and how many batches its loader announced.
    pub epoch_batches: Option<(u64, u64)>,
    /// Sums of the epoch so far.
    pub totals: Totals,
    /// Epochs and evaluations so far.
    pub history: History,
    /// The schedule's state.
    pub schedule: Option<State>,
    /// The task's state.
    pub task: Option<State>,
    /// What the run was set up with, as far as its weights depend on it: `schedule`, `batch_size`, ...
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// The second set of weights that stood for the model in evaluations, if one did.
    #[serde(default)]
    pub average: Option<String>,
    /// States of add-ons by name.
    pub add_ons: BTreeMap<String, State>,
}

fn one() -> u64 {
    1
}

/// A whole run at a moment between two steps: what a resumed run starts from, and ends bit for bit where the run that was
/// never interrupted ends.
#[derive(Clone)]
#[non_exhaustive]
pub struct Snapshot {
    /// Progress, schedule, metrics, and the states of task and add-ons.
    pub run: RunState,
    /// Model and optimizer.
    pub learner: StateDict,
    /// To be run, in any order, before a written snapshot is committed.
    pub durable: Vec<Durable>,
    /// Where it was read from, for messages.
    pub origin: Option<String>,
}

impl Snapshot {
    /// The same snapshot, read from there.
    #[must_use]
    pub fn read_from(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// A snapshot read back from somewhere.
    #[must_use]
    pub fn new(run: RunState, learner: StateDict) -> Self {
        Self { run, learner, durable: Vec::new(), origin: None }
    }
}
