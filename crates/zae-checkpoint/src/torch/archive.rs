//! [`Archive`]: the entries of a file, found and checked.

use std::{collections::HashMap, ops::Range};

use super::{
    error::{Error, Result, damaged},
    fields::Fields,
    layout::{
        CENTRAL_HEADER, END as END_LEN, END_64 as END_64_LEN, END_64_LOCATOR as LOCATOR_LEN, LOCAL_HEADER, MAX_32,
    },
    records::{CENTRAL, END, END_64_LOCATOR, END_64_RECORD, EXTRA_64, LOCAL},
};
use crate::bytes::Bytes;

/// The longest comment that may follow the end of an archive.
const MAX_COMMENT: usize = u16::MAX as usize;

struct Entry {
    data: Range<usize>,
    checksum: u32,
    compressed: bool,
}

/// A zip archive of stored entries in one folder.
pub(super) struct Archive {
    file: Bytes,
    entries: HashMap<String, Entry>,
}

/// Compares the checksum of every entry with its bytes: all of the file is read.
///
/// # Errors
/// When the file is not an archive, or names an entry that is damaged.
pub fn verify(file: &Bytes) -> Result<()> {
    let archive = Archive::open(file)?;
    let mut entries: Vec<_> = archive.entries.iter().collect();
    entries.sort_unstable_by_key(|(_, entry)| entry.data.start);
    for (name, entry) in entries {
        if crc32fast::hash(&archive.get(name)?) != entry.checksum {
            return damaged(format!("the checksum of entry `{name}` is not that of its bytes"));
        }
    }
    Ok(())
}

impl Archive {
    pub(super) fn open(file: &Bytes) -> Result<Self> {
        let (directory, count) = find_directory(file)?;
        let mut fields = Fields::new(&file[directory.clone()]);
        // Each entry takes more than this of the directory, so the file bounds what is reserved.
        let most = directory.len() / CENTRAL_HEADER as usize;
        if count > most {
            return damaged(format!("a directory of {} bytes with {count} entries", directory.len()));
        }
        let mut entries = HashMap::with_capacity(count);
        let mut folder = None;
        let mut places = Vec::with_capacity(count);
        for _ in 0..count {
            let (name, header, entry) = read_entry(&mut fields, file, directory.start)?;
            places.push(header..entry.data.end);
            // What `zip -r` makes of folders.
            if name.ends_with('/') && entry.data.is_empty() {
                continue;
            }
            let split = name.split_once('/').filter(|(_, rest)| !rest.is_empty());
            let (own, rest) = split.ok_or_else(|| Error::Damaged(format!("entry `{name}` is in no folder")))?;
            if *folder.get_or_insert_with(|| own.to_owned()) != own {
                return damaged(format!("entry `{name}` is in another folder than the others"));
            }
            if entries.insert(rest.to_owned(), entry).is_some() {
                return damaged(format!("there are two entries `{name}`"));
            }
        }
        if !fields.is_empty() {
            return damaged("the directory is longer than its entries");
        }
        places.sort_unstable_by_key(|place| place.start);
        if places.windows(2).any(|pair| pair[0].end > pair[1].start) {
            return damaged("entries overlap");
        }
        let archive = Self { file: file.clone(), entries };
        archive.check_kind()?;
        Ok(archive)
    }

    pub(super) fn get(&self, name: &str) -> Result<Bytes> {
        let Some(entry) = self.entries.get(name) else { return damaged(format!("there is no entry `{name}`")) };
        if entry.compressed {
            return Err(Error::Unsupported(format!(
                "entry `{name}` is compressed, which `torch.save` never does: unpack the archive and pack it again with \
                 `zip -0`, or load and save it with PyTorch"
            )));
        }
        let data = self.file.slice(entry.data.clone());
        data.ok_or_else(|| Error::Damaged(format!("entry `{name}` is not where the directory says")))
    }

