//! Records of a `.wandb` file, as protocol buffers: what W&B calls `wandb_internal.proto`. Numbers of fields are a format
//! that W&B keeps: old files have to be read by new versions.

use serde_json::{Map, Value};

use crate::protobuf::{Field, Fields, Message};

use super::{json, metric::Metric};

/// Which of a record's fields holds what it is about.
pub(super) mod field {
    pub(in crate::wandb) const HISTORY: u32 = 2;
    pub(in crate::wandb) const SUMMARY: u32 = 3;
    pub(in crate::wandb) const CONFIG: u32 = 5;
    pub(in crate::wandb) const FILES: u32 = 6;
    pub(in crate::wandb) const STATS: u32 = 7;
    pub(in crate::wandb) const ALERT: u32 = 10;
    pub(in crate::wandb) const METRIC: u32 = 12;
    pub(in crate::wandb) const OUTPUT: u32 = 13;
    pub(in crate::wandb) const RUN: u32 = 17;
    pub(in crate::wandb) const EXIT: u32 = 18;
    pub(in crate::wandb) const HEADER: u32 = 21;
    pub(in crate::wandb) const PREEMPTING: u32 = 23;
    pub(in crate::wandb) const ENVIRONMENT: u32 = 26;
}

/// Makes one record after the other.
#[derive(Default)]
pub(super) struct Maker {
    /// How many there are in the file.
    pub(super) number: u64,
    bytes: Vec<u8>,
}

impl Maker {
    /// The bytes of the next record.
    pub(super) fn make(&mut self, field: u32, fill: impl FnOnce(&mut Message<'_>)) -> &[u8] {
        self.number += 1;
        self.bytes.clear();
        Message::new(&mut self.bytes).varint(1, self.number).message(field, fill);
        &self.bytes
    }

    /// The same of a message that is there, with something behind it. Of a field that is there twice the last one counts.
    pub(super) fn make_of(&mut self, field: u32, message: &[u8], more: impl FnOnce(&mut Message<'_>)) -> &[u8] {
        self.make(field, |new| {
            new.raw(message);
            more(new);
        })
    }
}

/// What is known of a run before its first entry.
#[derive(Clone, Default, Debug, PartialEq)]
pub(super) struct Run {
    pub(super) id: String,
    pub(super) entity: String,
    pub(super) project: String,
    pub(super) name: String,
    pub(super) notes: String,
    pub(super) tags: Vec<String>,
    pub(super) group: String,
    pub(super) job_type: String,
    pub(super) host: String,
    /// Seconds since 1970.
    pub(super) started: f64,
    /// Entries of the run that are in other files.
    pub(super) starting_step: u64,
    /// Of the environment.
    pub(super) program: String,
    pub(super) commit: String,
    pub(super) repository: String,
    pub(super) config: Map<String, Value>,
    pub(super) metrics: Vec<Metric>,
}

pub(super) fn header(message: &mut Message<'_>) {
    message.message(1, |version| {
        version.string(1, concat!("zae-engine/", env!("CARGO_PKG_VERSION"))).string(2, "0.70.0");
    });
}

pub(super) fn run(message: &mut Message<'_>, run: &Run) {
    message.string(1, &run.id);
    let texts = [
        (2, &run.entity),
        (3, &run.project),
        (6, &run.group),
        (7, &run.job_type),
        (8, &run.name),
        (9, &run.notes),
        (13, &run.host),
    ];
    for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        message.string(field, text);
    }
    message.message(4, |message| config(message, &run.config));
    run.tags.iter().for_each(|tag| {
        message.string(10, tag);
    });
    begins_at(message, run.starting_step);
    message.message(17, |time| timestamp(time, run.started));
}

/// A run, so many entries of which are elsewhere.
pub(super) fn begins_at(message: &mut Message<'_>, entries: u64) {
    message.varint(14, entries).varint(18, u64::from(entries > 0));
}

pub(super) fn timestamp(message: &mut Message<'_>, seconds: f64) {
    message.varint(1, seconds as u64).varint(2, (seconds.fract() * 1e9) as u64);
}

/// What [`timestamp`] has written.
pub(super) fn seconds(message: &[u8]) -> f64 {
    Fields(message).fold(0.0, |time, field| match field {
        Field::Number(1, seconds) => time + seconds as f64,
        Field::Number(2, nanos) => time + nanos as f64 * 1e-9,
        _ => time,
    })
}

/// What kind of file it is, for W&B's page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Type {
    Other = 0,
    Wandb = 1,
    Media = 2,
}

/// A file in the folder `files`, to be uploaded at once.
pub(super) fn file(message: &mut Message<'_>, path: &str, of: Type) {
    message.message(1, |file| {
        file.string(1, path).varint(2, 0).varint(3, of as u64);
    });
}

pub(super) fn config(message: &mut Message<'_>, config: &Map<String, Value>) {
    for (name, value) in config {
        item(message, name, value.to_string().as_bytes());
    }
}

/// A key and its value as JSON, in config, history and summary alike.
pub(super) fn item(message: &mut Message<'_>, key: &str, json: &[u8]) {
    message.message(1, |item| {
        item.string(1, key).bytes(16, json);
    });
}

/// A key and a number.
pub(super) fn number(message: &mut Message<'_>, key: &str, value: f64, text: &mut Vec<u8>) {
    text.clear();
    json::number(text, value);
    item(message, key, text);
}
