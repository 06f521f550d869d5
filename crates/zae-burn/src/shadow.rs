//! Second sets of weights, for averages of weights. In a state dict: `shadow/ema/conv1.weight`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    prelude::*,
    tensor::{Transaction, container::TensorContainer},
};
use zae_core::{
    engine::Shadow,
    error::{BoxError, Fallible},
    learner::{SHADOW, SavedTensor, StateDict},
    misfits::Misfits,
    pool::Pool,
};

use crate::{
    device::is_synchronous,
    lend::{copied, dense, lerped, tracked},
    model_state::changes_on_save,
    saved,
    visit::{Path, walk},
};

type Slot = TensorContainer<ParamId>;

/// The slots by name. Each holds the floating-point parameters and buffers of the model.
#[derive(Default)]
pub(crate) struct Shadows(BTreeMap<String, Slot>);

impl Shadows {
    /// `model` has to have up-to-date running statistics. It comes back, changed by `Swap`.
    pub(crate) fn apply<M: Module>(&mut self, model: M, name: &str, op: Shadow) -> (M, Fallible) {
        let slot = match op {
            Shadow::Create if name.is_empty() || name.contains('/') => {
                return (model, Err(format!("`{name}` cannot be the name of a second set of weights").into()));
            }
            Shadow::Create => self.0.entry(name.to_owned()).insert_entry(Slot::new()).into_mut(),
            Shadow::Drop => match self.0.remove(name) {
                Some(_) => return (model, Ok(())),
                None => return (model, Err(unknown(name))),
            },
            _ => match self.0.get_mut(name) {
                Some(slot) => slot,
                None => return (model, Err(unknown(name))),
            },
        };
        match op {
            Shadow::Create => model.visit(&mut Create { slot }),
            Shadow::Lerp { decay } => return (model.map(&mut Lerp { slot, weight: 1.0 - decay }), Ok(())),
            Shadow::Swap => return (model.map(&mut Swap { slot }), Ok(())),
            other => return (model, Err(format!("Burn cannot do {other:?}").into())),
        }
        (model, Ok(()))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn move_to<M: Module>(&mut self, model: &M, device: &Device) {
        self.0.values_mut().for_each(|slot| model.visit(&mut Move { slot, device }));
    }

    pub(crate) fn save<M: Module>(&mut self, model: &M, pool: &Arc<Pool>, state: &mut StateDict) -> Fallible {
        for (name, slot) in &mut self.0 {
            let mut save = Save {
                path: Path::default(),
                prefix: format!("{SHADOW}{name}/"),
                slot,
                pool,
                copies: Vec::new(),
                names: Vec::new(),
                tensors: Transaction::default(),
            };
            model.visit(&mut save);
            for (name, copy) in save.copies {
                state.tensors.insert(name, copy?);
            }
            for (name, data) in save.names.into_iter().zip(save.tensors.try_execute()?) {
                state.tensors.insert(name, saved::save(data)?);
            }
        }
        Ok(())
    }

    /// The slots of a state. Whatever does not fit is noted.
    pub(crate) fn load<M: Module>(model: &M, state: &StateDict, misfits: &mut Misfits) -> Fallible<Self> {
        let names = state.tensors.keys().filter_map(|name| Some(name.strip_prefix(SHADOW)?.split_once('/')?.0));
        let mut slots = BTreeMap::new();
        let mut known = BTreeSet::new();
        for name in names.collect::<BTreeSet<_>>() {
            let prefix = format!("{SHADOW}{name}/");
            let mut load = Load {
                path: Path::default(),
                prefix,
                slot: Slot::new(),
                state: &state.tensors,
                known,
                misfits,
                result: Ok(()),
            };
            model.visit(&mut load);
            load.result?;
            known = load.known;
            slots.insert(name.to_owned(), load.slot);
        }
        misfits.unknown(state, SHADOW, &known);
        Ok(Self(slots))
    }
}

fn unknown(name: &str) -> BoxError {
    format!("there is no second set of weights `{name}`: create it first").into()
}

struct Create<'a> {
    slot: &'a mut Slot,
}

