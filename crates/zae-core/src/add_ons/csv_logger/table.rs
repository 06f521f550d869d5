//! [`Table`]: the file and its columns.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    format,
    queue::{Batch, Event, Record},
};
use crate::error::{BoxError, Fallible};

/// Written at once, at most.
const CHUNK: usize = 1 << 20;

/// What becomes of a file that is there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Start {
    /// It belongs to another run: moved aside.
    Fresh,
    /// Written on.
    Append,
    /// Cut back to this many rows, then written on.
    Resume(u64),
}

/// The file and its columns.
pub(super) struct Table {
    path: PathBuf,
    file: File,
    /// Behind the fixed ones.
    columns: Vec<Arc<str>>,
    /// For each list of columns, where its values go: `None` is the learning rate.
    layouts: Vec<Vec<Option<usize>>>,
    /// The row being written.
    cells: Vec<Option<f64>>,
    text: Vec<u8>,
    rows: u64,
}

/// What was found in a file.
struct Found {
    columns: Vec<Arc<str>>,
    rows: u64,
    /// Where the last whole row that is kept ends.
    end: u64,
}

impl Table {
    /// Opens the file. It has a header when this returns.
    pub(super) fn open(path: PathBuf, start: Start) -> Fallible<Self> {
        let at = |e: io::Error| -> BoxError { format!("cannot write `{}`: {e}", path.display()).into() };
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            fs::create_dir_all(dir).map_err(at)?;
        }
        // Left by a process that was killed while it widened the file.
        let _ = fs::remove_file(sibling(&path));
        let limit = if let Start::Resume(rows) = start { rows } else { u64::MAX };
        let mut found = match fs::metadata(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(at(e)),
            Ok(meta) if !meta.is_file() => return Err(format!("`{}` is not a regular file", path.display()).into()),
            Ok(meta) if meta.len() == 0 => None,
            Ok(_) => Some(find(&path, limit).map_err(at)?),
        };
        if start == Start::Fresh && found.take().is_some_and(|found| found.is_none_or(|found| found.rows > 0)) {
            move_aside(&path).map_err(at)?;
        }
        let found = found.map(|found| {
            found.ok_or_else(|| {
                let path = path.display();
                format!("`{path}` does not begin with the header of this log, so it cannot be written on: move it away")
            })
        });
        let found = found.transpose()?;
        if let Start::Resume(wanted) = start {
            let there = found.as_ref().map_or(0, |found| found.rows);
            if there < wanted {
                let path = path.display();
                tracing::warn!(%path, wanted, there, "rows are missing in the log of the run that goes on");
            }
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(at)?;
        let Found { columns, rows, end } = found.unwrap_or(Found { columns: Vec::new(), rows: 0, end: 0 });
        file.set_len(end).and_then(|()| file.seek(SeekFrom::End(0))).map_err(at)?;
        if end == 0 {
            file.write_all(&format::header(std::iter::empty())).map_err(at)?;
        }
        Ok(Self { path, file, columns, layouts: Vec::new(), cells: Vec::new(), text: Vec::new(), rows })
    }

    /// Rows that were there when it was opened.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Appends rows.
    pub(super) fn write(&mut self, batch: &Batch) -> Fallible {
        self.learn(&batch.layouts).and_then(|()| self.append(batch)).map_err(|e| self.failed(&e))
    }

    /// Has everything written put on disk.
    pub(super) fn sync(&self) -> Fallible {
        self.file.sync_all().map_err(|e| self.failed(&e))
    }

    fn failed(&self, e: &io::Error) -> BoxError {
        format!("cannot write `{}`: {e}", self.path.display()).into()
    }

    /// Takes in new lists of columns; makes the file wider if some of them are new to it.
    fn learn(&mut self, layouts: &[Arc<[Arc<str>]>]) -> io::Result<()> {
        let before = self.columns.len();
        for layout in layouts {
            let places = layout.iter().map(|name| {
                (&**name != "lr").then(|| {
                    self.columns.iter().position(|column| column == name).unwrap_or_else(|| {
                        self.columns.push(name.clone());
                        self.columns.len() - 1
                    })
                })
            });
            let places = places.collect();
            self.layouts.push(places);
        }
        if self.columns.len() > before { self.widen(self.columns.len() - before) } else { Ok(()) }
    }

