//! Where everything is in the zip archives that PyTorch writes. PyTorch may compute these places instead of reading them
//! (`torch.utils.serialization.config.load.calculate_storage_offsets`), so there is one right answer.

/// What the data of every entry is aligned to.
pub(super) const ALIGNMENT: u64 = 64;
/// The folder inside the archive. PyTorch takes the file's name, which a writer of a stream does not know.
pub(super) const FOLDER: &str = "archive/";

pub(super) const LOCAL_HEADER: u64 = 30;
pub(super) const CENTRAL_HEADER: u64 = 46;
pub(super) const END: u64 = 22;
pub(super) const END_64: u64 = 56;
pub(super) const END_64_LOCATOR: u64 = 20;
/// Sizes and offsets from here on are written as this number, and in full in an extra field.
pub(super) const MAX_32: u64 = u32::MAX as u64;

/// An entry and its place.
pub(super) struct Placed {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) header: u64,
    /// Bytes between the header's fields and the data, so that the data is aligned.
    pub(super) padding: u64,
}

impl Placed {
    /// The length of the extra field for sizes and offsets beyond 32 bits; nothing for most entries.
    pub(super) fn extra_64(&self) -> u64 {
        let sizes = if self.size >= MAX_32 { 16 } else { 0 };
        let offset = if self.header >= MAX_32 { 8 } else { 0 };
        if sizes + offset == 0 { 0 } else { 4 + sizes + offset }
    }

    /// The length of what follows the data: checksum and sizes, if there are data.
    fn descriptor(&self) -> u64 {
        match (self.size, self.extra_64()) {
            (0, _) => 0,
            (_, 0) => 16,
            _ => 24,
        }
    }

    fn end(&self) -> u64 {
        let fields = LOCAL_HEADER + self.name.len() as u64 + self.extra_64() + 4;
        self.header + fields + self.padding + self.size + self.descriptor()
    }
}

/// The whole archive.
#[derive(Default)]
pub(super) struct Layout {
    pub(super) entries: Vec<Placed>,
    /// Where the directory begins.
    pub(super) directory: u64,
}

impl Layout {
    /// Places an entry after the others.
    pub(super) fn push(&mut self, name: &str, size: u64) {
        let mut entry = Placed { name: format!("{FOLDER}{name}"), size, header: self.directory, padding: 0 };
        let data = entry.header + LOCAL_HEADER + entry.name.len() as u64 + entry.extra_64() + 4;
        entry.padding = data.next_multiple_of(ALIGNMENT) - data;
        self.directory = entry.end();
        self.entries.push(entry);
    }

    pub(super) fn directory_len(&self) -> u64 {
        self.entries.iter().map(|entry| CENTRAL_HEADER + entry.name.len() as u64 + entry.extra_64()).sum()
    }

    /// Whether the end of the archive needs 64 bits.
    pub(super) fn end_64(&self) -> bool {
        self.entries.len() >= usize::from(u16::MAX) || self.directory >= MAX_32 || self.directory_len() >= MAX_32
    }

    pub(super) fn len(&self) -> u64 {
        let end_64 = if self.end_64() { END_64 + END_64_LOCATOR } else { 0 };
        self.directory + self.directory_len() + end_64 + END
    }
}
