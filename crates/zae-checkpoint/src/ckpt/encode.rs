//! [`encode`]: a snapshot in Lightning's shape.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use zae_core::{
    learner::{Dtype, MODEL, Number, OPTIMIZER, OptimizerLayout, SavedTensor, StateDict, TensorLayout},
    snapshot::Snapshot,
};

use super::{
    FORMAT, LIGHTNING,
    error::{Error, Result},
    numbered,
    plain::to_value,
};
use crate::torch::{Tensor, Value};

/// A snapshot as the value that [`torch::write`](crate::torch::write) makes a `.ckpt` of. Tensors are shared, not copied.
///
/// # Errors
/// When the layout that the engine gave names a tensor or a group that is not there, or a name twice.
pub fn encode(snapshot: &Snapshot) -> Result<Value> {
    let (run, learner) = (&snapshot.run, &snapshot.learner);
    let mut encoder = Encoder {
        left: learner.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect(),
        state: learner,
    };
    let state_dict = encoder.model()?;
    let optimizer = match &learner.layout.optimizer {
        Some(optimizer) if !learner.layout.tensors.is_empty() => Some(encoder.optimizer(optimizer, run.lr)?),
        _ => None,
    };
    let rates = learner.layout.optimizer.as_ref().map_or(&[1.0][..], |optimizer| &optimizer.rates);
    let scheduler = Value::dict([
        ("last_epoch", run.progress.step().into()),
        ("_last_lr", Value::List(rates.iter().map(|rate| Value::Float(run.lr * rate)).collect())),
    ]);
    let tensors = encoder.left.into_iter().map(|(name, tensor)| Ok((name, plain(tensor)?)));
    let zae = Value::dict([
        ("format", Value::from(FORMAT)),
        ("crate", env!("CARGO_PKG_VERSION").into()),
        ("engine", run.config.get("engine").map_or("", String::as_str).into()),
        ("run", to_value(run)?),
        ("layout", to_value(&*learner.layout)?),
        ("numbers", to_value(&learner.numbers)?),
        ("tensors", Value::dict(tensors.collect::<Result<Vec<(&str, Value)>>>()?)),
    ]);
    Ok(Value::dict([
        ("epoch", run.progress.epoch().into()),
        ("global_step", run.progress.step().into()),
        ("pytorch-lightning_version", LIGHTNING.into()),
        ("state_dict", state_dict),
        ("optimizer_states", Value::List(optimizer.into_iter().collect())),
        ("lr_schedulers", Value::List(vec![scheduler])),
        ("zae", zae),
    ]))
}

/// The model's part of a state dict as PyTorch's `state_dict`.
///
/// # Errors
/// When the layout that the engine gave names a tensor that is not there, or a name twice.
pub fn state_dict(state: &StateDict) -> Result<Value> {
    let left = state.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    Encoder { left, state }.model()
}

struct Encoder<'a> {
    state: &'a StateDict,
    /// Tensors that have found no place yet.
    left: BTreeMap<&'a str, &'a SavedTensor>,
}

impl<'a> Encoder<'a> {
    fn model(&mut self) -> Result<Value> {
        let given = &self.state.layout.tensors;
        let own = || self.left.keys().filter_map(|name| name.strip_prefix(MODEL)).map(as_it_is).collect();
        let layouts: Cow<'_, [TensorLayout]> = if given.is_empty() { Cow::Owned(own()) } else { Cow::Borrowed(given) };
        let mut torch_names = BTreeSet::new();
        let mut entries = Vec::with_capacity(layouts.len());
        for layout in &*layouts {
            let name = format!("{MODEL}{}", layout.name);
            let tensor = self.left.remove(&*name);
            let tensor = tensor.ok_or_else(|| Error::Layout(format!("there is no tensor `{name}`")))?;
            if !torch_names.insert(&layout.torch) {
                return Err(Error::Layout(format!("two tensors are called `{}` in PyTorch", layout.torch)));
            }
            entries.push((layout.torch.as_str(), view(tensor, layout)?));
        }
        Ok(Value::dict(entries))
    }

