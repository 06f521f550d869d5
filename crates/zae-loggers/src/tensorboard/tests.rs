//! Folders of runs that are resumed anywhere, over and over.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    sync::Arc,
};

use proptest::prelude::*;

use super::{
    event::{Counts, step_of_values},
    folder,
    record::Records,
    writer::EventWriter,
};
use crate::{
    Aside, Entries, Histogram, Kind, Level, Media, Writer,
    entry::Head,
    protobuf::{Field, Fields},
};

/// The events of all files, in the order in which they are read.
fn events(dir: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().contains("tfevents"));
    files.sort();
    let mut all = Vec::new();
    for path in files {
        let bytes = fs::read(path).unwrap();
        let mut records = Records::new(&*bytes, bytes.len() as u64);
        while let Some(event) = records.next().unwrap() {
            all.push(event.to_vec());
        }
    }
    all
}

/// The step of an event, if it is of an entry.
pub(super) fn step_of_entry(event: &[u8]) -> Option<u64> {
    step_of_values(event).filter(|own| own.1 == Counts::Yes).map(|own| own.0)
}

/// The steps of all entries.
pub(super) fn steps(dir: &Path) -> Vec<u64> {
    events(dir).iter().filter_map(|event| step_of_entry(event)).collect()
}

/// The content of a field.
fn of(message: &[u8], wanted: u32) -> Option<&[u8]> {
    Fields(message).find_map(|field| match field {
        Field::Bytes(number, bytes) if number == wanted => Some(bytes),
        _ => None,
    })
}

/// The number that an event shows in one way or another.
fn value(event: &[u8]) -> f32 {
    let value = of(of(event, 5).unwrap(), 1).unwrap();
    if let Some(text) = of(value, 8).and_then(|tensor| of(tensor, 8)) {
        std::str::from_utf8(text).unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    } else if let Some(histogram) = of(value, 5) {
        f64::from_le_bytes(*histogram.last_chunk().unwrap()) as f32
    } else {
        f32::from_le_bytes(*event.last_chunk().unwrap())
    }
}

/// What is shown of the events that a reader has got: their steps and values. There are two kinds of readers: all obey
/// restarts, TensorBoard itself but for the first.
fn shown(events: &[Vec<u8>]) -> [Vec<(u64, f32)>; 2] {
    [0, 1].map(|ignored| {
        let (mut shown, mut restarts) = (Vec::new(), 0);
        for event in events {
            if let Some((step, _)) = step_of_values(event) {
                shown.push((step, value(event)));
            } else if let [_, _, _, _, _, _, _, _, _, 0x10, ref step @ .., 0x3a, 2, 8, 1] = **event {
                let step = step.iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f));
                restarts += 1;
                shown.retain(|own| restarts <= ignored || own.0 < step);
            }
        }
        shown
    })
}

/// To both kinds of readers.
fn both(all: &[(u64, f32)]) -> [Vec<(u64, f32)>; 2] {
    [all.to_vec(), all.to_vec()]
}

/// A reader as TensorBoard's: it goes on where it was in a file, and leaves a file for the next one for good.
#[derive(Default)]
struct Live {
    file: Option<String>,
    place: usize,
    events: Vec<Vec<u8>>,
}

impl Live {
    fn reload(&mut self, dir: &Path) {
        let names = fs::read_dir(dir).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.contains("tfevents")).collect();
        names.sort();
        for name in names {
            if self.file.as_ref().is_some_and(|file| *file > name) {
                continue;
            }
            if self.file.as_ref() != Some(&name) {
                (self.file, self.place) = (Some(name.clone()), 0);
            }
            let bytes = fs::read(dir.join(name)).unwrap();
            let rest = bytes.get(self.place..).unwrap_or_default();
            let mut records = Records::new(rest, rest.len() as u64);
            while let Some(event) = records.next().unwrap() {
                self.events.push(event.to_vec());
            }
            self.place += records.end() as usize;
        }
    }
}

fn open(dir: &Path, entries: Option<u64>) -> EventWriter {
    EventWriter::new(folder::open(dir, entries, 1000.0, |_| {}).unwrap())
}

