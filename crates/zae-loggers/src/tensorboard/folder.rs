//! The event files of a run in their folder: which there are, and how a resumed run goes on behind them.
//!
//! A file is named `events.out.tfevents.<seconds since 1970>.zae.<process>.<entries before its first>`. TensorBoard reads the
//! files of a folder in the order of their names, and each from where it was: of a file that becomes shorter it keeps what
//! it has read. So entries whose steps are made again are cut off, for whoever reads the folder from now on, and a new file
//! begins with a restart ([`event::restart`]), for whoever has read them already.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Write},
    path::{Path, PathBuf},
};

use super::{
    event::{self, Counts},
    record::{self, Records},
};
use crate::appended::Appended;

const PREFIX: &str = "events.out.tfevents.";
/// Where a file comes into being. Nobody reads it.
const UNFINISHED: &str = ".zae-unfinished";

/// The file that a run goes on with.
pub(super) struct EventFile {
    pub(super) path: PathBuf,
    pub(super) file: Appended,
    /// The step of the last entry; 0 if there is none.
    pub(super) step: u64,
}

/// One of the files of a run.
struct Piece {
    path: PathBuf,
    size: u64,
    /// Entries of the run before it.
    first: u64,
    /// How many of its entries stay, and the step of the last of these.
    kept: u64,
    step: Option<u64>,
    /// Where the first that does not begins.
    cut: Option<u64>,
    /// Whether it ends with a whole record.
    whole: bool,
}

impl Piece {
    fn records(&self) -> io::Result<Records<BufReader<File>>> {
        Ok(Records::new(BufReader::with_capacity(1 << 16, File::open(&self.path)?), self.size))
    }

    fn cut_at(&mut self, place: u64) {
        self.cut = Some(self.cut.map_or(place, |cut| cut.min(place)));
    }
}

/// Opens the folder for a run that has so many entries already, or is a new one. `begin` appends what the first file of a run
/// begins with; `now` is in seconds since 1970.
pub(super) fn open(
    folder: &Path,
    entries: Option<u64>,
    now: f64,
    begin: impl FnOnce(&mut Vec<u8>),
) -> io::Result<EventFile> {
    fs::create_dir_all(folder)?;
    let (mut pieces, newest) = list(folder)?;
    let restart = match entries {
        // TensorBoard obeys no restart but the second and later ones: a run needs a first, even if it hides nothing.
        Some(_) if pieces.is_empty() => Some(i64::MAX as u64),
        Some(entries) => find(&mut pieces, entries)?,
        None => {
            move_aside(folder, std::mem::take(&mut pieces))?;
            Some(0)
        }
    };
    let step = pieces.iter().rev().find_map(|piece| piece.step).unwrap_or(0);
    let mut first = entries.unwrap_or(0);
    if let Some(last) = pieces.last()
        && last.first + last.kept == first
        && (last.whole, last.cut, restart) == (true, None, None)
    {
        let (path, end) = (last.path.clone(), last.size);
        cut(&pieces)?;
        let file = OpenOptions::new().write(true).open(&path)?;
        return Ok(EventFile { path, file: Appended::at(file, end), step });
    }
    let mut out = Vec::new();
    event::version(&mut out, now);
    if let Some(step) = restart {
        event::restart(&mut out, now, step);
        first -= move_over(&mut pieces, step, &mut out)?;
    }
    if pieces.is_empty() {
        begin(&mut out);
    }
    let name =
        format!("{PREFIX}{:010}.zae.{}.{first}", newest.map_or(0, |time| time + 1).max(now as u64), std::process::id());
    let file = create(folder, &name, &out)?;
    // Only now: killed in between, each entry is there twice rather than not at all, and the next resume sees to that.
    cut(&pieces)?;
    Ok(EventFile { path: folder.join(name), file: Appended::at(file, out.len() as u64), step })
}

