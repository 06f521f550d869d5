//! Reading what runs have left behind.

mod csv;
mod jsonl;
mod log;
mod series;

pub(crate) use log::{Event, Head, Log, Row, Table};
pub(crate) use series::{Bucket, Point, Series, Stats};

use std::{
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use crate::{
    error::Error,
    run::{FILE, Record},
};

/// The logs that a run folder may have.
const LOGS: [&str; 2] = ["metrics.csv", "metrics.jsonl"];
/// So many folders with a log are named to whoever has given the one that they are in.
const MOST_NAMED: usize = 3;

/// One run.
pub(crate) struct Run {
    /// As short as it can be told from the others by.
    pub(crate) name: String,
    pub(crate) log: Log,
    /// What `run.json` tells; all empty if there is none.
    pub(crate) record: Record,
    /// What could not be read.
    pub(crate) notes: Vec<String>,
}

/// The runs of a report.
pub(crate) struct Runs(pub(crate) Vec<Run>);

impl Runs {
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Self, Error> {
        if paths.is_empty() {
            return Err(Error::NoRun);
        }
        let names = names(paths);
        paths.iter().zip(names).map(|(path, name)| Run::read(path, name)).collect::<Result<_, _>>().map(Self)
    }
}

impl Run {
    /// Reads a run folder, or a log.
    pub(crate) fn read(path: &Path, name: String) -> Result<Self, Error> {
        let (folder, file) = if path.is_file() {
            (path.parent().unwrap_or(Path::new("")), path.to_owned())
        } else {
            (path, log_in(path)?)
        };
        let log = read_log(&file)?;
        let mut notes = Vec::new();
        if log.unreadable > 0 {
            notes.push(format!("{} rows of `{}` could not be read and are left out", log.unreadable, file.display()));
        }
        let record = Record::read(&folder.join(FILE)).unwrap_or_else(|error| {
            notes.push(error);
            None
        });
        Ok(Self { name, log, record: record.unwrap_or_default(), notes })
    }
}

/// The log of a run folder: of two, the one that was written last.
pub(crate) fn log_in(folder: &Path) -> Result<PathBuf, Error> {
    if !folder.is_dir() {
        return Err(Error::NoFolder(folder.to_owned()));
    }
    let written = |path: &PathBuf| Some(fs::metadata(path).ok().filter(fs::Metadata::is_file)?.modified().ok());
    let logs = LOGS.map(|name| folder.join(name)).into_iter().filter_map(|path| Some((written(&path)?, path)));
    // Of two of the same time the first one, which is the default.
    let newest = logs.reduce(|a, b| if b.0 > a.0 { b } else { a });
    newest.map(|(_, path)| path).ok_or_else(|| Error::NoMetrics { folder: folder.to_owned(), inside: inside(folder) })
}

fn inside(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut with_log: Vec<_> = all.filter(|folder| LOGS.iter().any(|log| folder.join(log).is_file())).collect();
    with_log.sort();
    with_log.truncate(MOST_NAMED);
    with_log
}

fn read_log(path: &Path) -> Result<Log, Error> {
    let failed = |error| Error::io("read", path)(error);
    let mut file = BufReader::with_capacity(1 << 18, File::open(path).map_err(failed)?);
    let is_json = path.extension().is_some_and(|ending| ending == "jsonl");
    let log = if is_json { jsonl::read(&mut file) } else { csv::read(&mut file) };
    log.map_err(failed)?.ok_or_else(|| Error::NotALog(path.to_owned()))
}

/// The last parts of the paths, as few as make them different.
pub(crate) fn names(paths: &[PathBuf]) -> Vec<String> {
    let parts = |path: &PathBuf| -> Vec<String> {
        // `.` has no name of its own.
        let path = path.canonicalize().unwrap_or_else(|_| path.clone());
        path.iter().map(|part| part.to_string_lossy().into_owned()).filter(|part| part != "/").collect()
    };
    let all: Vec<Vec<String>> = paths.iter().map(parts).collect();
    let longest = all.iter().map(Vec::len).max().unwrap_or(1).max(1);
    let last = |n: usize| all.iter().map(|parts| parts[parts.len().saturating_sub(n)..].join("/")).collect::<Vec<_>>();
    let differ = |names: &Vec<String>| {
        let mut sorted = names.clone();
        sorted.sort();
        sorted.windows(2).all(|pair| pair[0] != pair[1])
    };
    (1..longest).map(last).find(differ).unwrap_or_else(|| last(longest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_are_as_short_as_they_may_be() {
        let paths = |all: &[&str]| all.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(names(&paths(&["/x/a", "/x/b"])), ["a", "b"]);
        assert_eq!(names(&paths(&["/x/a/run", "/x/b/run"])), ["a/run", "b/run"]);
        assert_eq!(names(&paths(&["/x/a", "/x/a"])), ["x/a", "x/a"]);
        assert_eq!(names(&paths(&["/"])), [""]);
    }

    #[test]
    fn what_is_missing_is_said_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let error = |paths: &[PathBuf]| Runs::read(paths).err().unwrap().to_string();
        assert!(error(&[]).contains("one run at least"));
        assert!(error(&[at("none")]).contains("none`: give the folder that the trainer was told with `.run_dir(..)`"));
        fs::create_dir_all(at("all/b")).unwrap();
        let empty = error(&[at("all")]);
        assert!(empty.contains("no `metrics.csv`") && empty.ends_with("leave one there"), "{empty}");
        fs::write(at("all/b/metrics.csv"), "").unwrap();
        assert!(error(&[at("all")]).ends_with(&format!("there is one in `{}`", at("all/b").display())));
        fs::write(at("all/metrics.jsonl"), "x").unwrap();
        assert!(error(&[at("all")]).contains("metrics.jsonl` does not begin as a log"));
    }

    #[test]
    fn the_log_that_was_written_last_counts() {
        let dir = tempfile::tempdir().unwrap();
        let [csv, jsonl] = LOGS.map(|name| dir.path().join(name));
        let row = "{\"event\":\"step\",\"epoch\":0,\"step\":0,\"x\":1}\n";
        fs::write(&jsonl, row).unwrap();
        fs::write(&csv, "").unwrap();
        let set = |path: &PathBuf, seconds| {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        };
        for (seconds, expected) in [(1, &jsonl), (2, &csv), (3, &csv)] {
            set(&csv, seconds);
            set(&jsonl, 2);
            assert_eq!(&log_in(dir.path()).unwrap(), expected);
        }
        let steps = |path: &Path| Runs::read(&[path.to_owned()]).unwrap().0[0].log.steps;
        assert_eq!((steps(dir.path()), steps(&jsonl)), (0, 1));
    }
}