    /// Writes the whole file again with more columns, beside the old one, which it then replaces.
    fn widen(&mut self, by: usize) -> io::Result<()> {
        let beside = sibling(&self.path);
        let widened = self.copy_wider(&beside, by).and_then(|file| {
            fs::rename(&beside, &self.path)?;
            Ok(file)
        });
        if widened.is_err() {
            let _ = fs::remove_file(&beside);
        }
        self.file = widened?;
        Ok(())
    }

    fn copy_wider(&mut self, to: &Path, by: usize) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let mut out = BufWriter::new(options.read(true).write(true).create(true).truncate(true).open(to)?);
        out.write_all(&format::header(self.columns.iter().map(|column| &**column)))?;
        self.file.seek(SeekFrom::Start(0))?;
        let mut rows = BufReader::new(&self.file);
        let mut line = Vec::new();
        read_header(&mut rows, &mut line)?;
        let commas = vec![b','; by];
        while next_row(&mut rows, &mut line)? {
            out.write_all(line.trim_ascii_end())?;
            out.write_all(&commas)?;
            out.write_all(b"\n")?;
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        // Else a power cut after the renaming could leave less than there was.
        file.sync_all()?;
        Ok(file)
    }

    fn append(&mut self, batch: &Batch) -> io::Result<()> {
        let mut values = &batch.values[..];
        for record in &batch.records {
            let places = &self.layouts[record.layout];
            let (row, rest) = values.split_at(places.len());
            values = rest;
            self.cells.clear();
            self.cells.resize(self.columns.len(), None);
            let mut lr = None;
            for (place, value) in places.iter().zip(row) {
                match place {
                    Some(column) => self.cells[*column] = Some(*value),
                    None => lr = Some(*value),
                }
            }
            line(&mut self.text, record, lr, &self.cells);
            if self.text.len() >= CHUNK {
                self.file.write_all(&self.text)?;
                self.text.clear();
            }
        }
        self.file.write_all(&self.text)?;
        self.text.clear();
        Ok(())
    }
}

/// Appends one row.
fn line(text: &mut Vec<u8>, record: &Record, lr: Option<f64>, cells: &[Option<f64>]) {
    let Record { event, epoch, step, micro_batch, samples, seconds, .. } = record;
    // Writing to a `Vec` cannot fail.
    let _ = match event {
        Event::Step => write!(text, "step,{epoch},{step},{micro_batch}"),
        Event::Evaluation => write!(text, "evaluation,{epoch},{step},"),
        Event::Epoch => write!(text, "epoch,{epoch},{step},"),
    };
    for cell in [Some(*samples), Some(*seconds), lr].iter().chain(cells) {
        text.push(b',');
        if let Some(value) = cell {
            format::number(text, *value);
        }
    }
    text.push(b'\n');
}

/// Where the file is written again.
fn sibling(path: &Path) -> PathBuf {
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

/// Looks through a file: its columns and up to `limit` whole rows. `None` if its header is not one of ours.
fn find(path: &Path, limit: u64) -> io::Result<Option<Found>> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
    let mut line = Vec::new();
    let mut end = read_header(&mut file, &mut line)?;
    let Some(columns) = format::parse_header(&line) else { return Ok(None) };
    let mut rows = 0;
    while rows < limit && next_row(&mut file, &mut line)? {
        end += line.len() as u64;
        rows += 1;
    }
    Ok(Some(Found { columns: columns.into_iter().map(Arc::from).collect(), rows, end }))
}

/// A header longer than this is not one.
const LONGEST_HEADER: u64 = 1 << 20;

/// Reads the header, which may go over several lines. Returns its length.
fn read_header(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    line.clear();
    let mut file = file.take(LONGEST_HEADER);
    while file.read_until(b'\n', line)? > 0 && !format::is_whole(line) {}
    Ok(line.len() as u64)
}

/// Reads a row; `false` at the end, or at a row that was torn when its process was killed.
fn next_row(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    file.read_until(b'\n', line)?;
    Ok(line.ends_with(b"\n"))
}

#[cfg(test)]
mod tests;
