//! Tar files as Python's `tarfile` writes them (`fixtures/make_tar.py`), and files that are damaged.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use zae_core::data::{Dataset, Sample};
use zae_data::{Shards, Tar};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn samples_of_both_formats_with_long_names() {
    let long = format!("{}/{}", "a".repeat(90), "b".repeat(120));
    for name in ["gnu.tar", "pax.tar"] {
        let tar = Tar::open(fixture(name)).unwrap();
        assert_eq!(tar.len(), 4, "{name}");
        let expected = [
            ("train/1", "one".to_owned()),
            (&long, "two".into()),
            ("train/ü", "three".repeat(300)),
            ("train/4", String::new()),
        ];
        // In any order, from any place.
        for (i, (key, text)) in expected.iter().enumerate().rev() {
            let sample = tar.item(&Sample::new(i)).unwrap();
            assert_eq!((sample.key.as_str(), sample.text("txt").unwrap()), (*key, text.as_str()), "{name}");
            assert_eq!(sample.text("cls").unwrap().trim().parse::<usize>().unwrap(), i + 1);
            assert_eq!(sample.members.len(), 2);
        }
        assert_eq!(tar.item(&Sample::new(4)).unwrap_err().to_string(), "there is no sample 4, only 4");
    }
}

#[test]
fn several_files_follow_each_other_and_the_index_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let paths = [fixture("pax.tar"), fixture("gnu.tar")];
    let plain = Tar::open(&paths[..]).unwrap();
    assert_eq!(plain.ends(), [4, 8]);
    for _ in 0..2 {
        let kept = Tar::open_with_index(&paths[..], folder.path()).unwrap();
        for i in 0..8 {
            assert_eq!(kept.item(&Sample::new(i)).unwrap(), plain.item(&Sample::new(i % 4)).unwrap());
        }
        assert_eq!(kept.fingerprint(), plain.fingerprint());
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn files_cut_off_anywhere_are_found_on_opening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.tar");
    let good = fs::read(fixture("gnu.tar")).unwrap();
    // From where on there are only zeros: one block of them is enough.
    let end = good.iter().rposition(|byte| *byte != 0).unwrap() / 512 * 512 + 512;
    for cut in (0..good.len()).step_by(50).chain((0..good.len()).step_by(512)) {
        fs::write(&path, &good[..cut]).unwrap();
        match Tar::open(&path) {
            Ok(tar) => assert!(cut >= end + 512 && tar.len() == 4, "{cut}"),
            Err(error) => {
                let error = error.to_string();
                assert!(
                    cut < end + 512 && error.starts_with(&format!("cannot read `{}`: ", path.display())),
                    "{cut}: {error}"
                );
                assert!(error.ends_with("write it again"), "{error}");
            }
        }
    }
    fs::write(&path, [&good[..], &good].concat()).unwrap();
    let error = Tar::open(&path).unwrap_err().to_string();
    assert!(error.ends_with("join tar files with `tar --concatenate`"), "{error}");
}

#[test]
fn what_is_no_tar_file_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.tar");
    let error = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Tar::open(&path).unwrap_err().to_string()
    };
    assert!(error(&[b'x'; 2_000]).ends_with("it is damaged, or no tar file: write it again"));
    assert!(error(&[0x1f, 0x8b, 8, 0]).contains("unpack it with `gunzip`"));
    assert!(error(b"short").contains("write it again"));
    assert!(error(b"").contains("it was cut off"));
    fs::write(&path, [0; 1_024]).unwrap();
    assert!(Tar::open(&path).unwrap().is_empty());
    // A bit of a header that was flipped breaks its sum.
    let mut bytes = fs::read(fixture("gnu.tar")).unwrap();
    bytes[5] ^= 1;
    assert!(error(&bytes).ends_with("write it again"));
}

#[test]
fn two_members_of_one_name_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("double.tar");
    let mut builder = tar::Builder::new(fs::File::create(&path).unwrap());
    for content in [&b"1"[..], b"2"] {
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        header.set_cksum();
        builder.append_data(&mut header, "a.txt", content).unwrap();
    }
    builder.finish().unwrap();
    let error = Tar::open(&path).unwrap().item(&Sample::new(0)).unwrap_err().to_string();
    assert!(error.ends_with("two members are `a.txt`: give each sample a name of its own"), "{error}");
}