    /// `Optimizer.state_dict()`: states by the parameters' numbers, and the groups.
    fn optimizer(&mut self, optimizer: &'a OptimizerLayout, lr: f64) -> Result<Value> {
        let parameters = numbered(&self.state.layout);
        let mut states = Vec::new();
        let mut members = vec![Vec::new(); optimizer.groups.len()];
        for (number, parameter) in parameters.into_iter().enumerate() {
            let number = Value::from(number as u64);
            let group = members.get_mut(parameter.group);
            let none = || Error::Layout(format!("`{}` is in group {}", parameter.name, parameter.group));
            group.ok_or_else(none)?.push(number.clone());
            let state = self.parameter(parameter, optimizer)?;
            if !state.is_empty() {
                states.push((number, Value::dict(state)));
            }
        }
        let group = |(i, members): (usize, Vec<Value>)| {
            let rate = optimizer.rates.get(i).copied().unwrap_or(1.0);
            let hyperparameters = optimizer.groups[i].iter().map(|(name, numbers)| (name.as_str(), hyper(numbers)));
            let entries = std::iter::once(("lr", Value::Float(lr * rate))).chain(hyperparameters);
            Value::dict(entries.chain([("params", Value::List(members))]))
        };
        let groups = members.into_iter().enumerate().map(group).collect();
        Ok(Value::dict([("state", Value::Dict(states)), ("param_groups", Value::List(groups))]))
    }

    /// The state of a parameter; nothing if it has had none. A number of the whole optimizer, such as its count of steps,
    /// is each parameter's.
    fn parameter(&mut self, layout: &TensorLayout, optimizer: &'a OptimizerLayout) -> Result<Vec<(&'a str, Value)>> {
        let (mut numbers, mut tensors, mut has_state) = (Vec::new(), Vec::new(), false);
        for (own, torch) in &optimizer.fields {
            let name = format!("{OPTIMIZER}{}/{own}", layout.name);
            if let Some(tensor) = self.left.remove(&*name) {
                tensors.push((torch.as_str(), view(tensor, layout)?));
                has_state = true;
            }
            let one = self.state.numbers.get(&name);
            has_state |= one.is_some();
            if let Some(number) = one.or_else(|| self.state.numbers.get(&format!("{OPTIMIZER}{own}"))) {
                numbers.push((torch.as_str(), scalar(*number)?));
            }
        }
        Ok(if has_state { numbers.into_iter().chain(tensors).collect() } else { Vec::new() })
    }
}

fn as_it_is(name: &str) -> TensorLayout {
    TensorLayout { name: name.to_owned(), torch: name.to_owned(), ..TensorLayout::default() }
}

fn plain(tensor: &SavedTensor) -> Result<Value> {
    Ok(Tensor::contiguous(tensor.dtype, tensor.shape.clone(), tensor.data.clone())?.into())
}

/// As PyTorch has it: the engine's bytes, seen the other way round if that is the layout.
fn view(tensor: &SavedTensor, layout: &TensorLayout) -> Result<Value> {
    let tensor = Tensor::contiguous(tensor.dtype, tensor.shape.clone(), tensor.data.clone())?;
    Ok(if layout.transposed { tensor.transposed() } else { tensor }.into())
}

/// PyTorch counts steps in tensors of one f32.
fn scalar(number: Number) -> Result<Value> {
    let number = match number {
        Number::Int(number) => number as f32,
        Number::UInt(number) => number as f32,
        Number::Float(number) => number as f32,
        Number::Bool(yes) => f32::from(u8::from(yes)),
    };
    Ok(Tensor::contiguous(Dtype::F32, Vec::new(), Arc::new(number.to_le_bytes().to_vec()))?.into())
}

fn hyper(numbers: &[Number]) -> Value {
    let value = |number: &Number| match *number {
        Number::Int(number) => number.into(),
        Number::UInt(number) => number.into(),
        Number::Float(number) => number.into(),
        Number::Bool(yes) => Value::Bool(yes),
    };
    match numbers {
        [one] => value(one),
        several => Value::Tuple(several.iter().map(value).collect()),
    }
}
