//! [`Tar`]: a data set of tar files.

use std::{
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use tar::{Archive, Entry};
use zae_core::{
    data::{Dataset, Sample},
    error::Fallible,
};

use super::{TarSample, sample::key_and_ending};
use crate::{
    Paths, Shards,
    files::{cannot_read, open},
    lines::check_text,
    records::Records,
};

/// What a tar file is made of.
const BLOCK: u64 = 512;
const AGAIN: &str = "it is damaged, or no tar file: write it again";

/// A data set of tar files in [WebDataset](https://github.com/webdataset/webdataset)'s layout: members with the same name
/// up to its first dot are a sample, and stand next to each other. Several files follow each other as one: its shards.
///
/// On opening, the members' headers are read once to find where each sample begins, which takes 8 bytes per sample;
/// [`Tar::open_with_index`] keeps that on disk.
///
/// ```no_run
/// use zae_core::data::{Dataset, Sample};
/// use zae_data::{Tar, files_in};
///
/// let shards = Tar::open(files_in("imagenet/train", "tar")?)?;
/// let sample = shards.item(&Sample::new(0))?;
/// let (jpeg, class) = (sample.bytes("jpg")?, sample.text("cls")?.trim().parse::<i64>()?);
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[derive(Debug)]
pub struct Tar {
    records: Records,
}

impl Tar {
    /// Opens one file or several.
    ///
    /// # Errors
    /// When one cannot be read, is compressed, damaged, cut off or joined to another, or has a sparse member.
    pub fn open(paths: impl Paths) -> Fallible<Self> {
        Ok(Self { records: Records::open(paths.into_paths(), "tar", None, &scan)? })
    }

    /// The same, but where samples begin is kept in files in this folder: 8 bytes per sample, made anew when a file has
    /// another size or time of change. So only the first program to open the data looks through them.
    ///
    /// # Errors
    /// As [`Tar::open`], and when the folder cannot be written to.
    pub fn open_with_index(paths: impl Paths, folder: impl AsRef<Path>) -> Fallible<Self> {
        Ok(Self { records: Records::open(paths.into_paths(), "tar", Some(folder.as_ref()), &scan)? })
    }
}

/// Where each sample begins: at the first of its members' headers, and what extends it.
fn scan(path: &Path) -> Fallible<Vec<u64>> {
    check_text(path)?;
    let file = open(path)?;
    let len = file.metadata().map_err(|error| cannot_read(path, error))?.len();
    let damaged = |error| cannot_read(path, format!("{error}: {AGAIN}"));
    let mut archive = Archive::new(file);
    let mut starts = Vec::new();
    let mut last = None;
    let mut end = 0;
    for entry in archive.entries_with_seek().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        let start = end;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.header().entry_type().is_gnu_sparse() {
            return Err(
                cannot_read(path, format!("`{name}` is sparse: write the file with `tar` without `--sparse`")).into()
            );
        }
        let size =
            entry.raw_file_position().checked_add(entry.size()).and_then(|end| end.checked_next_multiple_of(BLOCK));
        end = size.unwrap_or(u64::MAX);
        if end > len {
            return Err(cannot_read(path, format!("it ends in the middle of `{name}`: {AGAIN}")).into());
        }
        // What belongs to no sample neither begins nor ends one.
        if let Some((key, _)) = member(&entry) {
            if last.as_ref() != Some(&key) {
                starts.push(start);
            }
            last = Some(key);
        }
    }
    drop(archive);
    check_end(path, end)?;
    Ok(starts)
}

/// After its last member an archive has a block of zeros, and nothing but zeros from there on. Without looking, a file that
/// was cut off between two members would be a shorter data set, and of two that were joined the second one would be lost.
fn check_end(path: &Path, end: u64) -> Fallible {
    let mut file = open(path)?;
    let mut read = || -> std::io::Result<(u64, bool)> {
        file.seek(SeekFrom::Start(end))?;
        let (mut zeros, mut block) = (0, [0; BLOCK as usize]);
        loop {
            match file.read(&mut block)? {
                0 => return Ok((zeros, true)),
                n if block[..n].iter().all(|byte| *byte == 0) => zeros += n as u64,
                _ => return Ok((zeros, false)),
            }
        }
    };
    let why = match read().map_err(|error| cannot_read(path, error))? {
        (BLOCK.., true) => return Ok(()),
        (_, true) => format!("it ends without the zeros that end a tar file, so it was cut off: {AGAIN}"),
        (_, false) => "something follows the end of the archive: join tar files with `tar --concatenate`".to_owned(),
    };
    Err(cannot_read(path, why).into())
}

/// The key and the ending of a member that is a file of a sample.
fn member<R: Read>(entry: &Entry<'_, R>) -> Option<(String, String)> {
    let kind = entry.header().entry_type();
    if kind.is_file() || kind.is_contiguous() { key_and_ending(&entry.path_bytes()) } else { None }
}

/// The members of a sample's bytes.
fn read(bytes: &[u8]) -> Fallible<TarSample> {
    let mut sample = TarSample::default();
    for entry in Archive::new(bytes).entries()? {
        let mut entry = entry?;
        let Some((key, ending)) = member(&entry) else { continue };
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        if sample.members.insert(ending.clone(), content).is_some() {
            return Err(format!("two members are `{key}.{ending}`: give each sample a name of its own").into());
        }
        sample.key = key;
    }
    Ok(sample)
}

impl Dataset for Tar {
    type Item = TarSample;

    fn len(&self) -> usize {
        self.records.len()
    }

    fn item(&self, at: &Sample) -> Fallible<TarSample> {
        let place = self.records.place(at.index)?;
        let bytes = self.records.read(&place)?;
        read(&bytes).map_err(|error| cannot_read(self.records.path(&place), error).into())
    }
}

impl Shards for Tar {
    fn ends(&self) -> &[usize] {
        self.records.ends()
    }
    fn fingerprint(&self) -> u64 {
        self.records.fingerprint()
    }
}
