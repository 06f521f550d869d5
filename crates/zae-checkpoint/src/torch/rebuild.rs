//! The few functions that a pickle of tensors calls, done without calling anything.

use std::sync::Arc;

use zae_core::learner::Dtype;

use super::{
    dtype,
    error::{Error, Result, damaged},
    memory::{Content, Item, TypedStorage},
    tensor::{MAX_DIMENSIONS, Storage, Tensor},
    unpickle::Machine,
};

/// What the instructions REDUCE and BINPERSID make.
pub(super) trait Rebuild {
    /// What calling a function would have made.
    fn reduce(&mut self, function: Item, arguments: Item) -> Result<Item>;
    /// The storage that a tensor refers to.
    fn persistent(&mut self, id: Item) -> Result<Item>;
}

impl Rebuild for Machine<'_> {
    fn reduce(&mut self, function: Item, arguments: Item) -> Result<Item> {
        let name = match self.memory.get(function) {
            Some(Content::Global(name)) => name.clone(),
            Some(Content::Opaque(name)) => return self.memory.add(Content::Opaque(name.clone())),
            _ => return Err(Error::Refused("the pickle calls what is no function".to_owned())),
        };
        // `_rebuild_from_type_v2(function, class, arguments, state)`: a tensor with attributes of its own.
        if &*name == "torch._tensor._rebuild_from_type_v2" {
            let [inner, _, inner_arguments, _] = *self.memory.tuple(arguments)? else { return self.wrong(&name) };
            return match self.memory.get(inner) {
                Some(Content::Global(own)) if **own != *name => {
                    let own = own.clone();
                    self.call(&own, inner_arguments)
                }
                _ => self.wrong(&name),
            };
        }
        self.call(&name, arguments)
    }

    fn persistent(&mut self, id: Item) -> Result<Item> {
        let [kind, class, key, _, count] = *self.memory.tuple(id)? else {
            return damaged("the pickle refers to a storage in another way than `torch.save`");
        };
        let kind = self.memory.text(kind)?;
        if &**kind != "storage" {
            return Err(Error::Refused(format!("the pickle refers to a `{kind}`, not a storage")));
        }
        let Some(Content::Global(class)) = self.memory.get(class) else {
            return damaged("the pickle refers to a storage of no type");
        };
        let (class, key) = (class.clone(), self.memory.text(key)?.clone());
        let storage = match self.storages.get(&key) {
            Some(storage) => storage.clone(),
            None => {
                let bytes = self.archive.get(&format!("data/{key}"))?;
                let len = bytes.len();
                let storage = Storage::new(Arc::new(bytes), len);
                self.storages.insert(key.clone(), storage.clone());
                storage
            }
        };
        if let Some(size) = element_size(&class)
            && unsigned(count)?.checked_mul(size) != Some(storage.len)
        {
            return damaged(format!("entry `data/{key}` has not the length that the pickle says"));
        }
        self.memory.add(Content::Storage(Box::new(TypedStorage { storage, class })))
    }
}

