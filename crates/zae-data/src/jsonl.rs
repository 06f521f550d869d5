//! [`Jsonl`]: files with one JSON value per line.

use std::{marker::PhantomData, path::Path};

use serde::de::DeserializeOwned;
use zae_core::{
    data::{Dataset, Sample},
    error::Fallible,
};

use crate::{
    Paths, Shards,
    lines::{BOM, Blank, scan_lines},
    records::Records,
};

/// A data set of files with one JSON value per line ([JSON Lines](https://jsonlines.org)), each read into a `T` when it is
/// wanted. Several files follow each other as one: the shards of a data set. Blank lines are left out.
///
/// On opening, the files are read once to find where each line begins, which takes 8 bytes per line;
/// [`Jsonl::open_with_index`] keeps that on disk.
///
/// ```
/// use zae_core::data::{Dataset, Sample};
/// use zae_data::Jsonl;
///
/// #[derive(serde::Deserialize)]
/// struct Review { text: String, stars: u8 }
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("reviews.jsonl");
/// # std::fs::write(&path, "{\"text\": \"fine\", \"stars\": 4}\n")?;
/// let reviews = Jsonl::<Review>::open(&path)?;
/// let first = reviews.item(&Sample::new(0))?;
/// assert_eq!((first.text.as_str(), first.stars), ("fine", 4));
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[derive(Debug)]
pub struct Jsonl<T> {
    records: Records,
    item: PhantomData<fn() -> T>,
}

impl<T> Jsonl<T> {
    /// Opens one file or several.
    ///
    /// # Errors
    /// When one cannot be read, or is compressed or UTF-16. What is in the lines is not looked at yet.
    pub fn open(paths: impl Paths) -> Fallible<Self> {
        Self::with(paths, None)
    }

    /// The same, but where lines begin is kept in files in this folder: 8 bytes per line, made anew when a file has another
    /// size or time of change. So only the first program to open the data reads all of them.
    ///
    /// # Errors
    /// As [`Jsonl::open`], and when the folder cannot be written to.
    pub fn open_with_index(paths: impl Paths, folder: impl AsRef<Path>) -> Fallible<Self> {
        Self::with(paths, Some(folder.as_ref()))
    }

    fn with(paths: impl Paths, index_folder: Option<&Path>) -> Fallible<Self> {
        let scan = |path: &Path| scan_lines(path, Blank::Skipped);
        let records = Records::open(paths.into_paths(), "jsonl", index_folder, &scan)?;
        Ok(Self { records, item: PhantomData })
    }
}

impl<T: DeserializeOwned + Send> Dataset for Jsonl<T> {
    type Item = T;

    fn len(&self) -> usize {
        self.records.len()
    }

    fn item(&self, at: &Sample) -> Fallible<T> {
        let place = self.records.place(at.index)?;
        let bytes = self.records.read(&place)?;
        let text = if place.bytes.start == 0 { bytes.strip_prefix(BOM).unwrap_or(&bytes) } else { &bytes };
        // Blank lines may follow.
        serde_json::from_slice(text.trim_ascii_end()).map_err(|error| {
            let fix = match error.classify() {
                serde_json::error::Category::Data => "mend the line, or the type that it is read into",
                _ => "each line holds one JSON value of its own: mend the line",
            };
            // It counts lines from that of the value, which is always 1.
            let (why, place_in_line) =
                (error.to_string(), format!(" at line {} column {}", error.line(), error.column()));
            let why = why.strip_suffix(&place_in_line).unwrap_or(&why);
            let at = self.records.at_line(&place, 0);
            format!("{at}, column {}: {why}: {fix}", error.column()).into()
        })
    }
}

impl<T: DeserializeOwned + Send> Shards for Jsonl<T> {
    fn ends(&self) -> &[usize] {
        self.records.ends()
    }
    fn fingerprint(&self) -> u64 {
        self.records.fingerprint()
    }
}
