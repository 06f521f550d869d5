//! [`Disk`]: the one place of the crate that changes files.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, Result};

/// So much goes to the system at once: small enough to be still in the cache when it is hashed.
const CHUNK: usize = 256 << 10;
/// Pieces smaller than this are gathered.
const GATHERED: usize = 64 << 10;
/// After so much the disk begins.
const AHEAD: u64 = 4 << 20;

/// Something that is about to be done to the file system.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Operation<'a> {
    CreateDir { path: &'a Path },
    CreateFile { path: &'a Path },
    Write { path: &'a Path, bytes: usize },
    SyncFile { path: &'a Path },
    SyncDir { path: &'a Path },
    Rename { from: &'a Path, to: &'a Path },
    RemoveFile { path: &'a Path },
    RemoveDir { path: &'a Path },
}

/// Called before each operation. An error is taken as the operating system's, and the operation is not done.
pub type Hook = Arc<dyn Fn(&Operation<'_>) -> io::Result<()> + Send + Sync>;

/// Called after every [`AHEAD`] bytes of a file with the time that they took: who gives way to others waits in it.
pub(crate) type Pause = Arc<dyn Fn(Duration) + Send + Sync>;

/// Changes files and folders. With a hook, tests have any operation fail or end the process before it.
#[derive(Clone, Default)]
pub struct Disk {
    hook: Option<Hook>,
    pause: Option<Pause>,
}

impl Disk {
    /// The disk as it is.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `hook` before each operation.
    #[must_use]
    pub fn with_hook(hook: impl Fn(&Operation<'_>) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self { hook: Some(Arc::new(hook)), ..Self::default() }
    }

    pub(crate) fn with_pause(self, pause: Pause) -> Self {
        Self { pause: Some(pause), ..self }
    }

    fn ask(&self, operation: &Operation<'_>) -> io::Result<()> {
        self.hook.as_ref().map_or(Ok(()), |hook| hook(operation))
    }

    pub(crate) fn create_dir(&self, path: &Path) -> Result<()> {
        self.ask(&Operation::CreateDir { path })
            .and_then(|()| fs::create_dir(path))
            .map_err(Error::io("create the folder", path))
    }

    /// Makes a folder and those above it that are not there, so that they survive a power cut.
    pub(crate) fn create_dir_all(&self, path: &Path) -> Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.map_or(Ok(()), |parent| self.create_dir_all(parent))?;
        match self.create_dir(path) {
            Err(_) if path.is_dir() => {}
            made => made?,
        }
        parent.map_or(Ok(()), |parent| self.sync_dir(parent))
    }

    /// Makes a new file, has `fill` write it, and puts it on disk. Returns its length and checksum.
    pub(crate) fn write_file(&self, path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<Written> {
        let (written, file) = self.begin_file(path, fill)?;
        self.sync_file(path, &file)?;
        Ok(written)
    }

    /// The same, but that it is on disk only after [`Disk::sync_file`]: meanwhile the next one can be written.
    pub(crate) fn begin_file(
        &self,
        path: &Path,
        fill: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<(Written, File)> {
        let create = || OpenOptions::new().write(true).create_new(true).open(path);
        let file =
            self.ask(&Operation::CreateFile { path }).and_then(|()| create()).map_err(Error::io("create", path))?;
        let output = Output { disk: self, path, file, hash: Xxh3::new(), bytes: 0, begun: 0, since: Instant::now() };
        let mut gathered = io::BufWriter::with_capacity(GATHERED, output);
        fill(&mut gathered)?;
        let output = gathered.into_inner().map_err(|e| Error::io("write", path)(e.into_error()))?;
        Ok((Written { bytes: output.bytes, xxh3: output.hash.digest() }, output.file))
    }

    pub(crate) fn sync_file(&self, path: &Path, file: &File) -> Result<()> {
        self.ask(&Operation::SyncFile { path }).and_then(|()| file.sync_all()).map_err(Error::io("sync", path))
    }

    /// Opens a file to be locked, and makes it if it is not there.
    pub(crate) fn open_lock(&self, path: &Path) -> Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        self.ask(&Operation::CreateFile { path }).and_then(|()| options.open(path)).map_err(Error::io("open", path))
    }

    /// Writes a few bytes in the place of whatever a file holds.
    pub(crate) fn overwrite(&self, path: &Path, mut file: &File, bytes: &[u8]) -> Result<()> {
        self.ask(&Operation::Write { path, bytes: bytes.len() })
            .and_then(|()| file.set_len(0))
            .and_then(|()| file.write_all(bytes))
            .map_err(Error::io("write", path))
    }

    /// Puts the names in a folder on disk. Where folders cannot be synced (Windows), the system keeps their order.
    pub(crate) fn sync_dir(&self, path: &Path) -> Result<()> {
        let sync = || if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) };
        self.ask(&Operation::SyncDir { path }).and_then(|()| sync()).map_err(Error::io("sync the folder", path))
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.ask(&Operation::Rename { from, to }).and_then(|()| fs::rename(from, to)).map_err(Error::io("rename", from))
    }

    pub(crate) fn remove_file(&self, path: &Path) -> Result<()> {
        self.ask(&Operation::RemoveFile { path })
            .and_then(|()| fs::remove_file(path))
            .map_err(Error::io("remove", path))
    }

    /// Removes a file, a link (not what it leads to), or a folder with all that is in it.
    pub(crate) fn remove_all(&self, path: &Path) -> Result<()> {
        if !fs::symlink_metadata(path).map_err(Error::io("look at", path))?.is_dir() {
            return self.remove_file(path);
        }
        for item in fs::read_dir(path).map_err(Error::io("list", path))? {
            self.remove_all(&item.map_err(Error::io("list", path))?.path())?;
        }
        self.ask(&Operation::RemoveDir { path })
            .and_then(|()| fs::remove_dir(path))
            .map_err(Error::io("remove the folder", path))
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.hook.is_some() { "Disk with a hook" } else { "Disk" })
    }
}

/// A file that is on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) bytes: u64,
    pub(crate) xxh3: u64,
}

/// A file that is being written.
struct Output<'a> {
    disk: &'a Disk,
    path: &'a Path,
    file: File,
    hash: Xxh3,
    bytes: u64,
    /// Up to where the system was asked to begin.
    begun: u64,
    /// When the system was asked last.
    since: Instant,
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let chunk = &bytes[..bytes.len().min(CHUNK)];
        self.disk.ask(&Operation::Write { path: self.path, bytes: chunk.len() })?;
        let written = self.file.write(chunk)?;
        self.hash.update(&chunk[..written]);
        self.bytes += written as u64;
        if self.bytes - self.begun >= AHEAD {
            start_writing(&self.file, self.begun..self.bytes);
            self.begun = self.bytes;
            if let Some(pause) = &self.disk.pause {
                pause(self.since.elapsed());
            }
            self.since = Instant::now();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A name in `dir` that is not taken: `name`, or with a number behind it.
pub(crate) fn free(dir: &Path, name: &str) -> PathBuf {
    let taken = |path: &PathBuf| fs::symlink_metadata(path).is_ok();
    let mut path = dir.join(name);
    let mut n = 0u64;
    while taken(&path) {
        n += 1;
        path = dir.join(format!("{name}.{n}"));
    }
    path
}

/// Asks the system to bring a part of a file to the disk now, so that the disk works while the rest is copied and hashed.
/// Whether it does or not: `sync_all` waits for all of it.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn start_writing(file: &File, part: Range<u64>) {
    use std::os::fd::AsRawFd;
    let (Ok(from), Ok(length)) = (part.start.try_into(), (part.end - part.start).try_into()) else { return };
    // SAFETY: it takes no pointers, and the file is open.
    let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), from, length, libc::SYNC_FILE_RANGE_WRITE) };
}

#[cfg(not(target_os = "linux"))]
fn start_writing(_: &File, _: Range<u64>) {}
