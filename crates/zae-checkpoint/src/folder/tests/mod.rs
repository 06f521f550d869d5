#![allow(clippy::unwrap_used, clippy::panic)]

mod corruption;
mod faults;
mod links;

use std::{fs, path::PathBuf};

use tempfile::TempDir;
use zae_core::{
    metrics::{Direction, Metrics},
    snapshot::Snapshot,
};

use super::*;
use crate::{Format, Name, fixtures, newest, read_checkpoint};

/// A folder with a temporary place to be in.
struct Place {
    _dir: TempDir,
    folder: Folder,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(&dir.path().join("runs/digits"), Disk::new()).unwrap();
        Self { _dir: dir, folder }
    }

    fn save(&self, snapshot: &Snapshot, loss: f64) -> Saved {
        save(&self.folder, snapshot, loss).unwrap()
    }

    fn names(&self) -> Vec<String> {
        names(self.folder.dir())
    }
}

/// What the folder of a save has to do, from its beginning to its end.
fn save(folder: &Folder, snapshot: &Snapshot, loss: f64) -> Result<Saved> {
    let metrics = Metrics::from([("valid/loss".to_owned(), loss)]);
    let saved = folder.save(snapshot, Format::Safetensors, &metrics)?;
    folder.point(Pointer::Last, Some(saved.name))?;
    Ok(saved)
}

fn best(count: usize) -> Retention {
    let best = Best { metric: "valid/loss".to_owned(), count, direction: Direction::Minimize };
    Retention { last: 1, best: Some(best), every: None }
}

/// Everything in a folder, in order.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn files_of(dir: &Path) -> Vec<(String, Vec<u8>)> {
    names(dir).into_iter().map(|name| (name.clone(), fs::read(dir.join(name)).unwrap())).collect()
}

#[test]
fn a_run_comes_back_as_it_was_saved() {
    let place = Place::new();
    let snapshot = fixtures::snapshot(0);
    let saved = place.save(&snapshot, 0.5);
    assert_eq!(saved.name, Name::first(snapshot.run.progress.step()));
    let entry = scan(place.folder.dir()).unwrap().remove(0);
    entry.verify().unwrap();
    assert_eq!(entry.manifest.as_ref().unwrap().bytes(), saved.bytes);
    fixtures::assert_same(&snapshot, &entry.load().unwrap());
    for path in ["", "last", &saved.name.to_string()] {
        fixtures::assert_same(&snapshot, &read_checkpoint(&place.folder.dir().join(path)).unwrap());
    }
    let files = ["manifest.json", "model.safetensors", "optimizer.safetensors", "shadow.safetensors", "trainer.json"];
    assert_eq!(names(&entry.path), files);
    assert_eq!(fs::read_to_string(place.folder.dir().join("last")).unwrap(), format!("{}\n", saved.name));
}

#[test]
fn every_moment_of_a_run_comes_back() {
    let place = Place::new();
    for snapshot in fixtures::snapshots() {
        place.save(&snapshot, 0.5);
        fixtures::assert_same(&snapshot, &read_checkpoint(place.folder.dir()).unwrap());
    }
}

#[test]
fn the_same_run_has_the_same_bytes_the_time_apart() {
    let (one, other) = (Place::new(), Place::new());
    let saved = [one.save(&fixtures::snapshot(1), 0.5), other.save(&fixtures::snapshot(1), 0.5)];
    let files = |place: &Place| files_of(&place.folder.dir().join(saved[0].name.to_string()));
    for ((name, a), (_, b)) in files(&one).into_iter().zip(files(&other)).filter(|(a, _)| a.0 != "manifest.json") {
        // The run's own clock is in its state.
        if name != "trainer.json" {
            assert!(a == b, "{name}");
        }
    }
    let again = one.save(&one_snapshot(&one), 0.5);
    let dir = |name: Name| one.folder.dir().join(name.to_string());
    for file in ["trainer.json", "model.safetensors", "optimizer.safetensors", "shadow.safetensors"] {
        let read = |name| fs::read(dir(name).join(file)).unwrap();
        assert!(read(saved[0].name) == read(again.name), "{file}");
    }
}

fn one_snapshot(place: &Place) -> Snapshot {
    read_checkpoint(&place.folder.dir().join("last")).unwrap()
}

#[test]
fn a_second_save_of_a_step_takes_the_next_name_and_supersedes_the_first() {
    let place = Place::new();
    let snapshot = fixtures::snapshot(0);
    let step = snapshot.run.progress.step();
    for again in 0..3 {
        assert_eq!(place.save(&snapshot, 0.5).name, Name { step, again });
    }
    let pruned = place.folder.prune(&Retention { last: 9, ..Retention::default() }).unwrap();
    assert_eq!(pruned.removed, [Name::first(step), Name { step, again: 1 }]);
    assert_eq!(place.save(&snapshot, 0.5).name, Name { step, again: 3 }, "a name does not come twice");
}

