//! Every error of the crate, in one place.
//!
//! User code, data sets, add-ons and learners return [`Fallible`], so `?` works on anything there; the trainer wraps
//! what they return once, into [`Error`], and says where it happened.

use std::fmt;

use crate::progress::Cursor;

/// What user code, data sets, add-ons and learners fail with: anything.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What user code, data sets, add-ons and learners return.
pub type Fallible<T = ()> = std::result::Result<T, BoxError>;

/// What the trainer was doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Stage {
    /// Preparing the run: first weights, plan, resume.
    #[default]
    Start,
    /// Drawing a batch from a loader.
    Data,
    /// Placing a batch on the device.
    Place,
    /// The task's `train_step`.
    TrainStep,
    /// Computing gradients.
    Backward,
    /// Clipping, and the optimizer's update.
    Update,
    /// The task's `test_step`.
    TestStep,
    /// The task's `predict`.
    Predict,
    /// Drawing a batch for an evaluation or inference.
    PassData,
    /// Reading losses and metrics from the device.
    Read,
    /// Moving the model to another device.
    Device,
    /// An add-on's hook.
    AddOn,
    /// Exchanging the weights and an average of them.
    Average,
    /// Taking or loading a snapshot.
    Snapshot,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "the start of the run",
            Self::Data => "the data",
            Self::Place => "placing a batch on the device",
            Self::TrainStep => "train_step",
            Self::Backward => "the backward pass",
            Self::Update => "the optimizer's update",
            Self::TestStep => "test_step",
            Self::Predict => "predict",
            Self::PassData => "the data of an evaluation or inference",
            Self::Read => "reading losses and metrics",
            Self::Device => "moving the model to a device",
            Self::AddOn => "an add-on",
            Self::Average => "exchanging the weights and their average",
            Self::Snapshot => "the snapshot",
        })
    }
}

/// Where in a run something happened. All counts start at 0, as in [`seed_for`](crate::rng::seed_for).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Site {
    /// What the trainer was doing.
    pub stage: Stage,
    /// Epoch and micro-batch.
    pub cursor: Cursor,
    /// Optimizer steps done before.
    pub step: u64,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, cursor, step } = self;
        match stage {
            Stage::Start | Stage::Device => write!(f, "{stage}"),
            Stage::TestStep | Stage::Predict | Stage::PassData => {
                write!(f, "{stage} (batch {}, after step {step})", cursor.micro_batch)
            }
            _ => write!(f, "{stage} (epoch {}, micro-batch {}, step {step})", cursor.epoch, cursor.micro_batch),
        }
    }
}

/// Why a run, an evaluation or an inference failed.
///
/// `Debug` writes the message too, for that is what a program whose `main` returns the error shows its user.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The trainer was set up in a way that cannot work. Nothing was done.
    #[error("the run cannot start: {0}")]
    Misuse(String),
    /// The task or the engine failed.
    #[error("{site}: {source}")]
    Step {
        /// Where.
        site: Site,
        /// What it said.
        source: BoxError,
    },
    /// A loader or a data set failed.
    #[error("{site}: {source}")]
    Data {
        /// Where.
        site: Site,
        /// What it said.
        source: BoxError,
    },
    /// An add-on failed.
    #[error("add-on `{name}` (epoch {}, step {}): {source}", site.cursor.epoch, site.step)]
    AddOn {
        /// Which one.
        name: String,
        /// Where.
        site: Site,
        /// What it said.
        source: BoxError,
    },
    /// A training loss or a gradient norm was NaN or infinite.
    #[error(
        "`{metric}` was {value} at epoch {}, micro-batch {}, step {}: lower the learning rate, clip gradients with \
         `.gradient_clip(Clip::Norm(1.0))`, look at that batch, or choose `.on_non_finite(NonFinite::SkipStep)`",
        site.cursor.epoch, site.cursor.micro_batch, site.step
    )]
    NotFinite {
        /// Where. The micro-batch is the first of the step's window.
        site: Site,
        /// The name of the metric, for example `train/loss`.
        metric: String,
        /// Its value.
        value: f64,
    },
    /// A snapshot could not be taken or does not fit this run.
    #[error("{site}: {source}")]
    Snapshot {
        /// Where.
        site: Site,
        /// What went wrong.
        source: BoxError,
    },
    /// Another process of the run has failed.
    #[error("rank {rank}: {message}")]
    Remote {
        /// Which one.
        rank: usize,
        /// What it said.
        message: String,
    },
    /// The process was asked to end (SIGINT, SIGTERM) while evaluating or predicting, or before.
    #[error("interrupted by {signal}")]
    Interrupted {
        /// The name of the signal.
        signal: &'static str,
    },
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A panic of user code, caught and turned into an error.
#[derive(Debug, thiserror::Error)]
#[error("panicked: {0}")]
pub struct Panicked(pub String);

impl Panicked {
    /// Reads the message out of what `catch_unwind` returned.
    #[must_use]
    pub fn new(payload: &(dyn std::any::Any + Send)) -> Self {
        let message = payload.downcast_ref::<&str>().copied().map(str::to_owned);
        Self(message.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(no message)".to_owned()))
    }
}

/// A sample that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("sample {index}: {source}")]
pub struct AtSample {
    /// Its index in the data set.
    pub index: usize,
    /// What the data set said.
    pub source: BoxError,
}
