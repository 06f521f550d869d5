//! Records, of which event files are made: a length, its checksum, the data, its checksum.

use std::io::{self, Read};

/// Length and checksum before the data.
const HEAD: usize = 12;
/// The checksum behind it.
const TAIL: usize = 4;

/// CRC-32C, masked as TensorFlow does it: the checksum of data that hold their own checksum is a bad one.
fn checksum(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// Appends a record, whose data `fill` appends.
pub(super) fn append(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.extend_from_slice(&[0; HEAD]);
    fill(out);
    let length = ((out.len() - begin - HEAD) as u64).to_le_bytes();
    let checksum_of_data = checksum(&out[begin + HEAD..]);
    out[begin..][..8].copy_from_slice(&length);
    out[begin + 8..][..4].copy_from_slice(&checksum(&length));
    out.extend_from_slice(&checksum_of_data);
}

/// The whole records of a file, up to the first that is torn or damaged.
pub(super) struct Records<R> {
    input: R,
    data: Vec<u8>,
    /// Where the last whole record ends, and where the file does.
    end: u64,
    size: u64,
}

impl<R: Read> Records<R> {
    /// A file of so many bytes.
    pub(super) fn new(input: R, size: u64) -> Self {
        Self { input, data: Vec::new(), end: 0, size }
    }

    /// The data of the next record, if it is whole.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let left = self.size - self.end;
        let mut head = [0; HEAD];
        if left < (HEAD + TAIL) as u64 {
            return Ok(None);
        }
        self.input.read_exact(&mut head)?;
        let (length, its_checksum) = head.split_at(8);
        let known = length.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        if its_checksum != checksum(length) || known > left - (HEAD + TAIL) as u64 {
            return Ok(None);
        }
        self.data.resize(known as usize, 0);
        self.input.read_exact(&mut self.data)?;
        let mut tail = [0; TAIL];
        self.input.read_exact(&mut tail)?;
        if tail != checksum(&self.data) {
            return Ok(None);
        }
        self.end += known + (HEAD + TAIL) as u64;
        Ok(Some(&self.data))
    }

    /// Where the last whole record ends.
    pub(super) fn end(&self) -> u64 {
        self.end
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn file(all: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        all.iter().for_each(|data| append(&mut out, |out| out.extend_from_slice(data)));
        out
    }

    fn read(file: &[u8]) -> (Vec<Vec<u8>>, u64) {
        let mut records = Records::new(file, file.len() as u64);
        let mut all = Vec::new();
        while let Some(data) = records.next().unwrap() {
            all.push(data.to_vec());
        }
        (all, records.end())
    }

    #[test]
    fn the_first_record_of_a_file_that_tensorflow_wrote() {
        let mut out = Vec::new();
        append(&mut out, |out| out.extend_from_slice(b"\x09\0\0\x80\xba\x94\xf7\xd6\x41\x1a\x0dbrain.Event:2"));
        assert_eq!(out[..12], *b"\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22");
        assert_eq!(read(&out).1, out.len() as u64);
    }

    #[test]
    fn a_length_beyond_the_file_takes_no_memory() {
        let mut out = u64::MAX.to_le_bytes().to_vec();
        out.extend(checksum(&u64::MAX.to_le_bytes()));
        out.extend([0; 100]);
        assert_eq!(read(&out), (Vec::new(), 0));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_a_torn_tail_is_not(
            all in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let whole = file(&all);
            prop_assert_eq!(read(&whole), (all.clone(), whole.len() as u64));
            let cut = cut.index(whole.len() + 1);
            let (found, end) = read(&whole[..cut]);
            prop_assert_eq!(&found[..], &all[..found.len()]);
            prop_assert_eq!(end as usize, file(&found).len());
            let next = all.get(found.len()).map_or(usize::MAX, |data| end as usize + data.len() + HEAD + TAIL);
            prop_assert!(end as usize <= cut && cut < next, "only what is torn is left out");
        }

        #[test]
        fn a_flipped_bit_is_seen(
            all in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..6),
            at in any::<prop::sample::Index>(),
            bit in 0..8u8,
        ) {
            let mut bytes = file(&all);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let (found, end) = read(&bytes);
            prop_assert!(end as usize <= at && found.len() < all.len());
            prop_assert_eq!(&found[..], &all[..found.len()]);
        }
    }
}
