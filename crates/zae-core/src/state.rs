//! [`State`]: what a task, a schedule or an add-on puts into a snapshot.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::{BoxError, Fallible};

/// The saved state of a task, a schedule or an add-on.
///
/// Any bytes will do. [`State::encode`] writes any `serde` value as MessagePack with field names: every `f64` returns
/// its exact bits (also NaN and infinities, which JSON loses), and a field added later may carry `#[serde(default)]`.
///
/// ```
/// use zae_core::state::State;
/// let state = State::encode(&(0.1 + 0.2, f64::INFINITY, "patience"))?;
/// let (sum, best, name): (f64, f64, String) = state.decode()?;
/// assert_eq!(sum.to_bits(), (0.1f64 + 0.2).to_bits());
/// assert_eq!((best, name.as_str()), (f64::INFINITY, "patience"));
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct State(pub Vec<u8>);

impl State {
    /// Writes a value.
    ///
    /// # Errors
    /// When the value cannot be serialised.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Fallible<Self> {
        Ok(Self(rmp_serde::to_vec_named(value)?))
    }

    /// Reads a value written by [`State::encode`].
    ///
    /// # Errors
    /// When the bytes are not such a value.
    pub fn decode<T: DeserializeOwned>(&self) -> Fallible<T> {
        rmp_serde::from_slice(&self.0).map_err(|e| -> BoxError { format!("the saved state does not fit: {e}").into() })
    }
}
