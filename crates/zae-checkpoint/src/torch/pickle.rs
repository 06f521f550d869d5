//! Values as a pickle of protocol 2, the one `torch.load(weights_only=True)` knows.

use std::{collections::HashMap, sync::Arc};

use super::{
    MAX_DEPTH,
    dtype::names_of,
    error::{Error, Result},
    opcode as op,
    tensor::{Storage, Tensor},
    value::Value,
};

/// A value as a pickle, and the storages it refers to: the first is entry `data/0` of the file.
pub(super) struct Pickle {
    pub(super) bytes: Vec<u8>,
    pub(super) storages: Vec<Arc<Storage>>,
}

pub(super) fn pickle(value: &Value) -> Result<Pickle> {
    let mut pickler = Pickler::default();
    pickler.bytes.extend([op::PROTO, 2]);
    pickler.value(value, 0)?;
    pickler.bytes.push(op::STOP);
    Ok(Pickle { bytes: pickler.bytes, storages: pickler.storages })
}

#[derive(Default)]
struct Pickler<'a> {
    bytes: Vec<u8>,
    /// Texts and classes written before, which are then only pointed at: most of a state dict is the same few.
    memo: HashMap<(&'a str, &'a str), u32>,
    storages: Vec<Arc<Storage>>,
    /// Index and element type of each storage, by its address.
    known: HashMap<*const Storage, (usize, &'static str)>,
}

