//! Where lines begin in a file.

use std::{
    io::{BufRead, BufReader},
    path::Path,
};

use zae_core::error::Fallible;

use crate::files::{cannot_read, open};

/// What some editors write before UTF-8.
pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

/// Whether a line with nothing but white space is one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blank {
    Kept,
    Skipped,
}

/// Where each line begins. However long a line is, it takes no memory.
pub(crate) fn scan_lines(path: &Path, blank: Blank) -> Fallible<Vec<u64>> {
    check_text(path)?;
    let file = BufReader::with_capacity(1 << 16, open(path)?);
    starts(file, blank).map_err(|error| cannot_read(path, error).into())
}

fn starts(mut reader: impl BufRead, blank: Blank) -> std::io::Result<Vec<u64>> {
    let mut starts = Vec::new();
    let (mut seen, mut line) = (0u64, 0u64);
    // Whether the line at `line` is in the list already.
    let mut listed = false;
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(starts);
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = if seen == 0 { piece.strip_prefix(BOM).unwrap_or(piece) } else { piece };
            if !listed && is_line(text, blank) {
                starts.push(line);
                listed = true;
            }
            seen += piece.len() as u64;
            if piece.ends_with(b"\n") {
                (line, listed) = (seen, false);
            }
        }
        let read = bytes.len();
        reader.consume(read);
    }
}

fn is_line(text: &[u8], blank: Blank) -> bool {
    match blank {
        // A file of a mark alone is empty.
        Blank::Kept => !text.is_empty(),
        Blank::Skipped => !text.trim_ascii().is_empty(),
    }
}

/// Refuses what no reader of text can read, by the first bytes.
pub(crate) fn check_text(path: &Path) -> Fallible {
    let mut head = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(open(path)?, 4), &mut head)
        .map_err(|error| cannot_read(path, error))?;
    let why = match head[..] {
        [0x1f, 0x8b, ..] => "it is compressed (gzip), and cannot be read from the middle: unpack it with `gunzip`",
        [0x28, 0xb5, 0x2f, 0xfd] => {
            "it is compressed (Zstandard), and cannot be read from the middle: unpack it with `zstd -d`"
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it is UTF-16: write it as UTF-8, with `iconv -f UTF-16 -t UTF-8`",
        _ => return Ok(()),
    };
    Err(cannot_read(path, why).into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn found(text: &[u8], blank: Blank, capacity: usize) -> Vec<u64> {
        starts(BufReader::with_capacity(capacity, text), blank).unwrap()
    }

    #[test]
    fn lines_of_all_kinds() {
        let cases: [(&[u8], &[u64], &[u64]); 8] = [
            (b"", &[], &[]),
            (b"a", &[0], &[0]),
            (b"a\nb\n", &[0, 2], &[0, 2]),
            (b"a\r\n\r\nb", &[0, 3, 5], &[0, 5]),
            (b"\n\n", &[0, 1], &[]),
            (b"  \t\n{}\n \n", &[0, 4, 7], &[4]),
            (b"\xef\xbb\xbfa\n", &[0], &[0]),
            (b"\xef\xbb\xbf", &[], &[]),
        ];
        for (text, kept, skipped) in cases {
            for capacity in [4, 5, 64] {
                assert_eq!(found(text, Blank::Kept, capacity), kept, "{text:?}");
                assert_eq!(found(text, Blank::Skipped, capacity), skipped, "{text:?}");
            }
        }
    }

    #[test]
    fn what_is_no_text_is_told_by_its_first_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let error = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            scan_lines(&path, Blank::Kept).unwrap_err().to_string()
        };
        assert!(error(&[0x1f, 0x8b, 8]).ends_with("unpack it with `gunzip`"));
        assert!(error(&[0x28, 0xb5, 0x2f, 0xfd, 0]).ends_with("unpack it with `zstd -d`"));
        assert!(error(&[0xff, 0xfe, b'a', 0]).contains("it is UTF-16"));
    }

    proptest! {
        /// However the reader cuts its pieces, against the standard library's lines.
        #[test]
        fn lines_begin_where_those_before_end(text in "[ab \r\n]{0,60}", capacity in 4usize..30) {
            let mut expected = Vec::new();
            let mut start = 0;
            for line in text.split_inclusive('\n') {
                expected.push((start, !line.trim().is_empty()));
                start += line.len() as u64;
            }
            let all: Vec<u64> = expected.iter().map(|(start, _)| *start).collect();
            let full: Vec<u64> = expected.iter().filter(|(_, full)| *full).map(|(start, _)| *start).collect();
            prop_assert_eq!(found(text.as_bytes(), Blank::Kept, capacity), all);
            prop_assert_eq!(found(text.as_bytes(), Blank::Skipped, capacity), full);
        }
    }
}
