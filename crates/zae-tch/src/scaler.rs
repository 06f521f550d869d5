//! [`Scaler`]: losses scaled up so that small gradients do not vanish in half precision (PyTorch's `GradScaler`).

use tch::{Device, Tensor};
use zae_core::{
    error::Fallible,
    learner::{Number, StateDict},
    misfits::Misfits,
};

use crate::saved::short;

/// How its names begin in a state dict.
pub(crate) const SCALER: &str = "scaler/";
const SCALE: &str = "scaler/scale";
const TRACKER: &str = "scaler/growth_tracker";

/// With the settings of `torch.amp.GradScaler`: the scale is halved when a gradient overflows, and doubled after 2000 steps
/// without.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Scaler {
    pub(crate) scale: f64,
    /// Steps without an overflow since the scale was changed.
    growth_tracker: u64,
}

impl Default for Scaler {
    fn default() -> Self {
        Self { scale: 65536.0, growth_tracker: 0 }
    }
}

impl Scaler {
    const GROWTH_FACTOR: f64 = 2.0;
    const BACKOFF_FACTOR: f64 = 0.5;
    const GROWTH_INTERVAL: u64 = 2000;

    /// Takes the scale from the gradients, and returns whether one of them is not finite. It waits for the device.
    pub(crate) fn unscale(&self, grads: &[&Tensor], device: Device) -> Fallible<bool> {
        let on_device = |value: f32| Tensor::f_from_slice(&[value]).and_then(|tensor| tensor.f_to_device(device));
        let found = on_device(0.0).map_err(short)?;
        zae_tch_sys::unscale_(grads, &found, &on_device((1.0 / self.scale) as f32).map_err(short)?)?;
        Ok(found.f_double_value(&[0]).map_err(short)? != 0.0)
    }

    /// After each window.
    pub(crate) fn update(&mut self, overflow: bool) {
        if overflow {
            *self = Self { scale: self.scale * Self::BACKOFF_FACTOR, growth_tracker: 0 };
            return;
        }
        self.growth_tracker += 1;
        if self.growth_tracker == Self::GROWTH_INTERVAL {
            let grown = self.scale * Self::GROWTH_FACTOR;
            // Beyond f32 every gradient would overflow.
            let scale = if (grown as f32).is_finite() { grown } else { self.scale };
            *self = Self { scale, growth_tracker: 0 };
        }
    }

    pub(crate) fn save(&self, state: &mut StateDict) {
        state.numbers.insert(SCALE.to_owned(), Number::Float(self.scale));
        state.numbers.insert(TRACKER.to_owned(), Number::UInt(self.growth_tracker));
    }

    /// The scaler of a state. Whatever does not fit is noted.
    pub(crate) fn load(state: &StateDict, misfits: &mut Misfits) -> Option<Self> {
        let scale = number(state, SCALE, misfits, |number| match number {
            Number::Float(scale) if scale.is_finite() && scale > 0.0 => Some(scale),
            _ => None,
        });
        let growth_tracker = number(state, TRACKER, misfits, |number| match number {
            Number::UInt(tracker) => Some(tracker),
            _ => None,
        });
        let known = [SCALE, TRACKER];
        for name in state.numbers.keys().chain(state.tensors.keys()) {
            if name.starts_with(SCALER) && !known.contains(&name.as_str()) {
                misfits.unexpected(format!("`{name}`"));
            }
        }
        Some(Self { scale: scale?, growth_tracker: growth_tracker? })
    }

    /// Notes that a state has a scaler, for a learner that has none.
    pub(crate) fn refuse(state: &StateDict, misfits: &mut Misfits) {
        for name in state.numbers.keys().filter(|name| name.starts_with(SCALER)) {
            misfits.unexpected(format!("`{name}` (saved with `Precision::F16`)"));
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
        misfits.missing(format!("`{name}` (saved with another precision)"));
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
    use super::*;

    #[test]
    fn the_scale_is_halved_by_an_overflow_and_doubled_after_2000_steps_without() {
        let mut scaler = Scaler::default();
        scaler.update(true);
        assert_eq!(scaler.scale, 32768.0);
        (0..1999).for_each(|_| scaler.update(false));
        assert_eq!(scaler.scale, 32768.0);
        scaler.update(false);
        assert_eq!((scaler.scale, scaler.growth_tracker), (65536.0, 0));
        let mut largest = Scaler { scale: f64::from(f32::MAX), growth_tracker: 1999 };
        largest.update(false);
        assert_eq!(largest.scale, f64::from(f32::MAX));
    }

    #[test]
    fn a_scaler_is_what_its_state_says() {
        let mut state = StateDict::default();
        let scaler = Scaler { scale: 1024.0, growth_tracker: 17 };
        scaler.save(&mut state);
        let mut misfits = Misfits::default();
        assert_eq!(Scaler::load(&state, &mut misfits), Some(scaler));
        assert!(misfits.check().is_ok());
        let mut misfits = Misfits::default();
        assert_eq!(Scaler::load(&StateDict::default(), &mut misfits), None);
        assert!(misfits.check().is_err());
        let mut misfits = Misfits::default();
        Scaler::refuse(&state, &mut misfits);
        assert!(misfits.check().is_err());
    }
}
