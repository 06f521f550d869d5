//! Opening a log: what is there is moved aside, written on, or cut back.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, ErrorKind, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use crate::error::{BoxError, Fallible};

/// What becomes of a file that is there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::add_ons) enum Start {
    /// It belongs to another run: moved aside.
    Fresh,
    /// Written on.
    Append,
    /// Cut back to this many rows, then written on.
    Resume(u64),
}

/// What was found in a file, and is kept.
#[derive(Default)]
pub(in crate::add_ons) struct Found<H> {
    pub(in crate::add_ons) header: H,
    pub(in crate::add_ons) rows: u64,
    /// Where the last whole row that is kept ends.
    pub(in crate::add_ons) end: u64,
}

/// Opens a log, which is written on at its end. `header` reads what is before the rows, and says how long that is; `None` if it is
/// not one of ours. A log `begins` with it.
pub(in crate::add_ons) fn open<H: Default>(
    path: &Path,
    start: Start,
    begins: &str,
    header: impl FnOnce(&mut BufReader<File>) -> io::Result<Option<(H, u64)>>,
) -> Fallible<(File, Found<H>)> {
    let at = |e: io::Error| failed(path, &e);
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(dir).map_err(at)?;
    }
    let limit = if let Start::Resume(rows) = start { rows } else { u64::MAX };
    let mut found = match fs::metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => return Err(at(e)),
        Ok(meta) if !meta.is_file() => return Err(format!("`{}` is not a regular file", path.display()).into()),
        Ok(meta) if meta.len() == 0 => None,
        Ok(_) => Some(find(path, limit, header).map_err(at)?),
    };
    if start == Start::Fresh && found.take().is_some_and(|found| found.is_none_or(|found| found.rows > 0)) {
        move_aside(path).map_err(at)?;
    }
    let found = found.map(|found| {
        found.ok_or_else(|| {
            let path = path.display();
            format!("`{path}` does not begin with {begins} of this log, so it cannot be written on: move it away")
        })
    });
    let found = found.transpose()?.unwrap_or_default();
    if let Start::Resume(wanted) = start
        && found.rows < wanted
    {
        let (path, there) = (path.display(), found.rows);
        tracing::warn!(%path, wanted, there, "rows are missing in the log of the run that goes on");
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(path).map_err(at)?;
    file.set_len(found.end).and_then(|()| file.seek(SeekFrom::End(0))).map_err(at)?;
    Ok((file, found))
}

pub(in crate::add_ons) fn failed(path: &Path, e: &io::Error) -> BoxError {
    format!("cannot write `{}`: {e}", path.display()).into()
}

/// Looks through a file: its header and up to `limit` whole rows. `None` if its header is not one of ours.
fn find<H>(
    path: &Path,
    limit: u64,
    header: impl FnOnce(&mut BufReader<File>) -> io::Result<Option<(H, u64)>>,
) -> io::Result<Option<Found<H>>> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
    let Some((header, mut end)) = header(&mut file)? else { return Ok(None) };
    let (mut rows, mut line) = (0, Vec::new());
    while rows < limit && next_row(&mut file, &mut line)? {
        end += line.len() as u64;
        rows += 1;
    }
    Ok(Some(Found { header, rows, end }))
}

/// Reads a row; `false` at the end, or at a row that was torn when its process was killed.
pub(in crate::add_ons) fn next_row(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    file.read_until(b'\n', line)?;
    Ok(line.ends_with(b"\n"))
}

/// Where a file is written again.
pub(in crate::add_ons) fn sibling(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

/// Renames `metrics.csv` to `metrics.1.csv`, or the next number that is free.
fn move_aside(path: &Path) -> io::Result<()> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().map_or_else(String::new, |ending| format!(".{}", ending.to_string_lossy()));
    let free = (1u64..).map(|n| path.with_file_name(format!("{stem}.{n}{ending}"))).find(|aside| !aside.exists());
    free.map_or(Ok(()), |aside| fs::rename(path, aside))
}