impl<'a> Pickler<'a> {
    fn value(&mut self, value: &'a Value, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::Value(format!("containers nested more than {MAX_DEPTH} deep")));
        }
        match value {
            Value::None => self.bytes.push(op::NONE),
            Value::Bool(yes) => self.bytes.push(if *yes { op::NEWTRUE } else { op::NEWFALSE }),
            Value::Int(number) => self.int(*number),
            Value::UInt(number) => self.long(i128::from(*number)),
            Value::Float(number) => {
                self.bytes.push(op::BINFLOAT);
                self.bytes.extend(number.to_be_bytes());
            }
            Value::Str(text) => self.text(text)?,
            Value::Bytes(bytes) => self.raw(bytes)?,
            Value::List(items) => {
                self.bytes.push(op::EMPTY_LIST);
                self.items(items, op::APPENDS, depth)?;
            }
            Value::Tuple(items) if items.is_empty() => self.bytes.push(op::EMPTY_TUPLE),
            Value::Tuple(items) => self.items(items, op::TUPLE, depth)?,
            Value::Dict(entries) => {
                self.bytes.extend([op::EMPTY_DICT, op::MARK]);
                for (key, value) in entries {
                    self.value(key, depth + 1)?;
                    self.value(value, depth + 1)?;
                }
                self.bytes.push(op::SETITEMS);
            }
            Value::Tensor(tensor) => self.tensor(tensor)?,
            Value::Opaque(name) => return Err(Error::Value(format!("an object of class `{name}`"))),
        }
        Ok(())
    }

    fn items(&mut self, items: &'a [Value], end: u8, depth: usize) -> Result<()> {
        self.bytes.push(op::MARK);
        items.iter().try_for_each(|item| self.value(item, depth + 1))?;
        self.bytes.push(end);
        Ok(())
    }

    fn int(&mut self, number: i64) {
        if let Ok(number) = u8::try_from(number) {
            self.bytes.extend([op::BININT1, number]);
        } else if let Ok(number) = i32::try_from(number) {
            self.bytes.push(op::BININT);
            self.bytes.extend(number.to_le_bytes());
        } else {
            self.long(i128::from(number));
        }
    }

    /// The fewest bytes that hold it in two's complement.
    fn long(&mut self, number: i128) {
        let bytes = number.to_le_bytes();
        let sign = if number < 0 { 0xff } else { 0 };
        let same = |len: &usize| bytes[*len..].iter().all(|b| *b == sign) && (bytes[len - 1] ^ sign) & 0x80 == 0;
        let len = (1..bytes.len()).find(same).unwrap_or(bytes.len());
        self.bytes.extend([op::LONG1, len as u8]);
        self.bytes.extend(&bytes[..len]);
    }

    fn size(&mut self, number: usize) -> Result<()> {
        let number = i64::try_from(number).map_err(|_| Error::Value(format!("a size of {number}")))?;
        self.int(number);
        Ok(())
    }

    fn sizes(&mut self, numbers: &[usize]) -> Result<()> {
        if numbers.is_empty() {
            self.bytes.push(op::EMPTY_TUPLE);
            return Ok(());
        }
        self.bytes.push(op::MARK);
        numbers.iter().try_for_each(|number| self.size(*number))?;
        self.bytes.push(op::TUPLE);
        Ok(())
    }

    fn text(&mut self, text: &'a str) -> Result<()> {
        if self.recall(("", text)) {
            return Ok(());
        }
        self.unicode(text)?;
        self.remember(("", text));
        Ok(())
    }

    fn unicode(&mut self, text: &str) -> Result<()> {
        let len = u32::try_from(text.len()).map_err(|_| Error::Value("a text of more than 4 GiB".to_owned()))?;
        self.bytes.push(op::BINUNICODE);
        self.bytes.extend(len.to_le_bytes());
        self.bytes.extend(text.as_bytes());
        Ok(())
    }

    /// Protocol 2 has no bytes: Python writes them as the text that has them as its Latin-1 code.
    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.global("_codecs", "encode");
        self.bytes.push(op::MARK);
        let text: String = bytes.iter().map(|b| char::from(*b)).collect();
        self.unicode(&text)?;
        self.text("latin1")?;
        self.bytes.extend([op::TUPLE, op::REDUCE]);
        Ok(())
    }

    fn global(&mut self, module: &'a str, name: &'a str) {
        if self.recall((module, name)) {
            return;
        }
        self.bytes.push(op::GLOBAL);
        self.bytes.extend(format!("{module}\n{name}\n").bytes());
        self.remember((module, name));
    }

    fn recall(&mut self, key: (&'a str, &'a str)) -> bool {
        let Some(index) = self.memo.get(&key) else { return false };
        if let Ok(index) = u8::try_from(*index) {
            self.bytes.extend([op::BINGET, index]);
        } else {
            self.bytes.push(op::LONG_BINGET);
            self.bytes.extend(index.to_le_bytes());
        }
        true
    }

    fn remember(&mut self, key: (&'a str, &'a str)) {
        let Ok(index) = u32::try_from(self.memo.len()) else { return };
        self.memo.insert(key, index);
        if let Ok(index) = u8::try_from(index) {
            self.bytes.extend([op::BINPUT, index]);
        } else {
            self.bytes.push(op::LONG_BINPUT);
            self.bytes.extend(index.to_le_bytes());
        }
    }

    /// `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)`, or `_v3` with the type at its end for
    /// types that have no storage class.
    fn tensor(&mut self, tensor: &Tensor) -> Result<()> {
        let unknown = || Error::Value(format!("elements of type {:?}", tensor.dtype()));
        let (class, name) = names_of(tensor.dtype()).ok_or_else(unknown)?;
        let size = tensor.dtype().size();
        let function = if class.is_some() { "_rebuild_tensor_v2" } else { "_rebuild_tensor_v3" };
        let index = self.storage(tensor.storage(), name)?;

        self.global("torch._utils", function);
        self.bytes.extend([op::MARK, op::MARK]);
        self.text("storage")?;
        let len = tensor.storage().len;
        let elements = match class {
            Some(class) => {
                self.global("torch", class);
                len / size
            }
            None => {
                self.global("torch.storage", "UntypedStorage");
                len
            }
        };
        self.unicode(&index.to_string())?;
        self.text("cpu")?;
        self.size(elements)?;
        self.bytes.extend([op::TUPLE, op::BINPERSID]);
        self.size(tensor.offset())?;
        self.sizes(tensor.shape())?;
        self.sizes(tensor.stride())?;
        self.bytes.push(op::NEWFALSE);
        self.global("collections", "OrderedDict");
        self.bytes.extend([op::EMPTY_TUPLE, op::REDUCE]);
        if class.is_none() {
            self.global("torch", name);
        }
        self.bytes.extend([op::TUPLE, op::REDUCE]);
        Ok(())
    }

    /// The number of its entry. A storage has one type: PyTorch takes the first for all.
    fn storage(&mut self, storage: &Arc<Storage>, dtype: &'static str) -> Result<usize> {
        let next = self.storages.len();
        let (index, first) = *self.known.entry(Arc::as_ptr(storage)).or_insert((next, dtype));
        if first != dtype {
            return Err(Error::Value(format!("tensors of {first} and {dtype} in one storage")));
        }
        if index == next {
            self.storages.push(storage.clone());
        }
        Ok(index)
    }
}
