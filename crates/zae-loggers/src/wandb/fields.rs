//! Reading records.

use super::summary;
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
        let text = |wanted| {
            Fields(item).find_map(|field| match field {
                Field::Bytes(number, bytes) if number == wanted => std::str::from_utf8(bytes).ok(),
                _ => None,
            })
        };
        Some((text(1)?, text(16)?))
    })
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
