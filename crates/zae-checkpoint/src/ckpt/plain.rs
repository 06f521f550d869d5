//! Anything that `serde` knows, as plain Python values and back. It goes through MessagePack, which keeps every f64 bit
//! for bit.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned},
    ser,
};

use super::error::{Error, Result};
use crate::torch::{self, Value};

pub(super) fn to_value<T: Serialize>(value: &T) -> Result<Value> {
    let cannot = |e: &dyn fmt::Display| Error::Torch(torch::Error::Value(e.to_string()));
    let bytes = rmp_serde::to_vec_named(value).map_err(|e| cannot(&e))?;
    let Read(value) = rmp_serde::from_slice(&bytes).map_err(|e| cannot(&e))?;
    Ok(value)
}

pub(super) fn from_value<T: DeserializeOwned>(value: &Value, what: &str) -> Result<T> {
    let damaged = |e: &dyn fmt::Display| Error::Damaged(format!("`{what}` does not fit: {e}"));
    let bytes = rmp_serde::to_vec(&Written(value)).map_err(|e| damaged(&e))?;
    rmp_serde::from_slice(&bytes).map_err(|e| damaged(&e))
}

struct Written<'a>(&'a Value);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::None => serializer.serialize_unit(),
            Value::Bool(yes) => serializer.serialize_bool(*yes),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::UInt(number) => serializer.serialize_u64(*number),
            Value::Float(number) => serializer.serialize_f64(*number),
            Value::Str(text) => serializer.serialize_str(text),
            Value::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Value::List(items) | Value::Tuple(items) => serializer.collect_seq(items.iter().map(Written)),
            Value::Dict(entries) => {
                serializer.collect_map(entries.iter().map(|(key, value)| (Written(key), Written(value))))
            }
            other @ (Value::Tensor(_) | Value::Opaque(_)) => {
                Err(ser::Error::custom(format!("there is {} where plain values belong", other.kind())))
            }
        }
    }
}

struct Read(Value);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor).map(Read)
    }
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_bool<E>(self, yes: bool) -> Result<Value, E> {
        Ok(Value::Bool(yes))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(bytes.into()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Read(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((Read(key), Read(value))) = map.next_entry()? {
            entries.push((key, value));
        }
        Ok(Value::Dict(entries))
    }
}