#[test]
fn pruning_keeps_what_the_rules_say_and_what_last_names_and_points_to_the_best() {
    let place = Place::new();
    let snapshots = fixtures::one_per_step();
    let names: Vec<Name> =
        snapshots.iter().zip([0.5, 0.25, 0.75, 1.0]).map(|(snapshot, loss)| place.save(snapshot, loss).name).collect();
    place.folder.point(Pointer::Last, Some(names[0])).unwrap();
    let pruned = place.folder.prune(&best(1)).unwrap();
    assert_eq!(pruned.best, place.folder.pointer(Pointer::Best).unwrap());
    assert_eq!(pruned.best, Some(names[1]));
    let left: Vec<Name> = scan(place.folder.dir()).unwrap().iter().rev().map(|entry| entry.name).collect();
    assert_eq!(left, [names[0], names[1], names[3]]);
    place.folder.point(Pointer::Best, None).unwrap();
    assert_eq!(place.folder.pointer(Pointer::Best).unwrap(), None);
}

#[test]
fn what_is_not_ours_is_never_removed() {
    let place = Place::new();
    let dir = place.folder.dir().to_owned();
    let saved = place.save(&fixtures::snapshot(0), 0.5);
    for stranger in ["notes", "step-1", "step-00000000x", "step-00000000"] {
        fs::create_dir(dir.join(stranger)).unwrap();
        fs::write(dir.join(stranger).join("mine.txt"), "mine").unwrap();
    }
    let before = place.names();
    place.folder.prune(&Retention::default()).unwrap();
    drop(place.folder);
    Folder::open(&dir, Disk::new()).unwrap();
    assert_eq!(names(&dir), before);
    let entries = scan(&dir).unwrap();
    assert_eq!(entries.iter().map(|entry| entry.name).collect::<Vec<_>>(), [saved.name, Name::first(0)]);
    let reason = entries[1].manifest.as_ref().unwrap_err().to_string();
    assert!(reason.contains("manifest.json"), "{reason}");
    assert!(entries[1].load().is_err());
}

#[test]
fn the_newest_whole_one_is_found_and_those_passed_over_are_named() {
    let place = Place::new();
    let snapshots = fixtures::snapshots();
    let saved: Vec<Saved> = snapshots.iter().take(3).map(|snapshot| place.save(snapshot, 0.5)).collect();
    let file = |i: usize, name: &str| place.folder.dir().join(saved[i].name.to_string()).join(name);
    fs::remove_file(file(2, "optimizer.safetensors")).unwrap();
    fs::write(file(1, "manifest.json"), "{}").unwrap();
    let (found, skipped) = newest(place.folder.dir()).unwrap();
    let (entry, snapshot) = found.unwrap();
    assert_eq!(entry.name, saved[0].name);
    fixtures::assert_same(&snapshots[0], &snapshot);
    assert_eq!(skipped.iter().map(|(entry, _)| entry.name).collect::<Vec<_>>(), [saved[2].name, saved[1].name]);
    assert!(skipped[0].1.to_string().contains("optimizer.safetensors"));
    fs::remove_dir_all(file(0, "")).unwrap();
    let error = read_checkpoint(place.folder.dir()).err().unwrap();
    assert!(matches!(&error, Error::None { skipped, .. } if skipped.len() == 2), "{error}");
    assert!(read_checkpoint(&place.folder.dir().join("last")).is_err());
    assert!(read_checkpoint(&place.folder.dir().join("nothing")).is_err());
    assert!(scan(&place.folder.dir().join("nothing")).unwrap().is_empty());
}

#[test]
fn a_folder_belongs_to_one_and_is_free_again_when_that_one_is_gone() {
    let place = Place::new();
    let dir: PathBuf = place.folder.dir().to_owned();
    let error = Folder::open(&dir, Disk::new()).unwrap_err();
    let pid = std::process::id();
    assert!(matches!(error, Error::InUse { pid: Some(other), .. } if other == pid), "{error}");
    assert!(error.to_string().contains(".run_dir(") && error.to_string().contains(&pid.to_string()));
    drop(place.folder);
    Folder::open(&dir, Disk::new()).unwrap();
}

#[test]
fn what_a_dead_process_left_is_swept_but_not_under_a_living_one() {
    let place = Place::new();
    let dir = place.folder.dir().to_owned();
    fs::create_dir_all(dir.join(".tmp-step-00000001-77/deep")).unwrap();
    fs::create_dir_all(dir.join(".trash-step-00000001-77")).unwrap();
    fs::write(dir.join(".tmp-last-77"), "step-").unwrap();
    fs::write(dir.join(".gitignore"), "*").unwrap();
    Folder::open(&dir, Disk::new()).unwrap_err();
    assert_eq!(place.names().len(), 5, "it is still in use");
    drop(place.folder);
    Folder::open(&dir, Disk::new()).unwrap();
    assert_eq!(names(&dir), [".gitignore", "lock"]);
}

#[test]
fn add_ons_make_their_part_durable_before_the_commit_or_there_is_none() {
    let place = Place::new();
    let mut snapshot = fixtures::snapshot(0);
    let dir = place.folder.dir().to_owned();
    snapshot.durable.push(std::sync::Arc::new(move || {
        assert!(scan(&dir).unwrap().is_empty());
        Err("the log is lost".into())
    }));
    let error = save(&place.folder, &snapshot, 0.5).unwrap_err();
    assert!(error.to_string().contains("the log is lost"), "{error}");
    assert_eq!(place.names(), ["lock"]);
}
