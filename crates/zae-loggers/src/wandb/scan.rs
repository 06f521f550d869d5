//! What a `.wandb` file of an earlier process holds, and where it is cut to go on.

use std::{
    fs::File,
    io::{BufReader, Seek, SeekFrom},
    path::Path,
};

use zae_core::error::Fallible;

use super::{
    fields::{content, index, mark, number},
    framing::Records,
    record::field,
    summary::Summary,
};

/// The part of a file that is kept.
pub(super) struct Found {
    /// Entries in it.
    pub(super) entries: u64,
    /// The index of the entry that would come next.
    pub(super) next: u64,
    /// What those are of that stay in any case.
    pub(super) ahead: Vec<u64>,
    /// Where it ends, behind the last of them.
    pub(super) end: u64,
    /// The number of its last record.
    pub(super) records: u64,
    pub(super) summary: Summary,
}

/// Reads the entries before the one of this index, and so many in any case; or as many as there are.
///
/// # Errors
/// When the file cannot be read or is damaged before that.
pub(super) fn scan(path: &Path, before: u64, in_any_case: u64) -> Fallible<Found> {
    let mut file = File::open(path)?;
    let mut records = Records::at(BufReader::with_capacity(1 << 20, &file), 0);
    let mut found = Found { entries: 0, next: 0, ahead: Vec::new(), end: 0, records: 0, summary: Summary::default() };
    // The last one, and the last before an entry that is kept.
    let (mut summary, mut summary_at) = (0, 0);
    loop {
        let at = records.position();
        let Some(record) = records.next()? else { break };
        match content(record) {
            Some((field::HISTORY, message)) => {
                let index = index(message).unwrap_or(found.next);
                if index >= before && found.entries >= in_any_case {
                    break;
                }
                if index >= before {
                    found.ahead.push(mark(message));
                }
                found.entries += 1;
                found.next = index + 1;
                found.records = number(record, 1).unwrap_or(found.records + 1);
                found.end = records.position();
                summary_at = summary;
            }
            Some((field::SUMMARY, _)) => summary = at,
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
