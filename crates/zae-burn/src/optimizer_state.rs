//! The optimizer's part of a state dict. Burn keys it by parameter id, which differs between processes; here it goes by
//! path: `optimizer/conv1.weight/momentum.moment_1`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn_pack::{Reader, Scalar, Tensor, Writer};
use zae_core::{
    error::Fallible,
    learner::{Number, OPTIMIZER, StateDict},
    misfits::Misfits,
    pool::Pool,
};

use crate::{
    saved,
    tap::{self, Given},
    visit::FloatParam,
};

/// Writes the optimizer's tensors and numbers into a state dict. Without a pool it is only to know what there is: tensors
/// may come without their bytes.
pub(crate) fn save(
    optimizer: &ModuleOptimizer,
    params: &[FloatParam],
    pool: Option<&Arc<Pool>>,
    state: &mut StateDict,
) -> Fallible {
    let (record, copies) = tap::copy_out(pool, || optimizer.to_record())?;
    let paths: HashMap<u64, &str> = params.iter().map(|param| (param.id.val(), param.name.as_str())).collect();
    for (key, tensor) in copies.tensors {
        state.tensors.insert(renamed(&key, &paths)?, tensor);
    }
    for (key, value) in copies.numbers {
        state.numbers.insert(renamed(&key, &paths)?, saved::number(value));
    }
    // The rest: everything, if the optimizer is not tapped.
    let reader = Reader::from_bytes(record.into_bytes()?)?;
    for (key, &value) in reader.scalars() {
        state.numbers.insert(renamed(key, &paths)?, saved::number(value));
    }
    for tensor in reader.into_tensors()? {
        // The bytes are windows into the one buffer of the record.
        let (key, dtype, shape, _, bytes) = tensor.into_parts()?;
        let data = burn::tensor::TensorData::try_from_bytes(bytes, shape, dtype)?;
        state.tensors.insert(renamed(&key, &paths)?, saved::save(data)?);
    }
    Ok(())
}

/// `17.momentum.time` becomes `optimizer/conv1.weight/momentum.time`.
fn renamed(key: &str, paths: &HashMap<u64, &str>) -> Fallible<String> {
    let path = key.split_once('.').and_then(|(id, field)| Some((*paths.get(&id.parse().ok()?)?, field)));
    let Some((path, field)) = path else {
        return Err(format!("the optimizer has state `{key}` for a parameter that the model does not have").into());
    };
    Ok(format!("{OPTIMIZER}{path}/{field}"))
}

/// The optimizer with the state of a state dict. Whatever does not fit is noted.
pub(crate) fn load(
    optimizer: &ModuleOptimizer,
    params: &[FloatParam],
    state: &StateDict,
    misfits: &mut Misfits,
) -> Fallible<ModuleOptimizer> {
    let by_path: HashMap<&str, &FloatParam> = params.iter().map(|param| (param.name.as_str(), param)).collect();
    let find = |name: &str| -> Option<(&FloatParam, String)> {
        let (path, field) = name.strip_prefix(OPTIMIZER)?.rsplit_once('/')?;
        let param = *by_path.get(path)?;
        Some((param, format!("{}.{field}", param.id.val())))
    };
    let mut wanted = BTreeSet::new();
    let mut tensors = Given::new();
    let mut numbers = BTreeMap::new();
    for (name, tensor) in state.tensors.iter().filter(|(name, _)| name.starts_with(OPTIMIZER)) {
        let Some((param, key)) = find(name) else {
            misfits.unexpected(format!("`{name}`"));
            continue;
        };
        if !fits(&tensor.shape, &param.shape) {
            misfits.different(format!(
                "`{name}` is {:?} {:?}, and the parameter {:?}",
                tensor.dtype, tensor.shape, param.shape
            ));
            continue;
        }
        let data = saved::load(tensor).map_err(|e| format!("{name}: {e}"))?;
        let id = param.id.val().to_string();
        // Without a rank Burn does not ask a tapped state for its tensors.
        numbers.insert(format!("{id}.__rank"), saved::scalar(Number::UInt(param.shape.len() as u64)));
        tensors.entry(id).or_default().push((key, data));
        wanted.insert(name.clone());
    }
    for (name, &value) in state.numbers.iter().filter(|(name, _)| name.starts_with(OPTIMIZER)) {
        let Some((param, key)) = find(name) else {
            misfits.unexpected(format!("`{name}`"));
            continue;
        };
        let value = saved::scalar(value);
        if name.ends_with("/__rank") && usize::try_from(value).ok() != Some(param.shape.len()) {
            misfits.different(format!("`{name}` is {value:?}, and the parameter {:?}", param.shape));
            continue;
        }
        numbers.insert(key, value);
        wanted.insert(name.clone());
    }
    let (loaded, left) = tap::give(tensors, || load_record(optimizer, params, Given::new(), &numbers));
    let loaded = if left.is_empty() { loaded? } else { load_record(optimizer, params, left, &numbers)? };
    // Burn leaves out in silence what it does not understand. What it would save now is what it understood.
    let mut understood = StateDict::default();
    save(&loaded, params, None, &mut understood)?;
    for name in wanted {
        match (state.tensors.get(&name), understood.tensors.get(&name)) {
            (Some(wanted), Some(got)) if wanted.dtype != got.dtype => misfits.different(format!(
                "`{name}` is {:?} in the state and Burn loads it as {:?}, the device's default: see `Device::configure`",
                wanted.dtype, got.dtype
            )),
            (Some(_), Some(_)) => {}
            _ if understood.numbers.contains_key(&name) => {}
            _ => misfits.unusable(format!("`{name}`")),
        }
    }
    Ok(loaded)
}

/// The optimizer with the state of a record, in which tensors are copied once more.
fn load_record(
    optimizer: &ModuleOptimizer,
    params: &[FloatParam],
    tensors: Given,
    numbers: &BTreeMap<String, Scalar>,
) -> Fallible<ModuleOptimizer> {
    let mut all = Vec::new();
    for (id, tensors) in tensors {
        let id = id.parse()?;
        all.extend(tensors.into_iter().map(|(key, data)| {
            let (bytes, shape, dtype) = data.into_parts();
            Tensor::new(key, dtype, shape, Some(id), bytes)
        }));
    }
    let mut writer = Writer::new(all);
    for (key, value) in numbers {
        writer = writer.with_scalar(key, *value);
    }
    for param in params {
        // Burn finds a parameter's group, and so its optimizer, by this path.
        writer = writer.with_metadata(&param.id.val().to_string(), &param.name);
    }
    Ok(optimizer.clone().load_record(OptimizerRecord::from_bytes(writer.into_bytes()?)?))
}

/// Moments have the parameter's shape; factored ones (Adafactor) have 1 where they are summed.
fn fits(moment: &[usize], param: &[usize]) -> bool {
    moment.len() == param.len() && moment.iter().zip(param).all(|(m, p)| m == p || (*m == 1 && param.len() > 1))
}