/// Our files, first to last, and the newest time in the name of any.
fn list(folder: &Path) -> io::Result<(Vec<Piece>, Option<u64>)> {
    let (mut pieces, mut newest) = (Vec::new(), None);
    for item in fs::read_dir(folder)? {
        let item = item?;
        let name = item.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let parts: Vec<&str> = rest.split('.').collect();
        newest = newest.max(parts[0].parse::<u64>().ok());
        let [_, "zae", _, first] = *parts else { continue };
        if let Ok(first) = first.parse() {
            let size = item.metadata()?.len();
            pieces.push(Piece { path: item.path(), size, first, kept: 0, step: None, cut: None, whole: false });
        }
    }
    pieces.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok((pieces, newest))
}

/// Finds what stays of a run that goes on with so many entries. Returns the first of the steps that are made again.
fn find(pieces: &mut [Piece], entries: u64) -> io::Result<Option<u64>> {
    let (mut again, mut limit) = (None, entries);
    for piece in pieces.iter_mut().rev() {
        let mut records = piece.records()?;
        let (mut index, mut begin) = (piece.first, 0);
        while let Some(own) = records.next()?.map(event::step_of_values) {
            match own {
                Some((step, Counts::Yes)) => {
                    if index >= limit {
                        piece.cut_at(begin);
                    } else {
                        piece.step = Some(step);
                    }
                    if index >= entries {
                        again = Some(again.map_or(step, |again: u64| again.min(step)));
                    }
                    index += 1;
                }
                // It was told after an entry that does not stay.
                Some((_, Counts::No)) if index > limit => piece.cut_at(begin),
                _ => {}
            }
            begin = records.end();
        }
        piece.whole = begin == piece.size;
        piece.kept = index.min(limit).saturating_sub(piece.first);
        // A later file has what it begins with from those before.
        limit = limit.min(piece.first);
    }
    Ok(again)
}

/// Appends what a restart at a step would hide, though it stays: such as the evaluation before that step. Returns how many
/// entries these are.
fn move_over(pieces: &mut [Piece], step: u64, out: &mut Vec<u8>) -> io::Result<u64> {
    let (mut moved, mut has_begun) = (0, false);
    for piece in pieces {
        let mut records = piece.records()?;
        let (end, mut begin) = (piece.cut.unwrap_or(piece.size), 0);
        while begin < end
            && let Some(data) = records.next()?
        {
            if let Some((own, counts)) = event::step_of_values(data)
                && (has_begun || own >= step)
            {
                has_begun = true;
                moved += u64::from(counts == Counts::Yes);
                record::append(out, |out| out.extend_from_slice(data));
                piece.cut_at(begin);
            }
            begin = records.end();
        }
    }
    Ok(moved)
}

fn cut(pieces: &[Piece]) -> io::Result<()> {
    for piece in pieces {
        if let Some(end) = piece.cut {
            let file = OpenOptions::new().write(true).open(&piece.path)?;
            file.set_len(end)?;
            file.sync_all()?;
        }
    }
    Ok(())
}

/// The files of an earlier run become a run of their own. Empty ones stay in their places, without which a TensorBoard that
/// reads them would not come to the new one.
fn move_aside(folder: &Path, mut pieces: Vec<Piece>) -> io::Result<()> {
    find(&mut pieces, u64::MAX)?;
    // A run without an entry is nothing to keep.
    let has_entries = pieces.iter().any(|piece| piece.kept > 0);
    let mut number = 1;
    let aside = loop {
        let path = folder.join(format!("earlier.{number}"));
        if !path.try_exists()? {
            break path;
        }
        number += 1;
    };
    if has_entries {
        fs::create_dir(&aside)?;
    }
    for piece in pieces.iter().filter(|piece| piece.size > 0) {
        if let Some(name) = piece.path.file_name()
            && has_entries
        {
            fs::rename(&piece.path, aside.join(name))?;
        }
        File::create(&piece.path)?;
    }
    Ok(())
}

/// A file that is there with its first records, or not at all.
fn create(folder: &Path, name: &str, first: &[u8]) -> io::Result<File> {
    let unfinished = folder.join(UNFINISHED);
    let mut file = File::create(&unfinished)?;
    file.write_all(first)?;
    file.sync_all()?;
    fs::rename(&unfinished, folder.join(name))?;
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    Ok(file)
}
