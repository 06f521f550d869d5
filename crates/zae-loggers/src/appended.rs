//! [`Appended`]: a file that grows by all of something, or by nothing.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
};

/// A file that grows by all of something, or by nothing.
pub(crate) struct Appended {
    pub(crate) file: File,
    /// Behind what was written as a whole.
    end: u64,
    /// Part of something may be behind the end.
    torn: bool,
}

impl Appended {
    /// A file that is open to be written, and ends there.
    pub(crate) fn at(file: File, end: u64) -> Self {
        Self { file, end, torn: false }
    }

    /// Where it ends.
    #[cfg_attr(not(feature = "wandb"), allow(dead_code, reason = "who else writes has no need to know"))]
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// # Errors
    /// When the disk does not take all of it: then none of it is there.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.end)?;
        }
        self.file.seek(SeekFrom::Start(self.end))?;
        self.torn = true;
        if let Err(error) = self.file.write_all(bytes) {
            // At once, for there may be no other time: this is how the run may end. If it fails it is done the next time.
            let _ = self.file.set_len(self.end);
            return Err(error);
        }
        self.torn = false;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// What was appended is on disk when this returns.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
