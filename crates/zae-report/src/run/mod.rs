//! What a run is, beside its numbers: settings, machine, how it ended. In a run folder that is `run.json`.

mod arguments;
mod environment;
mod record;
mod settings;

pub(crate) use environment::Environment;
pub(crate) use record::{Ending, FILE, Record, now};
pub(crate) use settings::Settings;
