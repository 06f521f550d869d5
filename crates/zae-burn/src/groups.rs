//! [`Groups`]: parameters with a learning rate of their own.

use burn::{
    lr_scheduler::module_lr_scheduler::{ModuleLearningRate, ModuleLrScheduler},
    module::ParamGroup,
};
use zae_core::error::Fallible;

use crate::visit::FloatParam;

/// Groups with their factors on the schedule's learning rate. Of several that a parameter is in, the last counts.
#[derive(Default)]
pub(crate) struct Groups(pub(crate) Vec<(ParamGroup, f64)>);

impl Groups {
    /// A group that no parameter is in is a slip of its author's.
    pub(crate) fn check(&self, params: &[FloatParam]) -> Fallible {
        for (i, (group, _)) in self.0.iter().enumerate() {
            if !params.iter().any(|param| group.matches(&param.id, Some(&param.name))) {
                let names: Vec<_> = params.iter().map(|param| param.name.as_str()).collect();
                return Err(format!(
                    "no parameter is in the group of `.group_lr(..)` number {}: the model has {}",
                    i + 1,
                    names.join(", ")
                )
                .into());
            }
        }
        Ok(())
    }

    pub(crate) fn rates(&self, lr: f64) -> ModuleLearningRate {
        let rates = ModuleLrScheduler::new(lr);
        self.0.iter().fold(rates, |rates, (group, factor)| rates.with_group(group.clone(), lr * factor)).step()
    }
}
