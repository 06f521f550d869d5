//! The lines of a spool. The module's documentation has their format.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, ser::SerializeMap};
use serde_json::Value;
use zae_core::error::Fallible;

use crate::{Entry, Kind, mark};

/// The first line.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    /// The version of the format.
    pub(super) spool: u32,
    /// The run's own name for itself, a tag of it.
    pub(super) key: String,
    /// Without a password.
    pub(super) tracking_uri: String,
    pub(super) experiment: String,
    pub(super) run_name: Option<String>,
    /// Milliseconds since 1970.
    pub(super) start_time: u64,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) params: Vec<(String, String)>,
}

/// Any other.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Line {
    Row(Row),
    Sample(Sample),
    Alert(Alert),
    Kept(Kept),
    End(End),
}

/// An entry.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub(super) struct Row {
    pub(super) index: u64,
    pub(super) kind: String,
    pub(super) time: u64,
    pub(super) step: u64,
    /// Numbers, or what JSON has none for as MLflow takes it: `"NaN"`, `"Infinity"`, `"-Infinity"`.
    #[serde(default)]
    pub(super) metrics: BTreeMap<String, Value>,
    /// Of something to look at.
    pub(super) name: Option<String>,
    /// Paths of the files that show it.
    #[serde(default)]
    pub(super) artifacts: Vec<String>,
}

impl Row {
    /// What its entry had for a [`mark`].
    pub(super) fn mark(&self) -> u64 {
        mark(self.step, self.metrics.keys().chain(&self.name).map(String::as_str))
    }
}

/// How the machine is doing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Sample {
    /// How many came before.
    pub(super) sample: u64,
    pub(super) time: u64,
    pub(super) metrics: BTreeMap<String, Value>,
}

/// Something that people should be told of.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Alert {
    /// How bad it is, in one word.
    pub(super) alert: String,
    pub(super) time: u64,
    pub(super) title: String,
    pub(super) text: String,
}

/// A file of the user's that is kept with the run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) time: u64,
    pub(super) artifacts: Vec<String>,
}

/// The end of a run for a process.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct End {
    /// MLflow's word for it.
    pub(super) end: String,
    pub(super) time: u64,
}

pub(super) fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}

/// Appends a line.
pub(super) fn append(out: &mut Vec<u8>, line: &impl Serialize) -> Fallible {
    serde_json::to_writer(&mut *out, line)?;
    out.push(b'\n');
    Ok(())
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Step => "step",
        Kind::Evaluation => "evaluation",
        Kind::Epoch => "epoch",
        Kind::Media => "media",
    }
}

/// As [`Row`] is read: an entry, and the paths of the files that show it.
pub(super) struct Written<'a>(pub(super) Entry<'a>, pub(super) &'a [String]);

impl Serialize for Written<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(entry, artifacts) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("index", &entry.index)?;
        map.serialize_entry("kind", word(entry.kind))?;
        map.serialize_entry("time", &milliseconds(entry.time))?;
        map.serialize_entry("step", &entry.step)?;
        map.serialize_entry("epoch", &entry.epoch)?;
        match (entry.media, entry.names.first()) {
            (Some(_), Some(name)) => {
                map.serialize_entry("name", &**name)?;
                map.serialize_entry("artifacts", artifacts)?;
            }
            _ => map.serialize_entry("metrics", &Metrics(entry))?,
        }
        map.end()
    }
}

struct Metrics<'a>(&'a Entry<'a>);

impl Serialize for Metrics<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0.names.iter().zip(self.0.values) {
            match value {
                value if value.is_finite() => map.serialize_entry(&**name, value)?,
                value if value.is_nan() => map.serialize_entry(&**name, "NaN")?,
                value => map.serialize_entry(&**name, if *value > 0.0 { "Infinity" } else { "-Infinity" })?,
            }
        }
        map.end()
    }
}
