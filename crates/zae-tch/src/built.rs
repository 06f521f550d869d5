//! [`Built`]: a model whose weights are there.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use tch::{
    Device,
    nn::{Path, VarStore},
};
use zae_core::{
    error::{Fallible, Panicked},
    learner::{MODEL, SavedTensor, StateDict},
    misfits::Misfits,
};

use crate::{
    saved::{self, short},
    variables::{self, Variable},
};

/// Makes a model's layers in a variable store.
pub(crate) type Build<M> = Box<dyn FnOnce(&Path<'_>) -> M>;

pub(crate) struct Built<M> {
    pub(crate) model: M,
    pub(crate) store: VarStore,
    pub(crate) variables: Vec<Variable>,
}

impl<M> Built<M> {
    /// Draws the weights. Layers of `tch` panic where LibTorch fails; that becomes an error.
    pub(crate) fn build(build: Build<M>, store: VarStore) -> Fallible<Self> {
        let model = catch_unwind(AssertUnwindSafe(|| build(&store.root())))
            .map_err(|payload| format!("the model could not be built: {}", Panicked::new(&*payload)))?;
        Self::of(model, store)
    }

    /// # Errors
    /// When there are no variables, or they are on several devices.
    pub(crate) fn of(model: M, store: VarStore) -> Fallible<Self> {
        let variables = variables::of(&store);
        let Some(first) = variables.first() else {
            return Err("the model has no variables: build its layers with the path of its store, `&store.root()` or the one that the closure is given".into());
        };
        let device = first.tensor.device();
        if let Some(other) = variables.iter().find(|variable| variable.tensor.device() != device) {
            return Err(format!(
                "`{}` is on {device:?}, and `{}` on {:?}: build all layers with the path that the closure is given",
                first.name,
                other.name,
                other.tensor.device()
            )
            .into());
        }
        Ok(Self { model, store, variables })
    }

    /// Moves it with its gradients.
    pub(crate) fn move_to(&mut self, device: Device) -> Fallible {
        let grads: Vec<_> = self.variables.iter().map(|variable| variable.tensor.grad()).collect();
        // `tch` panics if the memory there does not suffice.
        catch_unwind(AssertUnwindSafe(|| self.store.set_device(device)))
            .map_err(|payload| format!("the model cannot go to {device:?}: {}", Panicked::new(&*payload)))?;
        for (variable, grad) in self.variables.iter().zip(grads).filter(|(_, grad)| grad.defined()) {
            zae_tch_sys::set_grad(&variable.tensor, &grad.f_to_device(device).map_err(short)?)?;
        }
        Ok(())
    }

    /// Notes every name, shape and type of a state that does not fit the model.
    pub(crate) fn check(&self, state: &StateDict, misfits: &mut Misfits) -> Fallible {
        let mut known = BTreeSet::new();
        for variable in &self.variables {
            let dtype = saved::dtype(variable.tensor.f_kind().map_err(short)?);
            let name = format!("{MODEL}{}", variable.name);
            misfits.compare(&state.tensors, &name, &saved::shape(&variable.tensor), dtype);
            known.insert(name);
        }
        misfits.unknown(state, MODEL, &known);
        Ok(())
    }

    /// Takes the values of a state that was found to fit: all, or none.
    pub(crate) fn load(&mut self, state: &StateDict) -> Fallible {
        let _no_grad = tch::no_grad_guard();
        let value = |variable: &Variable| {
            let name = format!("{MODEL}{}", variable.name);
            let tensor: &SavedTensor = state.tensors.get(&name).ok_or_else(|| format!("the state lacks `{name}`"))?;
            saved::load(tensor, &name)?.f_to_device(variable.tensor.device()).map_err(short)
        };
        let values = self.variables.iter().map(value).collect::<Fallible<Vec<_>>>()?;
        for (variable, value) in self.variables.iter_mut().zip(values) {
            variable.tensor.f_copy_(&value).map_err(short)?;
        }
        Ok(())
    }
}
