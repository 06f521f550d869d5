//! What a run has left of checkpoints.

use std::{fs, path::Path};

/// So that a run goes on from an older one.
pub(crate) fn remove_newest_checkpoints(run_dir: &Path, count: usize) {
    let mut all: Vec<_> = fs::read_dir(run_dir.join("checkpoints")).unwrap().map(|item| item.unwrap().path()).collect();
    all.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("step-"));
    all.sort();
    assert!(all.len() > count, "{all:?}");
    all.iter().rev().take(count).for_each(|path| fs::remove_dir_all(path).unwrap());
}
