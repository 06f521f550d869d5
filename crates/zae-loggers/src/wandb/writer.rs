//! [`RunFile`]: a run as a `.wandb` file, which `wandb sync` reads, and so does our own uploader.

use std::{
    fs::OpenOptions,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use zae_core::{add_on::Notice, error::Fallible};

use super::{
    Place, aside,
    ending::Ending,
    environment::Environment,
    files::Files,
    framing, graphql,
    json::line,
    media::{Shown, shown},
    record::{self, Maker, Run, Type, field},
    scan::Found,
    summary::{self, Summary},
    yaml::yaml,
};
use crate::{Aside, Entries, Entry, News, Status, Writer, appended::Appended, protobuf::Message};

/// How often the summary is written while entries come.
const SUMMARY_EVERY: Duration = Duration::from_secs(10);

/// A run's file, the files beside it, and what sends them.
pub(super) struct RunFile {
    path: PathBuf,
    file: Appended,
    files: Files,
    /// Where it ends, for whoever reads it meanwhile.
    end: Arc<AtomicU64>,
    maker: Maker,
    run: Run,
    /// On their way to the file: records, and the text of a number.
    out: Vec<u8>,
    text: Vec<u8>,
    summary: Summary,
    summarised: Instant,
    /// Whether the file says where the run is made. That is worked out on the thread that writes: it reads files.
    has_environment: bool,
    news: News,
    /// Files that could not be kept, while the same entries are written again and again.
    told: Vec<PathBuf>,
    pub(super) ending: Ending,
}

impl RunFile {
    /// The file of a run: a new one, of whose name there is none, or that of an earlier process, cut back to what was found.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub(super) fn open(place: &Place, run: Run, ending: Ending, news: News) -> Fallible<Self> {
        let (file, end) = match &place.found {
            Some(found) => {
                let file = OpenOptions::new().write(true).open(&place.file)?;
                file.set_len(found.end)?;
                (file, found.end)
            }
            None => (OpenOptions::new().write(true).create_new(true).open(&place.file)?, 0),
        };
        let mut own = Self {
            path: place.file.clone(),
            file: Appended::at(file, end),
            files: Files::of(&place.file),
            end: Arc::new(AtomicU64::new(end)),
            maker: Maker::default(),
            run,
            out: Vec::new(),
            text: Vec::new(),
            summary: place.summary.clone(),
            summarised: Instant::now(),
            has_environment: false,
            news,
            told: Vec::new(),
            ending,
        };
        let run = own.run.clone();
        match &place.found {
            Some(Found { records, .. }) => {
                own.maker.number = *records;
                own.add(field::CONFIG, |message| record::config(message, &run.config));
            }
            None => {
                own.out.extend(framing::HEADER);
                own.add(field::HEADER, record::header);
                own.add(field::RUN, |message| record::run(message, &run));
            }
        }
        run.metrics.iter().for_each(|metric| own.add(field::METRIC, |message| metric.write(message)));
        // What was behind the cut and belongs to no step.
        let asides = place.found.as_ref().map_or(&place.asides, |found| &found.asides);
        for (field, bytes) in asides {
            own.add(*field, |message| {
                message.raw(bytes);
            });
        }
        own.append()?;
        Ok(own)
    }

    /// One more record, to be appended.
    fn add(&mut self, field: u32, fill: impl FnOnce(&mut Message<'_>)) {
        let at = self.file.end() + self.out.len() as u64;
        framing::put(&mut self.out, at, self.maker.make(field, fill));
    }

    /// Brings the records to the file: all of them or none.
    fn append(&mut self) -> Fallible {
        let result = self.file.append(&self.out);
        self.out.clear();
        self.end.store(self.file.end(), Ordering::Release);
        Ok(result?)
    }

    /// Up to where the file may be read: what is behind may yet be taken back.
    pub(super) fn readable(&self) -> Arc<AtomicU64> {
        self.end.clone()
    }

    fn add_summary(&mut self) {
        let mut summary = std::mem::take(&mut self.summary);
        self.add(field::SUMMARY, |message| summary.write(message));
        self.summary = summary;
        self.summarised = Instant::now();
    }

    /// Adds all that is to be written.
    fn fill(&mut self, entries: &Entries) -> Fallible {
        if !self.has_environment {
            let environment = Environment::new(self.run.started);
            self.add(field::ENVIRONMENT, |message| environment.write(message));
            self.put("wandb-metadata.json", environment.json().as_bytes())?;
        }
        let mut text = std::mem::take(&mut self.text);
        for entry in entries.iter() {
            let shown = entry.media.map(|media| self.show(&entry, media)).transpose()?;
            self.summary.update(&entry, shown.as_deref());
            self.add(field::HISTORY, |message| {
                for (name, value) in summary::head(&entry) {
                    record::number(message, name, value, &mut text);
                }
                for (name, value) in entry.names.iter().zip(entry.values) {
                    record::number(message, name, *value, &mut text);
                }
                if let (Some(name), Some(shown)) = (entry.names.first(), &shown) {
                    record::item(message, name, shown.as_bytes());
                }
                message.message(2, |step| {
                    step.varint(1, entry.index);
                });
            });
        }
        self.text = text;
        entries.asides().iter().for_each(|aside| self.add_aside(aside));
        if entries.iter().next().is_some() && self.summarised.elapsed() >= SUMMARY_EVERY {
            self.add_summary();
        }
        Ok(())
    }

    /// Writes the file of something to look at. Returns its JSON.
    fn show(&mut self, entry: &Entry<'_>, media: &crate::Media) -> Fallible<String> {
        let name = entry.names.first().map_or("", |name| &**name);
        let Shown { value, file } = shown(name, entry.index, media);
        if let Some((path, bytes)) = file {
            self.files.put(&path, &bytes)?;
            self.add(field::FILES, |message| record::file(message, &path, Type::Media));
        }
        Ok(value.to_string())
    }

    fn add_aside(&mut self, aside: &Aside) {
        match aside {
            Aside::System { values, .. } if values.is_empty() => {}
            Aside::System { time, values, .. } => {
                self.add(field::STATS, |message| aside::system(message, *time, values));
            }
            Aside::Console { time, line } => self.add(field::OUTPUT, |message| aside::console(message, *time, line)),
            Aside::Alert { title, text, level, .. } => {
                self.add(field::ALERT, |message| aside::alert(message, title, text, *level));
            }
            Aside::File { path, .. } => match self.files.keep(path) {
                Ok(name) => self.add(field::FILES, |message| record::file(message, &name, Type::Other)),
                Err(error) if !self.told.contains(path) => {
                    self.news.warn(format!("wandb: the file `{}` cannot be kept: {error}", path.display()));
                    self.told.push(path.clone());
                }
                Err(_) => {}
            },
        }
    }

    /// Writes a file that W&B's page looks for.
    fn put(&mut self, name: &str, bytes: &[u8]) -> Fallible {
        self.files.put(name, bytes)?;
        self.add(field::FILES, |message| record::file(message, name, Type::Wandb));
        Ok(())
    }

    /// What W&B's page shows of a run that has ended.
    fn put_last(&mut self) -> Fallible {
        self.put("config.yaml", yaml(&graphql::config(&self.run)).as_bytes())?;
        let mut all = Vec::new();
        self.summary.each(|name, json| all.push((name.to_owned(), String::from_utf8_lossy(json).into_owned())));
        let runtime = all.iter().find(|(name, _)| name == "_runtime").map(|(_, json)| summary::runtime(Some(json)));
        all.push(("_wandb".to_owned(), runtime.unwrap_or_else(|| summary::runtime(None))));
        let line = line(all.iter().map(|(name, json)| (name.as_str(), json.as_str())), 0);
        self.put("wandb-summary.json", line.as_bytes())
    }
}

impl Writer for RunFile {
    fn write(&mut self, entries: &Entries) -> Fallible {
        let before = self.maker.number;
        let result = self.fill(entries).and_then(|()| self.append());
        if result.is_err() {
            // Files that were written are written again.
            self.out.clear();
            self.maker.number = before;
            return result;
        }
        self.has_environment = true;
        self.told.clear();
        Ok(())
    }

    fn sync(&mut self) -> Fallible {
        self.files.sync()?;
        Ok(self.file.sync()?)
    }

    fn end(&mut self, status: &Status, deadline: Instant) -> Fallible<Option<Notice>> {
        self.add_summary();
        let put = self.put_last();
        if let Status::Interrupted(_) = status {
            self.add(field::PREEMPTING, |_| {});
        }
        self.add(field::EXIT, |message| {
            message.varint(1, u64::from(*status != Status::Finished));
        });
        let written = self.append().and_then(|()| self.sync());
        // What is in the file gets to the server also if its end cannot be written.
        let words = self.ending.wait(deadline);
        put.and(written).map(|()| words)
    }

    fn path(&self) -> PathBuf {
        self.path.clone()
    }
}