fn write(writer: &mut EventWriter, all: &[(u64, f32)]) {
    let mut entries = Entries::default();
    entries.add_layout(Arc::from([Arc::from("x")]));
    for (step, value) in all {
        entries.push(Head { step: *step, ..Head::default() }, &[f64::from(*value)]);
    }
    writer.write(&entries).unwrap();
}

fn newest(dir: &Path) -> std::path::PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path());
    files.filter(|path| path.to_str().unwrap().contains("tfevents")).max().unwrap()
}

#[derive(Clone, Debug)]
enum Act {
    /// Entries, each of which is so many steps after the one before, and what they are.
    Write(Vec<(u64, What)>),
    /// Something that belongs to no step.
    Tell,
    /// From so many entries.
    Resume(prop::sample::Index),
    /// All over again.
    Restart,
    /// Half a record.
    Tear,
    /// A reader comes by.
    Reload,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Number,
    Text,
    Histogram,
}

/// Something that was written.
#[derive(Clone, Copy, Debug)]
struct Item {
    step: u64,
    value: f32,
    is_entry: bool,
}

fn act() -> impl Strategy<Value = Act> {
    let what = prop_oneof![3 => Just(What::Number), 1 => Just(What::Text), 1 => Just(What::Histogram)];
    let entry = (0..200u64, what).prop_map(|(after, what)| (after / 70, what));
    prop_oneof![
        4 => prop::collection::vec(entry, 1..8).prop_map(Act::Write),
        2 => Just(Act::Tell),
        3 => any::<prop::sample::Index>().prop_map(Act::Resume),
        1 => Just(Act::Restart),
        2 => Just(Act::Tear),
        3 => Just(Act::Reload),
    ]
}

/// What has so many entries, and what was told before the next.
fn truncated(model: &[Item], entries: usize) -> Vec<Item> {
    let mut seen = 0;
    let stays = |item: &&Item| {
        seen += usize::from(item.is_entry);
        seen <= entries
    };
    model.iter().take_while(stays).copied().collect()
}

proptest! {
    // Each is many files that are put on disk.
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn everything_is_there_once_and_seen_once(acts in prop::collection::vec(act(), 1..20)) {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = open(dir.path(), None);
        let mut model: Vec<Item> = Vec::new();
        let (mut live, mut next) = (Live::default(), 0.0);
        for act in acts {
            let entries = model.iter().filter(|item| item.is_entry).count();
            let last = model.iter().rev().find(|item| item.is_entry).map_or(0, |item| item.step);
            match act {
                Act::Write(new) => {
                    let mut batch = Entries::default();
                    ["x", "y"].iter().for_each(|name| batch.add_layout(Arc::from([Arc::from(*name)])));
                    let mut step = last;
                    for (after, what) in new {
                        step += after;
                        next += 1.0;
                        model.push(Item { step, value: next, is_entry: true });
                        let of_media = Head { step, kind: Kind::Media, layout: 1, ..Head::default() };
                        match what {
                            What::Number => batch.push(Head { step, ..Head::default() }, &[f64::from(next)]),
                            What::Text => batch.push_media(of_media, Arc::new(Media::Text(next.to_string()))),
                            What::Histogram => {
                                let histogram = Histogram::with_bins(vec![0.0, 1.0], vec![next.into()]).unwrap();
                                batch.push_media(of_media, Arc::new(Media::Histogram(histogram)));
                            }
                        }
                    }
                    writer.write(&batch).unwrap();
                }
                Act::Tell => {
                    next += 1.0;
                    model.push(Item { step: last, value: next, is_entry: false });
                    let text = next.to_string().into();
                    let mut batch = Entries::default();
                    batch.push_aside(Aside::Alert { time: 1.0, title: "t".into(), text, level: Level::Warn });
                    writer.write(&batch).unwrap();
                }
                Act::Resume(at) => {
                    let kept = at.index(entries + 1);
                    model = truncated(&model, kept);
                    writer = open(dir.path(), Some(kept as u64));
                }
                Act::Restart => {
                    model.clear();
                    writer = open(dir.path(), None);
                }
                Act::Tear => {
                    OpenOptions::new().append(true).open(newest(dir.path())).unwrap().write_all(&[7; 9]).unwrap();
                    live.reload(dir.path());
                    writer = open(dir.path(), Some(entries as u64));
                }
                Act::Reload => live.reload(dir.path()),
            }
            let all = events(dir.path());
            let there: Vec<_> = all.iter().filter(|event| step_of_entry(event).is_some()).collect();
            let there: Vec<_> = there.into_iter().map(|event| (step_of_entry(event).unwrap(), value(event))).collect();
            let own: Vec<_> = model.iter().filter(|item| item.is_entry).map(|item| (item.step, item.value)).collect();
            prop_assert_eq!(&there, &own, "in the files");
            let own: Vec<_> = model.iter().map(|item| (item.step, item.value)).collect();
            prop_assert_eq!(shown(&all), both(&own), "read anew");
        }
        live.reload(dir.path());
        let own: Vec<_> = model.iter().map(|item| (item.step, item.value)).collect();
        prop_assert_eq!(shown(&live.events), both(&own), "read while it was written");
    }
}

