//! Weights of one engine for another. What both have in common is what PyTorch would call it.

use std::collections::BTreeMap;

use crate::{
    error::Fallible,
    learner::{Dtype, MODEL, SavedTensor, StateDict},
};

/// The model's tensors by PyTorch's names, laid out as PyTorch's are.
fn in_torch(state: &StateDict) -> Fallible<BTreeMap<String, SavedTensor>> {
    state.layout.to_torch(state.model().map(|(name, tensor)| (name.to_owned(), tensor.clone())))
}

/// The state `to` with the model's tensors of another engine's state.
pub(super) fn carried(from: &StateDict, to: &StateDict) -> Fallible<StateDict> {
    let mut given = in_torch(from)?;
    let layouts = to.layout.by_name();
    let mut state = to.clone();
    for (name, _) in to.model() {
        let layout = layouts.get(name);
        let torch = layout.map_or(name, |layout| layout.torch.as_str());
        let tensor = given.remove(torch).ok_or_else(|| format!("the first engine's model has no `{torch}`"))?;
        let tensor = layout.map_or(Ok(tensor.clone()), |layout| layout.turned(&tensor))?;
        state.tensors.insert(format!("{MODEL}{name}"), tensor);
    }
    match given.into_keys().next() {
        None => Ok(state),
        Some(left) => Err(format!("the second engine's model has no `{left}`").into()),
    }
}

/// Over all tensors of two models, the largest of max |a - b| / max |a|.
pub(super) fn difference(a: &StateDict, b: &StateDict) -> Fallible<f64> {
    let (a, b) = (in_torch(a)?, in_torch(b)?);
    let mut largest = 0.0;
    for (name, a) in a {
        let (a, b) = (numbers(&name, &a)?, numbers(&name, b.get(&name).ok_or("a tensor went missing")?)?);
        let size = a.iter().fold(0.0f64, |size, x| size.max(x.abs()));
        let apart = a.iter().zip(&b).map(|(a, b)| relative(a - b, size)).fold(0.0, f64::max);
        largest = f64::max(largest, if a.len() == b.len() { apart } else { f64::INFINITY });
    }
    Ok(largest)
}

/// |difference| / size. What is no number is infinitely far from everything.
pub(super) fn relative(difference: f64, size: f64) -> f64 {
    match difference.abs() / size.abs() {
        _ if difference == 0.0 => 0.0,
        quotient if quotient.is_nan() => f64::INFINITY,
        quotient => quotient,
    }
}

fn numbers(name: &str, tensor: &SavedTensor) -> Fallible<Vec<f64>> {
    let bytes = tensor.data.bytes()?;
    match tensor.dtype {
        Dtype::F32 => Ok(bytes.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()),
        Dtype::F64 => Ok(bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()),
        other => Err(format!("`{name}` is {other:?}: only f32 and f64 are compared").into()),
    }
}
