//! [`Memory`]: what a pickle has made so far. Containers are numbered, not owned by each other, so that a pickle may nest,
//! share and tie them into loops as it likes: that is judged once, when the result is made of them.

use std::{collections::HashSet, mem::size_of, sync::Arc};

use super::{
    MAX_DEPTH, dtype,
    error::{Error, Result, damaged},
    tensor::{Storage, Tensor},
    value::Value,
};

/// A value on the pickle's stack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item {
    None,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Node(Node),
}

/// The number of a [`Content`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Node(u32);

/// A storage and the name of its type.
#[derive(Clone)]
pub(super) struct TypedStorage {
    pub(super) storage: Arc<Storage>,
    pub(super) class: Arc<str>,
}

pub(super) enum Content {
    Str(Arc<str>),
    Bytes(Arc<[u8]>),
    List(Vec<Item>),
    Tuple(Box<[Item]>),
    Dict(Vec<(Item, Item)>),
    Storage(Box<TypedStorage>),
    Tensor(Arc<Tensor>),
    /// A class or function: module and name, with a dot between them.
    Global(Arc<str>),
    /// What would have become of a class that is not known.
    Opaque(Arc<str>),
}

/// Values that a result may have more than its pickle has bytes, because it shows shared ones in several places.
const FREE_VALUES: usize = 1 << 16;

pub(super) struct Memory {
    contents: Vec<Content>,
    /// Bytes that may still be taken for what a few bytes of a pickle can ask for again and again: copies of a text in
    /// another form, tensors of the same sizes.
    copies: usize,
    /// Values that the result may still have.
    values: usize,
}

impl Memory {
    pub(super) fn new(pickle: usize) -> Self {
        Self {
            contents: Vec::new(),
            copies: pickle.saturating_mul(4).saturating_add(FREE_VALUES),
            values: pickle.saturating_add(FREE_VALUES),
        }
    }

    pub(super) fn add(&mut self, content: Content) -> Result<Item> {
        let number = u32::try_from(self.contents.len());
        let number = number.map_err(|_| Error::Unsupported("a pickle of more than four billion objects".to_owned()))?;
        self.contents.push(content);
        Ok(Item::Node(Node(number)))
    }

    pub(super) fn get(&self, item: Item) -> Option<&Content> {
        match item {
            Item::Node(Node(number)) => self.contents.get(number as usize),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, item: Item) -> Option<&mut Content> {
        match item {
            Item::Node(Node(number)) => self.contents.get_mut(number as usize),
            _ => None,
        }
    }

    pub(super) fn tuple(&self, item: Item) -> Result<&[Item]> {
        match self.get(item) {
            Some(Content::Tuple(items)) => Ok(items),
            _ => damaged("the pickle has something else where a tuple belongs"),
        }
    }

    pub(super) fn text(&self, item: Item) -> Result<&Arc<str>> {
        match self.get(item) {
            Some(Content::Str(text)) => Ok(text),
            _ => damaged("the pickle has something else where a text belongs"),
        }
    }

    /// Says that so many bytes are about to be taken for a copy.
    pub(super) fn copy(&mut self, bytes: usize) -> Result<()> {
        let left = self.copies.checked_sub(bytes);
        self.copies =
            left.ok_or_else(|| Error::Damaged("the pickle copies the same things again and again".to_owned()))?;
        Ok(())
    }

    /// The value that an item has become.
    pub(super) fn value(&mut self, item: Item) -> Result<Value> {
        let Self { contents, values, .. } = self;
        Builder { contents, values }.value(item, 0)
    }
}

struct Builder<'a> {
    contents: &'a [Content],
    values: &'a mut usize,
}

impl Builder<'_> {
    fn value(&mut self, item: Item, depth: usize) -> Result<Value> {
        if depth > MAX_DEPTH {
            return damaged(format!("containers nested more than {MAX_DEPTH} deep"));
        }
        let left = self.values.checked_sub(1);
        *self.values = left.ok_or_else(|| {
            Error::Damaged(
                "the pickle shows shared containers in so many places that memory could not hold them".to_owned(),
            )
        })?;
        let Node(number) = match item {
            Item::None => return Ok(Value::None),
            Item::Bool(yes) => return Ok(Value::Bool(yes)),
            Item::Int(number) => return Ok(Value::Int(number)),
            Item::UInt(number) => return Ok(Value::UInt(number)),
            Item::Float(number) => return Ok(Value::Float(number)),
            Item::Node(node) => node,
        };
        let contents = self.contents;
        Ok(match contents.get(number as usize) {
            Some(Content::Str(text)) => Value::Str(text.clone()),
            Some(Content::Bytes(bytes)) => Value::Bytes(bytes.clone()),
            Some(Content::List(items)) => Value::List(self.items(items, depth)?),
            Some(Content::Tuple(items)) => Value::Tuple(self.items(items, depth)?),
            Some(Content::Dict(entries)) => Value::Dict(self.entries(entries, depth)?),
            Some(Content::Tensor(tensor)) => Value::Tensor(tensor.clone()),
            Some(Content::Storage(storage)) => Value::Opaque(storage.class.clone()),
            Some(Content::Global(name)) if is_dtype(name) => Value::Str(name.clone()),
            Some(Content::Global(name) | Content::Opaque(name)) => Value::Opaque(name.clone()),
            None => return damaged("the pickle refers to what is not there"),
        })
    }

    /// So that nothing is reserved for more values than there may be.
    fn check(&self, count: usize) -> usize {
        count.min(*self.values)
    }

    fn items(&mut self, items: &[Item], depth: usize) -> Result<Vec<Value>> {
        let mut out = Vec::with_capacity(self.check(items.len()));
        for item in items {
            out.push(self.value(*item, depth + 1)?);
        }
        Ok(out)
    }

    fn entries(&mut self, entries: &[(Item, Item)], depth: usize) -> Result<Vec<(Value, Value)>> {
        let mut out = Vec::with_capacity(self.check(entries.len()));
        for (key, value) in entries {
            out.push((self.value(*key, depth + 1)?, self.value(*value, depth + 1)?));
        }
        // Which of two Python would keep is not for us to guess.
        let mut keys = HashSet::with_capacity(out.len());
        match out.iter().filter_map(|(key, _)| key.as_str()).find(|key| !keys.insert(*key)) {
            Some(key) => damaged(format!("a dictionary has the key `{key}` twice")),
            None => Ok(out),
        }
    }
}

/// `torch.float32` and its like are objects of the module, not classes.
fn is_dtype(name: &str) -> bool {
    name.strip_prefix("torch.").is_some_and(dtype::is_name)
}

const _: () = assert!(size_of::<Item>() == 16 && size_of::<Content>() <= 32, "the bound on memory rests on this");
