//! Events: what records hold. Only the fields that are needed; all are in `tensorboard/compat/proto/event.proto`.

use super::record;
use crate::{
    Entry,
    protobuf::{Field, Fields, Message},
};

/// The first record of every file. The version from which on readers obey [`restart`].
pub(super) fn version(out: &mut Vec<u8>, time: f64) {
    record::append(out, |out| {
        Message::new(out).double(1, time).string(3, "brain.Event:2");
    });
}

/// Readers forget what they have read of this step and those behind it. Some do not obey the first one of a run.
pub(super) fn restart(out: &mut Vec<u8>, time: f64, step: u64) {
    const START: u64 = 1;
    record::append(out, |out| {
        Message::new(out).double(1, time).varint(2, step).message(7, |log| {
            log.varint(1, START);
        });
    });
}

/// A summary of one value, that a plugin shows: `tensor` writes the value.
pub(super) fn plugin(
    out: &mut Vec<u8>,
    time: f64,
    tag: &str,
    (name, content): (&str, &[u8]),
    tensor: impl FnOnce(&mut Message<'_>),
) {
    const DATA_CLASS_TENSOR: u64 = 2;
    record::append(out, |out| {
        Message::new(out).double(1, time).varint(2, 0).message(5, |summary| {
            summary.message(1, |value| {
                value.string(1, tag).message(8, tensor).message(9, |metadata| {
                    metadata.message(1, |plugin| {
                        plugin.string(1, name).bytes(2, content);
                    });
                    metadata.varint(4, DATA_CLASS_TENSOR);
                });
            });
        });
    });
}

/// The summaries of all entries that have the same names: they differ in the values alone.
pub(super) struct Template {
    summary: Vec<u8>,
    /// Where in it the values are.
    places: Vec<usize>,
}

impl Template {
    pub(super) fn new(names: &[impl AsRef<str>]) -> Self {
        let (mut summary, mut places) = (Vec::new(), Vec::with_capacity(names.len()));
        for name in names {
            Message::new(&mut summary).message(1, |value| {
                value.string(1, name.as_ref()).float(2, 0.0);
            });
            places.push(summary.len() - size_of::<f32>());
        }
        Self { summary, places }
    }

    /// Appends the record of an entry: one event, whatever its number of metrics.
    pub(super) fn append(&mut self, out: &mut Vec<u8>, entry: &Entry<'_>) {
        for (place, value) in self.places.iter().zip(entry.values) {
            self.summary[*place..][..4].copy_from_slice(&(*value as f32).to_le_bytes());
        }
        record::append(out, |out| {
            Message::new(out).double(1, entry.time).varint(2, entry.step).bytes(5, &self.summary);
        });
    }
}

/// The step of an event, if it is of an entry.
pub(super) fn step_of_entry(event: &[u8]) -> Option<u64> {
    let (mut step, mut is_entry) = (0, false);
    for field in Fields(event) {
        match field {
            Field::Number(2, number) => step = number,
            // What a plugin shows has metadata (9), and numbers have none.
            Field::Bytes(5, summary) => {
                let has_metadata = |value| Fields(value).any(|field| matches!(field, Field::Bytes(9, _)));
                is_entry = !matches!(Fields(summary).next(), Some(Field::Bytes(1, value)) if has_metadata(value));
            }
            _ => {}
        }
    }
    is_entry.then_some(step)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{Kind, tensorboard::record::Records};

    fn events(file: &[u8]) -> Vec<Vec<u8>> {
        let mut records = Records::new(file, file.len() as u64);
        std::iter::from_fn(|| records.next().unwrap().map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn only_entries_are_taken_for_entries() {
        let mut out = Vec::new();
        version(&mut out, 1.0);
        restart(&mut out, 1.0, 300);
        plugin(&mut out, 1.0, "x", ("text", b"y"), |_| {});
        Template::new(&["a"]).append(&mut out, &entry(77, &["a".into()], &[f64::NAN]));
        Template::new(&[""; 0]).append(&mut out, &entry(0, &[], &[]));
        let steps: Vec<_> = events(&out).iter().map(|event| step_of_entry(event)).collect();
        assert_eq!(steps, [None, None, None, Some(77), Some(0)]);
    }

    fn entry<'a>(step: u64, names: &'a [Arc<str>], values: &'a [f64]) -> Entry<'a> {
        Entry {
            kind: Kind::Step,
            index: 0,
            epoch: 0,
            step,
            seconds: 0.0,
            time: 2.5,
            layout: 0,
            names,
            values,
            media: None,
        }
    }

    /// The values of a summary, read with nothing of what wrote them.
    fn values(event: &[u8]) -> Vec<(String, u32)> {
        let of = |message, wanted| {
            Fields(message).find_map(|field| match field {
                Field::Bytes(number, bytes) if number == wanted => Some(bytes),
                _ => None,
            })
        };
        let summary = of(event, 5).unwrap();
        let all = Fields(summary).map(|field| {
            let Field::Bytes(1, value) = field else { panic!("this is no value") };
            let number = value.last_chunk().unwrap();
            (String::from_utf8(of(value, 1).unwrap().to_vec()).unwrap(), u32::from_le_bytes(*number))
        });
        all.collect()
    }

    proptest! {
        #[test]
        fn an_entry_is_one_event(
            metrics in prop::collection::vec((".{0,200}", any::<f64>()), 0..20),
            step in any::<u64>(),
        ) {
            let (names, numbers): (Vec<Arc<str>>, Vec<f64>) =
                metrics.iter().map(|(name, number)| (Arc::from(name.as_str()), *number)).unzip();
            let mut out = Vec::new();
            Template::new(&names).append(&mut out, &entry(step, &names, &numbers));
            let all = events(&out);
            prop_assert_eq!(all.len(), 1);
            prop_assert_eq!(step_of_entry(&all[0]), Some(step));
            let expected: Vec<_> = metrics.iter().map(|(name, number)| (name.clone(), (*number as f32).to_bits())).collect();
            prop_assert_eq!(values(&all[0]), expected);
        }
    }
}
