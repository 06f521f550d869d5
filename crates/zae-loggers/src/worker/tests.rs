#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use super::*;
use crate::entry::Head;

/// What a writer has done, and what it is to do.
#[derive(Default)]
struct Disk {
    written: Mutex<Vec<(u64, f64)>>,
    synced: AtomicUsize,
    fails: AtomicBool,
    hangs: AtomicBool,
    panics: AtomicBool,
    attempts: AtomicUsize,
    ended: Mutex<Option<Status>>,
}

impl Disk {
    fn written(&self) -> usize {
        self.written.lock().unwrap().len()
    }
}

struct Fake(Arc<Disk>);

impl Writer for Fake {
    fn write(&mut self, entries: &Entries) -> Fallible {
        self.0.attempts.fetch_add(1, Ordering::SeqCst);
        while self.0.hangs.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        assert!(!self.0.panics.load(Ordering::SeqCst), "a bug");
        if self.0.fails.load(Ordering::SeqCst) && !entries.is_empty() {
            return Err("no space".into());
        }
        self.0.written.lock().unwrap().extend(entries.iter().map(|entry| (entry.index, entry.values[0])));
        Ok(())
    }
    fn sync(&mut self) -> Fallible {
        self.0.synced.store(self.0.written(), Ordering::SeqCst);
        Ok(())
    }
    fn end(&mut self, status: &Status, _: Instant) -> Fallible<Option<Notice>> {
        *self.0.ended.lock().unwrap() = Some(status.clone());
        Ok(Some(Notice::Info("bye".to_owned())))
    }
    fn path(&self) -> PathBuf {
        "a/file".into()
    }
}

fn start() -> (Worker, Arc<Disk>, News) {
    let (disk, news) = (Arc::<Disk>::default(), News::default());
    let worker = Worker::start("fake", Box::new(Fake(disk.clone())), None, news.clone()).unwrap();
    worker.push(0, |entries, _| entries.add_layout([Arc::from("loss")].into()));
    (worker, disk, news)
}

fn push(worker: &Worker, indices: std::ops::Range<u64>) {
    worker.push(indices.end - indices.start, |entries, _| {
        indices.for_each(|index| entries.push(Head { index, ..Head::default() }, &[index as f64 * 0.5]));
    });
}

#[track_caller]
fn wait_for(is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(20));
        thread::yield_now();
    }
}

#[track_caller]
fn assert_written(disk: &Disk, count: u64) {
    let expected: Vec<_> = (0..count).map(|index| (index, index as f64 * 0.5)).collect();
    assert!(*disk.written.lock().unwrap() == expected);
}

fn warnings(news: &News) -> Vec<String> {
    let held = news.take().map(|held| held.notices).unwrap_or_default();
    held.into_iter().map(|notice| format!("{notice:?}")).collect()
}

/// As soon as possible.
fn now() -> Instant {
    Instant::now()
}

#[test]
fn entries_are_written_in_order_and_the_end_comes_last() {
    let (worker, disk, news) = start();
    for i in 0..1000 {
        push(&worker, i * 7..(i + 1) * 7);
    }
    let words = worker.end(Status::Failed("x".to_owned()), now()).wait().unwrap();
    assert_eq!(words, Some(Notice::Info("bye".to_owned())));
    assert_written(&disk, 7000);
    assert_eq!(disk.synced.load(Ordering::SeqCst), 7000);
    assert_eq!(*disk.ended.lock().unwrap(), Some(Status::Failed("x".to_owned())));
    assert_eq!(warnings(&news), Vec::<String>::new());
}

#[test]
fn a_few_entries_are_written_without_anybody_waiting_for_them() {
    let (worker, disk, _) = start();
    push(&worker, 0..3);
    wait_for(|| disk.written() == 3);
    assert_eq!(disk.synced.load(Ordering::SeqCst), 0);
    drop(worker);
}

#[test]
fn an_entry_after_a_pause_wakes_the_thread_and_those_behind_it_need_not() {
    let (worker, disk, _) = start();
    for round in 0..2 {
        wait_for(|| worker.shared.lock().asleep);
        (0..3).for_each(|i| push(&worker, round * 3 + i..round * 3 + i + 1));
        wait_for(|| disk.written() as u64 == round * 3 + 3);
    }
    assert_written(&disk, 6);
}

