//! [`JsonlTable`]: the file.

use std::{
    fs::File,
    io::{self, BufRead, Write},
    path::PathBuf,
    sync::Arc,
};

use super::super::{
    json,
    log_file::{self, Batch, Event, Found, Record, Start, Table, failed},
};
use crate::error::Fallible;

/// Written at once, at most.
const CHUNK: usize = 1 << 20;
/// How every line begins.
const BEGINNING: &[u8] = b"{\"event\":\"";

/// The file, and the fields of its rows.
pub(super) struct JsonlTable {
    path: PathBuf,
    file: File,
    layouts: Vec<Arc<[Arc<str>]>>,
    text: Vec<u8>,
    rows: u64,
}

impl JsonlTable {
    pub(super) fn open(path: PathBuf, start: Start) -> Fallible<Self> {
        let (file, Found { rows, .. }) = log_file::open(&path, start, "a row", |file| {
            let there = file.fill_buf()?;
            // A killed process may have left less than a row.
            let is_ours = there.iter().zip(BEGINNING).all(|(there, ours)| there == ours);
            Ok(is_ours.then_some(((), 0)))
        })?;
        Ok(Self { path, file, layouts: Vec::new(), text: Vec::new(), rows })
    }

    fn append(&mut self, batch: &Batch) -> io::Result<()> {
        self.layouts.extend_from_slice(&batch.layouts);
        let mut values = &batch.values[..];
        for record in &batch.records {
            let names = &self.layouts[record.layout];
            let (row, rest) = values.split_at(names.len());
            values = rest;
            line(&mut self.text, record, names, row);
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

impl Table for JsonlTable {
    fn rows(&self) -> u64 {
        self.rows
    }

    fn write(&mut self, batch: &Batch) -> Fallible {
        self.append(batch).map_err(|e| failed(&self.path, &e))
    }

    fn sync(&self) -> Fallible {
        self.file.sync_all().map_err(|e| failed(&self.path, &e))
    }
}

/// Appends one row. The learning rate is in front, wherever it is among the values.
fn line(text: &mut Vec<u8>, record: &Record, names: &[Arc<str>], values: &[f64]) {
    let Record { event, epoch, step, micro_batch, samples, seconds, .. } = record;
    text.extend_from_slice(BEGINNING);
    // Writing to a `Vec` cannot fail.
    let _ = match event {
        Event::Step => write!(text, "step\",\"epoch\":{epoch},\"step\":{step},\"micro_batch\":{micro_batch}"),
        Event::Evaluation => write!(text, "evaluation\",\"epoch\":{epoch},\"step\":{step}"),
        Event::Epoch => write!(text, "epoch\",\"epoch\":{epoch},\"step\":{step}"),
    };
    let own = names.iter().map(|name| &**name).zip(values.iter().copied());
    let (lr, metrics): (Vec<_>, Vec<_>) = own.partition(|(name, _)| *name == "lr");
    for (name, value) in [("samples", *samples), ("seconds", *seconds)].into_iter().chain(lr).chain(metrics) {
        text.push(b',');
        json::string(text, name);
        text.push(b':');
        json::number(text, value);
    }
    text.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{fs, path::Path};

    use super::*;

    fn write(path: &Path, start: Start, rows: &[(Event, f64)]) -> u64 {
        let mut table = JsonlTable::open(path.to_owned(), start).unwrap();
        let mut batch = Batch::default();
        batch.layouts.push(["train/loss", "lr"].map(Arc::from).into());
        for (i, (event, loss)) in rows.iter().enumerate() {
            batch.push(Record { event: *event, step: i as u64, ..Record::default() }, [*loss, 0.1].into_iter());
        }
        table.write(&batch).unwrap();
        table.rows()
    }

    fn lines(path: &Path) -> Vec<String> {
        fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_row_is_an_object() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/m.jsonl");
        write(&path, Start::Fresh, &[(Event::Step, 0.5), (Event::Evaluation, f64::NAN), (Event::Epoch, 1e-9)]);
        let expected = [
            r#"{"event":"step","epoch":0,"step":0,"micro_batch":0,"samples":0,"seconds":0,"lr":0.1,"train/loss":0.5}"#,
            r#"{"event":"evaluation","epoch":0,"step":1,"samples":0,"seconds":0,"lr":0.1,"train/loss":"NaN"}"#,
            r#"{"event":"epoch","epoch":0,"step":2,"samples":0,"seconds":0,"lr":0.1,"train/loss":1e-9}"#,
        ];
        assert_eq!(lines(&path), expected);
    }

    #[test]
    fn a_resume_cuts_back_to_any_row() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        for cut in 0..=5 {
            let _ = fs::remove_file(&path);
            write(&path, Start::Fresh, &[(Event::Step, 0.5); 5]);
            let whole = lines(&path);
            // What a killed process may leave.
            let torn =
                |bytes: &[u8]| fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(bytes).unwrap();
            torn(b"{\"event\":\"st");
            assert_eq!(write(&path, Start::Resume(cut), &[(Event::Step, 0.5)]), cut);
            let (cut, now) = (cut as usize, lines(&path));
            assert_eq!(now[..cut], whole[..cut]);
            assert_eq!(now[cut..], whole[..1]);
        }
    }

    #[test]
    fn what_is_no_log_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        fs::write(&path, "{\"loss\": 1}\n").unwrap();
        let error = JsonlTable::open(path.clone(), Start::Append).err().unwrap().to_string();
        assert!(error.contains("m.jsonl` does not begin with a row of this log"), "{error}");
        write(&path, Start::Fresh, &[(Event::Step, 0.5)]);
        assert_eq!(lines(&dir.path().join("m.1.jsonl")), ["{\"loss\": 1}"]);
        // All that a process left which was killed at once.
        fs::write(&path, "{\"ev").unwrap();
        assert_eq!(write(&path, Start::Resume(0), &[(Event::Step, 0.5)]), 0);
        assert_eq!(lines(&path).len(), 1);
    }
}
