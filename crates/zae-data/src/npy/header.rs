//! The header of a `.npy` file.
//!
//! The format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>. Six bytes of magic, two of the
//! version, the header's length (two bytes in version 1, four in versions 2 and 3), and a Python dictionary such as
//! `{'descr': '<f4', 'fortran_order': False, 'shape': (60000, 28, 28), }`, padded with spaces. Then the elements.

use zae_core::error::Fallible;

const MAGIC: &[u8] = b"\x93NUMPY";
const SHORT: &str = "it ends in its header: write it again with `numpy.save`";
const DAMAGED: &str = "its header is damaged: write it again with `numpy.save`";

/// What a header says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Header {
    /// The type with its byte order: `<f4`.
    pub(super) descr: String,
    pub(super) fortran_order: bool,
    pub(super) shape: Vec<usize>,
    /// Where the elements begin.
    pub(super) data: usize,
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Fallible<Self> {
        if bytes.starts_with(b"PK") {
            return Err("it is an archive of several arrays (`.npz`): save each with `numpy.save`".into());
        }
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Err("it is no NumPy file: give the path of one that `numpy.save` wrote".into());
        };
        let (len, text) = match rest {
            [1, _, a, b, text @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), text),
            [2 | 3, _, a, b, c, d, text @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, text),
            [version @ (0 | 4..), ..] => {
                return Err(format!("its format has version {version}, and 1 to 3 are read: save it again").into());
            }
            _ => return Err(SHORT.into()),
        };
        let data = (bytes.len() - text.len()).saturating_add(len);
        Parser { left: text.get(..len).ok_or(SHORT)? }.dictionary(data)
    }

    /// How many elements the shape has.
    pub(super) fn elements(&self) -> Fallible<usize> {
        let product = self.shape.iter().try_fold(1usize, |product, n| product.checked_mul(*n));
        product.ok_or_else(|| format!("it claims the shape {:?}, which no file can hold", self.shape).into())
    }
}

/// Reads the few of Python's literals that a header has.
struct Parser<'a> {
    left: &'a [u8],
}

impl<'a> Parser<'a> {
    fn dictionary(mut self, data: usize) -> Fallible<Header> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect(b'{')?;
        while !self.take(b'}') {
            let key = self.string()?;
            self.expect(b':')?;
            match key {
                "descr" => {
                    if matches!(self.peek(), Some(b'[')) {
                        return Err("its elements are records: save each field of them as an array of its own".into());
                    }
                    descr = Some(self.string()?.to_owned());
                }
                "fortran_order" => fortran_order = Some(self.bool()?),
                "shape" => shape = Some(self.tuple()?),
                _ => return Err(DAMAGED.into()),
            }
            if !self.take(b',') {
                self.expect(b'}')?;
                break;
            }
        }
        match (self.peek(), descr, fortran_order, shape) {
            (None, Some(descr), Some(fortran_order), Some(shape)) => Ok(Header { descr, fortran_order, shape, data }),
            _ => Err(DAMAGED.into()),
        }
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        self.left = self.left.trim_ascii_start();
        self.left.first().copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.left = &self.left[1..];
        }
        found
    }

    fn expect(&mut self, byte: u8) -> Fallible {
        if self.take(byte) { Ok(()) } else { Err(DAMAGED.into()) }
    }

    fn string(&mut self) -> Fallible<&'a str> {
        let quote = self.peek().filter(|byte| matches!(byte, b'\'' | b'"')).ok_or(DAMAGED)?;
        let text = &self.left[1..];
        let end = text.iter().position(|byte| *byte == quote).ok_or(DAMAGED)?;
        self.left = &text[end + 1..];
        Ok(std::str::from_utf8(&text[..end])?)
    }

    fn bool(&mut self) -> Fallible<bool> {
        self.peek();
        for (word, value) in [(&b"True"[..], true), (b"False", false)] {
            if let Some(left) = self.left.strip_prefix(word) {
                self.left = left;
                return Ok(value);
            }
        }
        Err(DAMAGED.into())
    }

    fn tuple(&mut self) -> Fallible<Vec<usize>> {
        let mut numbers = Vec::new();
        self.expect(b'(')?;
        while !self.take(b')') {
            numbers.push(self.number()?);
            if !self.take(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok(numbers)
    }

    fn number(&mut self) -> Fallible<usize> {
        self.peek();
        let digits = self.left.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, left) = self.left.split_at(digits);
        // Python 2 marked long numbers.
        self.left = left.strip_prefix(b"L").unwrap_or(left);
        std::str::from_utf8(number)?.parse().map_err(|_| DAMAGED.into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn file(version: u8, dictionary: &str) -> Vec<u8> {
        let len = dictionary.len();
        let len = if version == 1 { (len as u16).to_le_bytes().to_vec() } else { (len as u32).to_le_bytes().to_vec() };
        [MAGIC, &[version, 0], &len, dictionary.as_bytes()].concat()
    }

    fn error(bytes: &[u8]) -> String {
        Header::read(bytes).unwrap_err().to_string()
    }

    #[test]
    fn headers_of_all_versions() {
        for version in [1, 2, 3] {
            let bytes = file(version, "{'descr': '<f4', 'fortran_order': False, 'shape': (60000, 28, 28), }      \n");
            let header = Header::read(&[&bytes[..], &[1, 2, 3]].concat()).unwrap();
            let shape = vec![60_000, 28, 28];
            assert_eq!(header, Header { descr: "<f4".into(), fortran_order: false, shape, data: bytes.len() });
        }
        // Another order, other quotes, no spaces, one number, marks of Python 2; a single number; none.
        let bytes = file(1, "{\"shape\":(3L,),\"fortran_order\":True,\"descr\":\"|u1\"}");
        let header = Header::read(&bytes).unwrap();
        assert_eq!((header.shape, header.fortran_order, header.descr.as_str()), (vec![3], true, "|u1"));
        let bytes = file(1, "{'descr': '<f8', 'fortran_order': False, 'shape': ()}");
        assert_eq!(Header::read(&bytes).unwrap().elements().unwrap(), 1);
    }

    #[test]
    fn errors_say_what_is_wrong() {
        assert!(error(b"").contains("give the path of one that `numpy.save` wrote"));
        assert!(error(b"PK\x03\x04").contains("archive of several arrays"));
        assert!(error(&file(4, "{}")).contains("its format has version 4"));
        let good = file(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}");
        for end in MAGIC.len()..good.len() {
            assert_eq!(error(&good[..end]), SHORT);
        }
        let records = "{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (2,)}";
        assert!(error(&file(1, records)).contains("save each field"));
        for wrong in [
            "",
            "{}",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2 3)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} 1",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 1}",
            "{'descr': '<f4",
        ] {
            assert_eq!(error(&file(1, wrong)), DAMAGED, "{wrong}");
        }
        let huge =
            Header::read(&file(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9999999999)}"));
        assert!(huge.unwrap().elements().unwrap_err().to_string().contains("which no file can hold"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_or_an_error(version in 0u8..5, text in "[{}()' ,:0-9a-zL\\[\"]{0,80}", tail: Vec<u8>) {
            let _ = Header::read(&tail);
            let _ = Header::read(&[&file(version, &text)[..], &tail].concat());
            let _ = Header::read(&[MAGIC, &[version], &tail].concat());
        }

        #[test]
        fn one_changed_byte_is_a_header_or_an_error(at: prop::sample::Index, byte: u8) {
            let mut bytes = file(2, "{'descr': '<f4', 'fortran_order': False, 'shape': (60000, 28, 28), }");
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Header::read(&bytes).and_then(|header| header.elements());
        }
    }
}
