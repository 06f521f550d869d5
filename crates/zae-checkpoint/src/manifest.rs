//! [`Manifest`]: what a checkpoint's folder holds. Without one it is no checkpoint.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;
use zae_core::metrics::Metrics;

use crate::{
    bytes::Bytes,
    disk::Written,
    error::{Error, Result},
    format::Format,
    json,
};

/// The version of the checkpoint format: raised when an older reader would misread a file.
pub const FORMAT: u64 = 1;

pub(crate) const FILE: &str = "manifest.json";
/// Nobody has so many files or metrics.
const LONGEST: u64 = 64 << 20;
/// The last key, whose value is the checksum of everything before it.
const CHECK: &str = "\"check\"";

/// What a checkpoint's folder holds, as `manifest.json` says. Keys that a later version added are ignored.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// The version of the format.
    pub format: u64,
    /// The version of zae-checkpoint that wrote it.
    pub version: String,
    /// The engine: `burn`.
    pub engine: String,
    /// Optimizer steps done.
    pub step: u64,
    /// The epoch of the next micro-batch, from 0.
    pub epoch: u64,
    /// When it was written, as UTC. The one thing that differs if the same run is saved again.
    pub created: String,
    /// What the files are.
    pub encoding: Format,
    /// Every file but the manifest.
    pub files: Vec<ManifestFile>,
    /// Metrics by full name, for those who choose among checkpoints.
    pub metrics: Metrics,
}

/// A file of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ManifestFile {
    /// Its name in the folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// The XXH3-64 of its bytes, 16 hexadecimal digits.
    pub xxh3: String,
}

impl ManifestFile {
    pub(crate) fn new(name: &str, written: Written) -> Self {
        Self { name: name.to_owned(), bytes: written.bytes, xxh3: format!("{:016x}", written.xxh3) }
    }
}

impl Manifest {
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).fold(0, u64::saturating_add)
    }

    pub(crate) fn write(&self) -> Result<Vec<u8>> {
        let mut text = json::pretty(self).map_err(|e| Error::Unsavable(e.to_string()))?;
        // The object is opened again at its end, for one more key.
        text.truncate(text.len() - "\n}\n".len());
        text.extend_from_slice(b",\n  ");
        let tail = tail(&text);
        text.extend_from_slice(tail.as_bytes());
        Ok(text)
    }

    /// Reads the manifest of a checkpoint's folder.
    ///
    /// # Errors
    /// When there is none, when it is damaged, of a later format, or names a file that is not in the folder itself.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let length = regular_file(&path)?;
        if length > LONGEST {
            return Err(Error::damaged(&path, "a manifest is not that long"));
        }
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        let manifest = Self::parse(&text, &path)?;
        let mut names = BTreeSet::new();
        for file in &manifest.files {
            if !is_plain(&file.name) {
                return Err(Error::refused(&path, format!("it names `{}`, which is no plain file name", file.name)));
            }
            if !names.insert(&file.name) {
                return Err(Error::damaged(&path, format!("it names `{}` twice", file.name)));
            }
        }
        Ok(manifest)
    }

    fn parse(text: &[u8], path: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u64,
        }
        let whole = text.windows(CHECK.len()).rposition(|part| part == CHECK.as_bytes());
        let (body, end) = text.split_at(whole.ok_or_else(|| Error::damaged(path, "it is cut short"))?);
        if end != tail(body).as_bytes() {
            return Err(Error::damaged(path, "its checksum is wrong"));
        }
        let Version { format } = json::read(text).map_err(|e| Error::damaged(path, e.to_string()))?;
        if format > FORMAT {
            return Err(Error::Newer { path: path.to_owned(), found: format, known: FORMAT });
        }
        json::read(text).map_err(|e| Error::damaged(path, e.to_string()))
    }

    /// Opens all files of the folder, and makes sure that each is what the manifest says.
    pub(crate) fn open_files(&self, dir: &Path, check: Check) -> Result<BTreeMap<&str, Bytes>> {
        let mut files = BTreeMap::new();
        for file in &self.files {
            let path = dir.join(&file.name);
            let length = regular_file(&path)?;
            if length != file.bytes {
                return Err(Error::damaged(&path, format!("it has {length} bytes, and had {}", file.bytes)));
            }
            let bytes = Bytes::map(&path)?;
            if check == Check::Full && format!("{:016x}", xxh3_64(&bytes)) != file.xxh3 {
                return Err(Error::damaged(&path, "its checksum is wrong"));
            }
            files.insert(file.name.as_str(), bytes);
        }
        Ok(files)
    }
}

/// How much of a file is compared with the manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Check {
    /// Length and checksum.
    Full,
    /// The length: for the tests of what comes behind the checksum.
    #[cfg(test)]
    Length,
}

fn tail(body: &[u8]) -> String {
    format!("{CHECK}: \"{:016x}\"\n}}\n", xxh3_64(body))
}

/// A name that cannot lead out of its folder, on any system.
fn is_plain(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && name.chars().all(known) && name != FILE
}

/// The length of a file, which has to be one, and no link to one.
fn regular_file(path: &Path) -> Result<u64> {
    let metadata = fs::symlink_metadata(path).map_err(Error::io("open", path))?;
    if metadata.is_symlink() {
        return Err(Error::refused(path, "it is a link, and a checkpoint has none"));
    }
    if !metadata.is_file() {
        return Err(Error::damaged(path, "it is not a file"));
    }
    Ok(metadata.len())
}

/// The time as `2026-01-31T23:59:59Z`.
pub(crate) fn now() -> String {
    utc(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from 1 March of year 0, so that the leap day is a year's last.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests;
