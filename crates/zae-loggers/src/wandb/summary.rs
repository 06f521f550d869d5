//! [`Summary`]: what W&B's table of runs shows of each metric: its last value or what was asked for, and the best of
//! evaluations.

use std::{collections::BTreeMap, sync::Arc};

use zae_core::metrics::Direction;

use super::{
    fields::items,
    json,
    metric::{Aggregate, Goal, Metric},
    record,
};
use crate::{Entry, Kind, protobuf::Message};

/// What the best value of a metric is called: its name and this.
const BEST: &str = ".best";

/// The last value of each metric, and the best.
#[derive(Default, Clone, Debug, PartialEq)]
pub(super) struct Summary {
    /// What was asked for.
    metrics: Vec<Metric>,
    values: BTreeMap<Arc<str>, Value>,
    /// Of the metrics of which more was asked for than the last value.
    aggregated: BTreeMap<Arc<str>, Aggregated>,
    /// The index behind the last entry that is in it: one that could not be written comes again.
    next: u64,
    /// By list of columns, the last entry that was not taken over yet: so that the metrics of a thousand steps are looked up
    /// once.
    latest: Vec<Option<Latest>>,
}

/// A number, or JSON of anything else.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Number(f64),
    Json(Box<str>),
}

#[derive(Clone, Debug, PartialEq)]
struct Latest {
    index: u64,
    head: [(&'static str, f64); 5],
    names: Vec<Arc<str>>,
    values: Vec<f64>,
    /// Which of the columns are aggregated.
    aggregated: Vec<usize>,
}

/// What W&B works out of the values of a metric: NaN makes what it meets NaN.
#[derive(Clone, Debug, PartialEq)]
struct Aggregated {
    first: f64,
    min: f64,
    max: f64,
    sum: f64,
    count: f64,
}

impl Aggregated {
    fn add(all: &mut BTreeMap<Arc<str>, Self>, name: &Arc<str>, value: f64) {
        let Some(own) = all.get_mut(name) else {
            all.insert(name.clone(), Self { first: value, min: value, max: value, sum: value, count: 1.0 });
            return;
        };
        let is_none = value.is_nan();
        own.min = if is_none || value < own.min { value } else { own.min };
        own.max = if is_none || value > own.max { value } else { own.max };
        own.sum += value;
        own.count += 1.0;
    }

    fn get(&self, aggregate: Aggregate, goal: Goal, last: f64) -> Option<(&'static str, f64)> {
        Some(match (aggregate, goal) {
            (Aggregate::Min, _) => ("min", self.min),
            (Aggregate::Max, _) => ("max", self.max),
            (Aggregate::Mean, _) => ("mean", self.sum / self.count),
            (Aggregate::First, _) => ("first", self.first),
            (Aggregate::Last, _) => ("last", last),
            (Aggregate::Best, Goal::Minimize) => ("best", self.min),
            (Aggregate::Best, Goal::Maximize) => ("best", self.max),
            (Aggregate::None, _) => return None,
        })
    }
}

/// The optimizer step: the x-axis of all curves.
pub(super) const STEP: &str = "trainer/global_step";
/// What each entry has beside its metrics, by the names that others give them.
pub(super) const HEAD: [&str; 5] = ["_step", "_runtime", "_timestamp", "epoch", STEP];

pub(super) fn head(entry: &Entry<'_>) -> [(&'static str, f64); 5] {
    let values = [entry.index as f64, entry.seconds, entry.time, entry.epoch as f64, entry.step as f64];
    std::array::from_fn(|i| (HEAD[i], values[i]))
}

/// How long a run took, where W&B looks for it.
pub(super) fn runtime(seconds: Option<&str>) -> String {
    format!("{{\"runtime\":{}}}", seconds.and_then(json::parse).unwrap_or(0.0) as u64)
}

fn is_aggregated(metrics: &[Metric], name: &str) -> bool {
    Metric::of(metrics, name).is_some_and(|metric| !metric.summary.is_empty())
}

impl Summary {
    /// An empty one, of which this is asked for.
    pub(super) fn of(metrics: &[Metric]) -> Self {
        Self { metrics: metrics.to_vec(), ..Self::default() }
    }