#[test]
fn a_resume_that_is_killed_in_the_middle_is_made_again() {
    for (again, step) in [(3, 2), (2, 2), (1, 1), (5, 4)] {
        let dir = tempfile::tempdir().unwrap();
        let all = [(0, 0.0), (1, 1.0), (2, 2.0), (2, 3.0), (4, 4.0)];
        write(&mut open(dir.path(), None), &all);
        let (first, whole) = (newest(dir.path()), fs::read(newest(dir.path())).unwrap());
        drop(open(dir.path(), Some(3)));
        // The new file begins with a step that was moved there, and the old one was not cut yet.
        assert!(newest(dir.path()).to_str().unwrap().ends_with(".2"));
        fs::write(&first, &whole).unwrap();
        let kept = again.min(3);
        let mut writer = open(dir.path(), Some(again as u64));
        write(&mut writer, &[(step, 9.0)]);
        let mut expected = all[..kept].to_vec();
        expected.push((step, 9.0));
        assert_eq!(shown(&events(dir.path())), both(&expected), "{again}");
    }
}

#[test]
fn a_folder_without_its_files_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    write(&mut open(dir.path(), Some(50)), &[(7, 1.0), (8, 2.0)]);
    assert!(newest(dir.path()).to_str().unwrap().ends_with(".50"));
    write(&mut open(dir.path(), Some(51)), &[(8, 3.0)]);
    // More than there are.
    write(&mut open(dir.path(), Some(90)), &[(9, 4.0)]);
    assert_eq!(shown(&events(dir.path())), both(&[(7, 1.0), (8, 3.0), (9, 4.0)]));
}

#[test]
fn a_new_run_moves_the_older_one_aside_and_leaves_files_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("events.out.tfevents.5000000000.host.1.0");
    fs::write(&other, b"theirs").unwrap();
    drop(open(dir.path(), None));
    write(&mut open(dir.path(), None), &[(0, 1.0)]);
    write(&mut open(dir.path(), None), &[(0, 2.0)]);
    write(&mut open(dir.path(), None), &[(0, 3.0)]);
    assert_eq!(shown(&events(&dir.path().join("earlier.1"))), both(&[(0, 1.0)]));
    assert_eq!(shown(&events(&dir.path().join("earlier.2"))), both(&[(0, 2.0)]));
    assert_eq!(shown(&events(dir.path())), both(&[(0, 3.0)]));
    assert!(!dir.path().join("earlier.3").exists() && newest(dir.path()) > other);
    assert_eq!(fs::read(&other).unwrap(), b"theirs");
}

#[test]
#[ignore = "needs Python with TensorBoard"]
fn tensorboard_reads_100_000_keys_in_unicode() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path(), None);
    let mut entries = Entries::default();
    // Most in one entry, and many lists of names.
    for layout in 0..100 {
        let count = if layout == 0 { 90_100 } else { 100 };
        let names: Vec<Arc<str>> = (0..count).map(|i| format!("größe {layout}/✓/{i}").into()).collect();
        entries.add_layout(names.into());
        for step in 0..2 {
            let values: Vec<_> = (0..count).map(|i| f64::from(i + layout as i32)).collect();
            entries.push(Head { layout, step, ..Head::default() }, &values);
        }
    }
    writer.write(&entries).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/tensorboard_keys.py");
    let python = std::env::var_os("ZAE_PYTHON").expect("ZAE_PYTHON is not set");
    let output = std::process::Command::new(python).arg(script).arg(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
