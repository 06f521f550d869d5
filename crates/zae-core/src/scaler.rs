//! [`GradScaler`]: losses scaled up so that small gradients do not vanish in 16 bits (PyTorch's `torch.amp.GradScaler`).

use crate::{
    error::Fallible,
    learner::{Number, SCALER, StateDict},
    misfits::Misfits,
    precision::Precision,
};

const SCALE: &str = "scaler/scale";
const TRACKER: &str = "scaler/growth_tracker";

/// What an engine multiplies the loss by before each backward pass in `F16`, with the settings of `torch.amp.GradScaler`:
/// 65536 at first, halved when a gradient of a window overflows, doubled after 2000 windows without.
///
/// An engine multiplies by [`scale`](GradScaler::scale), takes the scale from the gradients with
/// [`unscale`](GradScaler::unscale) wherever it first needs them as they are, leaves out the update of a window that overflowed,
/// and calls [`update`](GradScaler::update) after each step. `testing::f16_conformance` checks it.
///
/// # In a state dict
///
/// `scaler/scale` and `scaler/growth_tracker`. A run may go on in another precision, as in Lightning: a state without a scaler
/// starts one anew, which costs a few skipped steps, and one that is not needed is left out.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GradScaler {
    scale: f64,
    /// Windows without an overflow since the scale was changed.
    growth_tracker: u64,
    /// Whether a gradient of this window is not finite, once they were unscaled.
    overflow: Option<bool>,
}

impl Default for GradScaler {
    fn default() -> Self {
        Self { scale: 65536.0, growth_tracker: 0, overflow: None }
    }
}

impl GradScaler {
    const GROWTH_FACTOR: f64 = 2.0;
    const BACKOFF_FACTOR: f64 = 0.5;
    const GROWTH_INTERVAL: u64 = 2000;

    /// The one that training in this precision needs.
    #[must_use]
    pub fn new(precision: Precision) -> Option<Self> {
        (precision == Precision::F16).then(Self::default)
    }

    /// What the loss is multiplied by.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Takes the scale from the gradients of a window, once: `by` multiplies them by the number that it is given, and says
    /// whether one of them is not finite. Returns that.
    ///
    /// # Errors
    /// When `by` fails.
    pub fn unscale(&mut self, by: impl FnOnce(f64) -> Fallible<bool>) -> Fallible<bool> {
        if let Some(overflow) = self.overflow {
            return Ok(overflow);
        }
        // A power of two, so nothing is lost by its inverse.
        let overflow = by(1.0 / self.scale)?;
        self.overflow = Some(overflow);
        Ok(overflow)
    }

    /// The gradients of the window are gone.
    pub fn forget(&mut self) {
        self.overflow = None;
    }

    /// After a step, with what [`unscale`](GradScaler::unscale) has found: the scale of the next window.
    pub fn update(&mut self, overflow: bool) {
        if overflow {
            *self = Self { scale: self.scale * Self::BACKOFF_FACTOR, ..Self::default() };
            return;
        }
        let growth_tracker = self.growth_tracker + 1;
        if growth_tracker < Self::GROWTH_INTERVAL {
            *self = Self { scale: self.scale, growth_tracker, overflow: None };
            return;
        }
        let grown = self.scale * Self::GROWTH_FACTOR;
        // Beyond f32 every gradient would overflow.
        let scale = if (grown as f32).is_finite() { grown } else { self.scale };
        *self = Self { scale, ..Self::default() };
    }

    /// Writes it into a state dict.
    pub fn save(&self, state: &mut StateDict) {
        state.numbers.insert(SCALE.to_owned(), Number::Float(self.scale));
        state.numbers.insert(TRACKER.to_owned(), Number::UInt(self.growth_tracker));
    }

