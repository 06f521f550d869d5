//! [`Place`] for LibTorch's tensors. A batch type of your own places its fields:
//!
//! ```
//! use tch::{Device, Tensor, nn};
//! use zae_core::place::Place;
//! use zae_tch::TchLearner;
//!
//! struct Batch { x: Tensor, y: Tensor, names: Vec<String> }
//!
//! impl Place<TchLearner<nn::Linear>> for Batch {
//!     fn place(self, device: &Device) -> Self {
//!         let (x, y) = Place::<TchLearner<nn::Linear>>::place((self.x, self.y), device);
//!         Self { x, y, names: self.names }
//!     }
//! }
//! ```

use tch::{Device, Tensor};
use zae_core::place::Place;

use crate::learner::TchLearner;

impl<M: 'static> Place<TchLearner<M>> for Tensor {
    fn place(self, device: &Device) -> Self {
        if self.device() == *device { self } else { self.to_device(*device) }
    }
}
