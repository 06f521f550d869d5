//! [`Adam`] and [`AdamW`].

use zae_core::error::Fallible;

use super::rule::{Rule, check_not_negative};

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct AdamOptions {
    pub(crate) betas: [f64; 2],
    pub(crate) eps: f64,
    pub(crate) weight_decay: f64,
    pub(crate) amsgrad: bool,
    pub(crate) decoupled: bool,
    pub(crate) maximize: bool,
}

impl AdamOptions {
    const fn new(weight_decay: f64, decoupled: bool) -> Self {
        Self { betas: [0.9, 0.999], eps: 1e-8, weight_decay, amsgrad: false, decoupled, maximize: false }
    }

    pub(super) fn check(&self, class: &str) -> Fallible {
        for beta in self.betas {
            if !(0.0..1.0).contains(&beta) {
                return Err(
                    format!("`betas` of {class} are {:?}: both must be 0 or more and less than 1", self.betas).into()
                );
            }
        }
        check_not_negative(class, "eps", self.eps)?;
        check_not_negative(class, "weight_decay", self.weight_decay)
    }
}

macro_rules! adams {
    ($($(#[$doc:meta])* $name:ident($decay:expr, $decoupled:expr);)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Debug)]
        pub struct $name(AdamOptions);

        impl $name {
            /// With the defaults of `torch.optim`.
            #[must_use]
            pub const fn new() -> Self {
                Self(AdamOptions::new($decay, $decoupled))
            }

            /// The decays of the means of the gradients and of their squares; 0.9 and 0.999.
            #[must_use]
            pub const fn betas(mut self, beta1: f64, beta2: f64) -> Self {
                self.0.betas = [beta1, beta2];
                self
            }

            /// Added to the denominator; 1e-8.
            #[must_use]
            pub const fn eps(mut self, eps: f64) -> Self {
                self.0.eps = eps;
                self
            }

            #[doc = concat!("Weight decay; ", stringify!($decay), ".")]
            #[must_use]
            pub const fn weight_decay(mut self, weight_decay: f64) -> Self {
                self.0.weight_decay = weight_decay;
                self
            }

            /// Divides by the largest mean of squares so far
            /// ([Reddi et al. 2018](https://openreview.net/forum?id=ryQu7f-RZ)).
            #[must_use]
            pub const fn amsgrad(mut self) -> Self {
                self.0.amsgrad = true;
                self
            }

            /// Climbs instead of descending.
            #[must_use]
            pub const fn maximize(mut self) -> Self {
                self.0.maximize = true;
                self
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl From<$name> for Rule {
            fn from(optimizer: $name) -> Self {
                Self::Adam(optimizer.0)
            }
        }
    )* };
}

adams! {
    /// Adam ([Kingma and Ba 2015](https://arxiv.org/abs/1412.6980)), as `torch.optim.Adam(fused=True)`. Weight decay is added
    /// to the gradient.
    Adam(0.0, false);
    /// Adam with decoupled weight decay ([Loshchilov and Hutter 2019](https://openreview.net/forum?id=Bkg6RiCqY7)), as
    /// `torch.optim.AdamW(fused=True)`.
    AdamW(1e-2, true);
}
