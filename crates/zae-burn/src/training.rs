//! Models in training mode.

use burn::{
    module::{Module, ModuleMapper, Param},
    prelude::*,
    tensor::{Bool, GradientCheckpointingStrategy},
};

/// The model in training mode on a device, with leaves and running statistics of its own.
///
/// `fork` alone would keep the autodiff context each parameter has; `valid` and `train` set it.
pub(crate) fn train_on<M: Module>(model: &M, device: &Device) -> M {
    let plain = device.clone().without_autodiff();
    let model = model.valid().to_device(&plain).train();
    match device.gradient_checkpointing_strategy() {
        Some(strategy) if strategy != GradientCheckpointingStrategy::default() => model.map(&mut Checkpoint(strategy)),
        _ => model,
    }
}

/// `train` gives the default strategy; operations on tensors of two strategies panic.
struct Checkpoint(GradientCheckpointingStrategy);

impl ModuleMapper for Checkpoint {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.with_gradient_checkpointing_strategy(self.0))
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        param.map(|tensor| tensor.with_gradient_checkpointing_strategy(self.0))
    }

    fn map_bool<const D: usize>(&mut self, param: Param<Tensor<D, Bool>>) -> Param<Tensor<D, Bool>> {
        param.map(|tensor| tensor.with_gradient_checkpointing_strategy(self.0))
    }
}
