//! What add-ons see of the learner.

use std::sync::Arc;

use zae_core::{
    engine::{Engine, Shadow, Visit},
    error::Fallible,
    process_group::{ProcessGroup, World},
};

use super::{TchLearner, there};
use crate::{lend, process_group::C10dGroup};

impl<M: 'static> Engine for TchLearner<M> {
    fn name(&self) -> &str {
        "libtorch"
    }

    /// On the CPU the memory of the gradients itself is lent; on a GPU they travel to the host and back.
    ///
    /// A trainable parameter that took no part in the window is lent `-0.0` everywhere, the number that changes no sum.
    /// It has a gradient afterwards only if the visitor wrote something else.
    fn gradients(&mut self, visit: Visit<'_>) -> Fallible {
        let variables = &there(&self.built)?.variables;
        // Not kept: a visitor may give a parameter its first gradient.
        lend::gradients(variables, &self.window.take(variables)?, visit)
    }

    fn parameters(&mut self, visit: Visit<'_>) -> Fallible {
        lend::parameters(&there(&self.built)?.variables, visit)
    }

    /// The second sets hold the floating-point parameters and buffers, running statistics included, and are part of the
    /// state dict, under `shadow/{slot}/`.
    fn shadow(&mut self, slot: &str, op: Shadow) -> Fallible {
        self.shadows.apply(&there(&self.built)?.variables, slot, op)
    }

    fn has_shadow(&self, slot: &str) -> Fallible<bool> {
        Ok(self.shadows.has(slot))
    }

    /// By c10d, if the launcher says where rank 0 is: see [`C10dGroup`].
    fn process_group(&mut self, world: &World) -> Fallible<Option<Arc<dyn ProcessGroup>>> {
        if world.master.is_none() {
            return Ok(None);
        }
        Ok(Some(C10dGroup::connect(world)?))
    }
}
