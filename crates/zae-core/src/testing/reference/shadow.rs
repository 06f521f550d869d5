//! Second sets of weights.

use std::collections::BTreeMap;

use crate::{
    engine::Shadow,
    error::{BoxError, Fallible},
    learner::StateDict,
};

/// The slots by name, each with parameters and buffers in the model's order.
#[derive(Clone, Default)]
pub(super) struct Shadows(pub(super) BTreeMap<String, Vec<Vec<f32>>>);

impl Shadows {
    /// Slots of the names that a state has, each a copy of the weights.
    pub(super) fn of(state: &StateDict, weights: &[&mut Vec<f32>]) -> Self {
        Self(state.shadows().into_iter().map(|name| (name.to_owned(), copies(weights))).collect())
    }

    pub(super) fn apply(&mut self, weights: &mut [&mut Vec<f32>], name: &str, op: Shadow) -> Fallible {
        if op == Shadow::Create {
            if name.is_empty() || name.contains('/') {
                return Err(format!("`{name}` cannot be the name of a second set of weights").into());
            }
            self.0.insert(name.to_owned(), copies(weights));
            return Ok(());
        }
        let unknown = || -> BoxError { format!("there is no second set of weights `{name}`: create it first").into() };
        let slot = self.0.get_mut(name).ok_or_else(unknown)?;
        match op {
            Shadow::Lerp { decay } => {
                let weight = (1.0 - decay) as f32;
                for (kept, new) in slot.iter_mut().zip(weights) {
                    kept.iter_mut().zip(&**new).for_each(|(kept, new)| *kept += weight * (new - *kept));
                }
            }
            Shadow::Swap => slot.iter_mut().zip(weights).for_each(|(kept, own)| std::mem::swap(kept, *own)),
            Shadow::Create | Shadow::Drop => drop(self.0.remove(name)),
        }
        Ok(())
    }
}

fn copies(weights: &[&mut Vec<f32>]) -> Vec<Vec<f32>> {
    weights.iter().map(|values| (**values).clone()).collect()
}
