//! [`Anneal`]: the shapes of a way from one rate to another.

use std::f64::consts::PI;

/// The shape of the way from one rate to another. t goes from 0 to 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Anneal {
    /// A straight line: to - from times t.
    Linear,
    /// Half a cosine: slow, fast, slow.
    Cosine,
    /// from - (from - to) * sqrt(t): fast, then slow, for cooldowns (Hägele et al. 2024, arXiv:2405.18392).
    OneMinusSqrt,
}

impl Anneal {
    /// In the order in which `torch.optim.lr_scheduler.OneCycleLR` computes, so that the bits are the same.
    pub(super) fn between(self, from: f64, to: f64, t: f64) -> f64 {
        match self {
            Self::Linear => (to - from) * t + from,
            Self::Cosine => to + (from - to) / 2.0 * ((PI * t).cos() + 1.0),
            Self::OneMinusSqrt => (to - from) * t.sqrt() + from,
        }
    }
}
