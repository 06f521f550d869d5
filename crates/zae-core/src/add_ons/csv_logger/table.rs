//! [`CsvTable`]: the file and its columns.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    super::log_file::{self, Batch, Event, Found, Record, Start, Table, failed, next_row, sibling},
    format,
};
use crate::error::Fallible;

/// Written at once, at most.
const CHUNK: usize = 1 << 20;

/// The file and its columns.
pub(super) struct CsvTable {
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

impl CsvTable {
    /// Opens the file. It has a header when this returns.
    pub(super) fn open(path: PathBuf, start: Start) -> Fallible<Self> {
        // Left by a process that was killed while it widened the file.
        let _ = fs::remove_file(sibling(&path));
        let (mut file, found) = log_file::open(&path, start, "the header", |file| {
            let mut line = Vec::new();
            let length = read_header(file, &mut line)?;
            Ok(format::parse_header(&line).map(|columns| (columns, length)))
        })?;
        let Found { header, rows, end } = found;
        let columns = header.into_iter().map(Arc::from).collect();
        if end == 0 {
            file.write_all(&format::header(std::iter::empty())).map_err(|e| failed(&path, &e))?;
        }
        Ok(Self { path, file, columns, layouts: Vec::new(), cells: Vec::new(), text: Vec::new(), rows })
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

impl Table for CsvTable {
    fn rows(&self) -> u64 {
        self.rows
    }

    fn write(&mut self, batch: &Batch) -> Fallible {
        self.learn(&batch.layouts).and_then(|()| self.append(batch)).map_err(|e| failed(&self.path, &e))
    }

    fn sync(&self) -> Fallible {
        self.file.sync_all().map_err(|e| failed(&self.path, &e))
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

/// A header longer than this is not one.
const LONGEST_HEADER: u64 = 1 << 20;

/// Reads the header, which may go over several lines. Returns its length.
fn read_header(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    line.clear();
    let mut file = file.take(LONGEST_HEADER);
    while file.read_until(b'\n', line)? > 0 && !format::is_whole(line) {}
    Ok(line.len() as u64)
}

#[cfg(test)]
mod tests;
