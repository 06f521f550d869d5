//! [`State`]: what a task, a schedule or an add-on puts into a snapshot.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

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
#[derive(Clone, PartialEq, Eq, Debug, Default)]
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
    pub fn decode<T: de::DeserializeOwned>(&self) -> Fallible<T> {
        rmp_serde::from_slice(&self.0).map_err(|e| -> BoxError { format!("the saved state does not fit: {e}").into() })
    }
}

/// As bytes, not as a list of numbers.
impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = State;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<State, E> {
                Ok(State(bytes.to_vec()))
            }
            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<State, E> {
                Ok(State(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}
