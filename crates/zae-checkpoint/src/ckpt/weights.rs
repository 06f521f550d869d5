//! [`weights`]: those of any file of PyTorch.

use std::collections::BTreeMap;

use zae_core::learner::SavedTensor;

use super::error::{Error, Result};
use crate::torch::{self, Value};

/// Modules put anything they like under names that end so.
const EXTRA_STATE: &str = "_extra_state";

/// The weights of a file: of a `state_dict` saved as it is, or under `state_dict` (Lightning's files, and our own),
/// `model_state_dict` or `model`. Names and layouts are PyTorch's; elements of views that are not row-major are copied when they are asked for.
///
/// Of what else is among them (numbers, texts) nothing is taken.
///
/// # Errors
/// When there is no tensor, or something among them is an object of a class or a tensor of a type that is not read.
pub fn weights(value: &Value) -> Result<BTreeMap<String, SavedTensor>> {
    if let Value::Opaque(class) = value {
        return Err(Error::NoWeights(format!(
            "the file is an object of class `{class}`, which only its own code can read: save `model.state_dict()` \
             instead of the model"
        )));
    }
    let places = [value.get("state_dict"), value.get("model_state_dict"), value.get("model"), Some(value)];
    let has_tensors =
        |place: &&Value| place.as_dict().is_some_and(|own| own.iter().any(|(_, v)| v.as_tensor().is_some()));
    let Some(place) = places.into_iter().flatten().find(has_tensors) else {
        return Err(Error::NoWeights(
            "no tensors at the top, under `state_dict`, `model_state_dict` or `model`".to_owned(),
        ));
    };
    let mut weights = BTreeMap::new();
    for (key, value) in place.as_dict().unwrap_or_default() {
        match (key.as_str(), value) {
            (Some(name), Value::Tensor(tensor)) => {
                weights.insert(name.to_owned(), tensor.to_saved());
            }
            (Some(name), Value::Opaque(class)) if !name.ends_with(EXTRA_STATE) => {
                return Err(torch::Error::Refused(format!("`{name}` is {class}")).into());
            }
            _ => {}
        }
    }
    Ok(weights)
}
