//! JSON that a person can read and that loses nothing.
//!
//! Values go through MessagePack, as every [`State`] does, so whatever a run can hold has exactly one text. JSON has
//! one kind of number and no bytes; what it lacks is an object with one of the [`text::TAGS`] as its only key.

mod text;
mod tree;

use serde::{Serialize, de::DeserializeOwned};
use zae_core::{error::Fallible, state::State};

use text::{AsJson, FromJson};
use tree::Tree;

/// How deep a tree may be. `serde_json` reads 128 levels, and a level here is at most three there.
const DEPTH: usize = 32;

/// Writes a value on many lines, the last one ended.
pub(crate) fn pretty<T: Serialize>(value: &T) -> Fallible<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(&AsJson::new(&tree(value)?, DEPTH))?;
    text.push(b'\n');
    Ok(text)
}

/// Writes a value on one line.
pub(crate) fn compact<T: Serialize>(value: &T) -> Fallible<String> {
    Ok(serde_json::to_string(&AsJson::new(&tree(value)?, DEPTH))?)
}

/// Reads a value back, bit for bit.
pub(crate) fn read<T: DeserializeOwned>(text: &[u8]) -> Fallible<T> {
    let FromJson(tree) = serde_json::from_slice(text)?;
    State::encode(&tree)?.decode()
}

fn tree<T: Serialize>(value: &T) -> Fallible<Tree> {
    let State(bytes) = State::encode(value)?;
    Tree::read(&bytes, DEPTH).ok_or_else(|| "it is nested too deep to be written as JSON".into())
}

#[cfg(test)]
mod tests;
