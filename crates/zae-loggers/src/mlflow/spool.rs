//! The spool: the file of what a run has to tell MLflow, on disk before it is sent.
//!
//! Rows that the server may have are never taken back, for it would have them twice, with two times.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use zae_core::error::Fallible;

use super::line::{Head, Kept, Line, Row, append};
use crate::appended::Appended;

/// Its name in the run's folder.
pub(super) const FILE: &str = "spool.jsonl";

/// What a line with files has in it.
const WITH_FILES: &[u8] = br#""artifacts":["#;

/// A spool that is open to be written.
pub(super) struct Spool {
    pub(super) path: PathBuf,
    pub(super) file: Appended,
    /// How many entries the run had with its last row.
    pub(super) entries: u64,
    /// Samples of the machine so far.
    pub(super) samples: u64,
}

/// The whole lines of a spool behind its head. A line that was damaged is left out.
pub(super) struct Lines {
    input: BufReader<File>,
    text: Vec<u8>,
    /// Where the last whole line ends.
    pub(super) end: u64,
}

/// Reads on in a spool.
///
/// # Errors
/// When there is none.
pub(super) fn read_from(path: &Path, end: u64) -> io::Result<Lines> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(end))?;
    Ok(Lines { input: BufReader::new(file), text: Vec::new(), end })
}

/// Reads a spool from its beginning.
///
/// # Errors
/// When there is none.
pub(super) fn read(path: &Path) -> Fallible<(Head, Lines)> {
    let mut lines = read_from(path, 0)?;
    lines.next_text()?;
    let head = serde_json::from_slice(&lines.text);
    Ok((head.map_err(|e| format!("`{}` does not begin as a spool does: {e}", path.display()))?, lines))
}

impl Lines {
    /// Reads a line into the buffer. Returns whether it is whole; if not, it is read again the next time.
    fn next_text(&mut self) -> io::Result<bool> {
        self.text.clear();
        let read = self.input.read_until(b'\n', &mut self.text)?;
        if self.text.ends_with(b"\n") {
            self.end += read as u64;
            return Ok(true);
        }
        // Also what was buffered is forgotten: a writer may have taken it back.
        self.input.seek(SeekFrom::Start(self.end))?;
        Ok(false)
    }

