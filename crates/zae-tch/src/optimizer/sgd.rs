//! [`Sgd`].

use zae_core::error::Fallible;

use super::rule::{Rule, check_not_negative};

/// Stochastic gradient descent, as `torch.optim.SGD(fused=True)`: without momentum and weight decay unless they are set.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Sgd {
    pub(crate) momentum: f64,
    pub(crate) dampening: f64,
    pub(crate) weight_decay: f64,
    pub(crate) nesterov: bool,
    pub(crate) maximize: bool,
}

impl Sgd {
    /// With the defaults of `torch.optim`: everything is 0.
    #[must_use]
    pub const fn new() -> Self {
        Self { momentum: 0.0, dampening: 0.0, weight_decay: 0.0, nesterov: false, maximize: false }
    }

    /// How much of the last velocity is kept.
    #[must_use]
    pub const fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// What of the gradient does not enter the velocity.
    #[must_use]
    pub const fn dampening(mut self, dampening: f64) -> Self {
        self.dampening = dampening;
        self
    }

    /// Weight decay, added to the gradient.
    #[must_use]
    pub const fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.weight_decay = weight_decay;
        self
    }

    /// Nesterov's momentum. It needs a momentum, and no dampening.
    #[must_use]
    pub const fn nesterov(mut self) -> Self {
        self.nesterov = true;
        self
    }

    /// Climbs instead of descending.
    #[must_use]
    pub const fn maximize(mut self) -> Self {
        self.maximize = true;
        self
    }

    pub(super) fn check(&self) -> Fallible {
        check_not_negative("SGD", "momentum", self.momentum)?;
        check_not_negative("SGD", "weight_decay", self.weight_decay)?;
        if !self.dampening.is_finite() {
            return Err(format!("`dampening` of SGD is {}", self.dampening).into());
        }
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            return Err("`nesterov` of SGD needs a momentum, and no dampening".into());
        }
        Ok(())
    }
}

impl From<Sgd> for Rule {
    fn from(optimizer: Sgd) -> Self {
        Self::Sgd(optimizer)
    }
}
