//! [`Misfits`]: in what a state dict does not fit a learner, all in one message.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    error::{BoxError, Fallible},
    learner::{Dtype, SavedTensor, StateDict},
};

/// What does not fit, by name.
#[derive(Default, Debug)]
pub struct Misfits {
    missing: Vec<String>,
    unexpected: Vec<String>,
    different: Vec<String>,
    unusable: Vec<String>,
}

impl Misfits {
    /// Notes names that belong to none of these parts of a learner, such as [`MODEL`](crate::learner::MODEL).
    pub fn foreign(&mut self, state: &StateDict, parts: &[&str]) {
        for name in state.tensors.keys().chain(state.numbers.keys()) {
            if !parts.iter().any(|part| name.starts_with(part)) {
                self.unexpected(format!("`{name}`"));
            }
        }
    }

    /// Notes the tensors of one part of a state, such as [`MODEL`](crate::learner::MODEL), that the learner does not know.
    pub fn unknown(&mut self, state: &StateDict, part: &str, known: &BTreeSet<String>) {
        for name in state.tensors.keys().filter(|name| name.starts_with(part) && !known.contains(*name)) {
            self.unexpected(format!("`{name}`"));
        }
    }

    /// Notes a name that the state lacks.
    pub fn missing(&mut self, name: impl Into<String>) {
        self.missing.push(name.into());
    }

    /// Notes a name that the learner lacks.
    pub fn unexpected(&mut self, name: impl Into<String>) {
        self.unexpected.push(name.into());
    }

    /// Notes what has another shape or type.
    pub fn different(&mut self, what: String) {
        self.different.push(what);
    }

    /// Notes what the optimizer does not understand.
    pub fn unusable(&mut self, name: String) {
        self.unusable.push(name);
    }

    /// The tensor of this name, if it is there with this shape and type.
    pub fn compare<'a>(
        &mut self,
        state: &'a BTreeMap<String, SavedTensor>,
        name: &str,
        shape: &[usize],
        dtype: Option<Dtype>,
    ) -> Option<&'a SavedTensor> {
        let Some(tensor) = state.get(name) else {
            self.missing(format!("`{name}`"));
            return None;
        };
        if tensor.shape == shape && dtype == Some(tensor.dtype) {
            return Some(tensor);
        }
        let here = dtype.map_or_else(|| "of a type that cannot be saved".to_owned(), |dtype| format!("{dtype:?}"));
        self.different(format!(
            "`{name}` is {:?} {:?} in the state and {here} {shape:?} here",
            tensor.dtype, tensor.shape
        ));
        None
    }

    /// # Errors
    /// When anything does not fit. The message names the first few of each sort.
    pub fn check(self) -> Fallible {
        const SHOWN: usize = 4;
        let sorts = [
            ("the state lacks", self.missing),
            ("this learner has no", self.unexpected),
            ("of another shape or type:", self.different),
            ("of another optimizer, or damaged:", self.unusable),
        ];
        let mut parts = Vec::new();
        for (what, names) in sorts {
            if names.is_empty() {
                continue;
            }
            let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
            let more = names.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            parts.push(format!("{what} {shown}{more}"));
        }
        if parts.is_empty() {
            return Ok(());
        }
        Err(BoxError::from(format!("the state does not fit this learner: {}", parts.join("; "))))
    }
}
