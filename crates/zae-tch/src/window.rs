//! [`Window`]: the gradients of a window, which LibTorch keeps with the parameters.

use tch::Tensor;
use zae_core::error::Fallible;

use crate::variables::Variable;

const NO_GRADIENTS: &str = "there are no gradients: call `backward` first";

/// What is known of them.
#[derive(Default)]
pub(crate) struct Window {
    /// Whether there was a backward pass, here or elsewhere.
    begun: bool,
    /// By variable, once they were collected from there.
    grads: Option<Vec<(usize, Tensor)>>,
}

impl Window {
    /// After a backward pass: whether there are any.
    pub(crate) fn has_gradients(&mut self, variables: &[Variable]) -> bool {
        self.changed();
        self.begun = self.begun || params(variables).any(|(_, variable)| variable.tensor.grad().defined());
        self.begun
    }

    /// After a backward pass: what comes next changes each of them in its place.
    pub(crate) fn own(variables: &[Variable]) -> Fallible {
        Ok(zae_tch_sys::own_grads(&tensors(variables))?)
    }

    /// There are gradients, be they none so far.
    pub(crate) fn begin(&mut self) {
        self.changed();
        self.begun = true;
    }

    /// What was collected is not what is at the parameters now.
    pub(crate) fn changed(&mut self) {
        self.grads = None;
    }

    /// The gradients there are, by variable. [`Window::keep`] saves collecting them again.
    pub(crate) fn take(&mut self, variables: &[Variable]) -> Fallible<Vec<(usize, Tensor)>> {
        if let Some(grads) = self.grads.take() {
            return Ok(grads);
        }
        if !self.begun {
            return Err(NO_GRADIENTS.into());
        }
        let grads = zae_tch_sys::grads(&tensors(variables))?;
        Ok(params(variables).zip(grads).filter_map(|((i, _), grad)| Some((i, grad?))).collect())
    }

    pub(crate) fn keep(&mut self, grads: Vec<(usize, Tensor)>) {
        self.grads = Some(grads);
    }

    /// Forgets them.
    pub(crate) fn clear(&mut self, variables: &[Variable]) -> Fallible {
        *self = Self::default();
        Ok(zae_tch_sys::clear_grads(&tensors(variables))?)
    }
}

fn params(variables: &[Variable]) -> impl Iterator<Item = (usize, &Variable)> {
    variables.iter().enumerate().filter(|(_, variable)| variable.parameter)
}

fn tensors(variables: &[Variable]) -> Vec<&Tensor> {
    params(variables).map(|(_, variable)| &variable.tensor).collect()
}
