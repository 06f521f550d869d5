//! What a run was set up with, and whether a resumed one is set up the same.

use std::collections::{BTreeMap, BTreeSet};

use super::Trainer;
use crate::{
    data::Loader,
    engine::Engine,
    error::{Error, Fallible},
    learner::{Layout, Learner, Number, TensorLayout},
    progress::Plan,
    schedule::Needs,
    task::Task,
};

/// The setting under which the number of batches is known where a loader does not describe itself.
const BATCHES: &str = "batches";
const SCHEDULE: &str = "schedule";
pub(super) const OPTIMIZER: &str = "optimizer";
/// What is set up with the trainer. All other names are the loader's.
const OWN: [&str; 7] = ["engine", "gradient_clip", "non_finite", "validate", "total_steps", "total_epochs", SCHEDULE];
const NONE: &str = "none";

impl<T: Task> Trainer<T> {
    /// All settings on which the weights of the run depend.
    fn config<D: Loader<T::Batch>>(&self, plan: &Plan, train: &D) -> BTreeMap<String, String> {
        let mut config = BTreeMap::new();
        let mut set = |name: &str, value: String| config.insert(name.to_owned(), value);
        set("engine", self.learner.name().to_owned());
        set("gradient_clip", format!("{:?}", self.settings.clip));
        set("non_finite", format!("{:?}", self.settings.non_finite));
        set("validate", format!("{:?}", self.settings.validate));
        if let Some(schedule) = &self.schedule {
            let (name, total) = match schedule.needs() {
                Needs::Nothing => ("", None),
                Needs::Steps => ("total_steps", plan.total_steps),
                Needs::Epochs => ("total_epochs", plan.epochs),
            };
            if let Some(total) = total {
                set(name, total.to_string());
            }
            if let Some(description) = schedule.describe(total) {
                set(SCHEDULE, description);
            }
        }
        for (name, value) in train.describe() {
            set(name, value);
        }
        config
    }

    /// The first run after a restore has to be set up as the saved one was, or it would end elsewhere.
    ///
    /// A program may train in phases, on other data in each: a call that is `complete` already is a phase before. If the
    /// saved run was in it, the next one may be set up in any way.
    pub(super) fn check_config<D: Loader<T::Batch>>(
        &mut self,
        plan: &Plan,
        train: &D,
        complete: bool,
    ) -> Result<(), Error> {
        let config = self.config(plan, train);
        if complete {
            self.restored &= config != self.state.config;
            return Ok(());
        }
        if self.restored {
            for (name, saved, now) in changes(&self.state.config, &config) {
                let only_longer = name == SCHEDULE && self.is_of_another_length(saved);
                if !self.accepts(name) && !only_longer {
                    return Err(Error::Misuse(changed(name, saved, now)));
                }
            }
            self.check_batches(train)?;
            self.restored = false;
        }
        self.state.config = config;
        Ok(())
    }

    /// Whether the schedule differs in nothing but the length of the run, which is compared by itself.
    fn is_of_another_length(&self, saved: &str) -> bool {
        let total = |name| self.state.config.get(name).and_then(|total| total.parse().ok());
        let total = total("total_steps").or_else(|| total("total_epochs"));
        self.schedule.as_ref().and_then(|schedule| schedule.describe(total)).is_some_and(|now| now == saved)
    }

    /// A run that was cut within an epoch has to find the data it was cut in: with another batch size or data set, batches
    /// would be repeated or left out in silence.
    fn check_batches<D: Loader<T::Batch>>(&self, train: &D) -> Result<(), Error> {
        let cursor = self.state.progress.cursor;
        let saved = self.state.epoch_batches.filter(|(epoch, _)| cursor.micro_batch > 0 && *epoch == cursor.epoch);
        let Some((epoch, saved)) = saved else { return Ok(()) };
        // What is described was compared, and accepted if it differs.
        let described = train.describe().iter().any(|(name, _)| self.state.config.contains_key(*name));
        match train.micro_batches(epoch) {
            Some(found) if found != saved && !described && !self.accepts(BATCHES) => {
                Err(Error::Misuse(changed(BATCHES, &saved.to_string(), &found.to_string())))
            }
            _ => Ok(()),
        }
    }