#[test]
fn durable_is_what_was_handed_over_until_then() {
    let (worker, disk, _) = start();
    push(&worker, 0..5);
    let durable = worker.durable();
    durable().unwrap();
    assert!(disk.synced.load(Ordering::SeqCst) >= 5);
    // What is on disk already is waited for by nobody, though the disk hangs now.
    disk.hangs.store(true, Ordering::SeqCst);
    push(&worker, 5..9);
    durable().unwrap();
    disk.hangs.store(false, Ordering::SeqCst);
    // Also of entries that were written and not yet synced.
    wait_for(|| disk.written() == 9);
    worker.durable()().unwrap();
    assert_eq!(disk.synced.load(Ordering::SeqCst), 9);
}

#[test]
fn a_disk_that_fails_and_recovers_gets_every_entry_once() {
    let (worker, disk, news) = start();
    disk.fails.store(true, Ordering::SeqCst);
    push(&worker, 0..10);
    wait_for(|| disk.attempts.load(Ordering::SeqCst) > 0);
    // It fails no checkpoint, and holds up none.
    push(&worker, 10..2000);
    worker.durable()().unwrap();
    assert_eq!(disk.synced.load(Ordering::SeqCst), 0);
    let attempts = disk.attempts.load(Ordering::SeqCst);
    wait_for(|| disk.attempts.load(Ordering::SeqCst) > attempts);
    disk.fails.store(false, Ordering::SeqCst);
    wait_for(|| disk.written() == 2000);
    push(&worker, 2000..2010);
    worker.end(Status::Finished, now()).wait().unwrap();
    assert_written(&disk, 2010);
    let warnings = warnings(&news);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("cannot write `a/file` (no space): it is tried again"));
}

#[test]
fn what_the_disk_never_takes_is_counted() {
    let (worker, disk, news) = start();
    disk.fails.store(true, Ordering::SeqCst);
    push(&worker, 0..10);
    let words = worker.end(Status::Finished, now()).wait().unwrap();
    // The run was ended all the same.
    assert_eq!(words, Some(Notice::Info("bye".to_owned())));
    let warnings = warnings(&news);
    assert!(warnings.len() == 2 && warnings[1].contains("not taken 10 entries of `a/file`"), "{warnings:?}");
}

#[test]
fn memory_is_bounded_while_the_disk_fails_or_hangs() {
    for fails in [true, false] {
        let (worker, disk, news) = start();
        disk.fails.store(fails, Ordering::SeqCst);
        disk.hangs.store(!fails, Ordering::SeqCst);
        let (mut taken, mut dropped) = (0, 0);
        // The thread takes what is there, again and again: that makes no room.
        while dropped < 10 {
            push(&worker, taken..taken + 1000);
            let queue = worker.shared.lock();
            assert!(queue.held + queue.entries.bytes() < BOUND + 1000 * 100);
            if queue.dropped == dropped * 1000 {
                taken += 1000;
                continue;
            }
            dropped += 1;
            drop(queue);
            if dropped == 5 {
                let attempts = disk.attempts.load(Ordering::SeqCst);
                wait_for(|| !fails || disk.attempts.load(Ordering::SeqCst) > attempts + 1);
            }
        }
        disk.fails.store(false, Ordering::SeqCst);
        disk.hangs.store(false, Ordering::SeqCst);
        wait_for(|| disk.written() as u64 == taken && worker.shared.lock().held == 0);
        push(&worker, taken..taken + 1);
        worker.end(Status::Finished, now()).wait().unwrap();
        assert_written(&disk, taken + 1);
        assert!(warnings(&news).last().unwrap().contains("not taken 10000 entries"));
    }
}

#[test]
fn a_writer_that_panics_is_told_of_and_waited_for_by_nobody() {
    let (worker, disk, news) = start();
    disk.panics.store(true, Ordering::SeqCst);
    push(&worker, 0..1);
    wait_for(|| worker.shared.lock().ended);
    push(&worker, 1..2);
    worker.durable()().unwrap();
    assert_eq!(worker.end(Status::Finished, now() + Duration::from_secs(1000)).wait().unwrap(), None);
    let warnings = warnings(&news);
    assert!(warnings.len() == 1 && warnings[0].contains("has died"), "{warnings:?}");
}

#[test]
fn the_end_does_not_wait_for_a_disk_that_hangs() {
    let (worker, disk, _) = start();
    disk.hangs.store(true, Ordering::SeqCst);
    push(&worker, 0..1);
    let told = worker.end(Status::Finished, now()).wait().unwrap_err();
    assert!(format!("{told:?}").contains("the disk hangs"));
    disk.hangs.store(false, Ordering::SeqCst);
    // The thread goes on by itself.
    wait_for(|| disk.ended.lock().unwrap().is_some());
    assert_written(&disk, 1);
}
