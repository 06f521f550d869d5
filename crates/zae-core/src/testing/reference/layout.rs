//! The reference engine in PyTorch's words.

use std::collections::BTreeMap;

use super::{
    adamw::{BETAS, EPSILON, WEIGHT_DECAY},
    net::Net,
};
use crate::learner::{Layout, Number, OptimizerLayout, TensorLayout};

/// A PyTorch module with layers `fc1`, `fc2` and `norm`, and `torch.optim.AdamW` on its parameters. Weights are laid out
/// as PyTorch's are.
pub(super) fn layout(net: &Net) -> Layout {
    let tensor = |name: &str, parameter| TensorLayout {
        name: name.to_owned(),
        torch: name.to_owned(),
        parameter,
        ..TensorLayout::default()
    };
    let mut tensors: Vec<_> = net.params.iter().map(|param| tensor(param.name, true)).collect();
    if net.has_norm() {
        tensors.extend(["norm.running_mean", "norm.running_var"].map(|name| tensor(name, false)));
    }
    let fields = [("moment_1", "exp_avg"), ("moment_2", "exp_avg_sq"), ("time", "step")];
    let numbers = |numbers: &[f64]| numbers.iter().map(|number| Number::Float(*number)).collect();
    let group = [("betas", numbers(&BETAS)), ("eps", numbers(&[EPSILON])), ("weight_decay", numbers(&[WEIGHT_DECAY]))];
    let optimizer = OptimizerLayout {
        class: "AdamW".to_owned(),
        fields: fields.map(|(own, torch)| (own.to_owned(), torch.to_owned())).into(),
        groups: vec![group.map(|(name, numbers)| (name.to_owned(), numbers)).into_iter().collect::<BTreeMap<_, _>>()],
        rates: vec![1.0],
    };
    Layout { tensors, optimizer: Some(optimizer) }
}