    /// The scaler of a state, or a new one if the state has none. What is damaged is noted, also for a learner that needs none.
    pub fn load(state: &StateDict, misfits: &mut Misfits) -> Self {
        let new = Self::default();
        let names = state.numbers.keys().chain(state.tensors.keys()).filter(|name| name.starts_with(SCALER));
        if names.clone().next().is_none() {
            return new;
        }
        for name in names.filter(|name| ![SCALE, TRACKER].contains(&name.as_str())) {
            misfits.unexpected(format!("`{name}`"));
        }
        let scale = number(state, SCALE, misfits, |number| match number {
            Number::Float(scale) if scale.is_finite() && scale > 0.0 => Some(scale),
            _ => None,
        });
        let growth_tracker = number(state, TRACKER, misfits, |number| match number {
            Number::UInt(tracker) => Some(tracker),
            _ => None,
        });
        match (scale, growth_tracker) {
            (Some(scale), Some(growth_tracker)) => Self { scale, growth_tracker, overflow: None },
            _ => new,
        }
    }
}

/// A number of a state, as `read` understands it. What it does not, or what is not there, is noted.
fn number<T>(
    state: &StateDict,
    name: &str,
    misfits: &mut Misfits,
    read: impl FnOnce(Number) -> Option<T>,
) -> Option<T> {
    let Some(&number) = state.numbers.get(name) else {
        misfits.missing(format!("`{name}`"));
        return None;
    };
    let value = read(number);
    if value.is_none() {
        misfits.unusable(format!("`{name}`"));
    }
    value
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn loaded(state: &StateDict) -> Fallible<GradScaler> {
        let mut misfits = Misfits::default();
        let scaler = GradScaler::load(state, &mut misfits);
        misfits.check().map(|()| scaler)
    }

    #[test]
    fn the_scale_is_halved_by_an_overflow_and_doubled_after_2000_windows_without() {
        let mut scaler = GradScaler::new(Precision::F16).unwrap();
        scaler.update(true);
        assert_eq!(scaler.scale(), 32768.0);
        (0..1999).for_each(|_| scaler.update(false));
        assert_eq!(scaler.scale(), 32768.0);
        scaler.update(false);
        assert_eq!((scaler.scale(), scaler.growth_tracker), (65536.0, 0));
        (0..1999).for_each(|_| scaler.update(false));
        scaler.update(true);
        scaler.update(false);
        assert_eq!((scaler.scale(), scaler.growth_tracker), (32768.0, 1));
        let mut largest = GradScaler { scale: f64::from(f32::MAX), growth_tracker: 1999, overflow: None };
        largest.update(false);
        assert_eq!(largest.scale(), f64::from(f32::MAX));
    }

    #[test]
    fn gradients_are_unscaled_once_per_window() {
        let mut scaler = GradScaler::default();
        assert!(scaler.unscale(|_| Err("the device failed".into())).is_err());
        assert!(scaler.unscale(|factor| Ok(factor == 1.0 / 65536.0)).unwrap());
        assert!(scaler.unscale(|_| Err("twice".into())).unwrap());
        scaler.update(true);
        assert!(scaler.unscale(|factor| Ok(factor == 1.0 / 32768.0)).unwrap());
        scaler.forget();
        assert!(!scaler.unscale(|_| Ok(false)).unwrap());
        assert_eq!([Precision::F32, Precision::Bf16].map(GradScaler::new), [None, None]);
    }

    #[test]
    fn a_scaler_is_what_its_state_says_and_a_new_one_where_it_says_nothing() {
        let mut state = StateDict::default();
        assert_eq!(loaded(&state).unwrap(), GradScaler::default());
        let scaler = GradScaler { scale: 1024.0, growth_tracker: 17, overflow: None };
        scaler.save(&mut state);
        assert_eq!(loaded(&state).unwrap(), scaler);
        let with = |name: &str, number: Number| {
            let mut state = state.clone();
            state.numbers.insert(name.to_owned(), number);
            loaded(&state).unwrap_err().to_string()
        };
        for scale in [0.0, -1.0, f64::INFINITY, f64::NAN] {
            let error = with(SCALE, Number::Float(scale));
            assert!(error.contains("damaged: `scaler/scale`"), "{error}");
        }
        let error = with("scaler/other", Number::UInt(1));
        assert!(error.contains("this learner has no `scaler/other`"), "{error}");
        state.numbers.remove(TRACKER);
        let error = loaded(&state).unwrap_err().to_string();
        assert!(error.contains("the state lacks `scaler/growth_tracker`"), "{error}");
    }
}
