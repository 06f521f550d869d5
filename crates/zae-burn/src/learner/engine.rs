//! What add-ons see of the learner.

use burn::module::Module;
use zae_core::{
    engine::{Engine, Shadow, Visit},
    error::Fallible,
};

use super::{BurnLearner, LOST, NO_GRADIENTS};
use crate::lend;

impl<M: Module + 'static> Engine for BurnLearner<M> {
    fn name(&self) -> &str {
        "burn"
    }

    /// On the CPU the memory of the gradients itself is lent; on a GPU they travel to the host and back.
    ///
    /// A trainable parameter that took no part in the window is lent `-0.0` everywhere, the number that changes no sum.
    /// It has a gradient afterwards only if the visitor wrote something else: to look changes nothing, and ranks that sum
    /// what they are lent end with the same gradients.
    fn gradients(&mut self, visit: Visit<'_>) -> Fallible {
        let model = self.model.as_ref().ok_or(LOST)?;
        let gradients = self.gradients.as_mut().ok_or(NO_GRADIENTS)?;
        lend::gradients(model, gradients, visit)
    }

    fn parameters(&mut self, visit: Visit<'_>) -> Fallible {
        self.prepare()?;
        // A second owner of the weights would cost a copy.
        self.copies.forget();
        let model = self.model.take().ok_or(LOST)?;
        let (model, outcome) = lend::parameters(model, visit);
        self.model = Some(model);
        outcome.finish()
    }

    /// The second sets hold the floating-point parameters and buffers, running statistics included, and are part of the
    /// state dict, under `shadow/{slot}/`.
    fn shadow(&mut self, slot: &str, op: Shadow) -> Fallible {
        self.prepare()?;
        self.copies.forget();
        let model = self.model.take().ok_or(LOST)?;
        // Brings running statistics up to date.
        drop(model.valid());
        let (model, result) = self.shadows.apply(model, slot, op);
        self.model = Some(model);
        result
    }

    fn has_shadow(&self, slot: &str) -> Fallible<bool> {
        Ok(self.shadows.has(slot))
    }
}