    /// Whether all entries have to be known, and not only those that a record of it lacks.
    pub(super) fn needs_all(&self) -> bool {
        self.metrics.iter().any(|metric| !metric.summary.is_empty())
    }

    /// An entry is new; `shown` is the JSON of what there is to look at.
    pub(super) fn update(&mut self, entry: &Entry<'_>, shown: Option<&str>) {
        if entry.index < self.next {
            return;
        }
        self.next = entry.index + 1;
        if let (Some(json), Some(name)) = (shown, entry.names.first()) {
            self.values.insert(name.clone(), Value::Json(json.into()));
        }
        if self.latest.len() <= entry.layout {
            self.latest.resize(entry.layout + 1, None);
        }
        let (index, head) = (entry.index, head(entry));
        let latest = match &mut self.latest[entry.layout] {
            Some(latest) => {
                (latest.index, latest.head) = (index, head);
                latest.values.copy_from_slice(entry.values);
                latest
            }
            latest => {
                let (names, values) = (entry.names.to_vec(), entry.values.to_vec());
                let aggregated = (0..values.len()).filter(|at| is_aggregated(&self.metrics, &names[*at])).collect();
                latest.insert(Latest { index, head, names, values, aggregated })
            }
        };
        for &at in &latest.aggregated {
            Aggregated::add(&mut self.aggregated, &entry.names[at], entry.values[at]);
        }
        if entry.kind == Kind::Evaluation {
            entry.names.iter().zip(entry.values).for_each(|(name, value)| self.improve(name, *value));
        }
    }

    fn improve(&mut self, name: &str, value: f64) {
        let best = format!("{name}{BEST}");
        let is_better = match self.values.get(&*best) {
            Some(&Value::Number(old)) if Direction::of(name) == Direction::Minimize => value < old,
            Some(&Value::Number(old)) => value > old,
            _ => !value.is_nan(),
        };
        if is_better {
            self.values.insert(best.into(), Value::Number(value));
        }
    }

    /// Takes over a record of it, made by an earlier process.
    pub(super) fn read(&mut self, message: &[u8]) {
        let value = |text| json::parse(text).map_or_else(|| Value::Json(Box::from(text)), Value::Number);
        // What was worked out of a metric by then is worked out again, where it is still asked for.
        let items = items(message).filter(|(name, _)| !self.aggregated.contains_key(*name));
        self.values.extend(items.map(|(name, text)| (Arc::from(name), value(text))));
    }

    /// Takes over an entry of an earlier process, that came after the record.
    pub(super) fn read_history(&mut self, message: &[u8]) {
        for (name, text) in items(message) {
            let value = json::parse(text);
            if let Some(value) = value.filter(|_| is_aggregated(&self.metrics, name) && !HEAD.contains(&name)) {
                Aggregated::add(&mut self.aggregated, &name.into(), value);
            }
            // Only evaluations have best values, and had one by now.
            if let Some(value) = value.filter(|_| name.starts_with("valid/") || name.starts_with("test/")) {
                self.improve(name, value);
            }
            self.values.insert(name.into(), value.map_or_else(|| Value::Json(text.into()), Value::Number));
        }
    }

    /// Each metric, and the JSON of what the summary has of it.
    pub(super) fn each(&mut self, mut tell: impl FnMut(&str, &[u8])) {
        let mut latest: Vec<_> = self.latest.iter_mut().filter_map(Option::take).collect();
        latest.sort_by_key(|latest| latest.index);
        for Latest { head, names, values, .. } in latest {
            self.values.extend(head.map(|(name, value)| (Arc::from(name), Value::Number(value))));
            self.values.extend(names.into_iter().zip(values.into_iter().map(Value::Number)));
        }
        let mut text = Vec::new();
        for (name, value) in &self.values {
            text.clear();
            match value {
                // The best ones are ours: nobody asks for something else of them.
                Value::Number(last) if !HEAD.contains(&&**name) && !name.ends_with(BEST) => {
                    if !self.number(&mut text, name, *last) {
                        continue;
                    }
                }
                Value::Number(last) => json::number(&mut text, *last),
                Value::Json(json) => text.extend_from_slice(json.as_bytes()),
            }
            tell(name, &text);
        }
    }

