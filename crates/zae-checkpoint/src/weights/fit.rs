//! Which tensor of a file goes where in a model.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use zae_core::learner::{MODEL, SavedTensor, StateDict};

use super::{Weights, cast, way_out};
use crate::error::{Error, Result};

/// What became of the tensors of a file and a model.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct LoadReport {
    /// Tensors of the model that were loaded.
    pub loaded: Vec<String>,
    /// Tensors of the model that the file does not have.
    pub missing: Vec<String>,
    /// Tensors of the file that the model does not have.
    pub unexpected: Vec<String>,
    /// Tensors whose shape or type differ, with both.
    pub mismatched: Vec<String>,
}

impl LoadReport {
    /// Whether everything fitted.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }

    /// All that does not fit, each sort after a semicolon.
    pub(crate) fn problems(&self) -> String {
        let parts = [("missing", &self.missing), ("unexpected", &self.unexpected), ("different", &self.mismatched)];
        let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
        parts.map(|(what, names)| format!("; {what}: {}", names.join(", "))).collect()
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors loaded{}", self.loaded.len(), self.problems())
    }
}

pub(super) fn fit(
    weights: &Weights,
    tensors: BTreeMap<String, SavedTensor>,
    engine_layout: bool,
    state: &StateDict,
) -> Result<(StateDict, LoadReport)> {
    let damaged = |what: String| Error::Damaged { path: weights.path.clone(), what };
    let mut found = BTreeMap::new();
    for (name, tensor) in tensors {
        if let Some(renamed) = weights.renamed(&name)
            && found.insert(renamed.clone(), tensor).is_some()
        {
            return Err(damaged(format!("two of its tensors are named `{renamed}` after renaming")));
        }
    }
    let layouts = state.layout.by_name();
    let (mut merged, mut report) = (state.clone(), LoadReport::default());
    let (mut wanted, mut types_only) = (BTreeSet::new(), true);
    for (name, target) in state.model() {
        let layout = layouts.get(name).filter(|_| !engine_layout);
        let in_file = layout.map_or(name, |layout| layout.torch.as_str());
        let Some(mut tensor) = found.remove(in_file) else {
            report.missing.push(name.to_owned());
            wanted.insert(in_file);
            continue;
        };
        if let Some(layout) = layout {
            tensor = layout.turned(&tensor).map_err(|e| damaged(e.to_string()))?;
        }
        if weights.cast && tensor.dtype != target.dtype {
            tensor = cast::to(&tensor, target.dtype).map_err(|e| damaged(format!("`{name}`: {e}")))?;
        }
        if tensor.shape != target.shape || tensor.dtype != target.dtype {
            let SavedTensor { dtype, shape, .. } = target;
            types_only &= tensor.shape == *shape && cast::is_float(*dtype) && cast::is_float(tensor.dtype);
            let (found_dtype, found_shape) = (tensor.dtype, &tensor.shape);
            report
                .mismatched
                .push(format!("{name} is {found_dtype:?} {found_shape:?}, the model's {dtype:?} {shape:?}"));
            continue;
        }
        report.loaded.push(name.to_owned());
        merged.tensors.insert(format!("{MODEL}{name}"), tensor);
    }
    // PyTorch counts batches where other engines do not.
    let counts = |name: &String| !engine_layout && name.ends_with("num_batches_tracked");
    report.unexpected.extend(found.into_keys().filter(|name| !counts(name)));
    if report.loaded.is_empty() || (weights.strict && !report.is_whole()) {
        let unexpected = report.unexpected.iter().map(String::as_str).collect();
        let way_out = way_out::find(&wanted, &unexpected, types_only && !report.mismatched.is_empty());
        return Err(Error::Misfit { path: weights.path.clone(), report: Box::new(report), way_out });
    }
    Ok((merged, report))
}
