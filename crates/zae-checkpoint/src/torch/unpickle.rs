//! A restricted unpickler: tensors, containers and scalars. Nothing is imported, nothing is called.

use std::{collections::HashMap, sync::Arc};

use super::{
    archive::Archive,
    error::{Error, Result, damaged},
    fields::Fields,
    memory::{Content, Item, Memory},
    opcode as op,
    rebuild::Rebuild,
    tensor::Storage,
    value::Value,
};

/// The newest protocol, which Python 3.8 brought.
const NEWEST_PROTOCOL: u8 = 5;

pub(super) fn unpickle(pickle: &[u8], archive: &Archive) -> Result<Value> {
    let mut machine = Machine {
        fields: Fields::new(pickle),
        archive,
        memory: Memory::new(pickle.len()),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        storages: HashMap::new(),
    };
    loop {
        let code = machine.fields.u8()?;
        if code == op::STOP {
            let result = machine.pop()?;
            return machine.memory.value(result);
        }
        machine.execute(code)?;
    }
}

pub(super) struct Machine<'a> {
    fields: Fields<'a>,
    pub(super) archive: &'a Archive,
    pub(super) memory: Memory,
    stack: Vec<Item>,
    marks: Vec<usize>,
    memo: HashMap<u32, Item>,
    /// Storages by their names in the archive, so that views of one share it.
    pub(super) storages: HashMap<Arc<str>, Arc<Storage>>,
}

