//! [`Metric`]: how W&B shows a metric.

use serde_json::{Map, Value, json};
use zae_core::error::Fallible;

use super::{
    fields::{message as within, number, text},
    summary::STEP,
};
use crate::protobuf::{Field, Fields, Message};

/// How W&B shows a metric, or all metrics whose names begin alike.
///
/// ```
/// use zae_loggers::wandb::{Aggregate, Goal, Metric, WandbLogger};
/// let logger = WandbLogger::new("digits")
///     .define_metric(Metric::new("valid/loss").summary([Aggregate::Min, Aggregate::Last]))
///     .define_metric(Metric::new("valid/*").goal(Goal::Maximize).summary([Aggregate::Best]))
///     .define_metric(Metric::new("debug/*").hidden());
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Metric {
    pub(super) name: String,
    pub(super) step: Option<String>,
    /// W&B adds the value of the step where an entry has none.
    pub(super) step_sync: bool,
    pub(super) hidden: bool,
    /// It is known by its name, not by how that begins.
    pub(super) explicit: bool,
    pub(super) summary: Vec<Aggregate>,
    pub(super) goal: Option<Goal>,
}

/// What the summary has of a metric, in place of its last value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aggregate {
    /// The least value.
    Min,
    /// The greatest.
    Max,
    /// The mean of all.
    Mean,
    /// The first.
    First,
    /// The last.
    Last,
    /// The least or the greatest, as its [`Goal`] is.
    Best,
    /// Nothing.
    None,
}

/// All of them, in the numbers that W&B has for them.
const AGGREGATES: [(u32, Aggregate); 7] = [
    (1, Aggregate::Min),
    (2, Aggregate::Max),
    (3, Aggregate::Mean),
    (4, Aggregate::Best),
    (5, Aggregate::Last),
    (6, Aggregate::None),
    (8, Aggregate::First),
];

/// Which values of a metric are good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goal {
    /// Small ones.
    Minimize,
    /// Great ones.
    Maximize,
}

