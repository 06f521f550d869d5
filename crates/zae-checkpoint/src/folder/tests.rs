#![allow(clippy::unwrap_used)]

use zae_core::metrics::Metrics;

use super::*;
use crate::{Format, Name, fixtures, read_checkpoint};

#[test]
fn a_run_comes_back_as_it_was_saved() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(&dir.path().join("runs/digits"), Disk::new()).unwrap();
    let snapshot = fixtures::snapshot(0);
    let saved = folder.save(&snapshot, Format::Safetensors, &Metrics::new()).unwrap();
    assert_eq!(saved.name, Name::first(snapshot.run.progress.step()));
    folder.point(Pointer::Last, Some(saved.name)).unwrap();
    let entry = scan(folder.dir()).unwrap().remove(0);
    entry.verify().unwrap();
    fixtures::assert_same(&snapshot, &entry.load().unwrap());
    fixtures::assert_same(&snapshot, &read_checkpoint(&folder.dir().join("last")).unwrap());
    fixtures::assert_same(&snapshot, &read_checkpoint(folder.dir()).unwrap());
    fixtures::assert_same(&snapshot, &read_checkpoint(&entry.path).unwrap());
}
