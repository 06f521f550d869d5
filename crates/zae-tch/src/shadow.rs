//! Second sets of weights, for averages of weights. In a state dict: `shadow/ema/conv1.weight`.

use std::collections::{BTreeMap, BTreeSet};

use tch::{Device, Tensor};
use zae_core::{
    engine::Shadow,
    error::Fallible,
    learner::{SHADOW, StateDict},
    misfits::Misfits,
};

use crate::{
    saved::{self, Buffers, short},
    variables::Variable,
};

/// The slots by name. Each holds the floating-point parameters and buffers of the model, in its order.
#[derive(Default, Debug)]
pub(crate) struct Shadows(BTreeMap<String, Vec<Tensor>>);

fn floats(variables: &[Variable]) -> impl Iterator<Item = &Variable> {
    variables.iter().filter(|variable| variable.tensor.is_floating_point())
}

fn copy(tensor: &Tensor) -> Result<Tensor, tch::TchError> {
    let mut copy = tensor.f_empty_like()?;
    copy.f_copy_(tensor)?;
    Ok(copy)
}

impl Shadows {
    pub(crate) fn apply(&mut self, variables: &[Variable], name: &str, op: Shadow) -> Fallible {
        let _no_grad = tch::no_grad_guard();
        let unknown = || format!("there is no second set of weights `{name}`: create it first");
        match op {
            Shadow::Create if name.is_empty() || name.contains('/') => {
                return Err(format!("`{name}` cannot be the name of a second set of weights").into());
            }
            Shadow::Create => {
                let copies = floats(variables).map(|variable| copy(&variable.tensor));
                self.0.insert(name.to_owned(), copies.collect::<Result<_, _>>().map_err(short)?);
            }
            Shadow::Lerp { decay } => {
                let slot = self.0.get_mut(name).ok_or_else(unknown)?;
                for (kept, variable) in slot.iter_mut().zip(floats(variables)) {
                    let _ = kept.f_lerp_(&variable.tensor, 1.0 - decay).map_err(short)?;
                }
            }
            Shadow::Swap => {
                let slot = self.0.get_mut(name).ok_or_else(unknown)?;
                // All the memory first: if there is too little, nothing has changed.
                let weights = floats(variables).map(|variable| copy(&variable.tensor));
                let weights: Vec<Tensor> = weights.collect::<Result<_, _>>().map_err(short)?;
                for (kept, variable) in slot.iter().zip(floats(variables)) {
                    variable.tensor.shallow_clone().f_copy_(kept).map_err(short)?;
                }
                *slot = weights;
            }
            Shadow::Drop => drop(self.0.remove(name).ok_or_else(unknown)?),
            other => return Err(format!("LibTorch cannot do {other:?}").into()),
        }
        Ok(())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn move_to(&mut self, device: Device) -> Result<(), tch::TchError> {
        for tensor in self.0.values_mut().flatten() {
            *tensor = tensor.f_to_device(device)?;
        }
        Ok(())
    }

    pub(crate) fn save(&self, variables: &[Variable], buffers: &Buffers, state: &mut StateDict) -> Fallible {
        for (slot, tensors) in &self.0 {
            for (tensor, variable) in tensors.iter().zip(floats(variables)) {
                let name = format!("{SHADOW}{slot}/{}", variable.name);
                let copy = saved::save(tensor, &name, buffers)?;
                state.tensors.insert(name, copy);
            }
        }
        Ok(())
    }

    /// The slots of a state. Whatever does not fit is noted.
    pub(crate) fn load(
        variables: &[Variable],
        device: Device,
        state: &StateDict,
        misfits: &mut Misfits,
    ) -> Fallible<Self> {
        let names = state.tensors.keys().filter_map(|name| Some(name.strip_prefix(SHADOW)?.split_once('/')?.0));
        let mut slots = BTreeMap::new();
        let mut known = BTreeSet::new();
        for slot in names.collect::<BTreeSet<_>>() {
            let mut tensors = Vec::new();
            for variable in floats(variables) {
                let name = format!("{SHADOW}{slot}/{}", variable.name);
                let dtype = saved::dtype(variable.tensor.f_kind().map_err(short)?);
                if let Some(tensor) = misfits.compare(&state.tensors, &name, &saved::shape(&variable.tensor), dtype) {
                    tensors.push(saved::load(tensor, &name)?.f_to_device(device).map_err(short)?);
                }
                known.insert(name);
            }
            slots.insert(slot.to_owned(), tensors);
        }
        misfits.unknown(state, SHADOW, &known);
        Ok(Self(slots))
    }
}
