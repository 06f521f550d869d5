//! [`Records`]: where in its files each sample begins.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::Xxh3Default;
use zae_core::error::Fallible;

use crate::{files::Files, index_file::IndexFile};

/// Files in which samples lie one after the other, and where each begins: 8 bytes per sample. So every sample of any
/// number of files is read without those before it.
#[derive(Debug)]
pub(crate) struct Records {
    files: Files,
    /// Per file.
    starts: Vec<Vec<u64>>,
    /// How many samples there are up to the end of each file.
    ends: Vec<usize>,
}

/// Where a sample is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) file: usize,
    pub(crate) bytes: Range<u64>,
}

/// Finds where the samples of a file begin.
pub(crate) type Scan<'a> = &'a dyn Fn(&Path) -> Fallible<Vec<u64>>;

impl Records {
    /// `kind` names the format and the way in which it is scanned: what is kept in `index_folder` is for this kind only.
    pub(crate) fn open(paths: Vec<PathBuf>, kind: &str, index_folder: Option<&Path>, scan: Scan<'_>) -> Fallible<Self> {
        let files = Files::new(paths)?;
        let starts = |file| {
            let scan = || scan(files.path(file));
            match index_folder {
                Some(folder) => IndexFile::new(folder, files.path(file), kind)?.read_or_make(scan),
                None => scan(),
            }
        };
        let starts = (0..files.count()).map(starts).collect::<Fallible<Vec<_>>>()?;
        let mut len = 0;
        let ends = starts.iter().map(|starts| {
            len += starts.len();
            len
        });
        let ends = ends.collect();
        Ok(Self { files, starts, ends })
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// How many samples there are up to the end of each file.
    pub(crate) fn ends(&self) -> &[usize] {
        &self.ends
    }

    pub(crate) fn place(&self, index: usize) -> Fallible<Place> {
        let file = self.ends.partition_point(|&end| end <= index);
        let missing = || format!("there is no sample {index}, only {}", self.len());
        let starts = self.starts.get(file).ok_or_else(missing)?;
        let at = index - (self.ends[file] - starts.len());
        let end = starts.get(at + 1).copied().unwrap_or_else(|| self.files.len(file));
        Ok(Place { file, bytes: starts[at]..end })
    }

    /// From where the sample begins to where the next one does.
    pub(crate) fn read(&self, place: &Place) -> Fallible<Vec<u8>> {
        self.files.read(place.file, &place.bytes)
    }

    /// What to say before what is wrong with a sample of a file of lines.
    pub(crate) fn at_line(&self, place: &Place, byte_of_sample: u64) -> String {
        self.files.at_line(place.file, place.bytes.start + byte_of_sample)
    }

    pub(crate) fn path(&self, place: &Place) -> &Path {
        self.files.path(place.file)
    }

    /// A number that is another one for other files: of their names, sizes, and where each sample begins.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hash = Xxh3Default::new();
        for (file, starts) in self.starts.iter().enumerate() {
            hash.update(self.files.path(file).file_name().unwrap_or_default().as_encoded_bytes());
            hash.update(&[0]);
            hash.update(&self.files.len(file).to_le_bytes());
            hash.update(&(starts.len() as u64).to_le_bytes());
            for start in starts {
                hash.update(&start.to_le_bytes());
            }
        }
        hash.digest()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn samples_of_several_files_some_of_them_empty() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = ["", "abc", "", "de", ""]
            .iter()
            .enumerate()
            .map(|(i, text)| {
                let path = folder.path().join(i.to_string());
                std::fs::write(&path, text).unwrap();
                path
            })
            .collect();
        // Each byte is a sample.
        let scan = |path: &Path| Ok((0..std::fs::metadata(path)?.len()).collect());
        let records = Records::open(paths.clone(), "byte", None, &scan).unwrap();
        assert_eq!((records.len(), records.ends()), (5, &[0, 3, 3, 5, 5][..]));
        let read = |i| records.read(&records.place(i).unwrap()).unwrap();
        assert_eq!((0..5).flat_map(read).collect::<Vec<u8>>(), b"abcde");
        assert_eq!(records.place(5).unwrap_err().to_string(), "there is no sample 5, only 5");
        assert!(records.place(usize::MAX).is_err());

        // The fingerprint sees names, sizes and places.
        let of = |paths: &[PathBuf]| Records::open(paths.to_vec(), "byte", None, &scan).unwrap().fingerprint();
        assert_eq!(records.fingerprint(), of(&paths));
        assert_ne!(records.fingerprint(), of(&paths[1..]));
        let swapped: Vec<PathBuf> = paths.iter().rev().cloned().collect();
        assert_ne!(records.fingerprint(), of(&swapped));
        std::fs::write(&paths[3], "dex").unwrap();
        assert_ne!(records.fingerprint(), of(&paths));
    }
}
