//! What the server has not got of a run, as a file that `wandb sync` takes.

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, ErrorKind, Write},
    path::{Path, PathBuf},
};

use zae_core::error::Fallible;

use super::{
    fields::{self, content, index, items},
    files,
    framing::{self, Records},
    json,
    record::{self, Maker, field},
    sent::{Sent, Stream},
};
use crate::protobuf::Message;

/// Writes it into a folder beside that of the run, with the files that the server has not got. `wandb sync` adds the entries of
/// a file behind those that the server has, so a file of which the server has a part must not be given to it.
///
/// Lines about the machine and of the console it sends from the first one on. So they are all there, and come again as what
/// they are; unless there are some of another file, which they must not take the place of.
///
/// # Errors
/// When the run's file cannot be read, or the other not be written.
pub(super) fn write(file: &Path, sent: &Sent) -> Fallible<PathBuf> {
    let folder = folder(file);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let name = file.file_name().unwrap_or_default();
    let mut to = BufWriter::new(File::create_new(folder.join(name))?);
    let mut from = Records::at(BufReader::new(File::open(file)?), 0);
    to.write_all(&framing::HEADER)?;
    let (mut position, mut entries, mut alerts, mut files) = (framing::HEADER.len() as u64, 0, 0, 0);
    let (mut bytes, mut changed, mut maker) = (Vec::new(), Vec::new(), Maker::default());
    let is_first = |stream: Stream| stream.records.is_none_or(|records| records >= stream.line);
    while let Some(record) = from.next()? {
        let Some((field, mut message)) = content(record) else { continue };
        let is_left = |count: &mut u64, sent: u64| {
            *count += 1;
            *count > sent
        };
        let is_wanted = match field {
            field::HISTORY => is_left(&mut entries, sent.entries),
            field::ALERT => is_left(&mut alerts, sent.alerts),
            field::FILES => is_left(&mut files, sent.files),
            field::STATS => is_first(sent.events),
            field::OUTPUT => is_first(sent.output),
            _ => true,
        };
        if !is_wanted {
            continue;
        }
        match field {
            field::FILES => fields::files(message).for_each(|name| link(file, &folder, name)),
            field::HISTORY | field::SUMMARY if sent.first_step > 0 => {
                changed.clear();
                at_step(&mut Message::new(&mut changed), message, sent.first_step);
                message = &changed;
            }
            _ => {}
        }
        let record = maker.make_of(field, message, |message| {
            if field == field::RUN {
                record::begins_at(message, sent.lines);
            }
        });
        bytes.clear();
        position = framing::put(&mut bytes, position, record);
        to.write_all(&bytes)?;
    }
    to.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    Ok(folder)
}

/// An entry or a summary of a run that goes on with one of another program: its `_step` is behind those of that.
fn at_step(to: &mut Message<'_>, message: &[u8], first_step: u64) {
    for (name, text) in items(message) {
        record::item(to, name, json::step(name, text, first_step).as_bytes());
    }
    if let Some(index) = index(message) {
        to.message(2, |step| {
            step.varint(1, index + first_step);
        });
    }
}

/// One of the run's files is there, too.
fn link(file: &Path, folder: &Path, name: &str) {
    let (from, to) = (files::folder(file).join(name), folder.join("files").join(name));
    // Those that W&B's own program writes anew it must not write through the link.
    let is_shown = name.starts_with("media/");
    let linked = fs::create_dir_all(to.parent().unwrap_or(folder))
        .and_then(|()| if is_shown { fs::hard_link(&from, &to) } else { Err(ErrorKind::Unsupported.into()) })
        .or_else(|_| fs::copy(&from, &to).map(|_| ()));
    if let Err(error) = linked {
        // What is not there cannot be uploaded: W&B's own program says so.
        tracing::debug!(%error, name, "a file of a run is left out of its rest");
    }
}

/// Where it is. The name is what W&B's own program looks for.
pub(super) fn folder(file: &Path) -> PathBuf {
    let run = file.parent().unwrap_or(Path::new(""));
    let name = run.file_name().unwrap_or_default().to_string_lossy();
    run.with_file_name(format!("offline-{name}"))
}

/// Whether `wandb sync` has uploaded it.
pub(super) fn was_synced(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default();
    super::sent::with_end(&folder(file).join(name), ".synced").exists()
}

/// It is no longer needed.
pub(super) fn remove(file: &Path) {
    // A rest that stays is worth no warning: it is told of only when it is written.
    let _ = fs::remove_dir_all(folder(file));
}
