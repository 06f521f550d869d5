//! [`Place`]: how a batch reaches the learner's device.

use crate::learner::Learner;

/// Moves a batch to the device the learner needs it on. Implemented by the engines for their tensors, and here for
/// tuples, arrays, `Vec`, `Option` and what stays on the host.
///
/// A batch type of your own places its fields:
///
/// ```
/// use zae_core::{learner::Learner, place::Place};
///
/// struct Batch<X> { input: X, label: X, names: Vec<String> }
///
/// impl<L: Learner, X: Place<L>> Place<L> for Batch<X> {
///     fn place(self, device: &L::Device) -> Self {
///         Self { input: self.input.place(device), label: self.label.place(device), names: self.names }
///     }
/// }
/// ```
///
/// With one engine in mind the call says which, for the tensor does not: `Place::<BurnLearner<Net>>::place(self.input, device)`.
///
/// (Not called `to_device`: tensors tend to have an inherent method of that name, which would win silently. The learner is
/// the parameter, not the device, so that an engine's crate may implement the trait for foreign tensors.)
#[diagnostic::on_unimplemented(
    note = "a batch type of your own implements `Place` by placing its fields; the documentation of `Place` has an example"
)]
pub trait Place<L: Learner>: Sized {
    /// The same batch on `device`.
    #[must_use]
    fn place(self, device: &L::Device) -> Self;
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),+))*) => { $(
        impl<L: Learner, $($name: Place<L>),+> Place<L> for ($($name,)+) {
            fn place(self, device: &L::Device) -> Self {
                ($(self.$index.place(device),)+)
            }
        }
    )* };
}
tuples! { (A 0) (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) (A 0, B 1, C 2, D 3, E 4) (A 0, B 1, C 2, D 3, E 4, F 5) }

macro_rules! stays {
    ($($type:ty)*) => { $(
        impl<L: Learner> Place<L> for $type {
            fn place(self, _: &L::Device) -> Self {
                self
            }
        }
    )* };
}
stays! { () bool char u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 String &'static str }

impl<L: Learner, T: Place<L>> Place<L> for Vec<T> {
    fn place(self, device: &L::Device) -> Self {
        self.into_iter().map(|item| item.place(device)).collect()
    }
}

impl<L: Learner, T: Place<L>> Place<L> for Option<T> {
    fn place(self, device: &L::Device) -> Self {
        self.map(|item| item.place(device))
    }
}

impl<L: Learner, T: Place<L>> Place<L> for Box<T> {
    fn place(self, device: &L::Device) -> Self {
        Self::new((*self).place(device))
    }
}

impl<L: Learner, T: Place<L>, const N: usize> Place<L> for [T; N] {
    fn place(self, device: &L::Device) -> Self {
        self.map(|item| item.place(device))
    }
}
