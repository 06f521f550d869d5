//! Records in a `.wandb` file: the blocks of LevelDB's log, with a header and a checksum of W&B's own.
//!
//! A file begins with `:W&B`, a magic number and a version. Then come blocks of 32 KiB (the header is within the first), in
//! which a record is one chunk, or several where it crosses blocks: CRC-32 (IEEE) of type and data, length, type, data. The
//! rest of a block that has no room for the head of a chunk is zero.

use std::io::{self, Read};

/// What a file begins with.
pub(super) const HEADER: [u8; 7] = [b':', b'W', b'&', b'B', 0xE1, 0xBE, 0];
const BLOCK: u64 = 32 << 10;
const HEAD: u64 = 7;
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// Appends a record to `out`, which goes to the file at this position. Returns the position behind it.
pub(super) fn put(out: &mut Vec<u8>, mut position: u64, mut record: &[u8]) -> u64 {
    let mut is_first = true;
    loop {
        let mut left = BLOCK - position % BLOCK;
        if left < HEAD {
            out.resize(out.len() + left as usize, 0);
            position += left;
            left = BLOCK;
        }
        let (data, rest) = record.split_at(record.len().min((left - HEAD) as usize));
        let kind = match (is_first, rest.is_empty()) {
            (true, true) => FULL,
            (true, false) => FIRST,
            (false, true) => LAST,
            (false, false) => MIDDLE,
        };
        out.extend_from_slice(&checksum(kind, data).to_le_bytes());
        out.extend_from_slice(&(data.len() as u16).to_le_bytes());
        out.push(kind);
        out.extend_from_slice(data);
        position += HEAD + data.len() as u64;
        if rest.is_empty() {
            return position;
        }
        (record, is_first) = (rest, false);
    }
}

fn checksum(kind: u8, data: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(data);
    hasher.finalize()
}

/// Reads records one after the other.
pub(super) struct Records<R> {
    from: R,
    /// Behind the last whole record.
    position: u64,
    record: Vec<u8>,
    chunk: Vec<u8>,
}

impl<R: Read> Records<R> {
    /// Reads from there on: `from` is at this position of the file, which is 0 or behind a record.
    pub(super) fn at(from: R, position: u64) -> Self {
        Self { from, position, record: Vec::new(), chunk: Vec::new() }
    }

    /// Behind the last record that was read.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next record. `None` where the file ends, be it within a record: what a writer that is killed leaves, or one
    /// that is at work. Nothing can be read after that.
    ///
    /// # Errors
    /// When the file cannot be read, or is not such a file, or is damaged.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let mut at = self.position;
        if at == 0 {
            let mut header = [0; HEADER.len()];
            if !self.fill(&mut header)? {
                return Ok(None);
            }
            if header != HEADER {
                return Err(damaged("it does not begin as a `.wandb` file does"));
            }
            at = HEADER.len() as u64;
            self.position = at;
        }
        self.record.clear();
        let mut is_begun = false;
        loop {
            let left = BLOCK - at % BLOCK;
            if left < HEAD {
                let mut padding = [0; HEAD as usize];
                if !self.fill(&mut padding[..left as usize])? {
                    return Ok(None);
                }
                at += left;
            }
            let mut head = [0; HEAD as usize];
            if !self.fill(&mut head)? {
                return Ok(None);
            }
            let [c0, c1, c2, c3, l0, l1, kind] = head;
            let length = u16::from_le_bytes([l0, l1]);
            // Zeros: room that was made in the file before it was written.
            if head == [0; HEAD as usize] {
                return Ok(None);
            }
            let mut chunk = std::mem::take(&mut self.chunk);
            chunk.resize(usize::from(length), 0);
            let is_whole = self.fill(&mut chunk)?;
            self.chunk = chunk;
            if !is_whole {
                return Ok(None);
            }
            let is_first = matches!(kind, FULL | FIRST);
            if checksum(kind, &self.chunk) != u32::from_le_bytes([c0, c1, c2, c3]) {
                return Err(damaged("a checksum does not fit"));
            }
            if !(FULL..=LAST).contains(&kind) || is_first == is_begun {
                return Err(damaged("its parts are not in order"));
            }
            is_begun = true;
            at += HEAD + u64::from(length);
            self.record.extend_from_slice(&self.chunk);
            if matches!(kind, FULL | LAST) {
                self.position = at;
                return Ok(Some(&self.record));
            }
        }
    }

    /// Whether there was as much.
    fn fill(&mut self, mut buffer: &mut [u8]) -> io::Result<bool> {
        while !buffer.is_empty() {
            match self.from.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(n) => buffer = &mut buffer[n..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn file(records: &[Vec<u8>]) -> (Vec<u8>, Vec<u64>) {
        let mut out = HEADER.to_vec();
        let mut ends = Vec::new();
        for record in records {
            let position = out.len() as u64;
            ends.push(put(&mut out, position, record));
            assert_eq!(out.len() as u64, *ends.last().unwrap());
        }
        (out, ends)
    }

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, u64) {
        let mut records = Records::at(bytes, 0);
        let mut all = Vec::new();
        while let Some(record) = records.next().unwrap() {
            all.push(record.to_vec());
        }
        (all, records.position())
    }

    /// Records whose ends come near the ends of blocks.
    fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let size = prop_oneof![1..64usize, 32_700..32_800usize, 65_500..65_560usize];
        proptest::collection::vec((size, any::<u8>()).prop_map(|(size, byte)| vec![byte; size]), 0..6)
    }

    proptest! {
        #[test]
        fn what_was_put_is_read(records in records()) {
            let (bytes, _) = file(&records);
            prop_assert_eq!(read(&bytes), (records, bytes.len() as u64));
        }

        #[test]
        fn a_torn_end_costs_only_itself(records in records(), cut in 0.0..1.0f64) {
            let (bytes, ends) = file(&records);
            let cut = (bytes.len() as f64 * cut) as usize;
            let whole = ends.iter().filter(|&&end| end <= cut as u64).count();
            let (found, position) = read(&bytes[..cut]);
            prop_assert_eq!(&found[..], &records[..whole]);
            prop_assert!(position <= cut as u64);
        }

        #[test]
        fn a_changed_byte_is_found(records in records(), at in 0.0..1.0f64) {
            let (mut bytes, _) = file(&records);
            let at = (bytes.len() as f64 * at) as usize;
            bytes[at] ^= 0x40;
            let mut found = Records::at(&bytes[..], 0);
            let mut count = 0;
            loop {
                match found.next() {
                    Ok(Some(record)) => prop_assert_eq!(record, &records[count][..]),
                    // Padding is not looked at.
                    Ok(None) if count == records.len() => break,
                    Ok(None) | Err(_) => return Ok(()),
                }
                count += 1;
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let with_header: Vec<u8> = HEADER.into_iter().chain(bytes.iter().copied()).collect();
            for bytes in [bytes, with_header] {
                let mut records = Records::at(&bytes[..], 0);
                while let Ok(Some(_)) = records.next() {}
            }
        }
    }
}
