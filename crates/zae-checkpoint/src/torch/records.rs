//! The records of a zip archive: headers, data, directory, end.

use std::io::Write;

use super::{
    error::Result,
    layout::{END_64, Layout, MAX_32, Placed},
};

pub(super) const LOCAL: u32 = 0x0403_4b50;
pub(super) const CENTRAL: u32 = 0x0201_4b50;
pub(super) const DESCRIPTOR: u32 = 0x0807_4b50;
pub(super) const END: u32 = 0x0605_4b50;
pub(super) const END_64_RECORD: u32 = 0x0606_4b50;
pub(super) const END_64_LOCATOR: u32 = 0x0706_4b50;
/// The extra field with sizes and offset beyond 32 bits.
pub(super) const EXTRA_64: u16 = 1;

/// Checksummed and written this much at a time, so that it is in the processor's cache for the second of the two.
const CHUNK: usize = 1 << 18;
/// Bit 3: sizes and checksum are behind the data, for a checksum is not known before. Bit 11: names are UTF-8.
const FLAGS: u16 = 0x0808;
/// 1 January 1980, the first day there is: files do not depend on when they are written.
const DATE: u16 = 0x21;
/// The version of the format that a reader has to know: the one that brought 64-bit sizes, or the first.
const VERSION_64: u16 = 45;
const VERSION: u16 = 20;

/// Little-endian fields, one after the other.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn u16(&mut self, number: u16) -> &mut Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn u32(&mut self, number: u32) -> &mut Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn u64(&mut self, number: u64) -> &mut Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    /// A field of 32 bits that says whether the number is to be looked for elsewhere.
    fn up_to_32(&mut self, number: u64) -> &mut Self {
        self.u32(number.min(MAX_32) as u32)
    }

    fn extra_64(&mut self, entry: &Placed) -> &mut Self {
        let len = entry.extra_64();
        if len > 0 {
            self.u16(EXTRA_64).u16((len - 4) as u16);
        }
        if entry.size >= MAX_32 {
            self.u64(entry.size).u64(entry.size);
        }
        if entry.header >= MAX_32 {
            self.u64(entry.header);
        }
        self
    }
}

fn version(entry: &Placed) -> u16 {
    if entry.extra_64() > 0 { VERSION_64 } else { VERSION }
}

/// Writes an entry and gives its checksum.
pub(super) fn entry(entry: &Placed, bytes: &[u8], out: &mut dyn Write) -> Result<u32> {
    let mut head = Fields::default();
    head.u32(LOCAL).u16(version(entry)).u16(FLAGS).u16(0).u16(0).u16(DATE);
    // Of an entry without data nothing follows, and nothing but zeros could.
    head.u32(0).u32(0).u32(0);
    head.u16(entry.name.len() as u16).u16((entry.extra_64() + 4 + entry.padding) as u16);
    head.0.extend(entry.name.as_bytes());
    head.extra_64(entry);
    // The name that PyTorch gives to an extra field that only pads.
    head.0.extend(b"FB");
    head.u16(entry.padding as u16);
    head.0.extend(std::iter::repeat_n(b'Z', entry.padding as usize));
    out.write_all(&head.0)?;

    let mut checksum = crc32fast::Hasher::new();
    for chunk in bytes.chunks(CHUNK) {
        checksum.update(chunk);
        out.write_all(chunk)?;
    }
    let checksum = checksum.finalize();
    if entry.size > 0 {
        let mut tail = Fields::default();
        tail.u32(DESCRIPTOR).u32(checksum);
        if entry.extra_64() > 0 {
            tail.u64(entry.size).u64(entry.size);
        } else {
            tail.up_to_32(entry.size).up_to_32(entry.size);
        }
        out.write_all(&tail.0)?;
    }
    Ok(checksum)
}

/// Writes the directory and the end.
pub(super) fn directory(layout: &Layout, checksums: &[u32], out: &mut dyn Write) -> Result<()> {
    let mut fields = Fields::default();
    for (entry, checksum) in layout.entries.iter().zip(checksums) {
        let version = version(entry);
        fields.u32(CENTRAL).u16(version).u16(version).u16(FLAGS).u16(0).u16(0).u16(DATE);
        fields.u32(*checksum).up_to_32(entry.size).up_to_32(entry.size);
        fields.u16(entry.name.len() as u16).u16(entry.extra_64() as u16);
        fields.u16(0).u16(0).u16(0).u32(0).up_to_32(entry.header);
        fields.0.extend(entry.name.as_bytes());
        fields.extra_64(entry);
    }
    let (count, len) = (layout.entries.len() as u64, layout.directory_len());
    if layout.end_64() {
        fields.u32(END_64_RECORD).u64(END_64 - 12).u16(VERSION_64).u16(VERSION_64).u32(0).u32(0);
        fields.u64(count).u64(count).u64(len).u64(layout.directory);
        fields.u32(END_64_LOCATOR).u32(0).u64(layout.directory + len).u32(1);
    }
    let short = count.min(u64::from(u16::MAX)) as u16;
    fields.u32(END).u16(0).u16(0).u16(short).u16(short).up_to_32(len).up_to_32(layout.directory).u16(0);
    out.write_all(&fields.0)?;
    Ok(())
}
