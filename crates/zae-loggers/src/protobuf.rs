//! Protocol buffers, as far as trackers need them: [`Message`] writes, [`Fields`] reads.

/// Writes a message into a buffer that its owner reuses.
///
/// A field is written even if it holds its type's default: readers take that, and in a `oneof` it has to be there.
pub(crate) struct Message<'a>(&'a mut Vec<u8>);

#[allow(dead_code, reason = "each tracker needs a part of it")]
impl<'a> Message<'a> {
    /// Goes on behind what the buffer holds.
    pub(crate) fn new(buffer: &'a mut Vec<u8>) -> Self {
        Self(buffer)
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn tag(&mut self, field: u32, wire_type: u64) {
        self.number(u64::from(field) << 3 | wire_type);
    }

    /// Any of `uint32`, `uint64` and enumerations; `int32`, `int64` as they are cast; `bool` as 0 and 1.
    pub(crate) fn varint(&mut self, field: u32, number: u64) -> &mut Self {
        self.tag(field, 0);
        self.number(number);
        self
    }

    pub(crate) fn double(&mut self, field: u32, number: f64) -> &mut Self {
        self.tag(field, 1);
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    pub(crate) fn float(&mut self, field: u32, number: f32) -> &mut Self {
        self.tag(field, 5);
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    pub(crate) fn bytes(&mut self, field: u32, bytes: &[u8]) -> &mut Self {
        self.tag(field, 2);
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn string(&mut self, field: u32, text: &str) -> &mut Self {
        self.bytes(field, text.as_bytes())
    }

    /// A packed list of `double`s.
    pub(crate) fn doubles(&mut self, field: u32, numbers: impl IntoIterator<Item = f64>) -> &mut Self {
        self.message(field, |list| {
            numbers.into_iter().for_each(|number| list.0.extend_from_slice(&number.to_le_bytes()));
        })
    }

    /// A packed list of numbers without a sign.
    pub(crate) fn varints(&mut self, field: u32, numbers: impl IntoIterator<Item = u64>) -> &mut Self {
        self.message(field, |list| numbers.into_iter().for_each(|number| list.number(number)))
    }

    /// Fields that are written already.
    pub(crate) fn raw(&mut self, fields: &[u8]) -> &mut Self {
        self.0.extend_from_slice(fields);
        self
    }

    /// A message within: `fill` writes it.
    pub(crate) fn message(&mut self, field: u32, fill: impl FnOnce(&mut Message<'_>)) -> &mut Self {
        self.tag(field, 2);
        let begin = self.0.len();
        fill(&mut Message(self.0));
        let end = self.0.len();
        // Its length comes first and is known last.
        self.number((end - begin) as u64);
        let length_bytes = self.0.len() - end;
        self.0[begin..].rotate_right(length_bytes);
        self
    }
}

/// A field's number and value. Those of fixed size (`double`, `float`) are left out: nobody needs them read.
#[derive(Clone, Copy)]
pub(crate) enum Field<'a> {
    Number(u32, u64),
    Bytes(u32, &'a [u8]),
}

/// The fields of a message, in order. What is not such a message ends early.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_format_s_own_documentation() {
        let mut buffer = Vec::new();
        Message::new(&mut buffer).varint(1, 150).string(2, "testing").message(3, |inner| {
            inner.varint(1, 150);
        });
        assert_eq!(buffer, b"\x08\x96\x01\x12\x07testing\x1a\x03\x08\x96\x01");
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_they_are_looked_at(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            Fields(&bytes).for_each(drop);
        }
    }

    #[test]
    fn fields_are_read_as_they_are_written() {
        let mut buffer = Vec::new();
        Message::new(&mut buffer).varint(1, u64::MAX).double(2, 1.0).string(3, "x").float(4, 1.0).varint(16, 0);
        let mut fields = Fields(&buffer);
        assert!(matches!(fields.next(), Some(Field::Number(1, u64::MAX))));
        assert!(matches!(fields.next(), Some(Field::Bytes(3, b"x"))));
        assert!(matches!(fields.next(), Some(Field::Number(16, 0))));
        assert!(fields.next().is_none());
    }

    #[test]
    fn numbers_of_every_kind_and_messages_of_any_length() {
        let mut buffer = vec![7];
        Message::new(&mut buffer).double(1, 1.5).float(2, -2.0).varint(16, -1i64 as u64).message(3, |inner| {
            inner.message(1, |inner| {
                inner.bytes(1, &[9; 300]);
            });
            inner.message(2, |_| {}).doubles(3, [1.5, 0.0]).varints(4, [3, 300]);
        });
        let mut expected = b"\x07\x09\0\0\0\0\0\0\xf8\x3f\x15\0\0\0\xc0\x80\x01".to_vec();
        expected.extend([0xff; 9]);
        expected.extend(b"\x01\x1a\xcb\x02\x0a\xaf\x02\x0a\xac\x02");
        expected.extend([9; 300]);
        expected.extend(b"\x12\0\x1a\x10\0\0\0\0\0\0\xf8\x3f");
        expected.extend(b"\0\0\0\0\0\0\0\0\x22\x03\x03\xac\x02");
        assert_eq!(buffer, expected);
    }
}
