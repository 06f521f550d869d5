//! [`Place`] for Burn's tensors. A batch type of your own places its fields:
//!
//! ```
//! use burn::{nn::Linear, prelude::*};
//! use zae_burn::BurnLearner;
//! use zae_core::place::Place;
//!
//! struct Batch { x: Tensor<2>, y: Tensor<1, Int>, names: Vec<String> }
//!
//! impl Place<BurnLearner<Linear>> for Batch {
//!     fn place(self, device: &Device) -> Self {
//!         let (x, y) = Place::<BurnLearner<Linear>>::place((self.x, self.y), device);
//!         Self { x, y, names: self.names }
//!     }
//! }
//! ```

use burn::{
    prelude::*,
    tensor::{
        Bool,
        kind::{Autodiff, Basic},
    },
};
use zae_core::place::Place;

use crate::{learner::BurnLearner, precision};

/// Moves a tensor to `device` **and** into the device's autodiff context. Burn's `to_device` keeps the context the tensor
/// has, and a train-mode layer on a plain tensor is silently in inference mode: dropout on the input would be off.
pub(crate) fn place<const D: usize, K: Autodiff + Basic>(tensor: Tensor<D, K>, device: &Device) -> Tensor<D, K> {
    let strategy = device.gradient_checkpointing_strategy();
    let tensor = if tensor.device() == *device { tensor } else { tensor.inner().to_device(device) };
    match strategy {
        None => tensor.inner(),
        Some(strategy) if tensor.gradient_checkpointing_strategy() == Some(strategy) => tensor,
        Some(strategy) => tensor.inner().autodiff().with_gradient_checkpointing_strategy(strategy),
    }
}

impl<M: Module + 'static, const D: usize> Place<BurnLearner<M>> for Tensor<D> {
    fn place(self, device: &Device) -> Self {
        place(precision::placed(self), device)
    }
}

macro_rules! kinds {
    ($($kind:ty)*) => { $(
        impl<M: Module + 'static, const D: usize> Place<BurnLearner<M>> for Tensor<D, $kind> {
            fn place(self, device: &Device) -> Self {
                place(self, device)
            }
        }
    )* };
}
kinds! { Int Bool }
