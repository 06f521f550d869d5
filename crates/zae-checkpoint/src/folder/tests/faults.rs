//! A fault at every operation of a save: as an error, and as the death of the process.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use zae_core::learner::{Dtype, SavedTensor};

use super::*;
use crate::{disk::Operation, fixtures::assert_same};

/// A snapshot that takes several writes.
fn large(index: usize) -> Snapshot {
    let mut snapshot = fixtures::snapshot(index);
    let data = Arc::new((0..700_000u32).map(|i| (i % 251) as u8).collect::<Vec<u8>>());
    let tensor = SavedTensor { dtype: Dtype::U8, shape: vec![700_000], data };
    snapshot.learner.tensors.insert("optimizer/head.weight/large".to_owned(), tensor);
    snapshot
}

/// Saves `new` in a folder with `old`, which is pruned then, and asks `hook` before each operation.
fn save_over(
    old: &Snapshot,
    new: &Snapshot,
    hook: impl Fn(usize, &Operation<'_>, &Path) -> io::Result<()> + Send + Sync + 'static,
) -> (TempDir, Result<Pruned>) {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("run");
    let folder = Folder::open(&dir, Disk::new()).unwrap();
    save(&folder, old, 0.5).unwrap();
    folder.prune(&best(1)).unwrap();
    drop(folder);
    let count = AtomicUsize::new(0);
    let watched = dir.clone();
    let disk = Disk::with_hook(move |operation| hook(count.fetch_add(1, Ordering::Relaxed), operation, &watched));
    let result = Folder::open(&dir, disk).and_then(|folder| {
        save(&folder, new, 0.25)?;
        folder.prune(&best(1))
    });
    (home, result)
}

/// The old one or the new one is there, whole, and whatever looks like a checkpoint is one; and one can go on.
#[track_caller]
fn check(dir: &Path, old: &Snapshot, new: &Snapshot, at: &str) {
    let which = |snapshot: &Snapshot| {
        let is_new = snapshot.run.progress.step() == new.run.progress.step();
        assert_same(if is_new { new } else { old }, snapshot);
        is_new
    };
    let entries = scan(dir).unwrap();
    let found: Vec<bool> =
        entries.iter().map(|entry| which(&entry.load().unwrap_or_else(|e| panic!("{at}: {e}")))).collect();
    assert!(!found.is_empty(), "{at}: nothing is left");
    which(&read_checkpoint(dir).unwrap());
    for pointer in ["last", "best"] {
        which(&read_checkpoint(&dir.join(pointer)).unwrap_or_else(|e| panic!("{at}: {e}")));
    }
    let folder = Folder::open(dir, Disk::new()).unwrap();
    save(&folder, new, 0.125).unwrap();
    folder.prune(&best(1)).unwrap();
    let left = names(dir);
    assert!(left.len() == 4 && left.iter().all(|name| !name.starts_with('.')), "{at}: {left:?}");
    assert!(which(&read_checkpoint(&dir.join("best")).unwrap()));
}

fn operations(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let its = seen.clone();
    let (_, result) = save_over(old, new, move |_, operation, _| {
        its.lock().unwrap().push(format!("{operation:?}"));
        Ok(())
    });
    result.unwrap();
    let seen = seen.lock().unwrap();
    for kind in ["CreateDir", "CreateFile", "Write", "SyncFile", "SyncDir", "Rename", "RemoveFile", "RemoveDir"] {
        assert!(seen.iter().any(|operation| operation.starts_with(kind)), "{kind}");
    }
    let in_one_file = seen.iter().filter(|operation| operation.starts_with("Write") && operation.contains("optimizer"));
    assert!(in_one_file.count() > 2, "no fault would be in the middle of a file");
    seen.clone()
}

#[test]
fn an_error_of_any_operation_leaves_the_old_or_the_new_checkpoint_whole() {
    let (old, new) = (large(0), large(1));
    let operations = operations(&old, &new);
    for (k, operation) in operations.iter().enumerate() {
        let (home, result) =
            save_over(&old, &new, move |i, _, _| if i == k { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) });
        // All but sweeping have their error returned, and nothing is swept here.
        let error = result.err().unwrap_or_else(|| panic!("the error of {operation} got lost"));
        assert!(matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull), "{error}");
        check(&home.path().join("run"), &old, &new, operation);
    }
}

#[test]
fn a_disk_that_fails_from_some_operation_on_leaves_the_old_or_the_new_checkpoint_whole() {
    let (old, new) = (large(0), large(1));
    for (k, operation) in operations(&old, &new).iter().enumerate() {
        let (home, result) =
            save_over(
                &old,
                &new,
                move |i, _, _| {
                    if i >= k { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
                },
            );
        assert!(result.is_err());
        check(&home.path().join("run"), &old, &new, operation);
    }
}

#[test]
fn a_death_before_any_operation_leaves_the_old_or_the_new_checkpoint_whole() {
    let (old, new) = (large(0), large(1));
    let graves = tempfile::tempdir().unwrap();
    let to = graves.path().to_owned();
    let (_home, result) = save_over(&old, &new, move |i, _, dir| {
        fixtures::copy(dir, &to.join(i.to_string()));
        Ok(())
    });
    result.unwrap();
    let operations = operations(&old, &new);
    assert_eq!(names(graves.path()).len(), operations.len());
    for (i, operation) in operations.iter().enumerate() {
        check(&graves.path().join(i.to_string()), &old, &new, operation);
    }
}

#[test]
fn an_error_of_the_engine_leaves_nothing_behind() {
    struct Broken;
    impl zae_core::learner::TensorBytes for Broken {
        fn bytes(&self) -> zae_core::error::Fallible<std::borrow::Cow<'_, [u8]>> {
            Err("the device fell off".into())
        }
    }
    let place = Place::new();
    let mut snapshot = fixtures::snapshot(0);
    let tensor = SavedTensor { dtype: Dtype::F32, shape: vec![2], data: Arc::new(Broken) };
    snapshot.learner.tensors.insert("shadow/ema/broken".to_owned(), tensor);
    let error = save(&place.folder, &snapshot, 0.5).unwrap_err();
    assert!(error.to_string().contains("ema/broken") && error.to_string().contains("fell off"), "{error}");
    assert_eq!(place.names(), ["lock"]);
    snapshot.learner.tensors.clear();
    snapshot
        .learner
        .tensors
        .extend(fixtures::every_type().into_iter().take(1).map(|(_, tensor)| ("../x".to_owned(), tensor)));
    assert!(matches!(save(&place.folder, &snapshot, 0.5), Err(Error::Unsavable(_))));
    assert_eq!(place.names(), ["lock"]);
}
