//! Decay by the inverse square root of time.

use super::{Schedule, ScheduleAt, check};
use crate::error::Fallible;

/// lr(t) = lr * sqrt(k / (k + t)): the decay that needs no end.
///
/// With as long a warm-up as `timescale` k it is lr * sqrt(k / t) after it, which is the schedule of the Transformer
/// (Vaswani et al. 2017, arXiv:1706.03762, section 5.3, "Noam") with lr = d_model^-0.5 * k^-0.5. The paper counts steps from
/// 1, we and most others from 0: the decay is one step later.
///
/// T5 (Raffel et al. 2019, arXiv:1910.10683, section 3.1.2) holds its rate for k steps instead of climbing:
/// 1 / sqrt(max(t, k)).
///
/// ```
/// use zae_core::schedule::{InverseSqrt, Schedule};
/// let noam = InverseSqrt::new(1.0 / (512.0f64 * 4_000.0).sqrt(), 4_000).warmup(4_000);
/// let t5 = 0.01.then(10_000, InverseSqrt::new(0.01, 10_000));
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
#[doc(alias = "Noam")]
#[doc(alias = "rsqrt")]
pub struct InverseSqrt {
    lr: f64,
    timescale: u64,
}

impl InverseSqrt {
    /// Begins at `lr`. After 3 times `timescale` steps it is half of that.
    #[must_use]
    pub fn new(lr: f64, timescale: u64) -> Self {
        Self { lr, timescale }
    }
}

impl Schedule for InverseSqrt {
    fn lr(&self, at: &ScheduleAt) -> f64 {
        let k = self.timescale.max(1) as f64;
        self.lr * (k / (k + at.step as f64)).sqrt()
    }
    fn describe(&self, _: Option<u64>) -> Option<String> {
        Some(format!("{self:?}"))
    }
    fn check(&self) -> Fallible {
        check::rate("InverseSqrt", "learning rate", self.lr)?;
        check::at_least_one("InverseSqrt", "timescale", self.timescale)
    }
}