impl Machine<'_> {
    fn execute(&mut self, code: u8) -> Result<()> {
        match code {
            op::PROTO => {
                let protocol = self.fields.u8()?;
                if protocol > NEWEST_PROTOCOL {
                    return Err(Error::Unsupported(format!("a pickle of protocol {protocol}, which is newer than 5")));
                }
                Ok(())
            }
            op::FRAME => self.fields.skip(8),
            op::MARK => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            op::POP => match self.marks.last() {
                Some(mark) if *mark == self.stack.len() => self.marks.pop().map(|_| ()).ok_or_else(underflow),
                _ => self.pop().map(|_| ()),
            },
            op::POP_MARK => self.pop_mark().map(|_| ()),
            op::NONE => self.push(Item::None),
            op::NEWTRUE => self.push(Item::Bool(true)),
            op::NEWFALSE => self.push(Item::Bool(false)),
            op::BININT | op::BININT1 | op::BININT2 | op::LONG1 | op::LONG4 | op::BINFLOAT => self.number(code),
            op::BINUNICODE | op::SHORT_BINUNICODE | op::BINUNICODE8 | op::BINSTRING | op::SHORT_BINSTRING => {
                self.text(code)
            }
            op::BINBYTES | op::SHORT_BINBYTES | op::BINBYTES8 | op::BYTEARRAY8 => {
                let bytes = self.sized(code)?.into();
                self.add(Content::Bytes(bytes))
            }
            op::EMPTY_TUPLE => self.add(Content::Tuple(Box::default())),
            op::TUPLE1 => self.tuple_of(1),
            op::TUPLE2 => self.tuple_of(2),
            op::TUPLE3 => self.tuple_of(3),
            op::TUPLE => {
                let items = self.pop_mark()?;
                self.add(Content::Tuple(items.into()))
            }
            op::EMPTY_LIST | op::EMPTY_SET => self.add(Content::List(Vec::new())),
            op::LIST | op::FROZENSET => {
                let items = self.pop_mark()?;
                self.add(Content::List(items))
            }
            op::APPEND => {
                let item = self.pop()?;
                self.append(&[item])
            }
            op::APPENDS | op::ADDITEMS => {
                let items = self.pop_mark()?;
                self.append(&items)
            }
            op::EMPTY_DICT => self.add(Content::Dict(Vec::new())),
            op::DICT => {
                let items = self.pop_mark()?;
                self.add(Content::Dict(Vec::new()))?;
                self.set(&items)
            }
            op::SETITEM => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])
            }
            op::SETITEMS => {
                let items = self.pop_mark()?;
                self.set(&items)
            }
            op::BINGET | op::LONG_BINGET => {
                let index = self.index(code == op::BINGET)?;
                let item = self.memo.get(&index).copied();
                self.push(
                    item.ok_or_else(|| Error::Damaged(format!("the pickle recalls {index}, which it never kept")))?,
                )
            }
            op::BINPUT | op::LONG_BINPUT => {
                let index = self.index(code == op::BINPUT)?;
                self.remember(index)
            }
            op::MEMOIZE => self.remember(u32::try_from(self.memo.len()).unwrap_or(u32::MAX)),
            op::GLOBAL => {
                let [module, name] = [self.fields.line()?, self.fields.line()?].map(String::from_utf8_lossy);
                self.add(Content::Global(format!("{module}.{name}").into()))
            }
            op::STACK_GLOBAL => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (name, module) = (self.memory.text(name)?.clone(), self.memory.text(module)?.clone());
                self.memory.copy(name.len() + module.len())?;
                self.add(Content::Global(format!("{module}.{name}").into()))
            }
            op::REDUCE => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let made = self.reduce(function, arguments)?;
                self.push(made)
            }
            op::NEWOBJ => {
                let (_, class) = (self.pop()?, self.pop()?);
                self.instance(class)
            }
            op::NEWOBJ_EX => {
                let (_, _, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.instance(class)
            }
            op::BUILD => self.build(),
            op::BINPERSID => {
                let id = self.pop()?;
                let storage = self.persistent(id)?;
                self.push(storage)
            }
            code => {
                Err(Error::Refused(format!("the pickle has the instruction {code:#04x}, which tensors never need")))
            }
        }
    }

    fn push(&mut self, item: Item) -> Result<()> {
        self.stack.push(item);
        Ok(())
    }

    fn add(&mut self, content: Content) -> Result<()> {
        let item = self.memory.add(content)?;
        self.push(item)
    }

    /// Whether there is something on the stack above the last mark.
    fn top(&self) -> Result<Item> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack.last().copied().filter(|_| self.stack.len() > floor).ok_or_else(underflow)
    }

    fn pop(&mut self) -> Result<Item> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_mark(&mut self) -> Result<Vec<Item>> {
        let mark = self.marks.pop().ok_or_else(underflow)?;
        // An exact copy: of a vector split off at 0 the old one would keep its whole capacity.
        let items = self.stack[mark..].to_vec();
        self.stack.truncate(mark);
        Ok(items)
    }

    fn tuple_of(&mut self, count: usize) -> Result<()> {
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(self.pop()?);
        }
        items.reverse();
        self.add(Content::Tuple(items.into()))
    }

    fn number(&mut self, code: u8) -> Result<()> {
        let item = match code {
            op::BININT => Item::Int(i32::from_le_bytes(self.fields.array()?).into()),
            op::BININT1 => Item::Int(self.fields.u8()?.into()),
            op::BININT2 => Item::Int(self.fields.u16()?.into()),
            op::BINFLOAT => Item::Float(f64::from_be_bytes(self.fields.array()?)),
            _ => {
                let len = if code == op::LONG1 { self.fields.u8()?.into() } else { self.fields.u32()? as usize };
                let bytes = self.fields.bytes(len)?;
                match integer(bytes) {
                    Some(item) => item,
                    None => self.memory.add(Content::Opaque("int of more than 64 bits".into()))?,
                }
            }
        };
        self.push(item)
    }

    fn sized(&mut self, code: u8) -> Result<&[u8]> {
        let len = match code {
            op::SHORT_BINUNICODE | op::SHORT_BINBYTES | op::SHORT_BINSTRING => self.fields.u8()?.into(),
            op::BINUNICODE | op::BINBYTES | op::BINSTRING => self.fields.u32()?.into(),
            _ => self.fields.u64()?,
        };
        self.fields.bytes(usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn text(&mut self, code: u8) -> Result<()> {
        let text = std::str::from_utf8(self.sized(code)?);
        let text = text.map_err(|_| Error::Damaged("a text of the pickle is not UTF-8".to_owned()))?.into();
        self.add(Content::Str(text))
    }

    fn append(&mut self, items: &[Item]) -> Result<()> {
        let target = self.top()?;
        match self.memory.get_mut(target) {
            Some(Content::List(list)) => list.extend_from_slice(items),
            Some(Content::Opaque(_)) => {}
            _ => return damaged("the pickle appends to what is no list"),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Item]) -> Result<()> {
        let target = self.top()?;
        let (pairs, rest) = items.as_chunks();
        match self.memory.get_mut(target) {
            Some(Content::Dict(entries)) if rest.is_empty() => {
                entries.extend(pairs.iter().map(|[key, value]| (*key, *value)));
            }
            Some(Content::Opaque(_)) => {}
            _ => return damaged("the pickle sets items of what is no dictionary"),
        }
        Ok(())
    }

    fn index(&mut self, short: bool) -> Result<u32> {
        if short { Ok(self.fields.u8()?.into()) } else { self.fields.u32() }
    }

    fn remember(&mut self, index: u32) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    /// The state of an object that was made. An `OrderedDict` from `Module.state_dict` has an attribute, `_metadata`.
    fn build(&mut self) -> Result<()> {
        let (state, target) = (self.pop()?, self.top()?);
        let attributes = matches!(self.memory.get(state), Some(Content::Dict(_)));
        match self.memory.get(target) {
            Some(Content::Opaque(_)) => Ok(()),
            Some(Content::Dict(_)) if attributes => Ok(()),
            _ => Err(Error::Refused("the pickle gives a state to what has none".to_owned())),
        }
    }

    fn instance(&mut self, class: Item) -> Result<()> {
        match self.memory.get(class) {
            Some(Content::Global(name) | Content::Opaque(name)) => {
                let name = name.clone();
                self.add(Content::Opaque(name))
            }
            _ => damaged("the pickle makes an object of what is no class"),
        }
    }
}

fn underflow() -> Error {
    Error::Damaged("the pickle takes what it never put".to_owned())
}

/// Two's complement, little-endian, of any length.
fn integer(bytes: &[u8]) -> Option<Item> {
    let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
    let fill = if negative { 0xff } else { 0 };
    let low: [u8; 9] = std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(fill));
    if bytes.iter().skip(9).any(|b| *b != fill) {
        return None;
    }
    let (low, high) = low.split_first_chunk::<8>()?;
    match (high[0], i64::from_le_bytes(*low)) {
        (0, number) if number < 0 => Some(Item::UInt(number as u64)),
        (0, number) => Some(Item::Int(number)),
        (0xff, number) if number < 0 => Some(Item::Int(number)),
        _ => None,
    }
}
