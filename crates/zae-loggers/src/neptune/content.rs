//! [`Content`]: what is logged, as operations and files.

use std::path::Path;

use zae_core::error::Fallible;

use super::{
    beside::Beside,
    database::{Append, Operation},
    operation::{LONGEST_NAME, Update},
    payload::Files,
};
use crate::{Aside, Entry, Media};

/// By the names that Neptune's own tools have for them.
const SYSTEM: &str = "runtime/monitoring";
const CONSOLE: &str = "runtime/stdout";
const ALERTS: &str = "alerts";

/// What is logged, on its way into the database.
pub(super) struct Content<'a, 'b> {
    pub(super) append: &'a mut Append<'b>,
    pub(super) buffer: &'a mut Vec<u8>,
    pub(super) files: &'a Files,
    /// What there is to say of what cannot be logged.
    pub(super) misfits: &'a mut Vec<String>,
}

/// Values of one moment, on their way into the database.
fn update<'a>(
    append: &'a mut Append<'_>,
    buffer: &'a mut Vec<u8>,
    step: Option<u64>,
    nanos: i64,
) -> Update<'a, impl FnMut(&[u8]) -> Fallible> {
    Update::new(buffer, step, nanos, move |bytes: &[u8]| Ok(append.push(Operation::Update, bytes, nanos)?))
}

fn fits(misfits: &mut Vec<String>, name: &str) -> bool {
    let fits = !name.is_empty() && name.len() <= LONGEST_NAME;
    if !fits {
        misfits.push(if name.is_empty() {
            "what has an empty name is not logged".to_owned()
        } else {
            let begin = &name[..name.floor_char_boundary(60)];
            format!("`{begin}...` is not logged: its name is longer than {LONGEST_NAME} bytes")
        });
    }
    fits
}

impl Content<'_, '_> {
    /// Adds an entry. If nothing of it can be logged it has no operation.
    pub(super) fn entry(&mut self, entry: &Entry<'_>, step: u64, nanos: i64) -> Fallible {
        let Self { append, buffer, files, misfits } = self;
        let Some(media) = entry.media else {
            let mut update = update(append, buffer, Some(step), nanos);
            for (name, value) in entry.names.iter().zip(entry.values) {
                if fits(misfits, name) {
                    update.append(name, *value)?;
                }
            }
            return update.finish();
        };
        let Some(name) = entry.names.first().filter(|name| fits(misfits, name)) else { return Ok(()) };
        let file = match files.of_media(name, step, entry.time, media)? {
            Ok(file) => file,
            Err(error) => {
                misfits.push(format!("`{name}` is not logged: {error}"));
                return Ok(());
            }
        };
        if let Some(file) = &file {
            append.push_file(file)?;
        }
        let mut update = update(append, buffer, Some(step), nanos);
        match (media, &file) {
            (Media::Text(text), _) => update.append_text(name, text)?,
            (Media::Histogram(histogram), _) => update.append_histogram(name, histogram)?,
            (_, Some(file)) => update.append_file(name, file)?,
            _ => {}
        }
        if let Media::Image(image) = media
            && let Some(text) = image.text()
        {
            let name = format!("{name}/caption");
            if fits(misfits, &name) {
                update.append_text(&name, text)?;
            }
        }
        update.finish()
    }

    /// Adds what belongs to no step.
    pub(super) fn aside(&mut self, aside: &Aside, beside: &mut Beside, nanos: i64) -> Fallible {
        let series = match aside {
            Aside::System { .. } => SYSTEM,
            Aside::Console { .. } => CONSOLE,
            Aside::Alert { .. } => ALERTS,
            Aside::File { time, path } => return self.keep(path, *time, nanos),
        };
        let mut update = update(self.append, self.buffer, Some(beside.step(series, nanos)), nanos);
        match aside {
            Aside::System { values, .. } => {
                for (name, value) in values {
                    update.append(&format!("{series}/{}", name.replace('.', "/")), *value)?;
                }
            }
            Aside::Console { line, .. } => update.append_text(series, line)?,
            Aside::Alert { title, text, level, .. } => {
                update.append_text(series, &format!("{}: {title}\n{text}", level.word()))?;
            }
            Aside::File { .. } => {}
        }
        update.finish()
    }

    /// Adds a file under its own name.
    fn keep(&mut self, path: &Path, time: f64, nanos: i64) -> Fallible {
        let name = format!("files/{}", path.file_name().unwrap_or_default().to_string_lossy());
        if !fits(self.misfits, &name) {
            return Ok(());
        }
        let file = match self.files.copy(&name, time, path)? {
            Ok(file) => file,
            Err(error) => {
                self.misfits.push(format!("`{}` is not kept with the run: {error}", path.display()));
                return Ok(());
            }
        };
        self.append.push_file(&file)?;
        let mut update = update(self.append, self.buffer, None, nanos);
        update.assign_file(&name, &file)?;
        update.finish()
    }
}
