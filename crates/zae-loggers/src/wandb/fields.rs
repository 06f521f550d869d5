//! Reading records.

use serde_json::{Map, Value};

use super::{
    record::{self, Run},
    summary,
};
use crate::protobuf::{Field, Fields};

/// What a record is about: the number and the bytes of its message.
pub(super) fn content(record: &[u8]) -> Option<(u32, &[u8])> {
    Fields(record).find_map(|field| match field {
        Field::Bytes(number, bytes) => Some((number, bytes)),
        Field::Number(..) => None,
    })
}

/// The items of a config, history or summary: key and JSON.
pub(super) fn items(message: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    Fields(message).filter_map(|field| {
        let Field::Bytes(1, item) = field else { return None };
        Some((text(item, 1)?, text(item, 16)?))
    })
}

/// The first text of this field.
pub(super) fn text(message: &[u8], wanted: u32) -> Option<&str> {
    std::str::from_utf8(self::message(message, wanted)?).ok()
}

/// The first bytes of this field.
pub(super) fn message(message: &[u8], wanted: u32) -> Option<&[u8]> {
    Fields(message).find_map(|field| match field {
        Field::Bytes(number, bytes) if number == wanted => Some(bytes),
        _ => None,
    })
}

/// The names of a record's files.
pub(super) fn files(message: &[u8]) -> impl Iterator<Item = &str> {
    Fields(message).filter_map(|field| if let Field::Bytes(1, file) = field { text(file, 1) } else { None })
}

/// Whether a record of files is about something that an entry shows.
pub(super) fn is_media(message: &[u8]) -> bool {
    self::message(message, 1).is_some_and(|file| number(file, 3) == Some(record::Type::Media as u64))
}

/// The first number of this field.
pub(super) fn number(message: &[u8], wanted: u32) -> Option<u64> {
    Fields(message).find_map(|field| match field {
        Field::Number(number, value) if number == wanted => Some(value),
        _ => None,
    })
}

/// What a history's entry is of.
pub(super) fn mark(message: &[u8]) -> u64 {
    let step = items(message).find(|(name, _)| *name == summary::STEP);
    let step = step.and_then(|(_, json)| json.parse::<f64>().ok()).unwrap_or_default();
    let own = |name: &str| summary::HEAD.contains(&name);
    crate::mark(step as u64, items(message).map(|(name, _)| name).filter(|name| !own(name)))
}

/// The index of a history's entry.
pub(super) fn index(message: &[u8]) -> Option<u64> {
    Fields(message).find_map(|field| match field {
        Field::Bytes(2, step) => number(step, 1),
        _ => None,
    })
}

/// The settings of a config's record.
pub(super) fn config(message: &[u8]) -> Map<String, Value> {
    items(message).map(|(name, json)| (name.to_owned(), serde_json::from_str(json).unwrap_or_default())).collect()
}

/// A run, as its record has it.
pub(super) fn run(message: &[u8]) -> Run {
    let mut run = Run::default();
    for field in Fields(message) {
        let Field::Bytes(number, bytes) = field else { continue };
        let text = || String::from_utf8_lossy(bytes).into_owned();
        match number {
            1 => run.id = text(),
            2 => run.entity = text(),
            3 => run.project = text(),
            4 => run.config = config(bytes),
            6 => run.group = text(),
            7 => run.job_type = text(),
            8 => run.name = text(),
            9 => run.notes = text(),
            10 => run.tags.push(text()),
            13 => run.host = text(),
            17 => run.started = record::seconds(bytes),
            _ => {}
        }
    }
    run
}

/// Where it is made, as that record has it.
pub(super) fn environment(run: &mut Run, message: &[u8]) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for field in Fields(message) {
        match field {
            Field::Bytes(6, bytes) => run.program = text(bytes),
            Field::Bytes(9, git) => Fields(git).for_each(|field| match field {
                Field::Bytes(1, bytes) => run.repository = text(bytes),
                Field::Bytes(2, bytes) => run.commit = text(bytes),
                _ => {}
            }),
            _ => {}
        }
    }
}