impl Metric {
    /// A metric of this name; with `*` at its end, all whose names begin so and that are not defined by themselves.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            explicit: !name.ends_with('*'),
            name,
            step: Some(STEP.to_owned()),
            step_sync: true,
            hidden: false,
            summary: Vec::new(),
            goal: None,
        }
    }

    /// Its x-axis is another metric: the optimizer step if this is not called.
    #[must_use]
    pub fn step_metric(mut self, name: impl Into<String>) -> Self {
        self.step = Some(name.into());
        self
    }

    /// What the summary has of it: its last value if this is not called.
    #[must_use]
    pub fn summary(mut self, what: impl IntoIterator<Item = Aggregate>) -> Self {
        self.summary = what.into_iter().collect();
        self
    }

    /// Which values are good; as its name says if this is not called: `loss` is to be small.
    #[must_use]
    pub fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    /// No chart of it is made by itself.
    #[must_use]
    pub fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// Those that every run has: all metrics have the optimizer step as their x-axis.
    pub(super) fn base() -> [Self; 2] {
        let step = Self { step: None, step_sync: false, ..Self::new(STEP) };
        [step, Self::new("*")]
    }

    /// # Errors
    /// When W&B takes no such name.
    pub(super) fn check(&self) -> Fallible {
        let begin = self.name.strip_suffix('*').unwrap_or(&self.name);
        if self.name.is_empty() || begin.contains('*') {
            return Err(format!("the metric `{}`: W&B takes a name, with `*` at its end if anywhere", self.name).into());
        }
        Ok(())
    }

    /// Whether it says how a metric of this name is shown; the greater the closer.
    fn closeness(&self, name: &str) -> Option<usize> {
        if self.explicit {
            return (self.name == name).then_some(usize::MAX);
        }
        let begin = self.name.strip_suffix('*').unwrap_or(&self.name);
        name.starts_with(begin).then_some(begin.len())
    }

    /// The one that says how a metric of this name is shown.
    pub(super) fn of<'a>(all: &'a [Self], name: &str) -> Option<&'a Self> {
        let close = all.iter().filter_map(|metric| Some((metric.closeness(name)?, metric)));
        close.max_by_key(|(closeness, _)| *closeness).map(|(_, metric)| metric)
    }

    /// Adds it to others, in place of one of the same name.
    pub(super) fn add_to(self, all: &mut Vec<Self>) {
        match all.iter_mut().find(|metric| metric.name == self.name) {
            Some(old) => *old = self,
            None => all.push(self),
        }
    }

    /// As a record.
    pub(super) fn write(&self, message: &mut Message<'_>) {
        message.string(if self.explicit { 1 } else { 2 }, &self.name);
        if let Some(step) = &self.step {
            message.string(4, step);
        }
        let mut flags = |field, numbers: &[u32]| {
            if !numbers.is_empty() {
                message.message(field, |flags| {
                    numbers.iter().for_each(|number| {
                        flags.varint(*number, 1);
                    });
                });
            }
        };
        flags(6, &self.options());
        flags(7, &self.aggregates());
        if let Some(goal) = self.goal {
            message.varint(8, goal.number());
        }
        // Of a metric that is defined anew nothing is left of before.
        message.message(9, |control| {
            control.varint(1, 1);
        });
    }

    /// From a record.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        let explicit = text(message, 1);
        let mut metric = Self::new(explicit.or_else(|| text(message, 2))?);
        let flag = |field, wanted| within(message, field).is_some_and(|flags| number(flags, wanted) == Some(1));
        metric.explicit = explicit.is_some();
        metric.step = text(message, 4).map(str::to_owned);
        (metric.step_sync, metric.hidden) = (flag(6, 1), flag(6, 2));
        metric.summary = AGGREGATES.into_iter().filter(|(n, _)| flag(7, *n)).map(|(_, aggregate)| aggregate).collect();
        metric.goal = Fields(message).find_map(|field| match field {
            Field::Number(8, 1) => Some(Goal::Minimize),
            Field::Number(8, 2) => Some(Goal::Maximize),
            _ => None,
        });
        Some(metric)
    }

    fn options(&self) -> Vec<u32> {
        let all = [(1, self.step_sync), (2, self.hidden), (3, self.explicit)];
        all.into_iter().filter(|(_, is_set)| *is_set).map(|(number, _)| number).collect()
    }

    fn aggregates(&self) -> Vec<u32> {
        AGGREGATES.into_iter().filter(|(_, own)| self.summary.contains(own)).map(|(number, _)| number).collect()
    }

    /// All of them as the run's config has them: by the numbers of a record's fields, and each names its step by where that is
    /// in the list, from 1.
    pub(super) fn in_config(all: &[Self]) -> Value {
        let mut names: Vec<&str> = all.iter().map(|metric| metric.name.as_str()).collect();
        let mut list = Vec::new();
        for metric in all {
            let name = if metric.explicit { "1" } else { "2" };
            let mut entry = Map::from_iter([(name.to_owned(), metric.name.as_str().into())]);
            if let Some(step) = &metric.step {
                let at = names.iter().position(|name| name == step).unwrap_or(names.len());
                if at == names.len() {
                    names.push(step);
                }
                entry.insert("5".to_owned(), (at + 1).into());
            }
            entry.insert("6".to_owned(), metric.options().into());
            entry.insert("7".to_owned(), metric.aggregates().into());
            if let Some(goal) = metric.goal {
                entry.insert("8".to_owned(), goal.number().into());
            }
            list.push(Value::Object(entry));
        }
        // Steps that nobody has defined.
        list.extend(names[all.len()..].iter().map(|name| json!({"1": name, "6": [], "7": []})));
        list.into()
    }
}

impl Goal {
    fn number(self) -> u64 {
        match self {
            Self::Minimize => 1,
            Self::Maximize => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn all() -> Vec<Metric> {
        let mut all = Metric::base().to_vec();
        Metric::new("valid/loss").step_metric("epoch").summary([Aggregate::Min]).add_to(&mut all);
        Metric::new("acc/*")
            .hidden()
            .goal(Goal::Maximize)
            .summary([Aggregate::Best, Aggregate::First])
            .add_to(&mut all);
        all
    }

    #[test]
    fn they_return_from_records() {
        for metric in all() {
            let mut bytes = Vec::new();
            metric.write(&mut Message::new(&mut bytes));
            let sorted = Metric { summary: Metric::read(&bytes).unwrap().summary, ..metric.clone() };
            assert_eq!(Metric::read(&bytes).unwrap(), sorted);
            assert_eq!(sorted.aggregates(), metric.aggregates());
        }
    }

    #[test]
    fn steps_are_named_by_their_place() {
        let expected = json!([
            {"1": "trainer/global_step", "6": [3], "7": []},
            {"2": "*", "5": 1, "6": [1], "7": []},
            {"1": "valid/loss", "5": 5, "6": [1, 3], "7": [1]},
            {"2": "acc/*", "5": 1, "6": [1, 2], "7": [4, 8], "8": 2},
            {"1": "epoch", "6": [], "7": []},
        ]);
        assert_eq!(Metric::in_config(&all()), expected);
    }

    #[test]
    fn the_closest_one_counts() {
        let all = all();
        let of = |name| Metric::of(&all, name).unwrap().name.as_str();
        assert_eq!((of("valid/loss"), of("acc/x"), of("valid/los")), ("valid/loss", "acc/*", "*"));
        assert!(Metric::new("a*b").check().is_err() && Metric::new("").check().is_err());
        assert!(Metric::new("a/*").check().is_ok());
    }
}
