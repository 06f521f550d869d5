//! [`IndexFile`]: where the samples of a file begin, kept on disk.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::UNIX_EPOCH,
};

use xxhash_rust::xxh3::xxh3_64;
use zae_core::error::Fallible;

use crate::files::cannot_read;

const MAGIC: [u8; 8] = *b"zaeidx\0\x01";
/// The magic number, the stamp of the data, and the sum over all before it, at the end.
const SMALLEST: usize = 8 + 8 + 8;

/// How many this process has written: so that no two of its threads write into one.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// A file beside the data that holds where each of its samples begins, so that only the first program to open the data
/// reads all of them. It is made anew where the data are another file, or of another size or time.
pub(crate) struct IndexFile {
    path: PathBuf,
    /// What the data were when the index was made.
    stamp: u64,
    len: u64,
}

impl IndexFile {
    pub(crate) fn new(folder: &Path, data: &Path, kind: &str) -> Fallible<Self> {
        let whole = fs::canonicalize(data).map_err(|error| cannot_read(data, error))?;
        let found = fs::metadata(&whole).map_err(|error| cannot_read(data, error))?;
        // A system without times of change has the size alone.
        let changed = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let name = whole.as_os_str().as_encoded_bytes();
        let stamp = [kind.as_bytes(), &[0], &found.len().to_le_bytes(), &changed.as_nanos().to_le_bytes()].concat();
        let file = data.file_name().unwrap_or_default().to_string_lossy();
        let path = folder.join(format!("{file}.{:016x}.index", xxh3_64(&[kind.as_bytes(), &[0], name].concat())));
        Ok(Self { path, stamp: xxh3_64(&stamp), len: found.len() })
    }

    pub(crate) fn read_or_make(&self, scan: impl FnOnce() -> Fallible<Vec<u64>>) -> Fallible<Vec<u64>> {
        match fs::read(&self.path) {
            Ok(bytes) => {
                if let Some(starts) = self.decode(&bytes) {
                    return Ok(starts);
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(cannot_read(&self.path, error).into()),
        }
        let starts = scan()?;
        self.write(&starts).map_err(|error| {
            format!("cannot write the index `{}` ({error}): give a folder that may be written to", self.path.display())
        })?;
        Ok(starts)
    }

    fn encode(&self, starts: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SMALLEST + starts.len() * 8);
        bytes.extend(MAGIC);
        bytes.extend(self.stamp.to_le_bytes());
        bytes.extend(starts.iter().flat_map(|start| start.to_le_bytes()));
        bytes.extend(xxh3_64(&bytes).to_le_bytes());
        bytes
    }

    /// Nothing, if it is of other data or damaged.
    fn decode(&self, bytes: &[u8]) -> Option<Vec<u64>> {
        let (body, sum) = bytes.split_last_chunk::<8>()?;
        let rest = body.strip_prefix(&MAGIC)?.strip_prefix(&self.stamp.to_le_bytes())?;
        let (starts, left) = rest.as_chunks::<8>();
        if !left.is_empty() || xxh3_64(body) != u64::from_le_bytes(*sum) {
            return None;
        }
        let starts: Vec<u64> = starts.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        let fits = starts.is_sorted_by(|a, b| a < b) && starts.last().is_none_or(|last| *last < self.len);
        fits.then_some(starts)
    }

    /// Whole or not at all, though several processes and threads do so at once.
    fn write(&self, starts: &[u64]) -> std::io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{}-{}", std::process::id(), WRITTEN.fetch_add(1, Ordering::Relaxed)));
        let part = PathBuf::from(name);
        let written = fs::File::create(&part).and_then(|mut file| {
            file.write_all(&self.encode(starts))?;
            fs::rename(&part, &self.path)
        });
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        written
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn never() -> Fallible<Vec<u64>> {
        panic!("it was scanned again")
    }

    #[test]
    fn data_are_scanned_once_until_they_change() {
        let folder = tempfile::tempdir().unwrap();
        let (data, kept) = (folder.path().join("data"), folder.path().join("kept/here"));
        fs::write(&data, "0123456789").unwrap();
        let open = |kind| IndexFile::new(&kept, &data, kind).unwrap();
        assert_eq!(open("a").read_or_make(|| Ok(vec![0, 4, 9])).unwrap(), [0, 4, 9]);
        assert_eq!(open("a").read_or_make(never).unwrap(), [0, 4, 9]);
        // Another way to scan is another index.
        assert_eq!(open("b").read_or_make(|| Ok(vec![])).unwrap(), [0u64; 0]);
        assert_eq!(open("b").read_or_make(never).unwrap(), [0u64; 0]);
        // Another size.
        fs::write(&data, "0123456789a").unwrap();
        assert_eq!(open("a").read_or_make(|| Ok(vec![7])).unwrap(), [7]);
        assert_eq!(open("a").read_or_make(never).unwrap(), [7]);
        // The same size at another time.
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
        fs::File::options().write(true).open(&data).unwrap().set_modified(later).unwrap();
        assert_eq!(open("a").read_or_make(|| Ok(vec![8])).unwrap(), [8]);
        assert_eq!(fs::read_dir(&kept).unwrap().count(), 2);
    }

    #[test]
    fn a_scan_that_fails_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::write(&data, "x").unwrap();
        let index = IndexFile::new(folder.path(), &data, "a").unwrap();
        assert!(index.read_or_make(|| Err("bad".into())).is_err());
        assert!(!index.path.exists());
        let file = IndexFile::new(&data, &data, "a").unwrap();
        let error = file.read_or_make(|| Ok(vec![])).unwrap_err().to_string();
        assert!(error.contains("cannot"), "{error}");
    }

    #[test]
    fn several_threads_may_make_it_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::write(&data, "0123456789").unwrap();
        let (kept, gate) = (folder.path().join("kept"), std::sync::Barrier::new(8));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let index = IndexFile::new(&kept, &data, "a").unwrap();
                    // All are in the scan, so that none finds the file of another.
                    let made = index.read_or_make(|| {
                        gate.wait();
                        Ok(vec![1, 2])
                    });
                    assert_eq!(made.unwrap(), [1, 2]);
                });
            }
        });
        assert_eq!(fs::read_dir(&kept).unwrap().count(), 1);
    }

    proptest! {
        #[test]
        fn damage_is_found(starts in prop::collection::btree_set(0u64..1 << 40, 0..20), at: prop::sample::Index, bit in 0..8) {
            let starts = Vec::from_iter(starts);
            let index = IndexFile { path: PathBuf::new(), stamp: 42, len: 1 << 40 };
            let mut bytes = index.encode(&starts);
            prop_assert_eq!(index.decode(&bytes), Some(starts));
            let at = at.index(bytes.len());
            prop_assert_eq!(index.decode(&bytes[..at]), None);
            bytes[at] ^= 1u8 << bit;
            prop_assert_eq!(index.decode(&bytes), None);
        }

        #[test]
        fn any_bytes_are_no_index(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let index = IndexFile { path: PathBuf::new(), stamp: 42, len: 100 };
            prop_assert_eq!(index.decode(&bytes), None);
        }
    }
}
