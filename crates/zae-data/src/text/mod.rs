//! Text: its lines, its characters as tokens, and windows of tokens.

mod lines;
mod vocabulary;
mod windows;

use std::path::Path;

pub use lines::TextLines;
pub use vocabulary::Vocabulary;
pub use windows::TokenWindows;
use zae_core::error::Fallible;

use crate::{
    files::cannot_read,
    lines::{BOM, check_text},
};

/// Reads a whole file of UTF-8. A mark at its beginning (BOM) is left out.
///
/// # Errors
/// When it cannot be read, or is no UTF-8: the error names the line.
pub fn read_text(path: impl AsRef<Path>) -> Fallible<String> {
    let path = path.as_ref();
    check_text(path)?;
    let mut bytes = std::fs::read(path).map_err(|error| cannot_read(path, error))?;
    if bytes.starts_with(BOM) {
        bytes.drain(..BOM.len());
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        not_utf8(&format!("`{}`, line {line}", path.display())).into()
    })
}

fn not_utf8(at: &str) -> String {
    format!("{at}: it is not UTF-8: convert the file, for example with `iconv -f LATIN1 -t UTF-8`")
}
