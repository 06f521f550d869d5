//! Reads `.wandb` files, by the description of their format and nothing of ours.

#![allow(dead_code)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

/// A record: which field it is, and its bytes.
pub(crate) type Record = (u64, Vec<u8>);

/// The only `.wandb` file in a folder.
pub(crate) fn in_folder(folder: &Path) -> PathBuf {
    let is_run = |path: &PathBuf| path.extension().is_some_and(|end| end == "wandb");
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).find(is_run).unwrap()
}

/// The whole records of a file; what is torn at its end is left out.
pub(crate) fn records(path: &Path) -> Vec<Record> {
    let bytes = fs::read(path).unwrap();
    assert_eq!(&bytes[..7], b":W&B\xE1\xBE\0");
    let (mut at, mut payload, mut records) = (7usize, Vec::new(), Vec::new());
    loop {
        if 32_768 - at % 32_768 < 7 {
            at = at.next_multiple_of(32_768);
        }
        let Some(head) = bytes.get(at..at + 7) else { return records };
        let length = usize::from(u16::from_le_bytes([head[4], head[5]]));
        let Some(chunk) = bytes.get(at + 7..at + 7 + length) else { return records };
        let crc = crc32fast::hash(&bytes[at + 6..at + 7 + length]);
        assert_eq!(crc.to_le_bytes(), head[..4], "the checksum at {at}");
        payload.extend_from_slice(chunk);
        at += 7 + length;
        if matches!(head[6], 1 | 4) {
            let record = std::mem::take(&mut payload);
            records.extend(fields(&record).into_iter().find(|(number, _)| *number > 1));
        }
    }
}

/// The fields of a message that are bytes, and those that are numbers as eight bytes.
fn fields(mut bytes: &[u8]) -> Vec<Record> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut number = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        number
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let value = match tag & 7 {
            0 => varint(&mut bytes).to_le_bytes().to_vec(),
            2 => {
                let length = varint(&mut bytes) as usize;
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                value.to_vec()
            }
            other => panic!("wire type {other}"),
        };
        fields.push((tag >> 3, value));
    }
    fields
}

/// How many records there are of a field.
pub(crate) fn count(path: &Path, field: u64) -> usize {
    records(path).iter().filter(|(own, _)| *own == field).count()
}

/// The items of a config, history or summary, as texts.
pub(crate) fn items(message: &[u8]) -> Vec<(String, String)> {
    let text = |fields: &[Record], wanted: u64| {
        let (_, bytes) = fields.iter().find(|(number, _)| *number == wanted).unwrap();
        String::from_utf8(bytes.clone()).unwrap()
    };
    let items = fields(message).into_iter().filter(|(number, _)| *number == 1);
    items.map(|(_, item)| fields(&item)).map(|item| (text(&item, 1), text(&item, 16))).collect()
}

/// The lines of a run's history. NaN and infinities, which are no JSON, are texts here.
pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let value = |json: String| serde_json::from_str(&json).unwrap_or(Value::String(json));
    let line =
        |message: &[u8]| items(message).into_iter().map(|(name, json)| (name, value(json))).collect::<Map<_, _>>();
    records(path).iter().filter(|(field, _)| *field == 2).map(|(_, message)| line(message).into()).collect()
}

/// The last summary.
pub(crate) fn summary(path: &Path) -> Map<String, Value> {
    let records = records(path);
    let (_, message) = records.iter().rfind(|(field, _)| *field == 3).unwrap();
    items(message).into_iter().map(|(name, json)| (name, serde_json::from_str(&json).unwrap())).collect()
}

/// The exit codes that it tells.
pub(crate) fn exits(path: &Path) -> Vec<u64> {
    let exits = records(path).into_iter().filter(|(field, _)| *field == 18);
    exits.map(|(_, message)| u64::from_le_bytes(fields(&message)[0].1[..8].try_into().unwrap())).collect()
}
