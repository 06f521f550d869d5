//! [`Optimizer`]: rules, each for a group of parameters, and the state of each parameter.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use tch::{Device, Kind, Tensor};
use zae_core::{error::Fallible, learner::OptimizerLayout};

use super::{
    adam::{Adam, AdamW},
    rule::{Lists, ParamState, Rule},
    sgd::Sgd,
};
use crate::{saved::short, variables::Variable};

type Predicate = Box<dyn Fn(&str) -> bool>;

struct Group {
    /// Which parameters are in it, by name; `None` for the first group, in which all are that are in no other.
    predicate: Option<Predicate>,
    rule: Rule,
    /// On the schedule's learning rate.
    factor: f64,
}

/// An optimizer with groups of parameters. It is made from [`AdamW`], [`Adam`] or [`Sgd`], which is then the optimizer of all
/// parameters that are in no group.
///
/// The learning rate is not part of it: the trainer's schedule gives it.
///
/// ```
/// use zae_tch::{AdamW, Optimizer};
///
/// let optimizer = Optimizer::from(AdamW::new())
///     .group(|name| name.ends_with("bias"), AdamW::new().weight_decay(0.0), 1.0)
///     .group_lr(|name| name.starts_with("backbone."), 0.1);
/// ```
pub struct Optimizer {
    groups: Vec<Group>,
    /// The group of each variable; empty before [`Optimizer::bind`].
    group_of: Vec<usize>,
    /// The state of each variable.
    states: Vec<Option<ParamState>>,
}

macro_rules! from {
    ($($rule:ty)*) => { $(
        impl From<$rule> for Optimizer {
            fn from(rule: $rule) -> Self {
                let first = Group { predicate: None, rule: rule.into(), factor: 1.0 };
                Self { groups: vec![first], group_of: Vec::new(), states: Vec::new() }
            }
        }
    )* };
}
from! { Adam AdamW Sgd }

impl Optimizer {
    /// Parameters whose names `predicate` accepts are moved by `rule` (an [`AdamW`], [`Adam`] or [`Sgd`]) with `factor` times
    /// the learning rate of the schedule. Of several groups that a parameter is in, the last counts.
    #[must_use]
    #[allow(private_bounds)]
    pub fn group(mut self, predicate: impl Fn(&str) -> bool + 'static, rule: impl Into<Rule>, factor: f64) -> Self {
        self.groups.push(Group { predicate: Some(Box::new(predicate)), rule: rule.into(), factor });
        self
    }

    /// Parameters whose names `predicate` accepts learn with `factor` times the learning rate of the schedule, and otherwise
    /// as those that are in no group.
    #[must_use]
    pub fn group_lr(mut self, predicate: impl Fn(&str) -> bool + 'static, factor: f64) -> Self {
        let rule = self.groups[0].rule;
        self.groups.push(Group { predicate: Some(Box::new(predicate)), rule, factor });
        self
    }

    /// Tells it what it moves.
    ///
    /// # Errors
    /// When a hyperparameter is out of its range, and when no parameter is in a group.
    pub(crate) fn bind(&mut self, variables: &[Variable]) -> Fallible {
        for group in &self.groups {
            group.rule.check()?;
            if !group.factor.is_finite() || group.factor < 0.0 {
                return Err(
                    format!("the factor of a group is {}: it must be finite and 0 or more", group.factor).into()
                );
            }
        }
        let inside = |group: &Group, name: &str| group.predicate.as_ref().is_none_or(|predicate| predicate(name));
        let group_of = |variable: &Variable| {
            let found = self.groups.iter().rposition(|group| inside(group, &variable.name));
            found.filter(|_| variable.parameter).unwrap_or(0)
        };
        self.group_of = variables.iter().map(group_of).collect();
        for (i, group) in self.groups.iter().enumerate().skip(1) {
            if !variables.iter().any(|variable| variable.parameter && inside(group, &variable.name)) {
                let names: Vec<_> = variables.iter().filter(|v| v.parameter).map(|v| v.name.as_str()).collect();
                return Err(format!(
                    "no parameter is in the optimizer's group number {i}: the model has {}",
                    names.join(", ")
                )
                .into());
            }
        }
        self.states = variables.iter().map(|_| None).collect();
        Ok(())
    }

