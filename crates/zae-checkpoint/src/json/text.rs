//! Trees as JSON.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess},
    ser::SerializeMap,
};

use super::tree::Tree;

/// An object with one of these as its only key is something that JSON lacks:
/// - `f64`: a number that is not finite, as its bits in hexadecimal
/// - `f32`: a number of single precision; bits in hexadecimal if it is not finite
/// - `msgpack`: bytes that are the MessagePack of the value shown
/// - `hex`: other bytes
/// - `map`: key-value pairs, where keys are not texts, not unique, or the only one is a tag
/// - the last one is what `serde_json` makes of any number if some crate of a program turns on `arbitrary_precision`
pub(super) const TAGS: [&str; 6] = ["f64", "f32", "msgpack", "hex", "map", "$serde_json::private::Number"];

pub(super) struct AsJson<'a> {
    tree: &'a Tree,
    /// How much deeper trees inside bytes may be.
    depth: usize,
}

impl<'a> AsJson<'a> {
    pub(super) fn new(tree: &'a Tree, depth: usize) -> Self {
        Self { tree, depth }
    }

    fn inner(&self, tree: &'a Tree) -> Self {
        Self { tree, depth: self.depth.saturating_sub(1) }
    }
}

impl Serialize for AsJson<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.tree {
            Tree::Nil => to.serialize_unit(),
            Tree::Bool(value) => to.serialize_bool(*value),
            Tree::UInt(value) => to.serialize_u64(*value),
            Tree::Int(value) => to.serialize_i64(*value),
            Tree::Str(value) => to.serialize_str(value),
            Tree::F64(value) if value.is_finite() => to.serialize_f64(*value),
            Tree::F64(value) => tagged(to, "f64", &format!("{:#018x}", value.to_bits())),
            // In double precision, which holds it exactly: read as a double and rounded, it is itself again.
            Tree::F32(value) if value.is_finite() => tagged(to, "f32", &f64::from(*value)),
            Tree::F32(value) => tagged(to, "f32", &format!("{:#010x}", value.to_bits())),
            Tree::Bin(bytes) => match Tree::read(bytes, self.depth.saturating_sub(1)) {
                Some(tree) => tagged(to, "msgpack", &AsJson { tree: &tree, ..self.inner(self.tree) }),
                None => tagged(to, "hex", &hex(bytes)),
            },
            Tree::Seq(items) => to.collect_seq(items.iter().map(|item| self.inner(item))),
            Tree::Map(pairs) => match object(pairs) {
                Some(object) => to.collect_map(object.into_iter().map(|(key, value)| (key, self.inner(value)))),
                None => {
                    let pairs: Vec<_> = pairs.iter().map(|(key, value)| [self.inner(key), self.inner(value)]).collect();
                    tagged(to, "map", &pairs)
                }
            },
        }
    }
}

/// The pairs of a map that JSON can say as they are.
fn object<'a>(pairs: &'a [(Tree, Tree)]) -> Option<Vec<(&'a str, &'a Tree)>> {
    let text = |key: &'a Tree| if let Tree::Str(key) = key { Some(key.as_str()) } else { None };
    let object = pairs.iter().map(|(key, value)| Some((text(key)?, value)));
    let object: Vec<(&str, &Tree)> = object.collect::<Option<_>>()?;
    let unique = object.iter().map(|(key, _)| key).collect::<BTreeSet<_>>().len() == object.len();
    let is_tag = object.len() == 1 && TAGS.contains(&object[0].0);
    (unique && !is_tag).then_some(object)
}

fn tagged<S: Serializer, T: Serialize + ?Sized>(to: S, tag: &str, value: &T) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(1))?;
    map.serialize_entry(tag, value)?;
    map.end()
}

pub(super) struct FromJson(pub(super) Tree);

impl<'de> Deserialize<'de> for FromJson {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Visitor).map(Self)
    }
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Nil)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::UInt(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::int(value))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::F64(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Str(value.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(FromJson(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Tree::Seq(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut pairs: Vec<(String, Tree)> = Vec::new();
        while let Some((key, FromJson(value))) = map.next_entry()? {
            pairs.push((key, value));
        }
        match &pairs[..] {
            [(tag, value)] if TAGS.contains(&tag.as_str()) => {
                untagged(tag, value).ok_or_else(|| de::Error::custom(format!("`{tag}` has no such value")))
            }
            _ => Ok(Tree::Map(pairs.into_iter().map(|(key, value)| (Tree::Str(key), value)).collect())),
        }
    }
}

fn untagged(tag: &str, value: &Tree) -> Option<Tree> {
    match (tag, value) {
        ("f64", Tree::Str(bits)) => {
            Some(Tree::F64(f64::from_bits(u64::from_str_radix(bits.strip_prefix("0x")?, 16).ok()?)))
        }
        ("f32", Tree::Str(bits)) => {
            Some(Tree::F32(f32::from_bits(u32::from_str_radix(bits.strip_prefix("0x")?, 16).ok()?)))
        }
        ("f32", Tree::F64(value)) => Some(Tree::F32(*value as f32)),
        ("msgpack", tree) => Some(Tree::Bin(tree.write()?)),
        ("hex", Tree::Str(text)) => Some(Tree::Bin(unhex(text)?)),
        ("map", Tree::Seq(pairs)) => {
            let pair = |pair: &Tree| match pair {
                Tree::Seq(pair) => <[Tree; 2]>::try_from(pair.clone()).ok().map(|[key, value]| (key, value)),
                _ => None,
            };
            Some(Tree::Map(pairs.iter().map(pair).collect::<Option<_>>()?))
        }
        (_, Tree::Str(number)) if tag == TAGS[5] => number
            .parse()
            .map(Tree::UInt)
            .or_else(|_| number.parse().map(Tree::int))
            .or_else(|_| number.parse().map(Tree::F64))
            .ok(),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).map(|digit| digit as u8);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some((digit(*high)? << 4) | digit(*low)?)).collect()
}