    /// The next line, if it is there already.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        while self.next_text()? {
            if let Ok(line) = serde_json::from_slice(&self.text) {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    /// Paths of files that have to be sent, of the next line that has any and ends no later than there.
    pub(super) fn next_artifacts(&mut self, until: u64) -> io::Result<Option<Vec<String>>> {
        while self.end < until && self.next_text()? {
            // Most lines have none, and need not be understood.
            if !self.text.windows(WITH_FILES.len()).any(|part| part == WITH_FILES) {
                continue;
            }
            match serde_json::from_slice(&self.text) {
                Ok(Line::Row(Row { artifacts, .. }) | Line::Kept(Kept { artifacts, .. })) if !artifacts.is_empty() => {
                    return Ok(Some(artifacts));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

/// Opens the spool of a run with this key that goes on with so many entries. Of those behind, rows stay that the server may
/// have: it may have so many lines in all. Their marks are returned too. `None` if the spool is not there.
pub(super) fn reopen(path: &Path, key: &str, entries: u64, maybe: u64) -> Fallible<Option<(Spool, Vec<u64>)>> {
    let Ok((head, mut lines)) = read(path) else { return Ok(None) };
    if head.key != key {
        return Ok(None);
    }
    let (mut count, mut end, mut ahead, mut there, mut samples) = (0, lines.end, Vec::new(), 0, 0);
    while let Some(line) = lines.next()? {
        match line {
            Line::Row(row) => {
                if row.index >= entries {
                    if count >= maybe {
                        break;
                    }
                    ahead.push(row.mark());
                }
                there = row.index + 1;
            }
            Line::Sample(sample) => samples = sample.sample + 1,
            // The run goes on.
            Line::End(_) => continue,
            Line::Alert(_) | Line::Kept(_) => {}
        }
        (count, end) = (count + 1, lines.end);
    }
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(end)?;
    Ok(Some((Spool { path: path.to_owned(), file: Appended::at(file, end), entries: there, samples }, ahead)))
}

/// A new spool. An older folder of the name is moved aside.
pub(super) fn create(folder: &Path, head: &Head) -> Fallible<Spool> {
    let path = folder.join(FILE);
    if path.try_exists()? {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut aside = (1..).map(|number| folder.with_file_name(format!("{name}.{number}")));
        if let Some(aside) = aside.find(|path| !path.exists()) {
            fs::rename(folder, aside)?;
        }
    }
    fs::create_dir_all(folder)?;
    let mut line = Vec::new();
    append(&mut line, head)?;
    let mut file = File::create(&path)?;
    io::Write::write_all(&mut file, &line)?;
    file.sync_all()?;
    Ok(Spool { path, file: Appended::at(file, line.len() as u64), entries: 0, samples: 0 })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use serde_json::Value;

    use super::{
        super::line::{End, Written},
        *,
    };
    use crate::{Entries, Kind, entry::Head as Of, mark};

    /// Entries of these kinds and steps, the first of which has this index.
    fn entries(first: u64, all: &[(Kind, u64)]) -> Entries {
        let mut entries = Entries::default();
        for (layout, name) in ["train/loss", "valid/loss", "test/loss"].into_iter().enumerate() {
            entries.add_layout(Arc::from([Arc::from(name), Arc::from("x")]));
            for (index, (kind, step)) in (first..).zip(all) {
                let own = match kind {
                    Kind::Step => 0,
                    Kind::Epoch => 1,
                    _ => 2,
                };
                if own == layout {
                    let head = Of { kind: *kind, layout, index, step: *step, ..Of::default() };
                    entries.push(head, &[0.1 + 0.2, f64::INFINITY]);
                }
            }
        }
        entries
    }

    fn write(spool: &mut Spool, entries: &Entries) {
        let mut out = Vec::new();
        entries.iter().for_each(|entry| append(&mut out, &Written(entry, &[])).unwrap());
        spool.file.append(&out).unwrap();
    }

    fn rows(folder: &Path) -> Vec<(u64, u64)> {
        let (_, mut lines) = read(&folder.join(FILE)).unwrap();
        let mut rows = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            if let Line::Row(row) = line {
                assert_eq!(row.metrics.values().next().unwrap(), &Value::from(0.1 + 0.2));
                rows.push((row.index, row.step));
            }
        }
        rows
    }

    fn head() -> Head {
        let (tags, params) = Default::default();
        let [key, tracking_uri, experiment] = ["key", "http://host", "x"].map(str::to_owned);
        Head { spool: 1, key, tracking_uri, experiment, run_name: None, start_time: 1, tags, params }
    }

    #[test]
    fn what_the_server_may_have_stays_and_the_rest_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let mut spool = create(dir.path(), &head()).unwrap();
        let steps = [0, 1, 2, 3].map(|step| (Kind::Step, step));
        write(&mut spool, &entries(0, &steps));
        // After the run; a checkpoint counts the four before.
        write(&mut spool, &entries(4, &[(Kind::Evaluation, 4)]));
        spool.file.append(b"{\"index\":5,\"kind\":\"st").unwrap();
        assert!(reopen(&path, "another", 4, 9).unwrap().is_none());
        let (_, ahead) = reopen(&path, "key", 4, 5).unwrap().unwrap();
        assert_eq!(rows(dir.path()), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]);
        let marks = |entries: &Entries| entries.iter().map(|entry| entry.mark()).collect::<Vec<_>>();
        assert_eq!(ahead, marks(&entries(4, &[(Kind::Evaluation, 4)])));
        assert_ne!(ahead, marks(&entries(4, &[(Kind::Step, 4)])), "the next step is no evaluation");
        // From an older one: the server may have three rows.
        let (mut spool, ahead) = reopen(&path, "key", 1, 3).unwrap().unwrap();
        assert_eq!(rows(dir.path()), [(0, 0), (1, 1), (2, 2)]);
        assert_eq!(ahead, marks(&entries(1, &steps[1..3])));
        write(&mut spool, &entries(3, &steps[3..]));
        assert_eq!(rows(dir.path()), [(0, 0), (1, 1), (2, 2), (3, 3)]);
        // Of what it cannot have, nothing stays.
        let (spool, _) = reopen(&path, "key", 1, 0).unwrap().unwrap();
        assert_eq!(spool.entries, 1);
        assert_eq!(rows(dir.path()), [(0, 0)]);
    }

    /// Of a spool as an older version wrote it, with what came since.
    #[test]
    fn lines_without_an_index_stay_before_the_rows_that_are_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let mut spool = create(dir.path(), &head()).unwrap();
        let own = [
            r#"{"index":0,"kind":"step","time":5,"step":0,"epoch":0,"metrics":{"x":1.5}}"#,
            r#"{"index":1,"kind":"media","time":5,"step":0,"epoch":0,"name":"seen","artifacts":["a.png","b.png"]}"#,
            r#"{"sample":0,"time":6,"metrics":{"system/x":1}}"#,
            r#"{"alert":"info","time":6,"title":"t","text":""}"#,
            r#"{"time":6,"artifacts":["model.onnx"]}"#,
            r#"{"end":"KILLED","time":7}"#,
            r#"{"index":2,"kind":"media","time":8,"step":1,"epoch":0,"name":"seen","artifacts":["c.png"]}"#,
            r#"{"sample":1,"time":9,"metrics":{"system/x":"NaN"}}"#,
        ];
        spool.file.append((own.join("\n") + "\n").as_bytes()).unwrap();
        let all = || {
            let (_, mut lines) = read(&path).unwrap();
            std::iter::from_fn(|| lines.next().unwrap()).collect::<Vec<_>>()
        };
        let before = all();
        assert_eq!(before.len(), own.len());
        assert!(matches!(&before[4], Line::Kept(Kept { time: 6, .. })), "{before:?}");
        let mut files = read_from(&path, 0).unwrap();
        let until = fs::read_to_string(&path).unwrap().find(r#"{"end""#).unwrap() as u64;
        assert_eq!(files.next_artifacts(until).unwrap().unwrap(), ["a.png", "b.png"]);
        assert_eq!(files.next_artifacts(until).unwrap().unwrap(), ["model.onnx"]);
        assert_eq!(files.next_artifacts(until).unwrap(), None);
        // The server may have all but the last.
        let (spool, ahead) = reopen(&path, "key", 1, 6).unwrap().unwrap();
        assert_eq!((ahead, spool.samples), (vec![mark(0, ["seen"]), mark(1, ["seen"])], 2));
        assert_eq!(all(), before);
        // It may have nothing: what belongs to no step was told before the next row.
        let (spool, ahead) = reopen(&path, "key", 2, 0).unwrap().unwrap();
        assert_eq!((ahead, spool.samples, all()), (Vec::new(), 1, before[..5].to_vec()));
        let (spool, _) = reopen(&path, "key", 1, 0).unwrap().unwrap();
        assert_eq!((spool.samples, all()), (0, before[..1].to_vec()));
    }

    #[test]
    fn a_line_is_read_when_it_is_whole_and_a_damaged_one_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = create(dir.path(), &head()).unwrap();
        let (_, mut lines) = read(&dir.path().join(FILE)).unwrap();
        let mut line = Vec::new();
        append(&mut line, &End { end: "FINISHED".to_owned(), time: 5 }).unwrap();
        let (begin, rest) = line.split_at(9);
        spool.file.append(b"\xff\xfe damaged\n").unwrap();
        spool.file.append(begin).unwrap();
        assert_eq!(lines.next().unwrap(), None);
        spool.file.append(rest).unwrap();
        assert_eq!(lines.next().unwrap(), Some(Line::End(End { end: "FINISHED".to_owned(), time: 5 })));
        assert_eq!(lines.next().unwrap(), None);
    }
}
