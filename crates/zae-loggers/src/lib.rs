//! Web loggers: add-ons that tell TensorBoard, Weights & Biases, Neptune and MLflow of a run.
//!
//! **Files first, network second.** Each logger writes its vendor's own files, on a thread of its own; if it has a server,
//! another thread reads those files and sends them. So a server that is dead, slow or gone costs the training nothing and
//! loses nothing, and memory does not grow while it is.
//!
//! What goes wrong in a logger is told once ([`Notice::Warning`](zae_core::add_on::Notice)) and ends no run. Only settings that
//! can never work, such as a project name that the service forbids, are errors, before the run starts.
//!
//! A checkpoint counts the rows that were logged before it, and is committed only when they are on disk. A resumed run goes
//! on behind them, so that every step appears once, also after a resume from an older checkpoint.
//!
//! What a [`LogHandle`] shows and tells beside metrics, and where a tracker has it:
//!
//! | | TensorBoard | W&B | Neptune | MLflow |
//! |---|---|---|---|---|
//! | image | IMAGES | media | file series | artifact in `images/` |
//! | histogram | HISTOGRAMS | histogram | histogram series | artifact, JSON |
//! | table | TEXT | table | file series, CSV | artifact, CSV |
//! | text | TEXT | page | string series | artifact |
//! | file | | files | `files/` | artifact |
//! | alert | TEXT, `alerts/` | alert | series `alerts` | tag `zae.alerts` |
//! | console | | logs | `runtime/stdout` | artifact `console.log` |
//! | the machine | `system/` | system | `runtime/monitoring/` | `system/` |
//!
//! A tracker that is not here is a [`Sink`] of your own in a [`Logger`].

#[cfg(any(feature = "tensorboard", feature = "wandb", feature = "mlflow"))]
mod appended;
mod aside;
mod clock;
mod config;
mod entry;
mod handle;
mod hash;
#[cfg(feature = "http")]
mod http;
mod logger;
mod media;
#[cfg(feature = "mlflow")]
pub mod mlflow;
#[cfg(feature = "neptune")]
pub mod neptune;
mod news;
#[cfg(any(feature = "tensorboard", feature = "wandb", feature = "neptune"))]
mod protobuf;
mod sink;
mod system;
#[cfg(feature = "tensorboard")]
pub mod tensorboard;
#[cfg(feature = "http")]
mod upload;
#[cfg(any(feature = "neptune", feature = "mlflow"))]
mod variable;
#[cfg(feature = "wandb")]
pub mod wandb;
mod worker;

pub use aside::{Aside, Level};
pub use config::Config;
pub use entry::{Entries, Entry, Kind, mark};
pub use handle::{Console, LogHandle};
pub use logger::Logger;
pub use media::{Cell, Histogram, Image, Media, Table};
#[cfg(feature = "mlflow")]
pub use mlflow::MlflowLogger;
#[cfg(feature = "neptune")]
pub use neptune::NeptuneLogger;
pub use news::News;
pub use sink::{Opened, Sink, Start, Status, Writer};
#[cfg(feature = "tensorboard")]
pub use tensorboard::TensorBoardLogger;
#[cfg(feature = "http")]
pub use upload::Upload;
#[cfg(feature = "wandb")]
pub use wandb::WandbLogger;
