//! [`Tracker`]: a tracker that remembers what it is told.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::{
    path::PathBuf,
    sync::{
        Arc, Barrier, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use zae_core::{add_on::Notice, error::Fallible, state::State};
use zae_loggers::{Aside, Entries, Kind, Logger, Media, Opened, Sink, Start, Status, Writer, mark};

/// An entry as it was written.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    pub kind: Kind,
    pub index: u64,
    pub epoch: u64,
    pub step: u64,
    pub values: Vec<(String, f64)>,
    /// By name.
    pub media: Option<(String, Media)>,
}

#[derive(Default)]
pub struct Kept {
    pub lines: Vec<Line>,
    /// Of each time it was opened: entries, and whether it goes on.
    pub opened: Vec<(u64, bool)>,
    pub ended: Vec<Status>,
    pub asides: Vec<Aside>,
    /// So many entries are said to be kept.
    pub keep: u64,
}

/// Remembers.
#[derive(Clone, Default)]
pub struct Tracker {
    pub kept: Arc<Mutex<Kept>>,
    /// It ends when all of them end.
    pub others: Option<Arc<Barrier>>,
    pub name: &'static str,
    /// Whether nothing is written until it is opened.
    pub gate: Arc<(Mutex<bool>, Condvar)>,
    pub fails_to_open: Arc<AtomicBool>,
}

impl Tracker {
    pub fn named(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }
    pub fn close_gate(&self, closed: bool) {
        *self.gate.0.lock().unwrap() = closed;
        self.gate.1.notify_all();
    }
    pub fn lines(&self) -> Vec<Line> {
        self.kept.lock().unwrap().lines.clone()
    }
    pub fn steps(&self) -> Vec<u64> {
        self.lines().iter().filter(|line| line.kind == Kind::Step).map(|line| line.step).collect()
    }
    pub fn logger(&self) -> Logger<Tracker> {
        Logger::with(self.clone())
    }
    pub fn opened(&self) -> Vec<(u64, bool)> {
        self.kept.lock().unwrap().opened.clone()
    }
    pub fn ended(&self) -> Vec<Status> {
        self.kept.lock().unwrap().ended.clone()
    }
    #[track_caller]
    pub fn assert_counted(&self) {
        let indices: Vec<_> = self.lines().iter().map(|line| line.index).collect();
        assert_eq!(indices, (0..indices.len() as u64).collect::<Vec<_>>());
    }
}

impl Sink for Tracker {
    fn name(&self) -> &'static str {
        if self.name.is_empty() { "tracker" } else { self.name }
    }
    fn open(&mut self, start: &Start<'_>) -> Fallible<Opened> {
        if self.fails_to_open.load(Ordering::SeqCst) {
            return Err("it is shut".into());
        }
        let mut kept = self.kept.lock().unwrap();
        kept.opened.push((start.entries, start.resume.is_some()));
        let stays = kept.keep.max(start.entries);
        kept.lines.truncate(stays as usize);
        let ahead = kept.lines.iter().skip(start.entries as usize);
        let names = |line: &Line| -> Vec<String> {
            line.values.iter().map(|(name, _)| name).chain(line.media.iter().map(|(name, _)| name)).cloned().collect()
        };
        let ahead = ahead.map(|line| mark(line.step, names(line).iter().map(|name| &**name))).collect();
        Ok(Opened { writer: Box::new(self.clone()), identity: State::encode("me")?, ahead })
    }
}

impl Writer for Tracker {
    fn write(&mut self, entries: &Entries) -> Fallible {
        let mut closed = self.gate.0.lock().unwrap();
        while *closed && !entries.is_empty() {
            closed = self.gate.1.wait(closed).unwrap();
        }
        drop(closed);
        assert!(entries.iter().all(|entry| entry.time > 1.7e9), "all know the time of day");
        let lines = entries.iter().map(|entry| Line {
            kind: entry.kind,
            index: entry.index,
            epoch: entry.epoch,
            step: entry.step,
            values: entry.names.iter().map(ToString::to_string).zip(entry.values.iter().copied()).collect(),
            media: entry.media.map(|media| (entry.names[0].to_string(), media.clone())),
        });
        let mut kept = self.kept.lock().unwrap();
        kept.lines.extend(lines);
        kept.asides.extend_from_slice(entries.asides());
        Ok(())
    }
    fn sync(&mut self) -> Fallible {
        Ok(())
    }
    fn end(&mut self, status: &Status, _: Instant) -> Fallible<Option<Notice>> {
        self.kept.lock().unwrap().ended.push(status.clone());
        if let Some(others) = &self.others {
            others.wait();
        }
        Ok(None)
    }
    fn path(&self) -> PathBuf {
        "memory".into()
    }
}
