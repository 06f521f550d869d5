//! What a run was set up with, and whether a resumed one is set up the same.

use std::collections::{BTreeMap, BTreeSet};

use super::Trainer;
use crate::{
    add_on::Notice,
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
const OWN: [&str; 8] =
    ["engine", "gradient_clip", "non_finite", "validate", "accumulate", "total_steps", "total_epochs", SCHEDULE];
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
        set("accumulate", self.later_windows_in_words().unwrap_or_else(|| "constant".to_owned()));
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
    /// saved run was in it, the next one may be set up in any way. If it ended here, what was changed is told: it has no
    /// effect.
    pub(super) fn check_config<D: Loader<T::Batch>>(
        &mut self,
        plan: &Plan,
        train: &D,
        complete: bool,
        ended: bool,
    ) -> Result<(), Error> {
        let config = self.config(plan, train);
        if self.restored && ended {
            let (changed, _) = self.changes(&config, train);
            if !changed.is_empty() {
                let changed = join(&changed, |change| format!("`{}` is {} now", change.name, change.now), ", ");
                let text = format!(
                    "the run was complete already, so it makes no difference that {changed}: `.fresh()` starts over"
                );
                self.add_ons.notice(Notice::Warning(text));
            }
        }
        if complete {
            self.restored &= config != self.state.config;
            return Ok(());
        }
        if self.restored {
            self.check_accepted(&config)?;
            let (changed, accepted) = self.changes(&config, train);
            if !changed.is_empty() {
                return Err(Error::Misuse(refusal(&changed)));
            }
            if !accepted.is_empty() {
                let accepted = join(&accepted, |c| format!("`{}` is {} and was {}", c.name, c.now, c.saved), ", ");
                self.add_ons
                    .notice(Notice::Info(format!("the saved run goes on otherwise, as was accepted: {accepted}")));
            }
            self.restored = false;
        }
        self.state.config = config;
        Ok(())
    }

    /// What differs from the saved run: what was not accepted, and what was.
    fn changes<D: Loader<T::Batch>>(&self, config: &BTreeMap<String, String>, train: &D) -> (Vec<Change>, Vec<Change>) {
        let only_longer = |change: &Change| change.name == SCHEDULE && self.is_of_another_length(&change.saved);
        let changes = changes(&self.state.config, config).into_iter().filter(|change| !only_longer(change));
        changes.chain(self.changed_batches(train)).partition(|change| !self.accepts(&change.name))
    }

    /// A name that nothing has is a slip that would be noticed at the wrong time.
    fn check_accepted(&self, config: &BTreeMap<String, String>) -> Result<(), Error> {
        let own = OWN.into_iter().chain([OPTIMIZER, BATCHES]);
        let known: BTreeSet<&str> =
            own.chain(config.keys().chain(self.state.config.keys()).map(String::as_str)).collect();
        let Some(slip) = self.settings.accepted.iter().find(|name| !known.contains(name.as_str())) else {
            return Ok(());
        };
        let known = join(&known.into_iter().collect::<Vec<_>>(), |name| format!("`{name}`"), ", ");
        Err(Error::Misuse(format!("`.accept_change(\"{slip}\")` names no setting of this run: there are {known}")))
    }

    /// Whether the schedule differs in nothing but the length of the run, which is compared by itself.
    fn is_of_another_length(&self, saved: &str) -> bool {
        let total = |name| self.state.config.get(name).and_then(|total| total.parse().ok());
        let total = total("total_steps").or_else(|| total("total_epochs"));
        self.schedule.as_ref().and_then(|schedule| schedule.describe(total)).is_some_and(|now| now == saved)
    }

    /// A run that was cut within an epoch has to find the data it was cut in: with another batch size or data set, batches
    /// would be repeated or left out in silence.
    fn changed_batches<D: Loader<T::Batch>>(&self, train: &D) -> Option<Change> {
        let cursor = self.state.progress.cursor;
        let saved = self.state.epoch_batches.filter(|(epoch, _)| cursor.micro_batch > 0 && *epoch == cursor.epoch);
        let (epoch, saved) = saved?;
        // What is described was compared, and accepted if it differs.
        let described = train.describe().iter().any(|(name, _)| self.state.config.contains_key(*name));
        let found = train.micro_batches(epoch).filter(|found| *found != saved && !described)?;
        Some(Change { name: BATCHES.to_owned(), saved: saved.to_string(), now: found.to_string() })
    }

    /// The optimizer that the learner has must be the one whose state it is given, as far as both are known.
    pub(super) fn check_optimizer(&mut self, saved: &Layout) -> Fallible {
        if self.accepts(OPTIMIZER) {
            return Ok(());
        }
        match optimizers_differ(saved, &*self.learner.layout()?) {
            Some([saved, now]) => Err(refusal(&[Change { name: OPTIMIZER.to_owned(), saved, now }]).into()),
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
    join(numbers, text, ", ")
}

/// A setting that differs.
struct Change {
    name: String,
    saved: String,
    now: String,
}

/// Settings that differ. One that only one side has differs if the other could have told: snapshots from before a setting
/// was known lack it, and so do loaders and schedules that do not describe themselves.
fn changes(saved: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<Change> {
    let is_of_data = |name: &str| !OWN.contains(&name);
    let tells = |config: &BTreeMap<String, String>| config.keys().any(|name| is_of_data(name));
    let both_tell = tells(saved) && tells(now);
    let names: BTreeSet<&String> = saved.keys().chain(now.keys()).collect();
    let change = |name: &String| {
        let (saved, now) = (saved.get(name), now.get(name));
        let is_known = (saved.is_some() && now.is_some())
            || (both_tell && is_of_data(name))
            || (saved.is_some() && name == SCHEDULE);
        let text = |value: Option<&String>| value.map_or(NONE, String::as_str).to_owned();
        (is_known && saved != now).then(|| Change { name: name.clone(), saved: text(saved), now: text(now) })
    };
    names.into_iter().filter_map(change).collect()
}

/// The error about settings that differ, with the ways out.
fn refusal(changes: &[Change]) -> String {
    let what = join(changes, |c| format!("`{}` {}, this one {}", c.name, c.saved, c.now), "; ");
    let (lengths, others): (Vec<&Change>, Vec<&Change>) =
        changes.iter().partition(|change| ["total_steps", "total_epochs"].contains(&&*change.name));
    let accept = |changes: &[&Change]| join(changes, |c| format!(".accept_change(\"{}\")", c.name), "");
    let mut ways = Vec::new();
    if let [length] = lengths[..] {
        ways.push(format!(
            "its schedule takes its length from the run; to train on, give the schedule its old length (`.over({})`: \
             it then stays at its last rate), or stretch it with `{}`",
            length.saved,
            accept(&lengths)
        ));
    }
    if !others.is_empty() {
        ways.push(format!("use the same, or go on all the same with `{}`", accept(&others)));
    }
    let ways = ways.join("; and ");
    format!("the saved run has {what}, so it would not be the run that was interrupted: {ways}; `.fresh()` starts over")
}

fn join<T>(items: &[T], text: impl Fn(&T) -> String, separator: &str) -> String {
    items.iter().map(text).collect::<Vec<_>>().join(separator)
}