    pub(crate) fn rule(&self, variable: usize) -> &Rule {
        &self.groups[self.group_of[variable]].rule
    }

    pub(crate) fn states(&self) -> &[Option<ParamState>] {
        &self.states
    }

    pub(crate) fn set_states(&mut self, states: Vec<Option<ParamState>>) {
        self.states = states;
    }

    /// Moves the variables that have a gradient; the others stay, and so does their state.
    pub(crate) fn step(&mut self, variables: &[Variable], grads: &[(usize, Tensor)], lr: f64) -> Fallible {
        // By group, type and whether it is the first step: each takes a step of its own.
        let mut batches: Vec<((usize, Kind, bool), Vec<usize>)> = Vec::with_capacity(1);
        for (place, (variable, _)) in grads.iter().enumerate() {
            let group = self.group_of[*variable];
            let param = &variables[*variable].tensor;
            let first = self.states[*variable].is_none();
            if first {
                self.states[*variable] = Some(self.groups[group].rule.first_state(param)?);
            }
            let key = (group, param.f_kind().map_err(short)?, first);
            match batches.iter_mut().find(|(other, _)| *other == key) {
                Some((_, places)) => places.push(place),
                None => {
                    let mut places = Vec::with_capacity(grads.len() - place);
                    places.push(place);
                    batches.push((key, places));
                }
            }
        }
        for ((group, _, first), places) in batches {
            let Group { rule, factor, .. } = &self.groups[group];
            let lists = Lists {
                params: places.iter().map(|&place| &variables[grads[place].0].tensor).collect(),
                grads: places.iter().map(|&place| &grads[place].1).collect(),
                states: places.iter().filter_map(|&place| self.states[grads[place].0].as_ref()).collect(),
            };
            rule.step(&lists, lr * factor, first)?;
        }
        Ok(())
    }

    pub(crate) fn move_to(&mut self, device: Device) -> Result<(), tch::TchError> {
        for state in self.states.iter_mut().flatten() {
            for tensor in state.slots.iter_mut().chain(&mut state.step) {
                *tensor = tensor.f_to_device(device)?;
            }
        }
        Ok(())
    }

    /// In PyTorch's words, which has no groups without parameters, and one class for all groups; and the group of each
    /// variable there.
    pub(crate) fn layout(&self, variables: &[Variable]) -> (Option<OptimizerLayout>, Vec<usize>) {
        let indices = || (0..variables.len()).filter(|&i| variables[i].parameter);
        let used: BTreeSet<usize> = indices().map(|i| self.group_of[i]).collect();
        let group = |i: usize| if variables[i].parameter { used.range(..self.group_of[i]).count() } else { 0 };
        let group_of = (0..variables.len()).map(group).collect();
        let rules: Vec<&Rule> = used.iter().map(|&group| &self.groups[group].rule).collect();
        let Some(class) = rules.first().map(|rule| rule.class()) else { return (None, group_of) };
        if rules.iter().any(|rule| rule.class() != class) {
            return (None, group_of);
        }
        let names = rules.iter().flat_map(|rule| rule.slots().iter().copied());
        let names = names.chain(rules.iter().filter(|rule| rule.counts_steps()).map(|_| "step"));
        let layout = OptimizerLayout {
            class: class.to_owned(),
            fields: names.map(|name| (name.to_owned(), name.to_owned())).collect::<BTreeMap<_, _>>(),
            groups: rules.iter().map(|rule| rule.settings()).collect(),
            rates: used.iter().map(|&group| self.groups[group].factor).collect(),
        };
        (Some(layout), group_of)
    }
}

impl fmt::Debug for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<_> = self.groups.iter().map(|group| (group.rule, group.factor)).collect();
        f.debug_struct("Optimizer").field("groups", &groups).finish_non_exhaustive()
    }
}
