//! The model's part of a state dict: parameters, buffers and running statistics by path.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamMapper},
    prelude::*,
    tensor::{Bool, DType, Transaction, kind},
};
use zae_core::{
    error::Fallible,
    learner::{MODEL, SavedTensor, StateDict},
    misfits::Misfits,
    pool::Pool,
};

use crate::{
    lend::{copied, tracked},
    saved,
    visit::{Path, walk},
};

/// Writes the model into a state dict, in one transfer from the device.
pub(crate) fn save<M: Module>(model: &M, state: &mut StateDict) -> Fallible {
    let mut save = Save::default();
    // `valid` brings running statistics up to date; the model itself shows them one update late.
    model.valid().visit(&mut save);
    for (name, data) in save.names.into_iter().zip(save.tensors.try_execute()?) {
        let tensor = saved::save(data).map_err(|e| format!("{name}: {e}"))?;
        state.tensors.insert(name, tensor);
    }
    Ok(())
}

#[derive(Default)]
struct Save {
    path: Path,
    names: Vec<String>,
    tensors: Transaction,
}

impl Save {
    fn add<const D: usize, K: kind::Transaction>(&mut self, tensor: Tensor<D, K>) {
        self.names.push(format!("{MODEL}{}", self.path.as_str()));
        self.tensors = std::mem::take(&mut self.tensors).register(tensor);
    }
}

impl ModuleVisitor for Save {
    walk!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.add(param.transform_for_save().base());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.add(param.transform_for_save().base());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.add(param.transform_for_save().base());
    }
}

/// The same on a device whose memory is the host's: floating-point tensors with one owner are lent, not read, and copied
/// into buffers of the pool. The model comes back, the same numbers in it.
pub(crate) fn save_in_place<M: Module>(model: M, pool: &Arc<Pool>, state: &mut StateDict) -> (M, Fallible) {
    // Brings running statistics up to date.
    drop(model.valid());
    let mut save = SaveInPlace { path: Path::default(), pool, state, result: Ok(()) };
    let model = model.map(&mut save);
    (model, save.result)
}

struct SaveInPlace<'a> {
    path: Path,
    pool: &'a Arc<Pool>,
    state: &'a mut StateDict,
    result: Fallible,
}

impl SaveInPlace<'_> {
    fn put(&mut self, name: String, tensor: Fallible<SavedTensor>) {
        match tensor {
            Ok(tensor) => drop(self.state.tensors.insert(name, tensor)),
            Err(error) => self.result = Err(format!("{name}: {error}").into()),
        }
    }

    fn read<const D: usize, K: kind::Basic>(&mut self, tensor: Tensor<D, K>) {
        let name = format!("{MODEL}{}", self.path.as_str());
        self.put(name, tensor.try_into_data().map_err(Into::into).and_then(saved::save));
    }
}

impl ModuleMapper for SaveInPlace<'_> {
    walk!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let (trainable, strategy) = (tensor.is_require_grad(), tensor.gradient_checkpointing_strategy());
        let mut tensor = tensor.inner();
        if changes_on_save(&mapper) {
            self.read(mapper.on_save(tensor.clone()));
        } else {
            let name = format!("{MODEL}{}", self.path.as_str());
            let copy;
            (tensor, copy) = copied(tensor, &name, self.pool);
            self.put(name, copy);
        }
        Param::from_mapped_value(id, tracked(tensor, trainable, strategy), mapper)
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        self.read(param.transform_for_save().base());
        param
    }

    fn map_bool<const D: usize>(&mut self, param: Param<Tensor<D, Bool>>) -> Param<Tensor<D, Bool>> {
        self.read(param.transform_for_save().base());
        param
    }
}

/// Whether a parameter is saved as something else than its value, as the weight of a `Linear` in column layout is.
pub(crate) fn changes_on_save<const D: usize>(mapper: &ParamMapper<Tensor<D>>) -> bool {
    // Burn says so in no other way.
    !format!("{mapper:?}").contains("save: false")
}

/// Notes every name, shape and type of a state that does not fit the model.
pub(crate) fn check<M: Module>(model: &M, state: &StateDict, misfits: &mut Misfits) {
    let mut check = Check { path: Path::default(), state: &state.tensors, known: BTreeSet::new(), misfits };
    model.visit(&mut check);
    let Check { known, misfits, .. } = check;
    misfits.unknown(state, MODEL, &known);
}

struct Check<'a> {
    path: Path,
    state: &'a BTreeMap<String, SavedTensor>,
    known: BTreeSet<String>,
    misfits: &'a mut Misfits,
}

impl Check<'_> {
    fn compare(&mut self, shape: &Shape, dtype: DType) {
        let name = format!("{MODEL}{}", self.path.as_str());
        self.misfits.compare(self.state, &name, shape, saved::dtype(dtype).ok());
        self.known.insert(name);
    }
}

impl ModuleVisitor for Check<'_> {
    walk!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.transform_for_save().base();
        self.compare(&tensor.shape(), tensor.dtype());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        let tensor = param.transform_for_save().base();
        self.compare(&tensor.shape(), tensor.dtype());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        let tensor = param.transform_for_save().base();
        self.compare(&tensor.shape(), tensor.dtype());
    }
}

/// The model with the values of a state that was found to fit. `model` has to be a copy made by `valid`: only that has
/// running statistics of its own, without updates that wait to be added.
pub(crate) fn load<M: Module>(model: M, state: &StateDict) -> Fallible<M> {
    let mut load = Load { path: Path::default(), state: &state.tensors, result: Ok(()) };
    let model = model.map(&mut load);
    load.result.map(|()| model)
}

struct Load<'a> {
    path: Path,
    state: &'a BTreeMap<String, SavedTensor>,
    result: Fallible,
}

impl Load<'_> {
    fn data(&mut self) -> Option<TensorData> {
        if self.result.is_err() {
            return None;
        }
        let name = format!("{MODEL}{}", self.path.as_str());
        let data = match self.state.get(&name) {
            Some(tensor) => saved::load(tensor).map_err(|e| format!("{name}: {e}").into()),
            None => Err(format!("the state lacks `{name}`").into()),
        };
        data.map_err(|e| self.result = Err(e)).ok()
    }
}

macro_rules! load {
    ($($method:ident $kind:ty;)*) => { $(
        fn $method<const D: usize>(&mut self, param: Param<Tensor<D, $kind>>) -> Param<Tensor<D, $kind>> {
            let Some(data) = self.data() else { return param };
            let (device, dtype, id) = (param.lazy_device(), data.dtype(), param.id);
            param.transform_for_load(Tensor::from_data(data, (&device, dtype)), id)
        }
    )* };
}

impl ModuleMapper for Load<'_> {
    walk!();
    load! { map_float Float; map_int Int; map_bool Bool; }
}
