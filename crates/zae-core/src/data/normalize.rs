//! [`Normalize`]: bytes become numbers.

use crate::error::Fallible;

/// Makes numbers of bytes: `(byte / 255 - mean) / std`, torchvision's `ToTensor` and `Normalize` in one. Computed as one
/// product and one difference, so the last digit or two may be others than torchvision's; they are the same on every machine.
///
/// ```
/// use zae_core::data::Normalize;
/// let mnist = Normalize::new(0.1307, 0.3081)?;
/// let mut numbers = Vec::new();
/// mnist.extend(&mut numbers, &[0, 255]);
/// assert!((numbers[0] - (0.0 - 0.1307) / 0.3081).abs() < 1e-6 && (numbers[1] - (1.0 - 0.1307) / 0.3081).abs() < 1e-6);
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Normalize {
    scale: f32,
    shift: f32,
}

impl Normalize {
    /// The mean and the standard deviation of what is normalised, where black is 0 and white 1. `new(0.0, 1.0)` leaves it there.
    ///
    /// # Errors
    /// When one of them is not finite, or `std` is not above 0.
    pub fn new(mean: f64, std: f64) -> Fallible<Self> {
        if !mean.is_finite() || !(f64::from(f32::MIN_POSITIVE)..=f64::MAX).contains(&std) {
            return Err(format!(
                "a mean of {mean} and a standard deviation of {std}: both are finite, the second above 0, and \
                                both count from 0 (black) to 1 (white)"
            )
            .into());
        }
        Ok(Self { scale: (1.0 / 255.0 / std) as f32, shift: (mean / std) as f32 })
    }

    /// The number of one byte.
    #[must_use]
    #[inline]
    pub fn one(self, byte: u8) -> f32 {
        f32::from(byte) * self.scale - self.shift
    }

    /// Appends the numbers of these bytes, several at a time where the processor can.
    pub fn extend(self, numbers: &mut Vec<f32>, bytes: &[u8]) {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has it.
            #[allow(unsafe_code)]
            return unsafe { self.extend_avx2(numbers, bytes) };
        }
        self.extend_by(numbers, bytes);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn extend_avx2(self, numbers: &mut Vec<f32>, bytes: &[u8]) {
        self.extend_by(numbers, bytes);
    }

    /// Compiled for whoever calls it.
    #[inline(always)]
    fn extend_by(self, numbers: &mut Vec<f32>, bytes: &[u8]) {
        numbers.extend(bytes.iter().map(|&byte| self.one(byte)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn many_are_as_many_times_one_and_what_torchvision_computes(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            mean in -1.0..2.0,
            std in 0.01..4.0,
        ) {
            let normalize = Normalize::new(mean, std).unwrap();
            let mut numbers = vec![7.0];
            normalize.extend(&mut numbers, &bytes);
            prop_assert_eq!(numbers.remove(0), 7.0);
            prop_assert_eq!(numbers.len(), bytes.len());
            for (number, byte) in numbers.into_iter().zip(bytes) {
                prop_assert_eq!(number.to_bits(), normalize.one(byte).to_bits());
                let theirs = (f64::from(byte) / 255.0 - mean) / std;
                let digits = f64::from(f32::EPSILON) * (1.0 + mean.abs()) / std;
                prop_assert!((f64::from(number) - theirs).abs() <= 2.0 * digits, "{number} {theirs}");
            }
        }
    }

    #[test]
    fn what_cannot_be_divided_by_is_refused() {
        for (mean, std) in [(0.5, 0.0), (0.5, -1.0), (0.5, f64::NAN), (f64::INFINITY, 1.0), (0.5, 1e-50)] {
            let error = Normalize::new(mean, std).unwrap_err().to_string();
            assert!(error.contains("the second above 0"), "{error}");
        }
    }
}