    /// Writes what was asked for of a metric. Returns whether that is anything.
    fn number(&self, text: &mut Vec<u8>, name: &str, last: f64) -> bool {
        let Some(metric) = Metric::of(&self.metrics, name).filter(|metric| !metric.summary.is_empty()) else {
            json::number(text, last);
            return true;
        };
        let goal = metric.goal.unwrap_or(match Direction::of(name) {
            Direction::Minimize => Goal::Minimize,
            Direction::Maximize => Goal::Maximize,
        });
        let Some(own) = self.aggregated.get(name).filter(|_| !metric.summary.contains(&Aggregate::None)) else {
            return false;
        };
        for (aggregate, value) in metric.summary.iter().filter_map(|aggregate| own.get(*aggregate, goal, last)) {
            text.extend_from_slice(if text.is_empty() { b"{" } else { b"," });
            json::text(text, aggregate);
            text.push(b':');
            json::number(text, value);
        }
        text.push(b'}');
        true
    }

    pub(super) fn write(&mut self, message: &mut Message<'_>) {
        self.each(|name, json| record::item(message, name, json));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(summary: &mut Summary) -> Vec<(String, String)> {
        let mut all = Vec::new();
        summary.each(|name, json| all.push((name.to_owned(), String::from_utf8_lossy(json).into_owned())));
        all.retain(|(name, _)| !HEAD.contains(&&**name));
        all
    }

    fn entry<'a>(index: u64, names: &'a [Arc<str>], values: &'a [f64]) -> Entry<'a> {
        let (epoch, step) = (0, index);
        Entry { kind: Kind::Step, index, epoch, step, seconds: 0.0, time: 0.0, layout: 0, names, values, media: None }
    }

    /// As wandb-core works it out, and in whatever way the entries come: again after a write that failed, and read from a file.
    #[test]
    fn it_has_what_was_asked_for() {
        let metrics = [
            Metric::new("a").summary([Aggregate::Min, Aggregate::Mean, Aggregate::Last]),
            Metric::new("b/*").summary([Aggregate::Best, Aggregate::First]).goal(Goal::Maximize),
            Metric::new("n").summary([Aggregate::None]),
        ];
        let names: Vec<Arc<str>> = ["a", "b/x", "c", "n"].map(Arc::from).to_vec();
        let rows = [[4.0, 1.0, 7.0, 0.0], [1.0, 3.0, 8.0, 0.0], [4.0, 2.0, 9.0, 0.0]];
        let mut summary = Summary::of(&metrics);
        for (i, row) in rows.iter().enumerate() {
            for _ in 0..2 {
                summary.update(&entry(i as u64, &names, row), None);
            }
        }
        let expected =
            [("a", "{\"min\":1.0,\"mean\":3.0,\"last\":4.0}"), ("b/x", "{\"best\":3.0,\"first\":1.0}"), ("c", "9.0")];
        let expected: Vec<_> = expected.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec();
        assert_eq!(text(&mut summary), expected);

        let mut read = Summary::of(&metrics);
        let mut message = Vec::new();
        for row in rows {
            message.clear();
            for (name, value) in names.iter().zip(row) {
                record::number(&mut Message::new(&mut message), name, value, &mut Vec::new());
            }
            read.read_history(&message);
            // A record of it in between changes nothing.
            message.clear();
            read.clone().write(&mut Message::new(&mut message));
            read.read(&message);
        }
        assert_eq!(text(&mut read), expected);
    }
}
