//! What a `.wandb` file of an earlier process holds, and where it is cut to go on.

use std::{
    fs::File,
    io::{BufReader, Seek, SeekFrom},
    path::Path,
};

use zae_core::error::Fallible;

use super::{
    fields::{content, index, is_media, mark, number},
    framing::Records,
    record::field,
    summary::Summary,
};

/// Of what belongs to no step no more than this is taken over the cut: memory is bounded.
const MOST_BYTES: usize = 64 << 20;

/// The part of a file that is kept.
#[derive(Default)]
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
    /// What comes behind and belongs to no step: it happened all the same, so it stays.
    pub(super) asides: Vec<(u32, Vec<u8>)>,
    /// How many records of each of [`ASIDES`] there are then.
    pub(super) counts: [u64; 4],
    /// Of the first records of files that were sent, those that stay.
    pub(super) files_sent: u64,
}

/// What belongs to no step.
const ASIDES: [u32; 4] = [field::STATS, field::OUTPUT, field::ALERT, field::FILES];
const FILES: usize = 3;

/// Reads the entries before the one of this index, and so many in any case; or as many as there are. Of the records of files
/// so many were sent.
///
/// # Errors
/// When the file cannot be read or is damaged before that.
pub(super) fn scan(path: &Path, before: u64, in_any_case: u64, files_sent: u64, empty: Summary) -> Fallible<Found> {
    let mut file = File::open(path)?;
    let mut records = Records::at(BufReader::with_capacity(1 << 20, &file), 0);
    let mut found = Found { summary: empty, ..Found::default() };
    // The last one, and the last before an entry that is kept.
    let (mut summary, mut summary_at) = (0, 0);
    // Whether entries are cut off, and whether the last record was one that is kept.
    let (mut is_cut, mut was_kept) = (false, false);
    // Of what is behind the last entry that is kept: the size of what stays, and what does not.
    let (mut bytes, mut lost, mut lost_sent) = (0, [0; 4], 0);
    loop {
        let at = records.position();
        if std::mem::take(&mut was_kept) {
            found.end = at;
        }
        let record = match records.next() {
            Ok(Some(record)) => record,
            Ok(None) => break,
            // What is cut off may be anything.
            Err(_) if is_cut => break,
            Err(error) => return Err(error.into()),
        };
        match content(record) {
            Some((field::HISTORY, message)) if !is_cut => {
                let index = index(message).unwrap_or(found.next);
                is_cut = index >= before && found.entries >= in_any_case;
                if is_cut {
                    continue;
                }
                if index >= before {
                    found.ahead.push(mark(message));
                }
                found.entries += 1;
                found.next = index + 1;
                found.records = number(record, 1).unwrap_or(found.records + 1);
                (was_kept, summary_at) = (true, summary);
                found.asides.clear();
                (bytes, lost, lost_sent) = (0, [0; 4], 0);
            }
            Some((field::SUMMARY, _)) if !is_cut => summary = at,
            Some((field, message)) => {
                let Some(kind) = ASIDES.iter().position(|own| *own == field) else { continue };
                let is_sent = u64::from(kind == FILES && found.counts[FILES] < files_sent);
                found.counts[kind] += 1;
                found.files_sent += is_sent;
                if bytes >= MOST_BYTES || (kind == FILES && is_media(message)) {
                    lost[kind] += 1;
                    lost_sent += is_sent;
                } else {
                    bytes += message.len();
                    found.asides.push((field, message.to_vec()));
                }
            }
            None => {}
        }
    }
    found.counts = std::array::from_fn(|kind| found.counts[kind] - lost[kind]);
    found.files_sent -= lost_sent;
    drop(records);
    let from = if found.summary.needs_all() { 0 } else { summary_at };
    file.seek(SeekFrom::Start(from))?;
    let mut records = Records::at(BufReader::with_capacity(1 << 20, &file), from);
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
