//! Files that are no longer what was written.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    collections::BTreeMap,
};

use super::*;
use crate::{Bytes, manifest::Check};

/// Counts what each thread has allocated, and the most it ever had.
struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    let _ = NOW.try_with(|now| {
        now.set(now.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(now.get())));
    });
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The most memory that `f` held at once, in bytes.
fn most<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.get();
    MOST.set(before);
    let result = f();
    (result, (MOST.get() - before).unsigned_abs())
}

/// The generator of Steele, Lea, Flood 2014.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end.max(1) as u64) as usize
    }
}

/// Changes a file in one of the ways in which files change, or in which somebody who means harm would change them.
fn mutate(bytes: &[u8], rng: &mut SplitMix) -> Vec<u8> {
    let mut new = bytes.to_vec();
    let (at, other) = (rng.below(new.len()), rng.below(new.len()));
    // Half of them where the structure is.
    let head = if rng.below(2) == 0 { at } else { at.min(rng.below(400)) };
    match rng.below(9) {
        0 | 1 => new[head] ^= 1 << rng.below(8),
        2 => new.truncate(at),
        3 => new.extend((0..=rng.below(64)).map(|i| i as u8)),
        4 => new[head..].iter_mut().take(1 + rng.below(64)).for_each(|byte| *byte = 0),
        5 => {
            let length = [u64::MAX, u64::MAX - 7, 1 << 63, 100_000_000, bytes.len() as u64, 0][rng.below(6)];
            new[..8].copy_from_slice(&length.to_le_bytes());
        }
        6 => {
            // A number in the text becomes a huge one.
            let digits = (head..new.len()).find(|&i| new[i].is_ascii_digit()).unwrap_or(0);
            let end = (digits..new.len()).find(|&i| !new[i].is_ascii_digit()).unwrap_or(new.len());
            let huge = ["18446744073709551615", "9223372036854775807", "-1", "1e999", "4294967296"][rng.below(5)];
            new.splice(digits..end, huge.bytes());
        }
        7 => {
            let part: Vec<u8> = bytes[at.min(other)..at.max(other)].to_vec();
            new.splice(head..head, part);
        }
        _ => {
            new.splice(head..head, [b"[".repeat(1 + rng.below(4000)), br#"{"f64":"#.repeat(rng.below(40))].concat());
        }
    }
    new
}

#[test]
fn a_changed_file_is_an_error_whatever_was_changed() {
    let place = Place::new();
    let saved = place.save(&fixtures::snapshot(0), 0.5);
    let dir = place.folder.dir().join(saved.name.to_string());
    let files = files_of(&dir);
    let mut rng = SplitMix(1);
    let mut changed = 0;
    for _ in 0..1000 {
        for (name, bytes) in &files {
            let new = mutate(bytes, &mut rng);
            fs::write(dir.join(name), &new).unwrap();
            let loaded = scan(place.folder.dir()).unwrap()[0].load();
            assert_eq!(loaded.is_ok(), new == *bytes, "{name}");
            changed += usize::from(new != *bytes);
            fs::write(dir.join(name), bytes).unwrap();
        }
    }
    assert!(changed > 4500, "{changed}");
    scan(place.folder.dir()).unwrap()[0].verify().unwrap();
}

#[test]
fn files_that_changed_places_are_an_error() {
    let place = Place::new();
    let snapshots = fixtures::snapshots();
    let saved = [0, 1].map(|i| place.save(&snapshots[i], 0.5).name);
    let dirs = saved.map(|name| place.folder.dir().join(name.to_string()));
    let swap = |a: &Path, b: &Path| {
        let [left, right] = [fs::read(a).unwrap(), fs::read(b).unwrap()];
        fs::write(a, right).unwrap();
        fs::write(b, left).unwrap();
    };
    let broken = || scan(place.folder.dir()).unwrap().iter().filter(|entry| entry.load().is_err()).count();
    let files = names(&dirs[0]);
    for (i, a) in files.iter().enumerate() {
        for b in &files[i + 1..] {
            swap(&dirs[0].join(a), &dirs[0].join(b));
            assert_eq!(broken(), 1, "{a} and {b}");
            swap(&dirs[0].join(a), &dirs[0].join(b));
        }
        swap(&dirs[0].join(a), &dirs[1].join(a));
        assert_eq!(broken(), 2, "{a} of another checkpoint");
        swap(&dirs[0].join(a), &dirs[1].join(a));
    }
    assert_eq!(broken(), 0);
    let aside = place.folder.dir().join("x");
    for (from, to) in [(&dirs[0], &aside), (&dirs[1], &dirs[0]), (&aside, &dirs[1])] {
        fs::rename(from, to).unwrap();
    }
    assert_eq!(broken(), 2, "folders");
}

#[test]
fn without_checksums_a_changed_file_is_an_error_or_read_in_bounded_memory() {
    let place = Place::new();
    let saved = place.save(&fixtures::snapshot(0), 0.5);
    let dir = place.folder.dir().join(saved.name.to_string());
    let files: Vec<_> = files_of(&dir).into_iter().filter(|(name, _)| name != "manifest.json").collect();
    let mut rng = SplitMix(2);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..4000 {
        for (name, bytes) in &files {
            let new = Bytes::from(mutate(bytes, &mut rng));
            let length = new.len();
            let mut all: BTreeMap<&str, Bytes> =
                files.iter().map(|(name, bytes)| (name.as_str(), Bytes::from(bytes.clone()))).collect();
            all.insert(name, new);
            let whole: usize = all.values().map(|bytes| bytes.len()).sum();
            let (result, most) = most(|| Format::Safetensors.read(&dir, &all));
            assert!(most < 64 * whole + (1 << 16), "{name}: {most} bytes for {length} of {whole}");
            match result {
                Ok(snapshot) => {
                    snapshot.learner.tensors.values().for_each(|tensor| drop(tensor.data.bytes().unwrap()));
                    read += 1;
                }
                Err(Error::Damaged { .. } | Error::Newer { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
}

#[test]
fn the_switch_for_checksums_is_what_it_says() {
    let place = Place::new();
    place.save(&fixtures::snapshot(0), 0.5);
    let entry = scan(place.folder.dir()).unwrap().remove(0);
    let file = entry.path.join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let manifest = entry.manifest.unwrap();
    assert!(matches!(load(&entry.path, &manifest, Check::Full), Err(Error::Damaged { .. })));
    load(&entry.path, &manifest, Check::Length).unwrap();
}
