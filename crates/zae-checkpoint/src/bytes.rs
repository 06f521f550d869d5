//! [`Bytes`]: a part of a file in memory, mapped or read.

use std::{borrow::Cow, fs::File, ops::Range, path::Path, sync::Arc};

use memmap2::Mmap;
use zae_core::{error::Fallible, learner::TensorBytes};

use crate::error::{Error, Result};

enum Source {
    Mapped(Mmap),
    Read(Vec<u8>),
}

/// A part of a file, or of memory. Cloning and slicing share it.
#[derive(Clone)]
pub struct Bytes {
    source: Arc<Source>,
    range: Range<usize>,
}

impl Bytes {
    /// Maps a file into memory: nothing is read before it is used. Checkpoints are never changed once they are there;
    /// a file that another program cuts short while it is mapped takes the process down, as with every mapping.
    ///
    /// # Errors
    /// When the file cannot be opened or mapped.
    #[allow(unsafe_code)]
    pub fn map(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let length = file.metadata().map_err(Error::io("look at", path))?.len();
        if length == 0 {
            return Ok(Self::from(Vec::new()));
        }
        // SAFETY: the mapping is only ever read. That nobody changes the file meanwhile is what the documentation asks.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
        let range = 0..map.len();
        Ok(Self { source: Arc::new(Source::Mapped(map)), range })
    }

    /// A part of it; `None` if it does not reach that far.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        let fits = range.start <= range.end && range.end <= self.range.len();
        let start = self.range.start;
        fits.then(|| Self { source: self.source.clone(), range: start + range.start..start + range.end })
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self { source: Arc::new(Source::Read(bytes)), range }
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &*self.source {
            Source::Mapped(map) => &map[self.range.clone()],
            Source::Read(bytes) => &bytes[self.range.clone()],
        }
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

impl TensorBytes for Bytes {
    fn bytes(&self) -> Fallible<Cow<'_, [u8]>> {
        Ok(Cow::Borrowed(self))
    }
}
