//! The variables of a model, in the order of PyTorch's `Module.parameters()`.

use std::collections::{BTreeMap, HashMap};

use tch::{Tensor, nn::VarStore};
use zae_core::learner::TensorLayout;

/// A parameter or buffer.
#[derive(Debug)]
pub(crate) struct Variable {
    /// Its name in the `VarStore`, which is its key in a PyTorch `state_dict` too.
    pub(crate) name: String,
    /// The tensor that the model has: not a copy.
    pub(crate) tensor: Tensor,
    /// Whether it is a parameter, frozen or not; the others (running statistics) are buffers.
    pub(crate) parameter: bool,
}

impl Variable {
    /// Whether the optimizer moves it.
    pub(crate) fn trainable(&self) -> bool {
        self.parameter && self.tensor.requires_grad()
    }

    pub(crate) fn layout(&self, group: usize) -> TensorLayout {
        let (name, torch) = (self.name.clone(), self.name.clone());
        TensorLayout { name, torch, parameter: self.parameter, transposed: false, group }
    }
}

/// The variables of a store. A `Module` has its own parameters (a weight before a bias, whatever was made first), its own
/// buffers, and then its children's, in the order in which the children were made.
pub(crate) fn of(store: &VarStore) -> Vec<Variable> {
    let variables = store.variables_.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // The store names its tensors in one place, and has the order of the trainable ones in another.
    let address = |tensor: &Tensor| (tensor.data_ptr() as usize, tensor.size(), tensor.stride());
    let mut made: HashMap<_, Vec<usize>> = HashMap::new();
    for (i, variable) in variables.trainable_variables.iter().enumerate() {
        made.entry(address(&variable.tensor)).or_default().push(i);
    }
    let mut root = Node::default();
    let mut names: Vec<&String> = variables.named_variables.keys().collect();
    names.sort();
    for name in names {
        let tensor = &variables.named_variables[name];
        let at = made.get_mut(&address(tensor)).and_then(|places| (!places.is_empty()).then(|| places.remove(0)));
        root.insert(name, name, tensor.shallow_clone(), at);
    }
    let mut all = Vec::new();
    root.walk(&mut all);
    all
}

/// What is known of a module by the names of its variables.
#[derive(Default)]
struct Node {
    /// When its first parameter was made.
    made: Option<usize>,
    own: Vec<(Option<usize>, Variable)>,
    children: BTreeMap<String, Node>,
}

impl Node {
    fn insert(&mut self, path: &str, name: &str, tensor: Tensor, at: Option<usize>) {
        self.made = match (self.made, at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        match path.split_once('.') {
            Some((child, rest)) => self.children.entry(child.to_owned()).or_default().insert(rest, name, tensor, at),
            None => self.own.push((at, Variable { name: name.to_owned(), tensor, parameter: at.is_some() })),
        }
    }

    fn walk(mut self, all: &mut Vec<Variable>) {
        let rank = |variable: &Variable| match variable.name.rsplit('.').next() {
            Some("weight") => 0,
            Some("bias") => 1,
            _ => 2,
        };
        // Those without a place are buffers: last, by name.
        self.own.sort_by_key(|(at, variable)| (at.is_none(), rank(variable), *at, variable.name.clone()));
        all.extend(self.own.into_iter().map(|(_, variable)| variable));
        let mut children: Vec<_> = self.children.into_iter().collect();
        children.sort_by_key(|(name, child)| (child.made.is_none(), child.made, name.clone()));
        children.into_iter().for_each(|(_, child)| child.walk(all));
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, nn};

    use super::*;

    #[test]
    fn the_order_is_that_of_a_module_and_not_that_of_a_map() {
        let store = VarStore::new(Device::Cpu);
        let root = store.root();
        let _ = nn::linear(&root / "fc2", 3, 4, nn::LinearConfig::default());
        let _ = nn::batch_norm1d(&root / "block" / "norm", 4, nn::BatchNormConfig::default());
        let _ = nn::linear(&root / "block" / "fc1", 4, 2, nn::LinearConfig::default());
        let _ = root.zeros("scale", &[1]);
        let found: Vec<_> = of(&store).into_iter().map(|variable| (variable.name, variable.parameter)).collect();
        let found: Vec<_> = found.iter().map(|(name, parameter)| (name.as_str(), *parameter)).collect();
        assert_eq!(
            found,
            [
                ("scale", true),
                ("fc2.weight", true),
                ("fc2.bias", true),
                ("block.norm.weight", true),
                ("block.norm.bias", true),
                ("block.norm.running_mean", false),
                ("block.norm.running_var", false),
                ("block.fc1.weight", true),
                ("block.fc1.bias", true),
            ]
        );
    }

    #[test]
    fn a_frozen_store_has_parameters_still() {
        let mut store = VarStore::new(Device::Cpu);
        let _ = nn::linear(store.root(), 3, 4, nn::LinearConfig::default());
        store.freeze();
        assert!(of(&store).iter().all(|variable| variable.parameter && !variable.trainable()));
    }
}
