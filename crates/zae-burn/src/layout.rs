//! A model in PyTorch's words. The crate's page says what is mapped.

use std::collections::BTreeSet;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamGroup, ParamId},
    prelude::*,
    tensor::Bool,
};
use zae_core::learner::{Layout, OptimizerLayout, TensorLayout};

use crate::{model_state::changes_on_save, visit::Path};

/// The layout of a model in training mode and of an optimizer for it. `rates` are the groups with a learning rate of their
/// own; of several that a parameter is in, the last counts.
pub(crate) fn of<M: Module>(model: &M, optimizer: Option<&OptimizerLayout>, rates: &[(ParamGroup, f64)]) -> Layout {
    let mut list = List::default();
    // A copy: running statistics are shared with clones.
    model.valid().train().map(&mut Mark).visit(&mut list);
    let found = list.found;
    let names: BTreeSet<&str> = found.iter().map(|tensor| tensor.name.as_str()).collect();
    let wanted = |tensor: &Found| {
        let inside = |(group, _): &(ParamGroup, f64)| group.matches(&tensor.id, Some(&tensor.name));
        rates.iter().rposition(inside).filter(|_| tensor.parameter).map_or(0, |i| i + 1)
    };
    // PyTorch's optimizers have no group without parameters.
    let used: BTreeSet<usize> = found.iter().filter(|tensor| tensor.parameter).map(wanted).collect();
    let tensors = found.iter().map(|tensor| {
        let renamed = tensor.renamed().filter(|name| !names.contains(name.as_str()));
        TensorLayout {
            name: tensor.name.clone(),
            torch: renamed.unwrap_or_else(|| tensor.name.clone()),
            parameter: tensor.parameter,
            transposed: tensor.transposed(&found),
            group: used.range(..wanted(tensor)).count(),
        }
    });
    // Moments have the shape of the parameter, which then is not the shape of what is saved of it.
    let alike = !found.iter().any(|tensor| tensor.changes_on_save);
    let optimizer = optimizer.filter(|_| alike).map(|optimizer| {
        let rate = |&group: &usize| group.checked_sub(1).map_or(1.0, |i| rates[i].1);
        OptimizerLayout {
            groups: used.iter().flat_map(|_| optimizer.groups.first().cloned()).collect(),
            rates: used.iter().map(rate).collect(),
            ..optimizer.clone()
        }
    });
    Layout { tensors: tensors.collect(), optimizer }
}

/// Asks every parameter to be trained. Running statistics do not obey, and so are told from frozen parameters.
struct Mark;

impl ModuleMapper for Mark {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.set_require_grad(true)
    }
}

struct Found {
    id: ParamId,
    name: String,
    /// What Burn calls the type that declares it: `Struct:Linear`.
    container: String,
    /// As it is saved.
    shape: Vec<usize>,
    parameter: bool,
    changes_on_save: bool,
}

impl Found {
    /// `head.` of `head.weight`.
    fn parent(&self) -> &str {
        &self.name[..self.name.len() - self.field().len()]
    }

    fn field(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// Its name in PyTorch, if that is another.
    fn renamed(&self) -> Option<String> {
        let field = match (self.container.as_str(), self.field()) {
            (
                "Struct:BatchNorm" | "Struct:LayerNorm" | "Struct:GroupNorm" | "Struct:InstanceNorm" | "Struct:RmsNorm",
                field,
            ) => match field {
                "gamma" => "weight",
                "beta" => "bias",
                _ => return None,
            },
            ("Struct:PRelu", "alpha") => "weight",
            _ => return None,
        };
        Some(format!("{}{field}", self.parent()))
    }

    /// Whether it is the weight of Burn's `Linear`, inputs x outputs. In column layout that is saved as PyTorch has it.
    ///
    /// Burn says only what the type is called. So a type that has anything else in it, or a bias that does not belong to
    /// the second dimension of the weight, is another `Linear`.
    fn transposed(&self, all: &[Self]) -> bool {
        let &[_, outputs] = self.shape.as_slice() else { return false };
        let belongs = |tensor: &Self| match tensor.name.strip_prefix(self.parent()) {
            Some("bias") => tensor.container == "Struct:Linear" && tensor.shape == [outputs],
            // Below the weight itself is what reparameterises it.
            Some(rest) => rest == "weight" || rest.starts_with("weight."),
            None => true,
        };
        self.container == "Struct:Linear"
            && self.field() == "weight"
            && self.parameter
            && !self.changes_on_save
            && all.iter().all(belongs)
    }
}

#[derive(Default)]
struct List {
    path: Path,
    containers: Vec<String>,
    found: Vec<Found>,
}

impl List {
    fn add(&mut self, id: ParamId, shape: &Shape, parameter: bool, changes_on_save: bool) {
        self.found.push(Found {
            id,
            name: self.path.as_str().to_owned(),
            container: self.containers.last().cloned().unwrap_or_default(),
            shape: shape.to_vec(),
            parameter,
            changes_on_save,
        });
    }
}

impl ModuleVisitor for List {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name);
        self.containers.push(container_type.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
        self.containers.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let changes = changes_on_save(&param.clone().consume().2);
        let saved = param.transform_for_save().base();
        self.add(param.id, &saved.shape(), param.base().is_require_grad(), changes);
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.add(param.id, &param.transform_for_save().base().shape(), false, false);
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.add(param.id, &param.transform_for_save().base().shape(), false, false);
    }
}
