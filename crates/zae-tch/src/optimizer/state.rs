//! The optimizer's part of a state dict: `optimizer/conv1.weight/exp_avg`, and the number `optimizer/conv1.weight/step`.

use std::collections::HashMap;

use tch::{Device, Kind, Tensor};
use zae_core::{
    error::Fallible,
    learner::{Number, OPTIMIZER, StateDict},
    misfits::Misfits,
};

use super::{
    groups::Optimizer,
    rule::{ParamState, Rule, count},
};
use crate::{
    saved::{self, Buffers, short},
    variables::Variable,
};

const STEP: &str = "step";

impl Optimizer {
    pub(crate) fn save(&self, variables: &[Variable], buffers: &Buffers, state: &mut StateDict) -> Fallible {
        let mut counted = Vec::new();
        for (i, kept) in self.states().iter().enumerate() {
            let Some(kept) = kept else { continue };
            let prefix = format!("{OPTIMIZER}{}/", variables[i].name);
            for (slot, tensor) in self.rule(i).slots().iter().zip(&kept.slots) {
                let name = format!("{prefix}{slot}");
                let copy = saved::save(tensor, &name, buffers)?;
                state.tensors.insert(name, copy);
            }
            counted.extend(kept.step.as_ref().map(|step| (format!("{prefix}{STEP}"), step)));
        }
        // In one transfer from the device.
        if !counted.is_empty() {
            let counts: Vec<&Tensor> = counted.iter().map(|(_, count)| *count).collect();
            let counts = Tensor::f_stack(&counts, 0).and_then(|counts| counts.f_to_kind(Kind::Double));
            let counts = Vec::<f64>::try_from(counts.map_err(short)?).map_err(short)?;
            let numbers = counted.into_iter().zip(counts);
            state.numbers.extend(numbers.map(|((name, _), count)| (name, Number::UInt(count as u64))));
        }
        Ok(())
    }

    /// The states of all variables that a state dict has. Whatever does not fit is noted.
    pub(crate) fn load(
        &self,
        variables: &[Variable],
        device: Device,
        state: &StateDict,
        misfits: &mut Misfits,
    ) -> Fallible<Vec<Option<ParamState>>> {
        let index: HashMap<&str, usize> =
            variables.iter().enumerate().filter(|(_, v)| v.parameter).map(|(i, v)| (v.name.as_str(), i)).collect();
        let mut present = vec![false; variables.len()];
        for name in state.tensors.keys().chain(state.numbers.keys()).filter(|name| name.starts_with(OPTIMIZER)) {
            let found =
                name[OPTIMIZER.len()..].rsplit_once('/').and_then(|(path, field)| Some((*index.get(path)?, field)));
            match found {
                None => misfits.unexpected(format!("`{name}`")),
                Some((i, field)) if self.rule(i).has(field, state.numbers.contains_key(name)) => present[i] = true,
                Some(_) => misfits.unusable(format!("`{name}`")),
            }
        }
        let load = |(i, variable): (usize, &Variable)| {
            if present[i] { self.rule(i).load(variable, device, state, misfits) } else { Ok(None) }
        };
        variables.iter().enumerate().map(load).collect()
    }
}

impl Rule {
    /// Whether it keeps something of this name, as a number or as a tensor.
    fn has(&self, field: &str, number: bool) -> bool {
        if number { self.counts_steps() && field == STEP } else { self.slots().contains(&field) }
    }

    /// The state of one parameter, all of it, or `None` if it does not fit.
    fn load(
        &self,
        variable: &Variable,
        device: Device,
        state: &StateDict,
        misfits: &mut Misfits,
    ) -> Fallible<Option<ParamState>> {
        if !self.has_state() {
            return Ok(None);
        }
        let prefix = format!("{OPTIMIZER}{}/", variable.name);
        let (shape, dtype) = (saved::shape(&variable.tensor), saved::dtype(variable.tensor.f_kind().map_err(short)?));
        let mut slots = Vec::new();
        for slot in self.slots() {
            let name = format!("{prefix}{slot}");
            if let Some(tensor) = misfits.compare(&state.tensors, &name, &shape, dtype) {
                // Into the layout of the parameter, which the fused kernels ask for.
                let mut kept = variable.tensor.f_zeros_like().map_err(short)?;
                kept.f_copy_(&saved::load(tensor, &name)?).map_err(short)?;
                slots.push(kept);
            }
        }
        let name = format!("{prefix}{STEP}");
        let step = match state.numbers.get(&name) {
            _ if !self.counts_steps() => None,
            Some(Number::UInt(steps)) => Some(count(*steps as f64, device)?),
            Some(_) => {
                misfits.unusable(format!("`{name}`"));
                return Ok(None);
            }
            None => {
                misfits.missing(format!("`{name}`"));
                return Ok(None);
            }
        };
        Ok((slots.len() == self.slots().len()).then_some(ParamState { slots, step }))
    }
}