impl ModuleVisitor for Create<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.slot.register(param.id, param.base().inner());
    }
}

/// slot = slot + weight x (weights - slot)
struct Lerp<'a> {
    slot: &'a mut Slot,
    weight: f64,
}

impl ModuleMapper for Lerp<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, weights, mapper) = param.consume();
        let (trainable, strategy) = (weights.is_require_grad(), weights.gradient_checkpointing_strategy());
        let mut weights = weights.inner();
        if let Some(mut slot) = self.slot.remove::<Tensor<D>>(&id) {
            (weights, slot) = lerped(weights, slot, self.weight);
            self.slot.register(id, slot);
        }
        Param::from_mapped_value(id, tracked(weights, trainable, strategy), mapper)
    }
}

struct Swap<'a> {
    slot: &'a mut Slot,
}

impl ModuleMapper for Swap<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, weights, mapper) = param.consume();
        let (trainable, strategy) = (weights.is_require_grad(), weights.gradient_checkpointing_strategy());
        let weights = weights.inner();
        let value = self.slot.remove::<Tensor<D>>(&id).unwrap_or_else(|| weights.clone());
        self.slot.register(id, weights);
        Param::from_mapped_value(id, tracked(value, trainable, strategy), mapper)
    }
}

struct Move<'a> {
    slot: &'a mut Slot,
    device: &'a Device,
}

impl ModuleVisitor for Move<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(value) = self.slot.remove::<Tensor<D>>(&param.id) {
            self.slot.register(param.id, value.to_device(self.device));
        }
    }
}

struct Save<'a> {
    path: Path,
    prefix: String,
    slot: &'a mut Slot,
    pool: &'a Arc<Pool>,
    copies: Vec<(String, Fallible<SavedTensor>)>,
    names: Vec<String>,
    tensors: Transaction,
}

impl ModuleVisitor for Save<'_> {
    walk!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(mut value) = self.slot.remove::<Tensor<D>>(&param.id) else { return };
        let name = format!("{}{}", self.prefix, self.path.as_str());
        let (id, _, mapper) = param.clone().consume();
        if is_synchronous(&value.device()) && !changes_on_save(&mapper) {
            let copy;
            (value, copy) = copied(value, &name, self.pool);
            self.copies.push((name, copy));
        } else {
            // As the model's own weights are saved, in the layout of the parameter's save mapper.
            self.names.push(name);
            self.tensors = std::mem::take(&mut self.tensors).register(mapper.on_save(value.clone()));
        }
        self.slot.register(id, value);
    }
}

struct Load<'a> {
    path: Path,
    prefix: String,
    slot: Slot,
    state: &'a BTreeMap<String, SavedTensor>,
    known: BTreeSet<String>,
    misfits: &'a mut Misfits,
    result: Fallible,
}

impl Load<'_> {
    fn value<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) -> Fallible<Option<Tensor<D>>> {
        let here = param.transform_for_save().base();
        let Some(tensor) = self.misfits.compare(self.state, name, &here.shape(), saved::dtype(here.dtype()).ok())
        else {
            return Ok(None);
        };
        let data = saved::load(tensor).map_err(|e| format!("{name}: {e}"))?;
        let device = here.device().without_autodiff();
        let value = Tensor::from_data(data, (&device, here.dtype()));
        Ok(Some(dense(param.clone().transform_for_load(value, param.id).base().inner())))
    }
}

impl ModuleVisitor for Load<'_> {
    walk!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = format!("{}{}", self.prefix, self.path.as_str());
        match self.value(&name, param) {
            Ok(Some(value)) => self.slot.register(param.id, value),
            Ok(None) => {}
            Err(error) => self.result = Err(error),
        }
        self.known.insert(name);
    }
}
