//! Which weights a state dict has: the model's, and averages of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    error::Fallible,
    learner::{Layout, MODEL, SHADOW, SavedTensor, StateDict},
};

impl StateDict {
    /// The names of the second sets of weights.
    #[must_use]
    pub fn shadows(&self) -> BTreeSet<&str> {
        self.tensors.keys().filter_map(|name| Some(name.strip_prefix(SHADOW)?.split_once('/')?.0)).collect()
    }

    /// The weights alone, under [`MODEL`]: the model's, or those of a second set. That has the floating-point tensors; what else a
    /// model has, such as counts, is the model's in either case.
    ///
    /// # Errors
    /// When there is no such second set; the message names those that there are.
    pub fn weights(&self, shadow: Option<&str>) -> Fallible<Self> {
        let name_of = |name: &str| format!("{MODEL}{name}");
        let mut tensors: BTreeMap<_, _> = self.model().map(|(name, tensor)| (name_of(name), tensor.clone())).collect();
        if let Some(slot) = shadow {
            let all = self.shadows();
            if !all.contains(slot) {
                let all = if all.is_empty() { "none".to_owned() } else { format!("{all:?}") };
                return Err(format!("there is no second set of weights `{slot}` in this state: there is {all}").into());
            }
            let prefix = format!("{SHADOW}{slot}/");
            let of_slot =
                |(name, tensor): (&String, &SavedTensor)| Some((name_of(name.strip_prefix(&prefix)?), tensor.clone()));
            tensors.extend(self.tensors.iter().filter_map(of_slot));
        }
        let layout = Layout { tensors: self.layout.tensors.clone(), optimizer: None };
        Ok(Self { tensors, numbers: BTreeMap::new(), layout: Arc::new(layout) })
    }
}
