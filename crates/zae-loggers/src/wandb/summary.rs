//! [`Summary`]: the last value of each metric, and the best of those of evaluations, as W&B's table of runs shows them.

use std::{collections::BTreeMap, sync::Arc};

use zae_core::metrics::Direction;

use super::{fields::items, json, record};
use crate::{Entry, Kind, protobuf::Message};

/// What the best value of a metric is called: its name and this.
const BEST: &str = ".best";

/// The last value of each metric, and the best.
#[derive(Default, Clone, Debug, PartialEq)]
pub(super) struct Summary {
    values: BTreeMap<Arc<str>, f64>,
    /// By list of columns, the last entry that was not taken over yet: so that the metrics of a thousand steps are looked up
    /// once.
    latest: Vec<Option<Latest>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Latest {
    index: u64,
    head: [(&'static str, f64); 5],
    names: Vec<Arc<str>>,
    values: Vec<f64>,
}

/// The optimizer step: the x-axis of all curves.
pub(super) const STEP: &str = "trainer/global_step";
/// What each entry has beside its metrics, by the names that others give them.
pub(super) const HEAD: [&str; 5] = ["_step", "_runtime", "_timestamp", "epoch", STEP];

pub(super) fn head(entry: &Entry<'_>) -> [(&'static str, f64); 5] {
    let values = [entry.index as f64, entry.seconds, entry.time, entry.epoch as f64, entry.step as f64];
    std::array::from_fn(|i| (HEAD[i], values[i]))
}

impl Summary {
    /// An entry is new.
    pub(super) fn update(&mut self, entry: &Entry<'_>) {
        if self.latest.len() <= entry.layout {
            self.latest.resize(entry.layout + 1, None);
        }
        let (index, head) = (entry.index, head(entry));
        match &mut self.latest[entry.layout] {
            Some(latest) => {
                (latest.index, latest.head) = (index, head);
                latest.values.copy_from_slice(entry.values);
            }
            latest => {
                let (names, values) = (entry.names.to_vec(), entry.values.to_vec());
                *latest = Some(Latest { index, head, names, values });
            }
        }
        if entry.kind == Kind::Evaluation {
            entry.names.iter().zip(entry.values).for_each(|(name, value)| self.improve(name, *value));
        }
    }

    fn improve(&mut self, name: &str, value: f64) {
        let best = format!("{name}{BEST}");
        let is_better = match self.values.get(&*best) {
            None => !value.is_nan(),
            Some(&old) if Direction::of(name) == Direction::Minimize => value < old,
            Some(&old) => value > old,
        };
        if is_better {
            self.values.insert(best.into(), value);
        }
    }

    /// Takes over a record of it, made by an earlier process.
    pub(super) fn read(&mut self, message: &[u8]) {
        let numbers = items(message).filter_map(|(name, text)| Some((Arc::from(name), json::parse(text)?)));
        self.values.extend(numbers);
    }

    /// Takes over an entry of an earlier process, that came after the record.
    pub(super) fn read_history(&mut self, message: &[u8]) {
        self.read(message);
        // Only evaluations have best values, and had one by now.
        for (name, text) in items(message) {
            if let Some(value) = json::parse(text).filter(|_| name.starts_with("valid/") || name.starts_with("test/")) {
                self.improve(name, value);
            }
        }
    }

    pub(super) fn write(&mut self, message: &mut Message<'_>) {
        let mut latest: Vec<_> = self.latest.iter_mut().filter_map(Option::take).collect();
        latest.sort_by_key(|latest| latest.index);
        for Latest { head, names, values, .. } in latest {
            self.values.extend(head.map(|(name, value)| (Arc::from(name), value)));
            self.values.extend(names.into_iter().zip(values));
        }
        let mut text = Vec::new();
        self.values.iter().for_each(|(name, value)| record::number(message, name, *value, &mut text));
    }
}
