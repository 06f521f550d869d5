//! [`Engine`]: all that add-ons may do to a model.

use std::{any::Any, sync::Arc};

use crate::{
    error::Fallible,
    process_group::{ProcessGroup, World},
};

/// A parameter, as a visitor sees it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ParamInfo<'a> {
    /// Its path in the model, for example `conv1.weight`.
    pub name: &'a str,
    /// Its shape.
    pub shape: &'a [usize],
    /// Whether the optimizer moves it: false for frozen parameters and running statistics.
    pub trainable: bool,
}

impl<'a> ParamInfo<'a> {
    /// For engines.
    #[must_use]
    pub fn new(name: &'a str, shape: &'a [usize], trainable: bool) -> Self {
        Self { name, shape, trainable }
    }
}

/// Called once per parameter, in the model's order, with its values, row-major; what it writes stays.
pub type Visit<'a> = &'a mut dyn FnMut(&ParamInfo<'_>, &mut [f32]) -> Fallible;

/// An operation on a second set of weights kept beside the model, for averages of weights (EMA, SWA).
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum Shadow {
    /// Make the slot, a copy of the weights.
    Create,
    /// slot = slot + (1 - decay) * (weights - slot), which is decay * slot + (1 - decay) * weights, as `torch.lerp` does: in one
    /// pass over both.
    Lerp {
        /// How much of the slot is kept.
        decay: f64,
    },
    /// Exchange the slot and the weights: all of them, or none if that fails.
    Swap,
    /// Forget the slot.
    Drop,
}

/// All that add-ons may do to a model, on any tensor engine.
pub trait Engine: Any {
    /// The engine's name, for example `burn`.
    fn name(&self) -> &str;

    /// Lends every gradient of the current window (the trainable parameters only).
    ///
    /// # Errors
    /// When there are no gradients, when they are not `f32`, or when the visitor fails.
    fn gradients(&mut self, visit: Visit<'_>) -> Fallible;

    /// Lends every floating-point parameter and buffer of the model.
    ///
    /// # Errors
    /// When they are not `f32`, or when the visitor fails.
    fn parameters(&mut self, visit: Visit<'_>) -> Fallible;

    /// Works on a second set of weights.
    ///
    /// # Errors
    /// When the engine keeps none, which is the default.
    fn shadow(&mut self, slot: &str, op: Shadow) -> Fallible {
        let _ = op;
        self.has_shadow(slot).map(|_| ())
    }

    /// Whether there is a second set of weights of this name.
    ///
    /// # Errors
    /// When the engine keeps none, which is the default.
    fn has_shadow(&self, slot: &str) -> Fallible<bool> {
        let _ = slot;
        Err(format!("the engine `{}` keeps no second set of weights", self.name()).into())
    }

    /// The processes of this world, if the engine's own library connects them.
    ///
    /// # Errors
    /// When they cannot be connected.
    fn process_group(&mut self, world: &World) -> Fallible<Option<Arc<dyn ProcessGroup>>> {
        let _ = world;
        Ok(None)
    }
}