    fn check_kind(&self) -> Result<()> {
        if self.entries.contains_key("constants.pkl") {
            return unsupported(
                "this is a TorchScript archive, which holds code: load it with `torch.jit.load` and save its \
                 `state_dict()` with `torch.save`",
            );
        }
        if !self.entries.contains_key("data.pkl") {
            return unsupported("this is a zip archive, but not one of `torch.save`: it has no `data.pkl`");
        }
        // Before PyTorch 2.1 there was none, and every machine was little-endian.
        if !self.entries.contains_key("byteorder") {
            return Ok(());
        }
        match &*self.get("byteorder")? {
            b"little" => Ok(()),
            b"big" => unsupported(
                "its tensors are big-endian: load it with `torch.load` on a little-endian machine and save it again",
            ),
            _ => damaged("its byte order is neither little nor big"),
        }
    }
}

fn unsupported<T>(what: &str) -> Result<T> {
    Err(Error::Unsupported(what.to_owned()))
}

/// Where the directory is, and how many entries it has.
fn find_directory(file: &Bytes) -> Result<(Range<usize>, usize)> {
    if file.starts_with(&[0x80, 2]) {
        return unsupported(
            "this is the format of PyTorch before 1.6: load it with `torch.load` and save it again with `torch.save`",
        );
    }
    let Some(last) = file.len().checked_sub(END_LEN as usize) else {
        return damaged("too short for a zip archive, as which `torch.save` writes");
    };
    let is_end = |at: &usize| {
        let mut fields = Fields::new(&file[*at..]);
        let found = fields.u32().is_ok_and(|magic| magic == END);
        let comment = usize::from(u16::from_le_bytes([file[at + 20], file[at + 21]]));
        found && at + END_LEN as usize + comment == file.len()
    };
    let Some(end) = (last.saturating_sub(MAX_COMMENT)..=last).rev().find(is_end) else {
        return damaged(
            "it has no end of a zip archive, as which `torch.save` writes: it was cut short, or is no such file",
        );
    };
    let mut fields = Fields::new(&file[end + 4..]);
    let [disk, first_disk, here, count] = [fields.u16()?, fields.u16()?, fields.u16()?, fields.u16()?].map(u64::from);
    let [len, start] = [fields.u32()?, fields.u32()?].map(u64::from);
    let short = Directory { disk, first_disk, here, count, len, start, end };
    // PyTorch writes both ends into every file.
    let directory = match end_64(file, end)? {
        Some(long) if short.may_be(&long) => long,
        Some(_) => return damaged("the two ends of the archive contradict each other"),
        None => short,
    };
    let Directory { disk, first_disk, here, count, len, start, end } = directory;
    if disk != 0 || first_disk != 0 || here != count {
        return damaged("it is an archive in several parts");
    }
    let exact = start.checked_add(len) == Some(end as u64);
    match (usize::try_from(start), usize::try_from(count)) {
        (Ok(start), Ok(count)) if exact => Ok((start..end, count)),
        _ => damaged("the directory of the archive is not where it should be"),
    }
}

/// What the end of an archive says of its directory, and where that end begins.
struct Directory {
    disk: u64,
    first_disk: u64,
    here: u64,
    count: u64,
    len: u64,
    start: u64,
    end: usize,
}

impl Directory {
    /// Whether this is the other, as far as it has the bits for it.
    fn may_be(&self, long: &Self) -> bool {
        let same = |short: u64, long: u64, most: u64| short == long || short == most;
        let most_16 = u64::from(u16::MAX);
        same(self.count, long.count, most_16)
            && same(self.len, long.len, MAX_32)
            && same(self.start, long.start, MAX_32)
    }
}