    /// The optimizer that the learner has must be the one whose state it is given, as far as both are known.
    pub(super) fn check_optimizer(&mut self, saved: &Layout) -> Fallible {
        if self.accepts(OPTIMIZER) {
            return Ok(());
        }
        match optimizers_differ(saved, &*self.learner.layout()?) {
            Some([saved, now]) => Err(changed(OPTIMIZER, &saved, &now).into()),
            None => Ok(()),
        }
    }

    pub(super) fn accepts(&self, name: &str) -> bool {
        self.settings.accepted.iter().any(|accepted| accepted == name)
    }
}

/// The first thing in which two optimizers differ, as each has it. What only one of them tells is not compared: another
/// version may tell more.
fn optimizers_differ(saved: &Layout, now: &Layout) -> Option<[String; 2]> {
    let (Some(was), Some(is)) = (&saved.optimizer, &now.optimizer) else { return None };
    if was.class != is.class {
        return Some([was.class.clone(), is.class.clone()]);
    }
    let with = |what: [String; 2]| Some(what.map(|what| format!("{} with {what}", was.class)));
    if was.rates != is.rates {
        return with([was, is].map(|own| format!("the factors {:?} on the learning rate", own.rates)));
    }
    for (was, is) in was.groups.iter().zip(&is.groups) {
        for (name, was) in was {
            if let Some(is) = is.get(name).filter(|is| *is != was) {
                return with([was, is].map(|numbers| format!("{name} {}", text(numbers))));
            }
        }
    }
    let groups: BTreeMap<&str, usize> = now.tensors.iter().map(|own| (own.name.as_str(), own.group)).collect();
    let moved = |own: &&TensorLayout| groups.get(own.name.as_str()).is_some_and(|group| *group != own.group);
    let own = saved.tensors.iter().find(moved)?;
    with([own.group, groups[own.name.as_str()]].map(|group| format!("`{}` in group {group}", own.name)))
}

fn text(numbers: &[Number]) -> String {
    let text = |number: &Number| match number {
        Number::Int(number) => number.to_string(),
        Number::UInt(number) => number.to_string(),
        Number::Float(number) => format!("{number:?}"),
        Number::Bool(yes) => yes.to_string(),
    };
    numbers.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Settings that differ: name, what it was, what it is. One that only one side has differs if the other could have told:
/// snapshots from before a setting was known lack it, and so do loaders and schedules that do not describe themselves.
fn changes<'a>(
    saved: &'a BTreeMap<String, String>,
    now: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
    let is_of_data = |name: &str| !OWN.contains(&name);
    let tells = |config: &BTreeMap<String, String>| config.keys().any(|name| is_of_data(name));
    let both_tell = tells(saved) && tells(now);
    let names: BTreeSet<&String> = saved.keys().chain(now.keys()).collect();
    names.into_iter().filter_map(move |name| {
        let (saved, now) = (saved.get(name), now.get(name));
        let is_known = (saved.is_some() && now.is_some())
            || (both_tell && is_of_data(name))
            || (saved.is_some() && name == SCHEDULE);
        (is_known && saved != now)
            .then(|| (name.as_str(), saved.map_or(NONE, String::as_str), now.map_or(NONE, String::as_str)))
    })
}

fn changed(name: &str, saved: &str, now: &str) -> String {
    let way_out = match name {
        "total_steps" | "total_epochs" => format!(
            "its schedule takes its length from the run; to train on, give the schedule its old length (`.over({saved})`: \
             it then stays at its last rate), or stretch it with `.accept_change(\"{name}\")`"
        ),
        _ => format!("use the same, or go on all the same with `.accept_change(\"{name}\")`"),
    };
    format!(
        "the saved run has `{name}` {saved}, this one {now}, so it would not be the run that was interrupted: {way_out}; \
         `.fresh()` starts over"
    )
}
