//! NumPy's own files (`fixtures/make.py`), and files that are damaged.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use zae_core::data::{DataLoader, Dataset, Draw, Loader, Sample};
use zae_core::progress::Cursor;
use zae_data::{Element, Npy, TokenWindows};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn error<T: Element + Debug>(path: &Path) -> String {
    let error = Npy::<T>::open(path).unwrap_err().to_string();
    let named = format!("cannot read `{}`: ", path.display());
    error.strip_prefix(&named).unwrap_or_else(|| panic!("{error}")).to_owned()
}

fn check<T: Element + Debug + PartialEq>(name: &str, rows: [[T; 3]; 2]) {
    let array = Npy::<T>::open(fixture(&format!("{name}.npy"))).unwrap();
    assert_eq!((array.shape(), array.len()), (&[2, 3][..], 2));
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(array.item(&Sample::new(i)).unwrap(), row);
        assert_eq!(array.row(i).unwrap(), row);
    }
    assert_eq!(array.as_slice(), rows.concat());
    assert_eq!(array.row(2), None);
    assert_eq!(array.item(&Sample::new(2)).unwrap_err().to_string(), "there is no row 2, only 2");
}

#[test]
fn every_type_as_numpy_writes_it() {
    check::<u8>("uint8", [[0, 0, 1], [2, 3, u8::MAX]]);
    check::<u16>("uint16", [[0, 0, 1], [2, 3, u16::MAX]]);
    check::<u32>("uint32", [[0, 0, 1], [2, 3, u32::MAX]]);
    check::<u64>("uint64", [[0, 0, 1], [2, 3, u64::MAX]]);
    check::<i8>("int8", [[i8::MIN, 0, 1], [2, 3, i8::MAX]]);
    check::<i16>("int16", [[i16::MIN, 0, 1], [2, 3, i16::MAX]]);
    check::<i32>("int32", [[i32::MIN, 0, 1], [2, 3, i32::MAX]]);
    check::<i64>("int64", [[i64::MIN, 0, 1], [2, 3, i64::MAX]]);
    check::<f32>("float32", [[f32::MIN, 0.0, 1.0], [2.0, 3.0, f32::MAX]]);
    check::<f64>("float64", [[f64::MIN, 0.0, 1.0], [2.0, 3.0, f64::MAX]]);
}

#[test]
fn every_version_of_the_format_and_every_shape() {
    for version in 1..=3 {
        let array = Npy::<i32>::open(fixture(&format!("version{version}.npy"))).unwrap();
        assert_eq!(array.shape(), [2, 3, 4]);
        assert_eq!(array.row(1).unwrap(), Vec::from_iter(12..24));
    }
    let column = Npy::<f32>::open(fixture("fortran_column.npy")).unwrap();
    assert_eq!((column.row(5).unwrap(), column.len()), (&[5.0][..], 6));
    let empty = Npy::<f32>::open(fixture("no_rows.npy")).unwrap();
    assert_eq!((empty.is_empty(), empty.row(0), empty.as_slice().len()), (true, None, 0));
    let narrow = Npy::<f32>::open(fixture("no_columns.npy")).unwrap();
    assert_eq!((narrow.len(), narrow.row(2), narrow.row(3)), (3, Some(&[][..]), None));
}

#[test]
fn what_is_not_read_is_an_error_that_says_what_to_do() {
    let of = |name: &str| error::<f32>(&fixture(name));
    assert_eq!(
        of("int64.npy"),
        "its elements are int64, not float32: open it as `Npy<i64>`, or save it with `.astype(\"float32\")`"
    );
    assert!(of("big_endian.npy").starts_with("the order of its bytes is another one than this machine's (`>f4`): "));
    assert!(of("fortran.npy").contains("save it with `numpy.ascontiguousarray`"));
    assert!(of("bool.npy").contains("its elements are `|b1`, which are not read"));
    assert!(of("complex.npy").contains("its elements are `<c16`, which are not read"));
    assert!(of("objects.npy").contains("its elements are `|O`, which are not read"));
    assert!(of("records.npy").contains("save each field"));
    assert!(of("scalar.npy").contains("one number without a dimension"));
    assert!(of("archive.npz").contains("archive of several arrays"));
    assert!(of("rgb.png").contains("it is no NumPy file"));
    assert!(of("missing.npy").len() > 5);
    assert!(error::<f32>(&fixture("")).contains("it is a folder"));
}

#[test]
fn files_cut_off_anywhere_and_files_with_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("array.npy");
    let good = std::fs::read(fixture("float32.npy")).unwrap();
    for end in 0..good.len() {
        std::fs::write(&path, &good[..end]).unwrap();
        let error = error::<f32>(&path);
        match end {
            0..6 => assert!(error.contains("no NumPy file"), "{end}: {error}"),
            6..128 => assert!(error.contains("it ends in its header"), "{end}: {error}"),
            _ => {
                let found = format!("it ends after {} bytes of elements, where its shape [2, 3] needs 24", end - 128);
                assert!(error.starts_with(&found), "{end}: {error}");
            }
        }
    }
    std::fs::write(&path, [&good[..], &[0]].concat()).unwrap();
    assert!(error::<f32>(&path).starts_with("it goes on after its shape's 24 bytes"));
}

#[test]
fn elements_that_are_not_aligned_are_refused() {
    // NumPy pads the header so that elements lie at a multiple of 64; nothing forces others to.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("array.npy");
    let write = |spaces: usize| {
        let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}}{}", " ".repeat(spaces));
        let bytes =
            [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), &[0; 8]].concat();
        std::fs::write(&path, &bytes).unwrap();
        bytes.len() % 8 == 0
    };
    for spaces in 0..8 {
        let aligned = write(spaces);
        match Npy::<f64>::open(&path) {
            Ok(array) => assert!(aligned && array.as_slice() == [0.0]),
            Err(error) => assert!(!aligned && error.to_string().contains("do not lie where"), "{error}"),
        }
    }
}

#[test]
fn batches_of_rows_and_windows_of_tokens() {
    let batches = DataLoader::new(Npy::<u16>::open(fixture("uint16.npy")).unwrap().collate(Ok), 2).workers(2);
    let drawn = batches.epoch(&Draw::new(1, Cursor::default())).unwrap().next().unwrap().unwrap();
    assert_eq!(drawn, [[0, 0, 1], [2, 3, u16::MAX]]);
    let windows = TokenWindows::new(Npy::<f32>::open(fixture("fortran_column.npy")).unwrap(), 2).unwrap();
    assert_eq!(windows.item(&Sample::new(1)).unwrap(), (vec![2.0, 3.0], vec![3.0, 4.0]));
}

proptest! {
    #[test]
    fn a_changed_byte_is_an_array_or_an_error(at: prop::sample::Index, byte: u8) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("array.npy");
        let mut bytes = std::fs::read(fixture("float32.npy")).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(array) = Npy::<f32>::open(&path) {
            let elements: usize = (0..array.len()).map(|i| array.row(i).unwrap().len()).sum();
            prop_assert_eq!((elements, array.as_slice().len()), (6, 6));
        }
    }
}
