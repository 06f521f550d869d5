//! What a `.wandb` file of an earlier process holds, and where it is cut to go on.

use std::{
    fs::File,
    io::{BufReader, Seek, SeekFrom},
    path::Path,
};

use zae_core::error::Fallible;

use super::{
    fields::{content, number},
    framing::Records,
    record::field,
    summary::Summary,
};

/// The part of a file that is kept.
pub(super) struct Found {
    /// Entries in it.
    pub(super) entries: u64,
    /// Where it ends, behind the last of them.
    pub(super) end: u64,
    /// The number of its last record.
    pub(super) records: u64,
    pub(super) summary: Summary,
}

/// Reads so many entries, or as many as there are.
///
/// # Errors
/// When the file cannot be read or is damaged before that.
pub(super) fn scan(path: &Path, entries: u64) -> Fallible<Found> {
    let mut file = File::open(path)?;
    let mut records = Records::at(BufReader::with_capacity(1 << 20, &file), 0);
    let mut found = Found { entries: 0, end: 0, records: 0, summary: Summary::default() };
    let mut summary_at = 0;
    while found.entries < entries {
        let before = records.position();
        let Some(record) = records.next()? else { break };
        match content(record) {
            Some((field::HISTORY, _)) => {
                found.entries += 1;
                found.records = number(record, 1).unwrap_or(found.records + 1);
                found.end = records.position();
            }
            Some((field::SUMMARY, _)) => summary_at = before,
            _ => {}
        }
    }
    drop(records);
    file.seek(SeekFrom::Start(summary_at))?;
    let mut records = Records::at(BufReader::with_capacity(1 << 20, &file), summary_at);
    while records.position() < found.end {
        let Some(record) = records.next()? else { break };
        match content(record) {
            Some((field::HISTORY, message)) => found.summary.read_history(message),
            Some((field::SUMMARY, message)) => found.summary.read(message),
            _ => {}
        }
    }
    Ok(found)
}
