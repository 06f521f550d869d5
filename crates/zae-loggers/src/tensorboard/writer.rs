//! [`EventWriter`]: appends entries to an event file.

use std::{path::PathBuf, time::Instant};

use zae_core::{add_on::Notice, error::Fallible};

use super::{event::Template, folder::EventFile, shown};
use crate::{Entries, Status, Writer};

/// Appends entries to an event file.
pub(super) struct EventWriter {
    to: EventFile,
    /// By their layout.
    templates: Vec<Option<Template>>,
    buffer: Vec<u8>,
    /// Of the last entry: what belongs to no step is shown there.
    step: u64,
}

impl EventWriter {
    pub(super) fn new(to: EventFile) -> Self {
        let step = to.step;
        Self { to, templates: Vec::new(), buffer: Vec::new(), step }
    }
}

impl Writer for EventWriter {
    fn write(&mut self, entries: &Entries) -> Fallible {
        self.buffer.clear();
        for entry in entries.iter() {
            self.step = entry.step;
            if let Some(media) = entry.media {
                shown::media(&mut self.buffer, &entry, media);
                continue;
            }
            if self.templates.len() <= entry.layout {
                self.templates.resize_with(entry.layout + 1, || None);
            }
            let template = self.templates[entry.layout].get_or_insert_with(|| Template::new(entry.names));
            template.append(&mut self.buffer, &entry);
        }
        // Behind the entries of their steps: what hides these hides them too.
        entries.asides().iter().for_each(|aside| shown::aside(&mut self.buffer, aside, self.step));
        Ok(self.to.file.append(&self.buffer)?)
    }

    fn sync(&mut self) -> Fallible {
        Ok(self.to.file.sync()?)
    }

    fn end(&mut self, _: &Status, _: Instant) -> Fallible<Option<Notice>> {
        Ok(None)
    }

    fn path(&self) -> PathBuf {
        self.to.path.clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{fs, io::Write, sync::Arc};

    use super::{
        super::{folder, tests::steps},
        *,
    };
    use crate::{Kind, entry::Head};

    fn entries(steps: std::ops::Range<u64>) -> Entries {
        let mut entries = Entries::default();
        entries.add_layout(Arc::from([Arc::from("train/loss"), Arc::from("verlust/größe")]));
        steps.for_each(|step| entries.push(Head { kind: Kind::Step, step, ..Head::default() }, &[0.5, 1.0]));
        entries
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_disk_that_is_full_for_a_while_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::new(folder::open(dir.path(), None, 1.0, |_| {}).unwrap());
        writer.write(&entries(0..2)).unwrap();
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let file = std::mem::replace(&mut writer.to.file.file, full);
        assert!(writer.write(&entries(2..5)).is_err());
        writer.to.file.file = file;
        // What the disk took of it.
        writer.to.file.file.write_all(b"\x44\0\0").unwrap();
        writer.write(&entries(2..9)).unwrap();
        writer.sync().unwrap();
        assert_eq!(steps(dir.path()), (0..9).collect::<Vec<_>>());
    }
}
