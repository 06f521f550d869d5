//! A checkpoint of a gigabyte.

#![allow(clippy::unwrap_used)]

use std::{fs, sync::Arc};

use zae_checkpoint::{Format, disk::Disk, folder::Folder, folder::scan};
use zae_core::{
    learner::{Dtype, SavedTensor, StateDict},
    metrics::Metrics,
    snapshot::{RunState, Snapshot},
};

const TENSORS: usize = 16;
const ROWS: usize = 4_096;

/// Numbers that differ from tensor to tensor and from place to place.
fn tensor(index: usize) -> SavedTensor {
    let word = |i: usize| ((i * 2_654_435_761) ^ (index << 20)) as u32 & 0x3fff_ffff;
    let bytes: Vec<u8> = (0..ROWS * ROWS).flat_map(|i| word(i).to_le_bytes()).collect();
    SavedTensor { dtype: Dtype::F32, shape: vec![ROWS, ROWS], data: Arc::new(bytes) }
}

fn resident_mb() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB"));
    anonymous.map_or(0, |kib| kib.trim().parse::<usize>().unwrap() / 1024)
}

/// Saved and loaded in both formats; loading maps the files, and takes no memory for them.
#[test]
#[ignore = "takes 3 GB of memory and 1 GB of disk; part of the full matrix"]
fn a_gigabyte_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path(), Disk::new()).unwrap();
    let tensors = (0..TENSORS).map(|i| (format!("model/layer{i:02}.weight"), tensor(i))).collect();
    let learner = StateDict { tensors, ..StateDict::default() };
    let snapshot = Snapshot::new(RunState::default(), learner);
    for format in [Format::Safetensors, Format::Ckpt] {
        let before = resident_mb();
        let saved = folder.save(&snapshot, format, &Metrics::new()).unwrap();
        assert!(saved.bytes >= 1 << 30);
        let entry = scan(dir.path()).unwrap().remove(0);
        assert_eq!(entry.name, saved.name);
        let loaded = entry.load().unwrap();
        assert!(resident_mb() < before + 64, "neither saving nor loading copies the tensors");
        assert_eq!(loaded.learner.tensors.len(), TENSORS);
        for (name, tensor) in &snapshot.learner.tensors {
            let found = &loaded.learner.tensors[name];
            assert_eq!((found.dtype, &found.shape), (tensor.dtype, &tensor.shape));
            assert!(found.data.bytes().unwrap() == tensor.data.bytes().unwrap(), "{name}");
        }
        fs::remove_dir_all(entry.path).unwrap();
    }
}
