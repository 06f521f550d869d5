//! [`TextLines`]: a data set of lines.

use std::path::Path;

use zae_core::{
    data::{Dataset, Sample},
    error::Fallible,
};

use super::not_utf8;
use crate::{
    Paths, Shards,
    lines::{BOM, Blank, scan_lines},
    records::Records,
};

/// A data set of the lines of text files, without their ends (`\n` or `\r\n`). Blank lines are lines too. Several files
/// follow each other as one.
///
/// On opening, the files are read once to find where each line begins, which takes 8 bytes per line;
/// [`TextLines::open_with_index`] keeps that on disk.
///
/// ```
/// use zae_core::data::{Dataset, Sample};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("names.txt");
/// # std::fs::write(&path, "emma\nolivia\n")?;
/// let names = zae_data::TextLines::open(&path)?;
/// assert_eq!((names.len(), names.item(&Sample::new(1))?.as_str()), (2, "olivia"));
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[derive(Debug)]
pub struct TextLines {
    records: Records,
}

impl TextLines {
    /// Opens one file or several.
    ///
    /// # Errors
    /// When one cannot be read, or is compressed or UTF-16.
    pub fn open(paths: impl Paths) -> Fallible<Self> {
        Self::with(paths, None)
    }

    /// The same, but where lines begin is kept in files in this folder: 8 bytes per line, made anew when a file has another
    /// size or time of change. So only the first program to open the data reads all of them.
    ///
    /// # Errors
    /// As [`TextLines::open`], and when the folder cannot be written to.
    pub fn open_with_index(paths: impl Paths, folder: impl AsRef<Path>) -> Fallible<Self> {
        Self::with(paths, Some(folder.as_ref()))
    }

    fn with(paths: impl Paths, index_folder: Option<&Path>) -> Fallible<Self> {
        let scan = |path: &Path| scan_lines(path, Blank::Kept);
        Ok(Self { records: Records::open(paths.into_paths(), "text", index_folder, &scan)? })
    }
}

impl Dataset for TextLines {
    type Item = String;

    fn len(&self) -> usize {
        self.records.len()
    }

    fn item(&self, at: &Sample) -> Fallible<String> {
        let place = self.records.place(at.index)?;
        let bytes = self.records.read(&place)?;
        let line = if place.bytes.start == 0 { bytes.strip_prefix(BOM).unwrap_or(&bytes) } else { &bytes };
        let line = line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
        String::from_utf8(line.to_vec()).map_err(|_| not_utf8(&self.records.at_line(&place, 0)).into())
    }
}

impl Shards for TextLines {
    fn ends(&self) -> &[usize] {
        self.records.ends()
    }
    fn fingerprint(&self) -> u64 {
        self.records.fingerprint()
    }
}
