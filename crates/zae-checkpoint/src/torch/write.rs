//! [`write()`]: values as a file, front to back.

use std::{io::Write, sync::Arc};

use crc32fast::Hasher;

use super::{
    error::Result,
    layout::{ALIGNMENT, Layout},
    pickle::{Pickle, pickle},
    records,
    tensor::Storage,
    value::Value,
};

/// Digits of the number by which PyTorch tells files apart.
const ID: usize = 40;

/// Writes a value as `torch.save` does. Storages are taken from where they are, one after the other; of a storage that
/// several tensors view there is one. `out` gets pieces of up to 256 KiB, and many small ones.
///
/// # Errors
/// When the value has no form in the format (an opaque object, more than 128 levels of containers, tensors of different
/// types in one storage), the elements cannot be had, or the writer refuses.
pub fn write(value: &Value, out: &mut dyn Write) -> Result<()> {
    File::new(value)?.write(out)
}

enum Body {
    Bytes(Vec<u8>),
    Storage(Arc<Storage>),
    /// Made of the names and checksums of all entries before.
    Id,
}

/// A value on its way to a file, whose length is known before it is written.
pub struct File {
    layout: Layout,
    bodies: Vec<Body>,
}

impl File {
    /// Prepares a value. No element of a tensor is looked at.
    ///
    /// # Errors
    /// As those of [`write()`] that concern the value.
    pub fn new(value: &Value) -> Result<Self> {
        let Pickle { bytes, storages } = pickle(value)?;
        let mut file = Self { layout: Layout::default(), bodies: Vec::new() };
        // Names, order and contents are those of PyTorch 2.13.
        file.bytes("data.pkl", bytes);
        file.bytes(".format_version", b"1".to_vec());
        file.bytes(".storage_alignment", ALIGNMENT.to_string().into_bytes());
        file.bytes("byteorder", b"little".to_vec());
        for (i, storage) in storages.into_iter().enumerate() {
            file.layout.push(&format!("data/{i}"), storage.len as u64);
            file.bodies.push(Body::Storage(storage));
        }
        file.bytes("version", b"3\n".to_vec());
        file.layout.push(".data/serialization_id", ID as u64);
        file.bodies.push(Body::Id);
        Ok(file)
    }

    fn bytes(&mut self, name: &str, bytes: Vec<u8>) {
        self.layout.push(name, bytes.len() as u64);
        self.bodies.push(Body::Bytes(bytes));
    }

    /// How many bytes the file will have.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.layout.len()
    }

    /// Writes it.
    ///
    /// # Errors
    /// When the elements of a tensor cannot be had, or the writer refuses.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        let mut checksums: Vec<u32> = Vec::with_capacity(self.bodies.len());
        let mut names = Hasher::new();
        for (entry, body) in self.layout.entries.iter().zip(&self.bodies) {
            let checksum = match body {
                Body::Bytes(bytes) => records::entry(entry, bytes, out)?,
                Body::Storage(storage) => records::entry(entry, &storage.bytes()?, out)?,
                Body::Id => {
                    let mut contents = Hasher::new();
                    checksums.iter().for_each(|checksum| contents.update(&checksum.to_le_bytes()));
                    let id = format!("{:020}{:020}", names.clone().finalize(), contents.finalize());
                    records::entry(entry, id.as_bytes(), out)?
                }
            };
            checksums.push(checksum);
            names.update(entry.name.as_bytes());
        }
        records::directory(&self.layout, &checksums, out)
    }
}

#[cfg(test)]
mod tests;