impl Machine<'_> {
    fn wrong<T>(&self, function: &str) -> Result<T> {
        damaged(format!("the pickle calls `{function}` with other arguments than `torch.save`"))
    }

    fn call(&mut self, name: &Arc<str>, arguments: Item) -> Result<Item> {
        let items = self.memory.tuple(arguments)?;
        match (&**name, items) {
            ("torch._utils._rebuild_tensor", [storage, offset, shape, stride])
            | ("torch._utils._rebuild_tensor_v2", [storage, offset, shape, stride, _, _]) => {
                self.tensor(*storage, *offset, *shape, *stride, None)
            }
            ("torch._utils._rebuild_tensor_v3", [storage, offset, shape, stride, _, _, dtype]) => {
                self.tensor(*storage, *offset, *shape, *stride, Some(*dtype))
            }
            // The argument more says that the elements are to be negated or conjugated, which we do not.
            ("torch._utils._rebuild_tensor_v2", [_, _, _, _, _, _, _])
            | ("torch._utils._rebuild_tensor_v3", [_, _, _, _, _, _, _, _]) => {
                self.memory.add(Content::Opaque("a tensor of negated or conjugated elements".into()))
            }
            ("torch._utils._rebuild_parameter", [data, _, _])
            | ("torch._utils._rebuild_parameter_with_state", [data, _, _, _]) => Ok(*data),
            (
                "torch.Size" | "builtins.set" | "__builtin__.set" | "builtins.frozenset" | "__builtin__.frozenset",
                [items],
            ) => Ok(*items),
            ("builtins.bytearray" | "__builtin__.bytearray", [bytes]) => Ok(*bytes),
            ("torch.device", [kind]) => Ok(*kind),
            ("torch.device", [kind, Item::Int(index)]) => {
                let device = format!("{}:{index}", self.memory.text(*kind)?);
                self.memory.copy(device.len())?;
                self.memory.add(Content::Str(device.into()))
            }
            ("collections.OrderedDict", []) | ("collections.defaultdict", [] | [_]) => {
                self.memory.add(Content::Dict(Vec::new()))
            }
            ("builtins.bytes" | "__builtin__.bytes" | "builtins.bytearray" | "__builtin__.bytearray", []) => {
                self.memory.add(Content::Bytes(Arc::default()))
            }
            ("_codecs.encode", [text, code]) => {
                let (text, code) = (self.memory.text(*text)?.clone(), self.memory.text(*code)?);
                if !matches!(&**code, "latin1" | "latin-1") {
                    return self.wrong(name);
                }
                self.memory.copy(text.len())?;
                let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
                let bytes = bytes.ok_or_else(|| Error::Damaged("bytes that are none".to_owned()))?;
                self.memory.add(Content::Bytes(bytes.into()))
            }
            (known, _) if KNOWN.contains(&known) => self.wrong(name),
            _ => self.memory.add(Content::Opaque(name.clone())),
        }
    }

    fn tensor(&mut self, storage: Item, offset: Item, shape: Item, stride: Item, dtype: Option<Item>) -> Result<Item> {
        let Some(Content::Storage(typed)) = self.memory.get(storage) else {
            return damaged("the pickle makes a tensor of what is no storage");
        };
        let TypedStorage { storage, class } = (**typed).clone();
        let name = match dtype {
            None => class,
            Some(dtype) => match self.memory.get(dtype) {
                Some(Content::Global(name)) => name.clone(),
                _ => return damaged("the pickle makes a tensor of no type"),
            },
        };
        let Some(dtype) = element_type(&name) else {
            let what = format!("a tensor of {name}");
            self.memory.copy(what.len())?;
            return self.memory.add(Content::Opaque(what.into()));
        };
        let (shape, stride) = (self.sizes(shape)?, self.sizes(stride)?);
        self.memory.copy(size_of::<Tensor>() + size_of_val(&*shape) + size_of_val(&*stride))?;
        let tensor = Tensor::new(dtype, shape, stride, unsigned(offset)?, storage)?;
        self.memory.add(Content::Tensor(Arc::new(tensor)))
    }

    fn sizes(&self, item: Item) -> Result<Vec<usize>> {
        let items = self.memory.tuple(item)?;
        if items.len() > MAX_DIMENSIONS {
            return damaged(format!("a tensor of {} dimensions", items.len()));
        }
        items.iter().map(|item| unsigned(*item)).collect()
    }
}

/// Functions that are known, and so never stand for a foreign class.
const KNOWN: [&str; 9] = [
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.Size",
    "torch.device",
    "collections.OrderedDict",
    "_codecs.encode",
];

fn unsigned(item: Item) -> Result<usize> {
    let number = match item {
        Item::Int(number) => usize::try_from(number).ok(),
        _ => None,
    };
    number.ok_or_else(|| Error::Damaged("the pickle has something else where a size belongs".to_owned()))
}

/// Of a storage class (`torch.FloatStorage`) or a type (`torch.uint16`).
fn element_type(name: &str) -> Option<Dtype> {
    let name = name.strip_prefix("torch.")?;
    dtype::from_storage_class(name).or_else(|| dtype::from_name(name))
}

/// Bytes of an element of a storage class; `None` for a class that is not known.
fn element_size(class: &str) -> Option<usize> {
    match class {
        "torch.storage.UntypedStorage" | "torch.UntypedStorage" => Some(1),
        class => dtype::from_storage_class(class.strip_prefix("torch.")?).map(Dtype::size),
    }
}
