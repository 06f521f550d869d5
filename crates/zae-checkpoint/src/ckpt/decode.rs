//! [`decode`]: a snapshot from what [`encode`](super::encode) made of one.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    sync::Arc,
};

use zae_core::{
    learner::{Layout, MODEL, Number, OPTIMIZER, SavedTensor, StateDict, TensorLayout},
    snapshot::{RunState, Snapshot},
};

use super::{
    FORMAT,
    error::{Error, Result},
    numbered,
    plain::from_value,
};
use crate::torch::{Tensor, Value};

/// A snapshot from the value of a `.ckpt`. Tensors share the value's bytes.
///
/// # Errors
/// When the file has weights only ([`Error::WeightsOnly`]), has a later format, or is damaged.
pub fn decode(value: &Value) -> Result<Snapshot> {
    let zae = value.get("zae").ok_or(Error::WeightsOnly)?;
    let format: u64 = from_value(field(zae, "format")?, "format")?;
    if format > FORMAT {
        return Err(Error::Newer { found: format, known: FORMAT });
    }
    let run: RunState = from_value(field(zae, "run")?, "run")?;
    let layout: Layout = from_value(field(zae, "layout")?, "layout")?;
    let numbers: BTreeMap<String, Number> = from_value(field(zae, "numbers")?, "numbers")?;
    let mut tensors = BTreeMap::new();
    for (name, tensor) in named(field(zae, "tensors")?, "tensors")? {
        add(&mut tensors, name.to_owned(), saved(tensor, false))?;
    }
    model(field(value, "state_dict")?, &layout, &mut tensors)?;
    optimizer(field(value, "optimizer_states")?, &layout, &numbers, &mut tensors)?;
    let mut learner = StateDict::default();
    (learner.tensors, learner.numbers, learner.layout) = (tensors, numbers, Arc::new(layout));
    Ok(Snapshot::new(run, learner))
}

type Tensors = BTreeMap<String, SavedTensor>;

fn model(state_dict: &Value, layout: &Layout, tensors: &mut Tensors) -> Result<()> {
    let entries = named(state_dict, "state_dict")?;
    if layout.tensors.is_empty() {
        return entries
            .into_iter()
            .try_for_each(|(name, tensor)| add(tensors, format!("{MODEL}{name}"), saved(tensor, false)));
    }
    let by_torch: HashMap<&str, &TensorLayout> = layout.tensors.iter().map(|own| (own.torch.as_str(), own)).collect();
    if let Some(missing) = layout.tensors.len().checked_sub(entries.len()).filter(|missing| *missing > 0) {
        return damaged(format!("`state_dict` lacks {missing} of the tensors that `layout` names"));
    }
    for (name, tensor) in entries {
        let Some(own) = by_torch.get(name) else {
            return damaged(format!("`state_dict` has `{name}`, which `layout` does not name"));
        };
        add(tensors, format!("{MODEL}{}", own.name), saved(tensor, own.transposed))?;
    }
    Ok(())
}

fn optimizer(states: &Value, layout: &Layout, numbers: &BTreeMap<String, Number>, tensors: &mut Tensors) -> Result<()> {
    let (state, fields) = match (states.as_list(), &layout.optimizer) {
        (Some([]), _) => return Ok(()),
        (Some([state]), Some(optimizer)) => (field(state, "state")?, &optimizer.fields),
        _ => return damaged("`optimizer_states` is not what `layout` says"),
    };
    let own_names: HashMap<&str, &str> = fields.iter().map(|(own, torch)| (torch.as_str(), own.as_str())).collect();
    let parameters = numbered(layout);
    for (number, fields) in state.as_dict().unwrap_or_default() {
        let parameter = number.as_i64().and_then(|number| parameters.get(usize::try_from(number).ok()?));
        let Some(parameter) = parameter else {
            return damaged("`optimizer_states` has a parameter that `layout` has not");
        };
        for (torch, tensor) in named(fields, "optimizer_states")? {
            let Some(own) = own_names.get(torch) else {
                return damaged(format!("`optimizer_states` has a field `{torch}` that `layout` has not"));
            };
            let name = format!("{OPTIMIZER}{}/{own}", parameter.name);
            // What PyTorch has as a tensor of one f32 and we as a number is there exactly as well.
            let exact = numbers.contains_key(&name) || numbers.contains_key(&format!("{OPTIMIZER}{own}"));
            if !exact {
                add(tensors, name, saved(tensor, parameter.transposed))?;
            }
        }
    }
    Ok(())
}

/// In the engine's layout.
fn saved(tensor: &Tensor, transposed: bool) -> SavedTensor {
    if transposed { tensor.clone().transposed().to_saved() } else { tensor.to_saved() }
}

fn add(tensors: &mut Tensors, name: String, tensor: SavedTensor) -> Result<()> {
    match tensors.entry(name) {
        Entry::Occupied(entry) => damaged(format!("the tensor `{}` is there twice", entry.key())),
        Entry::Vacant(entry) => {
            entry.insert(tensor);
            Ok(())
        }
    }
}

fn field<'a>(value: &'a Value, name: &str) -> Result<&'a Value> {
    value.get(name).ok_or_else(|| Error::Damaged(format!("it has no `{name}`")))
}

/// The tensors of a dictionary by name.
fn named<'a>(value: &'a Value, what: &str) -> Result<Vec<(&'a str, &'a Arc<Tensor>)>> {
    let entries = value.as_dict().ok_or_else(|| Error::Damaged(format!("`{what}` is {}, not a dict", value.kind())))?;
    let tensor = |(key, value): &'a (Value, Value)| Some((key.as_str()?, value.as_tensor()?));
    let tensors: Option<Vec<_>> = entries.iter().map(tensor).collect();
    tensors.ok_or_else(|| Error::Damaged(format!("`{what}` has something else than tensors by name")))
}

fn damaged<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::Damaged(what.into()))
}
