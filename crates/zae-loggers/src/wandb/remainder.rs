//! What the server has not got of a run, as a file that `wandb sync` takes.

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use zae_core::error::Fallible;

use super::{
    fields::content,
    framing::{self, Records},
    record::{self, Maker, field},
    sent::Sent,
};

/// Writes it into a folder beside that of the run. `wandb sync` adds the entries of a file behind those that the server has,
/// so a file of which the server has a part must not be given to it.
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
    let (mut position, mut entries) = (framing::HEADER.len() as u64, 0);
    let (mut bytes, mut maker) = (Vec::new(), Maker::default());
    while let Some(record) = from.next()? {
        let Some((field, message)) = content(record) else { continue };
        entries += u64::from(field == field::HISTORY);
        if field == field::HISTORY && entries <= sent.entries {
            continue;
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
