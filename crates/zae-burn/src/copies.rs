//! [`Copies`]: the model as it computes, where that is not the model itself.

use std::collections::HashSet;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    optim::GradientsParams,
    prelude::*,
    tensor::{FloatDType, Gradients, container::TensorContainer},
};
use zae_core::precision::Precision;

use crate::{
    lend::tracked,
    precision::{cast, dtype},
    training::train_on,
};

/// Copies of the model for one purpose each, while the model is what they were made of.
pub(crate) struct Copies<M> {
    pub(crate) precision: Precision,
    /// In evaluation mode.
    valid: Option<M>,
    /// In evaluation mode, cast.
    evaluates: Option<M>,
    /// In training mode, cast. It lives as long as a window: its leaves are what gradients are found by.
    trains: Option<M>,
    /// The running statistics of the model.
    running: Option<HashSet<ParamId>>,
}

impl<M> Default for Copies<M> {
    fn default() -> Self {
        Self::new(Precision::F32)
    }
}

impl<M> Copies<M> {
    pub(crate) fn new(precision: Precision) -> Self {
        Self { precision, valid: None, evaluates: None, trains: None, running: None }
    }

    /// The model is about to change, or is needed without second owners of its weights.
    pub(crate) fn forget(&mut self) {
        (self.valid, self.evaluates, self.trains) = (None, None, None);
    }
}

impl<M: Module> Copies<M> {
    pub(crate) fn valid(&mut self, model: &M) -> &M {
        self.valid.get_or_insert_with(|| model.valid())
    }

    /// What `eval` runs on.
    pub(crate) fn evaluates(&mut self, model: &M) -> &M {
        match dtype(self.precision) {
            None => self.valid(model),
            Some(dtype) => self.evaluates.get_or_insert_with(|| model.valid().map(&mut Cast(dtype))),
        }
    }

    /// Runs `f` on what is trained, and gives the model its running statistics.
    pub(crate) fn train<R>(&mut self, model: &mut Option<M>, device: &Device, f: impl FnOnce(&M) -> R) -> Option<R> {
        (self.valid, self.evaluates) = (None, None);
        let whole = model.as_ref()?;
        let Some(dtype) = dtype(self.precision) else { return Some(f(whole)) };
        // `valid` gives the copy running statistics of its own.
        let cast = || train_on(&whole.valid().map(&mut Cast(dtype)), device);
        // Lost if `f` panics: the next is as the model is.
        let copy = self.trains.take().unwrap_or_else(cast);
        let result = f(&copy);
        let running = self.running.get_or_insert_with(|| running(whole));
        if !running.is_empty() {
            let mut found = Running { ids: running, found: TensorContainer::new() };
            copy.valid().visit(&mut found);
            *model = model.take().map(|model| model.map(&mut found));
        }
        self.trains = Some(copy);
        Some(result)
    }

    /// The gradients of a backward pass from a loss that `train` has computed, in the types of the model's parameters.
    pub(crate) fn gradients(&self, gradients: Gradients, model: &M) -> GradientsParams {
        let Some(copy) = self.trains.as_ref() else { return GradientsParams::from_grads(gradients, model) };
        let mut gradients = GradientsParams::from_grads(gradients, copy);
        model.visit(&mut Back(&mut gradients));
        gradients
    }
}

struct Cast(FloatDType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| cast(tensor, self.0))
    }
}

struct Back<'a>(&'a mut GradientsParams);

impl ModuleVisitor for Back<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.0.remove::<D>(param.id) else { return };
        self.0.register(param.id, gradient.cast(FloatDType::from(param.dtype())));
    }
}

/// Which of a model's tensors are running statistics: what cannot be asked to be trained.
fn running<M: Module>(model: &M) -> HashSet<ParamId> {
    let mut found = Untrainable(HashSet::new());
    // A copy: running statistics are shared with clones.
    model.valid().train().map(&mut found).visit(&mut found);
    found.0
}

struct Untrainable(HashSet<ParamId>);

impl ModuleMapper for Untrainable {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.set_require_grad(true)
    }
}

impl ModuleVisitor for Untrainable {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.base().is_require_grad() {
            self.0.insert(param.id);
        }
    }
}

/// Takes running statistics out of one model and puts them into another, in that one's types.
struct Running<'a> {
    ids: &'a HashSet<ParamId>,
    found: TensorContainer<ParamId>,
}

impl ModuleVisitor for Running<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.ids.contains(&param.id) {
            self.found.register(param.id, param.base());
        }
    }
}

impl ModuleMapper for Running<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(value) = self.found.remove::<Tensor<D>>(&param.id) else { return param };
        param.map(|old| {
            let value = value.cast(FloatDType::from(old.dtype()));
            tracked(value, false, old.gradient_checkpointing_strategy())
        })
    }
}
