//! [`Rule`]: how an optimizer moves parameters of one group.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};
use zae_core::{error::Fallible, learner::Number};
use zae_tch_sys::{AdamStep, AdamTensors, SgdStep, SgdTensors, adam_step, sgd_step};

use super::{adam::AdamOptions, sgd::Sgd};
use crate::saved::short;

/// The settings of a group.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Rule {
    Adam(AdamOptions),
    Sgd(Sgd),
}

/// What is kept for one parameter.
#[derive(Debug)]
pub(crate) struct ParamState {
    /// As many as [`Rule::slots`], and in that order. Each is laid out as its parameter.
    pub(crate) slots: Vec<Tensor>,
    /// How many steps it has taken, if the rule counts them: one `Float`, on its device, as PyTorch has it.
    pub(crate) step: Option<Tensor>,
}

/// The tensors of a step, one place for each parameter.
pub(crate) struct Lists<'a> {
    pub(crate) params: Vec<&'a Tensor>,
    pub(crate) grads: Vec<&'a Tensor>,
    pub(crate) states: Vec<&'a ParamState>,
}

impl Lists<'_> {
    fn slot(&self, index: usize) -> Vec<&Tensor> {
        self.states.iter().filter_map(|state| state.slots.get(index)).collect()
    }
}

impl Rule {
    /// The class in `torch.optim`.
    pub(crate) fn class(&self) -> &'static str {
        match self {
            Self::Adam(options) if options.decoupled => "AdamW",
            Self::Adam(_) => "Adam",
            Self::Sgd(_) => "SGD",
        }
    }

    /// The tensors kept for each parameter, with PyTorch's names.
    pub(crate) fn slots(&self) -> &'static [&'static str] {
        match self {
            Self::Adam(options) if options.amsgrad => &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
            Self::Adam(_) => &["exp_avg", "exp_avg_sq"],
            Self::Sgd(options) if options.momentum == 0.0 => &[],
            Self::Sgd(_) => &["momentum_buffer"],
        }
    }

    pub(crate) fn counts_steps(&self) -> bool {
        matches!(self, Self::Adam(_))
    }

    /// Whether anything is kept for a parameter.
    pub(crate) fn has_state(&self) -> bool {
        self.counts_steps() || !self.slots().is_empty()
    }

    /// The state of a parameter that has not moved.
    pub(crate) fn first_state(&self, param: &Tensor) -> Fallible<ParamState> {
        let _no_grad = tch::no_grad_guard();
        let slots = self.slots().iter().map(|_| param.f_zeros_like());
        let step = self.counts_steps().then(|| count(0.0, param.device())).transpose()?;
        Ok(ParamState { slots: slots.collect::<Result<_, _>>().map_err(short)?, step })
    }

    /// Hyperparameters by PyTorch's names.
    pub(crate) fn settings(&self) -> BTreeMap<String, Vec<Number>> {
        let (float, flag) = (|value| vec![Number::Float(value)], |value| vec![Number::Bool(value)]);
        let settings = match self {
            Self::Adam(options) => vec![
                ("betas", options.betas.map(Number::Float).to_vec()),
                ("eps", float(options.eps)),
                ("weight_decay", float(options.weight_decay)),
                ("amsgrad", flag(options.amsgrad)),
                ("decoupled_weight_decay", flag(options.decoupled)),
                ("maximize", flag(options.maximize)),
            ],
            Self::Sgd(options) => vec![
                ("momentum", float(options.momentum)),
                ("dampening", float(options.dampening)),
                ("weight_decay", float(options.weight_decay)),
                ("nesterov", flag(options.nesterov)),
                ("maximize", flag(options.maximize)),
            ],
        };
        settings.into_iter().map(|(name, values)| (name.to_owned(), values)).collect()
    }

    /// # Errors
    /// When a hyperparameter is out of its range. The message names it.
    pub(crate) fn check(&self) -> Fallible {
        match self {
            Self::Adam(options) => options.check(self.class()),
            Self::Sgd(options) => options.check(),
        }
    }

    /// Moves parameters of one type on one device. `first`: for all of them it is the first step.
    pub(crate) fn step(&self, lists: &Lists<'_>, lr: f64, first: bool) -> Fallible {
        let (params, grads) = (&*lists.params, &*lists.grads);
        match *self {
            Self::Adam(options) => {
                let [exp_avgs, exp_avg_sqs, max_exp_avg_sqs] = [0, 1, 2].map(|index| lists.slot(index));
                let steps: Vec<&Tensor> = lists.states.iter().filter_map(|state| state.step.as_ref()).collect();
                let tensors = AdamTensors {
                    params,
                    grads,
                    exp_avgs: &exp_avgs,
                    exp_avg_sqs: &exp_avg_sqs,
                    max_exp_avg_sqs: &max_exp_avg_sqs,
                    steps: &steps,
                };
                let [beta1, beta2] = options.betas;
                let AdamOptions { weight_decay, eps, amsgrad, decoupled, maximize, .. } = options;
                let step = AdamStep { lr, beta1, beta2, weight_decay, eps, amsgrad, decoupled, maximize };
                Ok(adam_step(&tensors, &step, None, None)?)
            }
            Self::Sgd(options) => {
                let momentum_buffers = lists.slot(0);
                let tensors = SgdTensors { params, grads, momentum_buffers: &momentum_buffers };
                let Sgd { momentum, dampening, weight_decay, nesterov, maximize } = options;
                let is_first_step = first;
                let step = SgdStep { lr, momentum, dampening, weight_decay, nesterov, maximize, is_first_step };
                Ok(sgd_step(&tensors, &step, None, None)?)
            }
        }
    }
}

/// A count of steps.
pub(crate) fn count(steps: f64, device: Device) -> Fallible<Tensor> {
    Tensor::f_full([0i64; 0], steps, (Kind::Float, device)).map_err(short)
}

/// # Errors
/// When a number is negative, or none.
pub(super) fn check_not_negative(class: &str, name: &str, value: f64) -> Fallible {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(format!("`{name}` of {class} is {value}: it must be finite and 0 or more").into())
}
