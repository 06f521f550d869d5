//! Operations: what Neptune's database and its server are told, as protocol buffers.

use serde_json::Value;
use zae_core::error::Fallible;

use super::payload::Payload;
use crate::{Histogram, protobuf::Message};

/// Neptune takes no longer operation.
const LONGEST: usize = 2 << 20;
/// Neptune takes no longer text.
const LONGEST_TEXT: usize = 1 << 20;
/// Names are at most this long, in bytes.
pub(super) const LONGEST_NAME: usize = 1024;
/// What an item takes beside its name and its text, at most.
const ITEM: usize = 48;
/// The step of a series in units of the smallest difference that Neptune knows.
pub(super) const MICRO: u64 = 1_000_000;

/// `Run`: a run begins, or goes on.
pub(super) fn create(buffer: &mut Vec<u8>, run_id: &str, experiment: Option<&str>, nanos: i64) {
    buffer.clear();
    let mut message = Message::new(buffer);
    message.string(4, run_id).message(3, |time| timestamp(time, nanos));
    if let Some(experiment) = experiment {
        message.string(5, experiment);
    }
}

fn timestamp(time: &mut Message<'_>, nanos: i64) {
    const SECOND: i64 = 1_000_000_000;
    time.varint(1, nanos.div_euclid(SECOND) as u64).varint(2, nanos.rem_euclid(SECOND) as u64);
}

/// `UpdateRunSnapshot`: values of one moment. Those that are too many for one operation become several.
pub(super) struct Update<'a, E> {
    buffer: &'a mut Vec<u8>,
    /// What each of them begins with.
    head: usize,
    emit: E,
}

impl<'a, E: FnMut(&[u8]) -> Fallible> Update<'a, E> {
    /// `step` is in units of [`MICRO`]; only what is appended has one.
    pub(super) fn new(buffer: &'a mut Vec<u8>, step: Option<u64>, nanos: i64, emit: E) -> Self {
        buffer.clear();
        let mut message = Message::new(buffer);
        if let Some(step) = step {
            message.message(1, |field| {
                field.varint(1, step / MICRO).varint(2, step % MICRO);
            });
        }
        message.message(2, |time| timestamp(time, nanos));
        let head = buffer.len();
        Self { buffer, head, emit }
    }

    /// Adds a point to a series.
    pub(super) fn append(&mut self, name: &str, value: f64) -> Fallible {
        self.make_room(name.len())?;
        item(self.buffer, 8, name, |field| {
            field.double(1, value);
        });
        Ok(())
    }

    /// Adds a text to a series of them. One that is too long is cut.
    pub(super) fn append_text(&mut self, name: &str, text: &str) -> Fallible {
        let text = &text[..text.floor_char_boundary(LONGEST_TEXT)];
        self.make_room(name.len() + text.len())?;
        item(self.buffer, 8, name, |field| {
            field.string(6, text);
        });
        Ok(())
    }

    /// Adds a histogram to a series of them. Counts are whole numbers in Neptune; others become densities.
    pub(super) fn append_histogram(&mut self, name: &str, histogram: &Histogram) -> Fallible {
        let (edges, counts) = (histogram.edges(), histogram.counts());
        self.make_room(name.len() + 24 * edges.len())?;
        let total: f64 = counts.iter().sum();
        item(self.buffer, 8, name, |field| {
            field.message(14, |own| {
                own.doubles(1, edges.iter().copied());
                if counts.iter().all(|count| count.fract() == 0.0) {
                    own.message(4, |list| {
                        list.varints(1, counts.iter().map(|count| *count as u64));
                    });
                } else {
                    let bins = edges.windows(2).zip(counts);
                    own.message(5, |list| {
                        list.doubles(1, bins.map(|(edge, count)| count / total / (edge[1] - edge[0])));
                    });
                }
            });
        });
        Ok(())
    }

    /// Adds a file to a series of them.
    pub(super) fn append_file(&mut self, name: &str, file: &Payload) -> Fallible {
        self.file(8, name, file)
    }

    /// Sets an attribute that is a file.
    pub(super) fn assign_file(&mut self, name: &str, file: &Payload) -> Fallible {
        self.file(4, name, file)
    }

    fn file(&mut self, map: u32, name: &str, file: &Payload) -> Fallible {
        self.make_room(name.len() + file.destination.len() + ITEM)?;
        item(self.buffer, map, name, |field| {
            field.message(13, |own| {
                own.string(1, &file.destination).varint(2, file.bytes).string(3, file.mime);
            });
        });
        Ok(())
    }

    /// Sets an attribute. A text that is too long is cut.
    pub(super) fn assign(&mut self, name: &str, value: &Value) -> Fallible {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Bool(_) => String::new(),
            Value::Number(number) if number.is_i64() || number.is_f64() => String::new(),
            other => other.to_string(),
        };
        let text = &text[..text.floor_char_boundary(LONGEST_TEXT)];
        self.make_room(name.len() + text.len())?;
        item(self.buffer, 4, name, |field| {
            match (value, value.as_i64()) {
                (Value::Bool(truth), _) => field.varint(5, u64::from(*truth)),
                (Value::Number(_), Some(integer)) => field.varint(3, integer as u64),
                (Value::Number(number), None) if number.is_f64() => {
                    field.double(1, number.as_f64().unwrap_or(f64::NAN))
                }
                _ => field.string(6, text),
            };
        });
        Ok(())
    }

    /// Adds texts to an attribute that is a set of them.
    pub(super) fn add(&mut self, name: &str, texts: &[String]) -> Fallible {
        let bytes: usize = texts.iter().map(|text| text.len() + ITEM).sum();
        self.make_room(name.len() + bytes)?;
        item(self.buffer, 5, name, |set| {
            set.message(1, |strings| {
                for text in texts {
                    strings.message(1, |entry| {
                        entry.string(1, text).varint(2, 1);
                    });
                }
            });
        });
        Ok(())
    }

    /// The last of them, if there is anything in it.
    pub(super) fn finish(mut self) -> Fallible {
        if self.buffer.len() > self.head { (self.emit)(self.buffer) } else { Ok(()) }
    }

    fn make_room(&mut self, bytes: usize) -> Fallible {
        if self.buffer.len() > self.head && self.buffer.len() + bytes + ITEM > LONGEST {
            (self.emit)(self.buffer)?;
            self.buffer.truncate(self.head);
        }
        Ok(())
    }
}

/// An entry of a map from names to values.
fn item(buffer: &mut Vec<u8>, map: u32, name: &str, value: impl FnOnce(&mut Message<'_>)) {
    Message::new(buffer).message(map, |entry| {
        entry.string(1, name).message(2, value);
    });
}
