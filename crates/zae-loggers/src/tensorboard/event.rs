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

/// An event of values: `fill` writes them.
pub(super) fn summary(out: &mut Vec<u8>, time: f64, step: u64, fill: impl FnOnce(&mut Message<'_>)) {
    record::append(out, |out| {
        Message::new(out).double(1, time).varint(2, step).message(5, fill);
    });
}

/// What the value of a plugin is, which the plugin's dashboard shows.
#[derive(Clone, Copy)]
pub(super) enum Class {
    Scalar = 1,
    Tensor = 2,
}

/// Says of a value which plugin it is for.
pub(super) fn metadata(value: &mut Message<'_>, plugin: &str, content: &[u8], class: Class) {
    value.message(9, |metadata| {
        metadata.message(1, |data| {
            data.string(1, plugin).bytes(2, content);
        });
        metadata.varint(4, class as u64);
    });
}

/// Whether something is an entry, and counted when files are opened again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Counts {
    Yes,
    No,
}

/// In the field for a node's name, of which there are none any more: readers look at it only if there is no tag.
const ENTRY: &str = "zae.entry";

/// Adds a text to a summary. It is shown as Markdown.
pub(super) fn text(summary: &mut Message<'_>, tag: &str, text: &str, counts: Counts) {
    const DT_STRING: u64 = 7;
    summary.message(1, |value| {
        value.string(1, tag);
        if counts == Counts::Yes {
            // It has metadata all the same.
            value.string(7, ENTRY);
        }
        value.message(8, |tensor| {
            tensor.varint(1, DT_STRING).message(2, |_| {}).string(8, text);
        });
        metadata(value, "text", b"", Class::Tensor);
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

/// The step of an event that has something to show, and whether it is an entry.
pub(super) fn step_of_values(event: &[u8]) -> Option<(u64, Counts)> {
    let (mut step, mut counts) = (0, None);
    for field in Fields(event) {
        match field {
            Field::Number(2, number) => step = number,
            Field::Bytes(5, summary) => counts = Some(kind(summary)),
            _ => {}
        }
    }
    counts.map(|counts| (step, counts))
}

/// The first value of a summary decides. One without metadata (9) is an entry's: numbers, images and histograms need none.
fn kind(summary: &[u8]) -> Counts {
    let Some(Field::Bytes(1, value)) = Fields(summary).next() else { return Counts::Yes };
    let has_metadata = Fields(value).any(|field| matches!(field, Field::Bytes(9, _)));
    let is_marked = Fields(value).any(|field| matches!(field, Field::Bytes(7, name) if name == ENTRY.as_bytes()));
    if has_metadata && !is_marked { Counts::No } else { Counts::Yes }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        Kind,
        tensorboard::{record::Records, tests::step_of_entry},
    };

    fn events(file: &[u8]) -> Vec<Vec<u8>> {
        let mut records = Records::new(file, file.len() as u64);
        std::iter::from_fn(|| records.next().unwrap().map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn only_entries_are_taken_for_entries() {
        let mut out = Vec::new();
        version(&mut out, 1.0);
        restart(&mut out, 1.0, 300);
        summary(&mut out, 1.0, 5, |own| text(own, "x", "y", Counts::No));
        summary(&mut out, 1.0, 6, |own| text(own, "x", "y", Counts::Yes));
        Template::new(&["a"]).append(&mut out, &entry(77, &["a".into()], &[f64::NAN]));
        Template::new(&[""; 0]).append(&mut out, &entry(0, &[], &[]));
        let all = events(&out);
        let steps: Vec<_> = all.iter().map(|event| step_of_entry(event)).collect();
        assert_eq!(steps, [None, None, None, Some(6), Some(77), Some(0)]);
        let told: Vec<_> =
            all.iter().filter_map(|event| step_of_values(event)).filter(|own| own.1 == Counts::No).collect();
        assert_eq!(told, [(5, Counts::No)]);
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
