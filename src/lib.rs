//! The trainer Rust deep learning lacks: you write `train_step` and `test_step`, it owns the rest.
//!
//! This crate is the facade: the trainer and its seams come from `zae-core`, the default tensor engine from `zae-burn`,
//! another over LibTorch from `zae-tch`, readers of files from `zae-data`, checkpoints from `zae-checkpoint`, web loggers from
//! `zae-loggers`, data-parallel training from `zae-parallel`.
//! Start with [`trainer()`], or with the examples.

#[doc(inline)]
pub use zae_core::{
    add_on, add_ons, engine, error, learner, metrics, place, precision, progress, rng, schedule, snapshot, state, step,
    task, trainer, tune, watch,
};

pub mod datasets;

/// Data: loaders, data sets, samplers; and readers of files, each with a feature of its own.
pub mod data {
    #[doc(inline)]
    pub use zae_core::data::*;
    #[cfg(any(
        feature = "csv",
        feature = "images",
        feature = "jsonl",
        feature = "npy",
        feature = "tar",
        feature = "text"
    ))]
    #[doc(inline)]
    pub use zae_data::*;
}

/// The Burn engine.
#[cfg(feature = "burn")]
pub mod burn {
    #[doc(inline)]
    pub use zae_burn::*;
}

#[cfg(feature = "burn")]
#[doc(inline)]
pub use zae_burn::local_device;

/// The LibTorch engine. What it shares a name with Burn's for (`accuracy`, `TensorDataset`, `local_device`) is taken from
/// here, never from the prelude: so a program means the same with both engines as with one.
#[cfg(feature = "tch")]
pub mod tch {
    #[doc(inline)]
    pub use zae_tch::*;
}

/// Checkpoints.
#[cfg(feature = "checkpoint")]
pub mod checkpoint {
    #[doc(inline)]
    pub use zae_checkpoint::*;
}

/// Loggers: TensorBoard, Weights & Biases, Neptune, MLflow.
#[cfg(any(
    feature = "tensorboard",
    feature = "wandb",
    feature = "neptune",
    feature = "mlflow",
    feature = "system-metrics"
))]
pub mod loggers {
    #[doc(inline)]
    pub use zae_loggers::*;
}

/// Data-parallel training: one program as several processes.
#[cfg(feature = "parallel")]
pub mod parallel {
    #[doc(inline)]
    pub use zae_parallel::*;
}

/// Reports: a run, or several, in one HTML file.
#[cfg(feature = "report")]
pub mod report {
    #[doc(inline)]
    pub use zae_report::*;
}

use add_ons::{CsvLogger, EpochTable, ProgressBar};
use task::Task;

/// A trainer with the defaults: a progress bar, a table of epochs at the end, and a CSV file of every step in the run
/// folder, which is `runs/default` unless [`Trainer::run_dir`](trainer::Trainer::run_dir) says otherwise. A loss that is
/// NaN or infinite ends the run.
///
/// `trainer::Trainer::new` makes one without add-ons.
pub fn trainer<T: Task>(task: T, learner: T::Learner) -> trainer::Trainer<T> {
    trainer::Trainer::new(task, learner).run_dir("runs/default").add_on((
        ProgressBar::new(),
        EpochTable::new(),
        CsvLogger::new(),
    ))
}

/// What most programs need.
pub mod prelude {
    #[cfg(feature = "burn")]
    pub use zae_burn::{BurnLearner, TensorDataset, accuracy};
    #[cfg(feature = "checkpoint")]
    pub use zae_checkpoint::{Format, Resume, SaveLoad, StateManager, Weights};
    pub use zae_core::{
        add_on::{AddOn, Context, Phase},
        add_ons::{
            CsvLogger, EarlyStopping, Ema, EpochTable, JsonlLogger, ModelSummary, ProgressBar, SimpleProfiler, Swa,
            Throughput, on_epoch_end, on_evaluation_end, on_step_end,
        },
        data::{DataLoader, Dataset, Loader, Pad, Sample, Source, WeightedSampler, from_fn},
        error::{BoxError, Error, Fallible},
        learner::{Clip, Learner},
        metrics::{
            Auroc, Classification, EpochMetrics, EpochSummary, Evaluation, History, Metric, Perplexity, Regression,
            Rows,
        },
        place::Place,
        precision::Precision,
        progress::ProgressChecker,
        schedule::{
            Cosine, Cyclic, Exponential, InverseSqrt, MultiStep, OneCycle, Polynomial, ReduceOnPlateau, Schedule,
            ScheduleAt, StepDecay,
        },
        snapshot::Snapshot,
        state::State,
        step::Step,
        task::{At, Mode, Predict, StepResult, Task},
        trainer::{Every, NonFinite, Outcome, Run, Trainer, Until},
    };
    #[cfg(any(feature = "tensorboard", feature = "wandb", feature = "neptune", feature = "mlflow"))]
    pub use zae_loggers::LogHandle;
    #[cfg(feature = "mlflow")]
    pub use zae_loggers::MlflowLogger;
    #[cfg(feature = "neptune")]
    pub use zae_loggers::NeptuneLogger;
    #[cfg(feature = "tensorboard")]
    pub use zae_loggers::TensorBoardLogger;
    #[cfg(feature = "wandb")]
    pub use zae_loggers::WandbLogger;
    #[cfg(feature = "parallel")]
    pub use zae_parallel::{DataParallel, Reduction};
    #[cfg(feature = "report")]
    pub use zae_report::HtmlReport;
    #[cfg(feature = "tch")]
    pub use zae_tch::TchLearner;
}
