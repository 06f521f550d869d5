//! Links, which could lead anywhere.
#![cfg(unix)]

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_link_is_refused_wherever_it_is() {
    let (place, elsewhere) = (Place::new(), tempfile::tempdir().unwrap());
    let saved = place.save(&fixtures::snapshot(0), 0.5);
    let dir = place.folder.dir();
    let folder = dir.join(saved.name.to_string());
    for file in ["model.safetensors", "trainer.json", "manifest.json"] {
        let (inside, outside) = (folder.join(file), elsewhere.path().join(file));
        fs::rename(&inside, &outside).unwrap();
        symlink(&outside, &inside).unwrap();
        let error = scan(dir).unwrap()[0].load().err().unwrap();
        assert!(matches!(&error, Error::Refused { path, .. } if path.ends_with(file)), "{error}");
        fs::rename(&outside, &inside).unwrap();
    }
    scan(dir).unwrap()[0].verify().unwrap();
    let outside = elsewhere.path().join("folder");
    fs::rename(&folder, &outside).unwrap();
    symlink(&outside, &folder).unwrap();
    let entry = scan(dir).unwrap().remove(0);
    assert!(matches!(entry.manifest, Err(Error::Refused { .. })), "{:?}", entry.manifest);
    assert!(entry.load().is_err());
    read_checkpoint(&outside).unwrap();
}

#[test]
fn sweeping_and_pruning_remove_links_and_not_what_they_lead_to() {
    let (place, elsewhere) = (Place::new(), tempfile::tempdir().unwrap());
    let dir = place.folder.dir().to_owned();
    let mine = elsewhere.path().join("mine.txt");
    fs::write(&mine, "mine").unwrap();
    symlink(elsewhere.path(), dir.join(".tmp-step-00000001-7")).unwrap();
    let snapshots = fixtures::snapshots();
    let old = place.save(&snapshots[0], 0.5);
    symlink(elsewhere.path(), dir.join(old.name.to_string()).join("more")).unwrap();
    place.save(&snapshots[1], 0.5);
    assert_eq!(place.folder.prune(&Retention::default()).unwrap().removed, [old.name]);
    drop(place.folder);
    Folder::open(&dir, Disk::new()).unwrap();
    assert!(names(&dir).iter().all(|name| !name.starts_with('.')), "{:?}", names(&dir));
    assert_eq!(fs::read_to_string(mine).unwrap(), "mine");
}

#[test]
fn a_lock_or_a_pointer_that_is_a_link_is_not_followed() {
    let (place, elsewhere) = (Place::new(), tempfile::tempdir().unwrap());
    let dir = place.folder.dir().to_owned();
    let mine = elsewhere.path().join("mine.txt");
    fs::write(&mine, "step-00000001\n").unwrap();
    symlink(&mine, dir.join("last")).unwrap();
    assert!(matches!(place.folder.pointer(Pointer::Last), Err(Error::Refused { .. })));
    place.save(&fixtures::snapshot(0), 0.5);
    assert!(place.folder.pointer(Pointer::Last).unwrap().is_some(), "the link was replaced");
    drop(place.folder);
    fs::remove_file(dir.join("lock")).unwrap();
    symlink(&mine, dir.join("lock")).unwrap();
    assert!(matches!(Folder::open(&dir, Disk::new()), Err(Error::Refused { .. })));
    assert_eq!(fs::read_to_string(mine).unwrap(), "step-00000001\n");
}