/// The end of an archive in 64 bits, if there is one before that in 32.
fn end_64(file: &Bytes, end: usize) -> Result<Option<Directory>> {
    let found = |at: &usize| Fields::new(&file[*at..]).u32().is_ok_and(|magic| magic == END_64_LOCATOR);
    let Some(locator) = end.checked_sub(LOCATOR_LEN as usize).filter(found) else { return Ok(None) };
    let mut fields = Fields::new(&file[locator + 8..]);
    let record = usize::try_from(fields.u64()?).ok().filter(|at| *at < locator);
    let record =
        record.ok_or_else(|| Error::Damaged("the 64-bit end of the archive is not where it should be".to_owned()))?;
    let mut fields = Fields::new(&file[record..locator]);
    if fields.u32()? != END_64_RECORD || locator - record != END_64_LEN as usize {
        return damaged("the 64-bit end of the archive is not where it should be");
    }
    fields.skip(8 + 2 + 2)?;
    let [disk, first_disk] = [fields.u32()?, fields.u32()?].map(u64::from);
    let [here, count, len, start] = [fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?];
    Ok(Some(Directory { disk, first_disk, here, count, len, start, end: record }))
}

/// The next entry of the directory: its name, where its header is, and its data.
fn read_entry(fields: &mut Fields<'_>, file: &Bytes, limit: usize) -> Result<(String, usize, Entry)> {
    if fields.u32()? != CENTRAL {
        return damaged("the directory of the archive has an entry that is none");
    }
    fields.skip(2 + 2)?;
    let (flags, method) = (fields.u16()?, fields.u16()?);
    fields.skip(2 + 2)?;
    let checksum = fields.u32()?;
    let (packed, size) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
    let (name_len, extra_len, comment_len) = (fields.u16()?, fields.u16()?, fields.u16()?);
    fields.skip(2 + 2 + 4)?;
    let header = u64::from(fields.u32()?);
    let name = std::str::from_utf8(fields.bytes(name_len.into())?);
    let name = name.map_err(|_| Error::Damaged("the name of an entry is not UTF-8".to_owned()))?.to_owned();
    let mut long = extra_64(Fields::new(fields.bytes(extra_len.into())?))?;
    fields.skip(comment_len.into())?;

    let mut wide = |short: u64| if short == MAX_32 { long.u64() } else { Ok(short) };
    let (size, packed, header) = (wide(size)?, wide(packed)?, wide(header)?);
    if flags & 1 != 0 {
        return Err(Error::Unsupported(format!("entry `{name}` is encrypted")));
    }
    let wrong = || Error::Damaged(format!("entry `{name}` is not where the directory says"));
    let header = usize::try_from(header).ok().filter(|at| *at < limit).ok_or_else(wrong)?;
    let compressed = method != 0;
    if packed != size && !compressed {
        return Err(wrong());
    }
    let data = local_data(&file[header..limit], &name, packed).ok_or_else(wrong)?;
    let data = header + data.start..header + data.end;
    Ok((name, header, Entry { data, checksum, compressed }))
}

/// The numbers beyond 32 bits among the extra fields of an entry.
fn extra_64(mut fields: Fields<'_>) -> Result<Fields<'_>> {
    while !fields.is_empty() {
        let (id, len) = (fields.u16()?, fields.u16()?);
        let field = fields.bytes(len.into())?;
        if id == EXTRA_64 {
            return Ok(Fields::new(field));
        }
    }
    Ok(Fields::new(&[]))
}

/// Where the data of an entry is, counted from its header; `None` if it is not that entry, or reaches too far.
fn local_data(bytes: &[u8], name: &str, size: u64) -> Option<Range<usize>> {
    let mut fields = Fields::new(bytes);
    if fields.u32().ok()? != LOCAL {
        return None;
    }
    fields.skip(LOCAL_HEADER as usize - 8).ok()?;
    let (name_len, extra_len) = (fields.u16().ok()?, fields.u16().ok()?);
    if fields.bytes(name_len.into()).ok()? != name.as_bytes() {
        return None;
    }
    fields.skip(extra_len.into()).ok()?;
    let start = fields.at();
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    (end <= bytes.len()).then_some(start..end)
}
