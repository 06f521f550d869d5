//! Reading protocol buffers, as far as our own records need it.

/// A field's number and value.
pub(super) enum Field<'a> {
    Number(u32, u64),
    Bytes(u32, &'a [u8]),
}

/// The fields of a message, in order. What is not such a message ends early.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            let tag = self.varint()?;
            let number = u32::try_from(tag >> 3).ok()?;
            let length = match tag & 7 {
                0 => return Some(Field::Number(number, self.varint()?)),
                1 => 8,
                2 => usize::try_from(self.varint()?).ok()?,
                5 => 4,
                _ => return None,
            };
            let (bytes, rest) = self.0.split_at_checked(length)?;
            self.0 = rest;
            if tag & 7 == 2 {
                return Some(Field::Bytes(number, bytes));
            }
        }
    }
}

/// What a record is about: the number and the bytes of its message.
pub(super) fn content(record: &[u8]) -> Option<(u32, &[u8])> {
    Fields(record).find_map(|field| match field {
        Field::Bytes(number, bytes) => Some((number, bytes)),
        Field::Number(..) => None,
    })
}

/// The items of a config, history or summary: key and JSON.
pub(super) fn items(message: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    Fields(message).filter_map(|field| {
        let Field::Bytes(1, item) = field else { return None };
        let text = |wanted| {
            Fields(item).find_map(|field| match field {
                Field::Bytes(number, bytes) if number == wanted => std::str::from_utf8(bytes).ok(),
                _ => None,
            })
        };
        Some((text(1)?, text(16)?))
    })
}

/// The first number of this field.
pub(super) fn number(message: &[u8], wanted: u32) -> Option<u64> {
    Fields(message).find_map(|field| match field {
        Field::Number(number, value) if number == wanted => Some(value),
        _ => None,
    })
}

/// The index of a history's entry.
pub(super) fn index(message: &[u8]) -> Option<u64> {
    Fields(message).find_map(|field| match field {
        Field::Bytes(2, step) => number(step, 1),
        _ => None,
    })
}
