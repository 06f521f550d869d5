//! [`Files`]: what goes to the storage for files, on its way.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use zae_core::error::Fallible;

use super::operation::MICRO;
use crate::{Media, hash::fnv};

/// Within the folder of a run.
const FOLDER: &str = "files";

/// A file in the folder of a run, and where it goes.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) source: PathBuf,
    /// In the storage: a path that nothing else has. Neptune takes 800 characters.
    pub(super) destination: String,
    pub(super) mime: &'static str,
    pub(super) bytes: u64,
}

/// Makes files of what is shown and kept. They stay in the run's folder until the storage has them.
pub(super) struct Files {
    folder: PathBuf,
    run: String,
}

impl Files {
    /// Of a run, in a folder that is there.
    pub(super) fn new(folder: &Path, run_id: &str) -> Self {
        Self { folder: folder.to_owned(), run: component(run_id, 300) }
    }

    /// What of media is a file: `None` for all that Neptune has series for.
    ///
    /// # Errors
    /// When the disk does not take it; or within, when it cannot be made.
    pub(super) fn of_media(
        &self,
        name: &str,
        step: u64,
        time: f64,
        media: &Media,
    ) -> io::Result<Fallible<Option<Payload>>> {
        let (content, extension, mime) = match media {
            Media::Image(image) => match image.png() {
                Ok(png) => (png, "png", "image/png"),
                Err(error) => return Ok(Err(error)),
            },
            Media::Table(table) => (table.csv().into_bytes(), "csv", "text/csv"),
            _ => return Ok(Ok(None)),
        };
        let step = format!("{:012}_{:06}", step / MICRO, step % MICRO);
        let payload = self.place(name, &step, time, extension, mime)?;
        let file = File::create(&payload.source)?;
        (&file).write_all(&content)?;
        file.sync_all()?;
        Ok(Ok(Some(Payload { bytes: content.len() as u64, ..payload })))
    }

    /// Copies a file as it is now.
    ///
    /// # Errors
    /// When the disk does not take it; or within, when the file itself cannot be read.
    pub(super) fn copy(&self, name: &str, time: f64, from: &Path) -> io::Result<io::Result<Payload>> {
        let mut input = match fs::metadata(from).and_then(|found| {
            let is_file = found.is_file();
            if is_file { File::open(from) } else { Err(io::Error::other("it is no file")) }
        }) {
            Ok(input) => input,
            Err(error) => return Ok(Err(error)),
        };
        let extension = from.extension().and_then(|own| own.to_str()).unwrap_or_default().to_ascii_lowercase();
        let payload = self.place(name, "none", time, &extension, mime_of(&extension))?;
        let mut output = File::create(&payload.source)?;
        let (mut buffer, mut bytes) = (vec![0; 1 << 16], 0);
        loop {
            match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    output.write_all(&buffer[..length])?;
                    bytes += length as u64;
                }
                Err(error) => {
                    let _ = fs::remove_file(&payload.source);
                    return Ok(Err(error));
                }
            }
        }
        output.sync_all()?;
        Ok(Ok(Payload { bytes, ..payload }))
    }

    /// Removes all but these, by name: those of steps that are made again.
    pub(super) fn sweep(&self, wanted: &HashSet<OsString>) {
        let all = fs::read_dir(self.folder.join(FOLDER)).into_iter().flatten().flatten();
        for item in all.filter(|item| !wanted.contains(&item.file_name())) {
            let _ = fs::remove_file(item.path());
        }
    }

    /// A file that has the same place if it is made once more for the same moment, because the disk did not take it.
    fn place(&self, name: &str, step: &str, time: f64, extension: &str, mime: &'static str) -> io::Result<Payload> {
        let own = fnv(format!("{name}/{step}/{}", time.to_bits()).as_bytes());
        let extension: String = extension.chars().filter(char::is_ascii_alphanumeric).take(17).collect();
        let file = if extension.is_empty() { format!("{own:016x}") } else { format!("{own:016x}.{extension}") };
        let destination = format!("{}/{}/{step}/{file}", self.run, component(name, 280));
        let folder = self.folder.join(FOLDER);
        fs::create_dir_all(&folder)?;
        Ok(Payload { source: folder.join(file), destination, mime, bytes: 0 })
    }
}

/// A name as one of a path's, of so many characters at most: still another one than that of any other name.
fn component(name: &str, most: usize) -> String {
    let digest = format!("-{:016x}", fnv(name.as_bytes()));
    let begin = name.chars().map(|c| if "/.".contains(c) { '_' } else { c });
    begin.take(most - digest.len()).chain(digest.chars()).collect()
}

/// What pages need to show a file.
fn mime_of(extension: &str) -> &'static str {
    match extension {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "webp" => "image/webp",
        "mp4" => "video/mp4",
        "csv" => "text/csv",
        "txt" | "log" => "text/plain",
        "md" => "text/markdown",
        "html" => "text/html",
        "json" => "application/json",
        "yaml" | "yml" => "application/yaml",
        "pdf" => "application/pdf",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Table;

    #[test]
    fn each_thing_has_a_place_of_its_own_and_always_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path(), &"r/u.n".repeat(200));
        let table = Media::Table(Table::new(["a"]));
        let place = |name: &str, step, time| files.of_media(name, step, time, &table).unwrap().unwrap().unwrap();
        let long = "ü/".repeat(500);
        let all = [
            place("a/b", 1, 1.0),
            place("a.b", 1, 1.0),
            place("a/b", 2, 1.0),
            place("a/b", 1, 2.0),
            place(&long, 1, 1.0),
        ];
        let again = place("a/b", 1, 1.0);
        assert_eq!((&again.source, &again.destination), (&all[0].source, &all[0].destination));
        for (i, own) in all.iter().enumerate() {
            assert!(own.destination.chars().count() <= 800 && own.destination.split('/').count() == 4, "{own:?}");
            assert_eq!(fs::metadata(&own.source).unwrap().len(), own.bytes);
            for other in &all[..i] {
                assert!(own.source != other.source && own.destination != other.destination, "{own:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_no_failure_of_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path(), "run");
        assert!(files.copy("x", 1.0, &dir.path().join("missing")).unwrap().is_err());
        assert!(files.copy("x", 1.0, dir.path()).unwrap().is_err());
        fs::write(dir.path().join("model.JSON"), vec![7; 200_000]).unwrap();
        let payload = files.copy("x", 1.0, &dir.path().join("model.JSON")).unwrap().unwrap();
        assert_eq!((payload.bytes, payload.mime), (200_000, "application/json"));
        assert_eq!(fs::read(payload.source).unwrap(), vec![7; 200_000]);
    }
}
